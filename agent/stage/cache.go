package stage

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// partAge is how long the beginning of a download is kept for a later one to go on with.
const partAge = 24 * time.Hour

// cache keeps the contents of objects on the node, by where they came from and which version they are, in files that
// nobody but the agent reads or writes: tasks get copies. The least recently used go when the limit is reached.
type cache struct {
	dir   string
	root  *os.Root
	limit int64
	locks keyedLock

	mu     sync.Mutex
	recent *list.List // of *cached, the most recently used first
	byKey  map[string]*list.Element
	total  int64
}

type cached struct {
	key  string
	size int64
	pins int // being copied from
}

// cacheKey names a version of an object in the cache.
func cacheKey(identity, validator string) string {
	sum := sha256.Sum256([]byte(identity + "\x00" + validator))
	return hex.EncodeToString(sum[:])
}

func openCache(dir string, limit int64) (*cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	c := &cache{dir: dir, root: root, limit: limit, recent: list.New(), byKey: map[string]*list.Element{}}
	if err := c.load(); err != nil {
		_ = root.Close()
		return nil, err
	}
	return c, nil
}

func (c *cache) close() error { return c.root.Close() }

// load takes over what is there, the files used last first.
func (c *cache) load() error {
	entries, err := fs.ReadDir(c.root.FS(), ".")
	if err != nil {
		return err
	}
	var found []fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return err
		}
		switch part := strings.HasPrefix(e.Name(), ".part-"); {
		case part && time.Since(info.ModTime()) < partAge:
		case part || !info.Mode().IsRegular() || len(e.Name()) != 2*sha256.Size:
			if err := c.root.RemoveAll(e.Name()); err != nil {
				return err
			}
		default:
			found = append(found, info)
		}
	}
	slices.SortFunc(found, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	for _, info := range found {
		c.byKey[info.Name()] = c.recent.PushBack(&cached{key: info.Name(), size: info.Size()})
		c.total += info.Size()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.evict(0)
}

// admits says whether an object of a size is worth keeping; larger ones would push out everything else.
func (c *cache) admits(size int64) bool { return size >= 0 && size <= c.limit/4 }

// open gives the contents under key, which fill brings if they are not there: it must make the file of that name, whole,
// or fail. One caller at a time fills a key. The caller calls release when it has read the file.
func (c *cache) open(ctx context.Context, key string, size int64, fill func(root *os.Root, name string) error) (f *os.File, release func(), err error) {
	unlock, err := c.locks.lock(ctx, key)
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	if f := c.hit(key, size); f != nil {
		return f, func() { _ = f.Close(); c.unpin(key) }, nil
	}
	if err := c.makeRoom(size); err != nil {
		return nil, nil, err
	}
	if err := fill(c.root, key); err != nil {
		return nil, nil, err
	}
	f, err = c.admit(key)
	if err != nil {
		return nil, nil, err
	}
	return f, func() { _ = f.Close(); c.unpin(key) }, nil
}

// hit opens what is kept under key and pins it. A file that has not the length it should have is dropped.
func (c *cache) hit(key string, size int64) *os.File {
	c.mu.Lock()
	defer c.mu.Unlock()
	element := c.byKey[key]
	if element == nil {
		return nil
	}
	entry := element.Value.(*cached)
	f, err := c.root.Open(key)
	if err == nil {
		if info, statErr := f.Stat(); statErr == nil && info.Size() == entry.size && (size < 0 || size == entry.size) {
			entry.pins++
			c.recent.MoveToFront(element)
			_ = c.root.Chtimes(key, time.Time{}, time.Now()) // the order survives a restart
			return f
		}
		_ = f.Close()
	}
	c.forget(element)
	return nil
}

// admit takes in a file that has just been written, pinned. It is on disk before it counts: after a crash a file is
// whole or not there.
func (c *cache) admit(key string) (*os.File, error) {
	f, err := c.root.OpenFile(key, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("keeping a download: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byKey[key] = c.recent.PushFront(&cached{key: key, size: info.Size(), pins: 1})
	c.total += info.Size()
	return f, nil
}

func (c *cache) unpin(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if element := c.byKey[key]; element != nil {
		element.Value.(*cached).pins--
	}
	_ = c.evict(0) // what can't be deleted now is tried again with the next file
}

func (c *cache) makeRoom(size int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.evict(max(size, 0))
}

// evict drops the least recently used files that nobody reads until size more bytes fit.
func (c *cache) evict(size int64) error {
	for element := c.recent.Back(); element != nil && c.total+size > c.limit; {
		before := element.Prev()
		if entry := element.Value.(*cached); entry.pins == 0 {
			if err := c.root.Remove(entry.key); err != nil && !os.IsNotExist(err) {
				return fmt.Errorf("making room in the content cache: %w", err)
			}
			c.forget(element)
		}
		element = before
	}
	return nil
}

func (c *cache) forget(element *list.Element) {
	entry := element.Value.(*cached)
	c.recent.Remove(element)
	delete(c.byKey, entry.key)
	c.total -= entry.size
}
