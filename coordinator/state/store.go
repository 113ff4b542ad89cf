package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

// cacheBytes bounds Pebble's block cache; without cgo it lives on the Go heap.
const cacheBytes = 64 << 20

// DigestSize is the length of the running digest, in bytes.
const DigestSize = 32

// Store is the replicated state. One goroutine applies commands; any may read. Pebble is not synced: what it lost in a crash is
// applied again from the log, from the recorded applied index on.
type Store struct {
	dir    string
	logger *slog.Logger

	mu sync.RWMutex // guards all below; held for writing while an entry is applied
	db *pebble.DB
	hot
	applied uint64
	digest  [DigestSize]byte
	clock   int64 // newest time seen in a command, Unix nanoseconds; never goes back
	nextUID uint64

	watchers watchers
}

// Open opens, or creates, the state in dir.
func Open(dir string, logger *slog.Logger) (*Store, error) {
	s := &Store{dir: dir, logger: logger}
	if err := s.open(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Store) open() error {
	if err := s.prepareDir(); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref()
	opts := &pebble.Options{
		Cache:        cache,
		MemTableSize: 32 << 20,
		DisableWAL:   true,
		Logger:       &quietLogger{Logger: s.logger},
	}
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	db, err := pebble.Open(s.dir, opts)
	if err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	s.db = db
	s.hot = newHot()
	if err := s.load(); err != nil {
		return errors.Join(fmt.Errorf("load state: %w", err), db.Close())
	}
	return nil
}

// Close flushes and closes the state.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.db.Flush(), s.db.Close())
}

// AppliedIndex is the index of the newest log entry in the state.
func (s *Store) AppliedIndex() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.applied
}

// Digest is the running digest of everything written up to the applied index.
func (s *Store) Digest() (uint64, [DigestSize]byte) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.applied, s.digest
}

// Checkpoint makes a consistent copy of the state in dir, which must not exist.
func (s *Store) Checkpoint(dir string) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	// The memtable is flushed first: without Pebble's own log a checkpoint holds only what is in tables.
	if err := s.db.Flush(); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if err := s.db.Checkpoint(dir); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// Restore replaces the state by the copy in dir, which it takes over.
func (s *Store) Restore(dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err := s.swap(dir); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err := syncDir(filepath.Dir(s.dir)); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err := s.open(); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	s.watchers.reset()
	return nil
}

// prepareDir makes the directory, and tidies up after a Restore that was cut short: the old state is the state until the new one is in its place.
func (s *Store) prepareDir() error {
	if _, err := os.Stat(s.dir); errors.Is(err, os.ErrNotExist) {
		if err := os.Rename(s.old(), s.dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return errors.Join(os.RemoveAll(s.old()), os.MkdirAll(s.dir, 0o700))
}

// old is where the state is that Restore replaces.
func (s *Store) old() string { return s.dir + ".old" }

func (s *Store) swap(dir string) error {
	if err := os.RemoveAll(s.old()); err != nil {
		return err
	}
	if err := os.Rename(s.dir, s.old()); err != nil {
		return err
	}
	return os.Rename(dir, s.dir)
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// The meta table.
var (
	metaApplied = keyName(tableMeta, "applied")
	metaDigest  = keyName(tableMeta, "digest")
	metaClock   = keyName(tableMeta, "clock")
	metaUID     = keyName(tableMeta, "uid")
)

func (s *Store) loadMeta() error {
	for key, target := range map[string]*uint64{string(metaApplied): &s.applied, string(metaUID): &s.nextUID} {
		n, err := s.loadNumber([]byte(key))
		if err != nil {
			return err
		}
		*target = n
	}
	clock, err := s.loadNumber(metaClock)
	if err != nil {
		return err
	}
	s.clock = int64(clock)
	digest, err := s.read(metaDigest)
	if err != nil {
		return err
	}
	s.digest = [DigestSize]byte{}
	copy(s.digest[:], digest)
	return nil
}

func (s *Store) loadNumber(key []byte) (uint64, error) {
	b, err := s.read(key)
	if err != nil || b == nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("meta %q has %d bytes", key, len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}

// read returns a copy of the value at key, nil if there is none.
func (s *Store) read(key []byte) ([]byte, error) {
	v, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := append(make([]byte, 0, len(v)), v...)
	return out, closer.Close()
}

// quietLogger passes on Pebble's errors only. What fails in the background is tried again at once, over and over while a disk is full: of these errors
// one a second is told.
type quietLogger struct {
	*slog.Logger
	told atomic.Int64 // second
}

func (*quietLogger) Infof(string, ...any) {}

func (l *quietLogger) Errorf(format string, args ...any) {
	if now := time.Now().Unix(); l.told.Swap(now) != now {
		l.Error("state store: " + fmt.Sprintf(format, args...))
	}
}

func (l *quietLogger) Fatalf(format string, args ...any) {
	l.Error("state store: " + fmt.Sprintf(format, args...))
	panic(fmt.Sprintf(format, args...))
}
