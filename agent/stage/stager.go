// Package stage brings a task's inputs and application packages to a node and its outputs away.
package stage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/batchyard/batchyard/agent/files/beneath"
	"github.com/batchyard/batchyard/agent/stage/archive"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/batchyard/batchyard/storage"
)

// Dirs are the directories of one task.
type Dirs struct {
	Root   string // the node's
	Task   string // .../{job}/.../{task}
	Work   string // Task/wd
	Shared string // every task of the node may write to it
	// Open: the owner's group reads what is staged, and writes none of it.
	Open bool
}

// Owner is the user whom staged files and directories belong to.
type Owner = beneath.Owner

// Config says where a Stager works and how much it may do at once. Zero fields take the defaults.
type Config struct {
	NodeRoot   string
	CacheDir   string        // default NodeRoot/volatile/cache; nobody but the agent may write to it
	CacheBytes int64         // default 10 GiB; negative: nothing is kept
	Parallel   int           // transfers at a time on the whole node; default 8
	Retry      storage.Retry // of one transfer, for temporary failures only
	Packages   archive.Limits
	Log        *slog.Logger

	// Access is the account's store; it may change from call to call, and be nil while there is none.
	Access func() *apiv1.StoreAccess
	// Stores opens what URLs name; default NewStores.
	Stores Stores
	// Now is the clock of the upload log; default time.Now.
	Now func() time.Time
}

// Stores gives the stores that files come from and go to. Its methods are safe for concurrent use.
type Stores interface {
	// Bucket gives a bucket of the account's store, with keys as they are in the bucket.
	Bucket(access *apiv1.StoreAccess, bucket string) (storage.Store, error)
	// Container opens a container of Azure Storage by its URL, signature included.
	Container(loc storage.Location) (storage.Store, error)
	// Web gives a store in which key, which tells no secret, names the object at an http(s) URL.
	Web(access *apiv1.StoreAccess, loc storage.Location) (s storage.Store, key string, err error)
}

// Stager stages for all the tasks of one node; its methods are safe for concurrent use. Their errors are *Failure, or
// the end of the context as it is.
type Stager struct {
	cfg   Config
	cache *cache
	slots chan struct{}
	locks keyedLock
	log   *slog.Logger
}

// New makes the cache's directory, takes over what an earlier Stager left in it, and removes what one left half done. No
// other Stager may use the same node root.
func New(cfg Config) (*Stager, error) {
	if cfg.CacheDir == "" {
		cfg.CacheDir = filepath.Join(cfg.NodeRoot, "volatile", "cache")
	}
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = 10 << 30
	}
	if cfg.Parallel <= 0 {
		cfg.Parallel = 8
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Access == nil {
		cfg.Access = func() *apiv1.StoreAccess { return nil }
	}
	if cfg.Stores == nil {
		cfg.Stores = NewStores(storage.DialPolicy{})
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := os.RemoveAll(filepath.Join(cfg.NodeRoot, applications, unfinished)); err != nil {
		return nil, fmt.Errorf("clearing unfinished packages: %w", err)
	}
	c, err := openCache(cfg.CacheDir, cfg.CacheBytes)
	if err != nil {
		return nil, fmt.Errorf("opening the content cache: %w", err)
	}
	return &Stager{cfg: cfg, cache: c, slots: make(chan struct{}, cfg.Parallel), log: cfg.Log}, nil
}

// Close releases the cache; nothing may be under way.
func (s *Stager) Close() error { return s.cache.close() }

// Clean deletes a task's directory, whatever is in it. That it is gone already is no error.
func (s *Stager) Clean(ctx context.Context, dirs Dirs) error {
	parent, err := beneath.Open(filepath.Dir(dirs.Task))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cleaning up a task: %w", err)
	}
	defer parent.Close()
	if err := parent.RemoveAll(ctx, filepath.Base(dirs.Task)); err != nil {
		return fmt.Errorf("cleaning up a task: %w", err)
	}
	return nil
}

// acquire waits for one of the node's transfer slots.
func (s *Stager) acquire(ctx context.Context) (release func(), err error) {
	select {
	case s.slots <- struct{}{}:
		return func() { <-s.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// openTask opens a task's directory, whose parents nobody but the agent writes to, and gives the working directory's
// name in it, which the task may have exchanged.
func openTask(dirs Dirs) (*beneath.Dir, string, error) {
	work, err := filepath.Rel(dirs.Task, dirs.Work)
	if err != nil || !filepath.IsLocal(work) || work == "." {
		return nil, "", fmt.Errorf("the working directory %s is not in the task's directory %s", dirs.Work, dirs.Task)
	}
	dir, err := beneath.Open(dirs.Task)
	return dir, filepath.ToSlash(work), err
}
