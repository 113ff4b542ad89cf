// Package storagetest is the suite that every implementation of storage.Store passes.
package storagetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/storage"
)

// limit bounds each test of the suite.
const limit = 2 * time.Minute

// Capabilities say what the implementation offers beyond reading and writing, and give the suite what it needs to see it
// fail in the right way.
type Capabilities struct {
	NoList   bool // List gives ErrUnsupported
	NoDelete bool // Delete gives ErrUnsupported
	NoAbsent bool // PutOptions.IfAbsent gives ErrUnsupported

	Large     int64 // bytes of a large object, more than one part; default 20 MiB + 1
	ManyKeys  int   // keys in the long listing, more than one page; default 1,205
	Forbidden func(t *testing.T) storage.Store
	NoBucket  func(t *testing.T) storage.Store
	// Cut gives a store that reaches the objects of the newest opened store through a proxy.
	Cut func(t *testing.T) (storage.Store, *CutProxy)
}

// Run tests stores that open makes; each call gives an empty one.
func Run(t *testing.T, open func(t *testing.T) storage.Store, c Capabilities) {
	if c.Large == 0 {
		c.Large = 20<<20 + 1
	}
	if c.ManyKeys == 0 {
		c.ManyKeys = 1205
	}
	s := &suite{open: open, c: c}
	t.Run("PutAndRead", s.putAndRead)
	t.Run("Keys", s.keys)
	t.Run("Ranges", s.ranges)
	t.Run("Missing", s.missing)
	t.Run("Replace", s.replace)
	t.Run("UnknownSize", s.unknownSize)
	t.Run("BrokenSources", s.brokenSources)
	t.Run("Large", s.large)
	t.Run("ConcurrentPuts", s.concurrentPuts)
	t.Run("Cancelled", s.cancelled)
	t.Run("IfAbsent", s.ifAbsent)
	t.Run("Delete", s.delete)
	t.Run("List", s.list)
	t.Run("ListPages", s.listPages)
	t.Run("Refusals", s.refusals)
	t.Run("Transfer", s.transfer)
	t.Run("ResumedDownload", s.resumedDownload)
	t.Run("CutConnection", s.cutConnection)
	t.Run("DownloadLimits", s.downloadLimits)
}

type suite struct {
	open func(t *testing.T) storage.Store
	c    Capabilities
}

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// Bytes gives n reproducible bytes that do not compress.
func Bytes(n int64, seed byte) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// SHA256 is the checksum of b in hexadecimal.
func SHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func put(t *testing.T, s storage.Store, key string, data []byte) storage.Object {
	t.Helper()
	obj, err := s.Put(bounded(t), key, bytes.NewReader(data), int64(len(data)), storage.PutOptions{SHA256: SHA256(data)})
	require.NoError(t, err, key)
	return obj
}

func read(t *testing.T, s storage.Store, key string, offset, length int64) ([]byte, storage.Object) {
	t.Helper()
	rc, obj, err := s.Open(bounded(t), key, offset, length)
	require.NoError(t, err, key)
	data, err := io.ReadAll(rc)
	require.NoError(t, err, key)
	require.NoError(t, rc.Close())
	return data, obj
}

// same compares without printing megabytes.
func same(t *testing.T, want, got []byte) {
	t.Helper()
	require.Equal(t, len(want), len(got))
	require.True(t, bytes.Equal(want, got), "contents differ")
}

func (s *suite) putAndRead(t *testing.T) {
	store, before := s.open(t), time.Now()
	for _, size := range []int64{0, 1, 1 << 20} {
		data := Bytes(size, byte(size))
		key := "dir/" + SHA256(data)[:8]
		wrote := put(t, store, key, data)
		require.Equal(t, key, wrote.Key)
		require.Equal(t, size, wrote.Size)

		got, obj := read(t, store, key, 0, -1)
		same(t, data, got)
		stat, err := store.Stat(bounded(t), key)
		require.NoError(t, err)
		for _, o := range []storage.Object{obj, stat} {
			require.Equal(t, key, o.Key)
			require.Equal(t, size, o.Size)
			require.NotEmpty(t, o.Validator())
			require.Equal(t, stat.Validator(), o.Validator())
			require.WithinDuration(t, before, o.ModTime, limit)
		}
	}
}

