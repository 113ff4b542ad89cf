package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"
	walfs "github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
	"go.etcd.io/bbolt"
)

var errDamaged = errors.New("damaged entry")

// store is what the Raft library keeps on disk: the log, and the term and vote.
type store interface {
	raft.LogStore
	raft.StableStore
	raft.MonotonicLogStore
	io.Closer
}

// diskStore is raft-wal with its entries checksummed, and opened anew where it could not write: one that found no room for its next file would never
// write again.
type diskStore struct {
	open func() (*raftwal.WAL, error)
	meta *metadb.BoltMetaDB
	lock *bbolt.DB

	mu     sync.RWMutex // held by whoever uses wal
	wal    *raftwal.WAL
	failed bool // the last write
}

// openDiskStore opens the log in dir, or fails with ErrInUse when another process has it.
func openDiskStore(dir string, logger hclog.Logger) (*diskStore, error) {
	wal := filepath.Join(dir, "log")
	if err := os.MkdirAll(wal, 0o700); err != nil {
		return nil, fmt.Errorf("create log directory: %w", err)
	}
	// raft-wal would wait for ever for a directory in use. An empty bbolt file serves as a lock that can time out.
	lock, err := bbolt.Open(filepath.Join(dir, "lock"), 0o600, &bbolt.Options{Timeout: time.Second})
	if errors.Is(err, bbolt.ErrTimeout) {
		return nil, fmt.Errorf("%w: %s", ErrInUse, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	meta := &metadb.BoltMetaDB{}
	files := segments{segment.NewFiler(wal, walfs.New())}
	s := &diskStore{meta: meta, lock: lock, open: func() (*raftwal.WAL, error) {
		if err := files.finishTail(meta, wal); err != nil {
			return nil, err
		}
		return raftwal.Open(wal, raftwal.WithMetaStore(meta), raftwal.WithLogger(logger), raftwal.WithSegmentFiler(files))
	}}
	if s.wal, err = s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open log: %w", err), meta.Close(), lock.Close())
	}
	if err := errors.Join(syncDir(dir), syncDir(filepath.Dir(dir))); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// syncDir makes what was created in dir outlive a power cut. Windows has nothing like it, nor the need.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}

// Close also closes the meta file, which WAL.Close forgets: opening the directory again would hang.
func (s *diskStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.wal.Close(), s.meta.Close(), s.lock.Close())
}

// use calls f with the log, which is not closed meanwhile.
func (s *diskStore) use(f func(*raftwal.WAL) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return f(s.wal)
}

// write is use for what changes the log, after a new attempt at opening one that could not be written.
func (s *diskStore) write(f func(*raftwal.WAL) error) error {
	if err := s.mend(); err != nil {
		return fmt.Errorf("open log again: %w", err)
	}
	err := s.use(f)
	if err != nil {
		s.mu.Lock()
		s.failed = true
		s.mu.Unlock()
	}
	return err
}

// mend opens the log anew after a failed write. What the disk holds of that is taken off: the library was told that it is not there, and goes on before it.
func (s *diskStore) mend() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.failed {
		return nil
	}
	last, err := s.wal.LastIndex()
	if err != nil {
		return err
	}
	again, err := s.open()
	if err != nil {
		return err
	}
	if end, err := again.LastIndex(); err != nil || end > last {
		if err == nil {
			err = again.DeleteRange(last+1, end)
		}
		if err != nil {
			return errors.Join(err, again.Close())
		}
	}
	old := s.wal
	s.wal, s.failed = again, false
	return old.Close()
}

// FirstIndex implements raft.LogStore.
func (s *diskStore) FirstIndex() (index uint64, err error) {
	err = s.use(func(w *raftwal.WAL) error { index, err = w.FirstIndex(); return err })
	return index, err
}

// LastIndex implements raft.LogStore.
func (s *diskStore) LastIndex() (index uint64, err error) {
	err = s.use(func(w *raftwal.WAL) error { index, err = w.LastIndex(); return err })
	return index, err
}

// DeleteRange implements raft.LogStore.
func (s *diskStore) DeleteRange(lowest, highest uint64) error {
	return s.write(func(w *raftwal.WAL) error { return w.DeleteRange(lowest, highest) })
}

// IsMonotonic implements raft.MonotonicLogStore.
func (s *diskStore) IsMonotonic() bool { return true }

// Set implements raft.StableStore.
func (s *diskStore) Set(key, value []byte) error {
	return s.use(func(w *raftwal.WAL) error { return w.Set(key, value) })
}

// Get implements raft.StableStore.
func (s *diskStore) Get(key []byte) (value []byte, err error) {
	err = s.use(func(w *raftwal.WAL) error { value, err = w.Get(key); return err })
	return value, err
}

// SetUint64 implements raft.StableStore.
func (s *diskStore) SetUint64(key []byte, value uint64) error {
	return s.use(func(w *raftwal.WAL) error { return w.SetUint64(key, value) })
}

// GetUint64 implements raft.StableStore.
func (s *diskStore) GetUint64(key []byte) (value uint64, err error) {
	err = s.use(func(w *raftwal.WAL) error { value, err = w.GetUint64(key); return err })
	return value, err
}

// StoreLog implements raft.LogStore.
func (s *diskStore) StoreLog(entry *raft.Log) error { return s.StoreLogs([]*raft.Log{entry}) }

// StoreLogs stores each entry with its CRC32C behind the Extensions, the only room that raft-wal's format has.
func (s *diskStore) StoreLogs(entries []*raft.Log) error {
	copies := make([]raft.Log, len(entries))
	summed := make([]*raft.Log, len(entries))
	for i, entry := range entries {
		copies[i] = *entry
		extended := append(make([]byte, 0, len(entry.Extensions)+4), entry.Extensions...)
		copies[i].Extensions = binary.LittleEndian.AppendUint32(extended, entrySum(entry))
		summed[i] = &copies[i]
	}
	return s.write(func(w *raftwal.WAL) error { return w.StoreLogs(summed) })
}

// GetLog verifies what StoreLogs added and takes it off again.
func (s *diskStore) GetLog(index uint64, entry *raft.Log) (err error) {
	defer func() {
		// raft-wal's decoder trusts its input and runs over the end when a length is wrong.
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: decoder: %v", errDamaged, p)
		}
	}()
	if err := s.use(func(w *raftwal.WAL) error { return w.GetLog(index, entry) }); err != nil {
		return err
	}
	n := len(entry.Extensions) - 4
	if n < 0 {
		return fmt.Errorf("%w: checksum missing", errDamaged)
	}
	want := binary.LittleEndian.Uint32(entry.Extensions[n:])
	entry.Extensions = entry.Extensions[:n:n]
	if n == 0 {
		entry.Extensions = nil
	}
	if got := entrySum(entry); got != want {
		return fmt.Errorf("%w: checksum %08x, want %08x", errDamaged, got, want)
	}
	return nil
}

// entrySum covers everything in an entry but AppendedAt, by which nothing is decided.
func entrySum(entry *raft.Log) uint32 {
	var head [21]byte
	binary.LittleEndian.PutUint64(head[0:], entry.Index)
	binary.LittleEndian.PutUint64(head[8:], entry.Term)
	head[16] = byte(entry.Type)
	binary.LittleEndian.PutUint32(head[17:], uint32(len(entry.Data)))
	sum := crc32.Update(0, castagnoli, head[:])
	sum = crc32.Update(sum, castagnoli, entry.Data)
	return crc32.Update(sum, castagnoli, entry.Extensions)
}

// guardedStore ends the process when a write hangs or an entry reads back wrong. The Raft library would keep a hung leader
// in office for ever, and believe whatever it reads.
type guardedStore struct {
	store
	dog   *watchdog
	fatal func(error)
	bytes atomic.Uint64 // entry data appended since Open
}

func (s *guardedStore) GetLog(index uint64, entry *raft.Log) error {
	err := readEntry(s.store, index, entry)
	if errors.Is(err, errDamaged) || errors.Is(err, types.ErrCorrupt) {
		s.fatal(err)
	}
	return err
}

func (s *guardedStore) StoreLog(entry *raft.Log) error { return s.StoreLogs([]*raft.Log{entry}) }

func (s *guardedStore) StoreLogs(entries []*raft.Log) error {
	defer s.dog.watch("append")()
	if err := s.store.StoreLogs(entries); err != nil {
		return err
	}
	size := 0
	for _, entry := range entries {
		size += len(entry.Data)
	}
	s.bytes.Add(uint64(size))
	return nil
}

func (s *guardedStore) DeleteRange(first, last uint64) error {
	defer s.dog.watch("truncation")()
	return s.store.DeleteRange(first, last)
}

func (s *guardedStore) Set(key, value []byte) error {
	defer s.dog.watch("write of the vote")()
	return s.store.Set(key, value)
}

func (s *guardedStore) SetUint64(key []byte, value uint64) error {
	defer s.dog.watch("write of the term")()
	return s.store.SetUint64(key, value)
}

// readEntry reads one entry. Its error is raft.ErrLogNotFound as it is, or a *CorruptionError that names the index.
func readEntry(s raft.LogStore, index uint64, entry *raft.Log) error {
	err := s.GetLog(index, entry)
	if errors.Is(err, raft.ErrLogNotFound) {
		return raft.ErrLogNotFound
	}
	if err != nil {
		return &CorruptionError{Index: index, Err: err}
	}
	if entry.Index != index {
		return &CorruptionError{Index: index, Err: fmt.Errorf("%w: found entry %d in its place", errDamaged, entry.Index)}
	}
	return nil
}

// verifyLog reads the whole log and returns its bounds, both 0 when it is empty.
func verifyLog(s raft.LogStore) (first, last uint64, err error) {
	if first, err = s.FirstIndex(); err != nil {
		return 0, 0, fmt.Errorf("first index of log: %w", err)
	}
	if last, err = s.LastIndex(); err != nil {
		return 0, 0, fmt.Errorf("last index of log: %w", err)
	}
	if last == 0 {
		return 0, 0, nil
	}
	for index := first; index <= last; index++ {
		var entry raft.Log
		if err := readEntry(s, index, &entry); err != nil {
			return 0, 0, fmt.Errorf("verify log: %w", err)
		}
	}
	return first, last, nil
}