func (s *suite) keys(t *testing.T) {
	store := s.open(t)
	for _, key := range []string{
		"plain.txt", "a/b/c/d/e/f", "with space/and +plus&amp%20.txt", "wörld/日本語/😀.bin", "e\u0301", "quote'\"(x)*!~,;=@:$",
		".hidden/..dots...", "UPPER/lower", "percent%/100%25", "question?mark#hash", strings.Repeat("n", 200),
	} {
		put(t, store, key, []byte("contents of "+key))
	}
	got, obj := read(t, store, "wörld/日本語/😀.bin", 0, -1)
	require.Equal(t, "contents of wörld/日本語/😀.bin", string(got))
	require.Equal(t, "wörld/日本語/😀.bin", obj.Key)
	for _, key := range []string{"with space/and +plus&amp%20.txt", "percent%/100%25", "question?mark#hash", "e\u0301"} {
		got, _ := read(t, store, key, 0, -1)
		require.Equal(t, "contents of "+key, string(got))
	}
	_, err := store.Stat(bounded(t), "\u00e9")
	require.ErrorIs(t, err, storage.ErrNotFound, "keys are bytes, not normalised text")
	for _, key := range []string{"", "/abs", "a//b", "a/", "../up", "a/../../up", "a/./b", "nul\x00", "line\nbreak", "\xff"} {
		_, err := store.Put(bounded(t), key, strings.NewReader("x"), 1, storage.PutOptions{})
		require.ErrorIs(t, err, storage.ErrInvalid, "%q", key)
	}
}

func (s *suite) ranges(t *testing.T) {
	store, data := s.open(t), Bytes(100_000, 1)
	put(t, store, "r", data)
	put(t, store, "empty", nil)
	for _, c := range [][2]int64{{0, -1}, {0, 1}, {1, 1}, {99_999, -1}, {99_999, 1}, {50_000, 10_000}, {50_000, 1 << 40}, {10, 0}} {
		got, obj := read(t, store, "r", c[0], c[1])
		end := int64(len(data))
		if c[1] >= 0 {
			end = min(end, c[0]+c[1])
		}
		same(t, data[c[0]:end], got)
		require.Equal(t, int64(len(data)), obj.Size, "the object is the whole object")
	}
	for _, c := range []struct {
		key    string
		offset int64
	}{{"r", 100_000}, {"r", 100_001}, {"r", -1}, {"empty", 1}} {
		_, _, err := store.Open(bounded(t), c.key, c.offset, -1)
		require.ErrorIs(t, err, storage.ErrRange, "%v", c)
	}
	got, obj := read(t, store, "empty", 0, -1)
	require.Empty(t, got)
	require.Zero(t, obj.Size)
}

func (s *suite) missing(t *testing.T) {
	store := s.open(t)
	put(t, store, "there/file", []byte("x"))
	for _, key := range []string{"gone", "there/gone", "there", "there/file/below"} {
		_, err := store.Stat(bounded(t), key)
		require.ErrorIs(t, err, storage.ErrNotFound, key)
		require.False(t, storage.Retryable(err))
		_, _, err = store.Open(bounded(t), key, 0, -1)
		require.ErrorIs(t, err, storage.ErrNotFound, key)
	}
}

func (s *suite) replace(t *testing.T) {
	store := s.open(t)
	first := put(t, store, "k", []byte("first"))
	second := put(t, store, "k", []byte("second, longer"))
	got, obj := read(t, store, "k", 0, -1)
	require.Equal(t, "second, longer", string(got))
	if first.Validator() != "" {
		require.NotEqual(t, first.Validator(), obj.Validator())
	}
	if second.Validator() != "" {
		require.Equal(t, second.Validator(), obj.Validator())
	}
}

func (s *suite) unknownSize(t *testing.T) {
	store, data := s.open(t), Bytes(3<<20, 2)
	_, err := store.Put(bounded(t), "u", iotest.HalfReader(bytes.NewReader(data)), -1, storage.PutOptions{})
	require.NoError(t, err)
	got, _ := read(t, store, "u", 0, -1)
	same(t, data, got)
}
