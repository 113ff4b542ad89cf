package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/storage"
)

var errSource = errors.New("the disk under the source is broken")

// brokenSources checks that nothing but the promised bytes becomes an object, also where an object was before and also
// when the object is large enough to go in parts.
func (s *suite) brokenSources(t *testing.T) {
	store := s.open(t)
	for name, size := range map[string]int64{"small": 100_000, "large": s.c.Large} {
		data := Bytes(size, 3)
		wrong := bytes.Clone(data)
		wrong[size-1] ^= 1
		sum := SHA256(data)
		for _, c := range []struct {
			name string
			r    io.Reader
			size int64
			sum  string
			want error
		}{
			{"truncated", bytes.NewReader(data[:size/2]), size, "", storage.ErrTruncated},
			{"one byte short", bytes.NewReader(data[:size-1]), size, sum, storage.ErrTruncated},
			{"cut", io.MultiReader(bytes.NewReader(data[:size/2]), iotest.ErrReader(io.ErrUnexpectedEOF)), -1, "", storage.ErrTruncated},
			{"broken", io.MultiReader(bytes.NewReader(data[:size/2]), iotest.ErrReader(errSource)), size, "", errSource},
			{"broken, size unknown", io.MultiReader(bytes.NewReader(data[:size/2]), iotest.ErrReader(errSource)), -1, "", errSource},
			{"too long", bytes.NewReader(append(bytes.Clone(data), 'x')), size, sum, storage.ErrTooLarge},
			{"wrong contents", bytes.NewReader(wrong), size, sum, storage.ErrChecksum},
			{"wrong contents, size unknown", bytes.NewReader(wrong), -1, sum, storage.ErrChecksum},
			{"checksum is none", bytes.NewReader(data), size, "abc", storage.ErrInvalid},
		} {
			key := name + "/" + c.name
			_, err := store.Put(bounded(t), key, c.r, c.size, storage.PutOptions{SHA256: c.sum})
			require.ErrorIs(t, err, c.want, key)
			require.False(t, storage.Retryable(err), "%s: %v", key, err)
			_, err = store.Stat(bounded(t), key)
			require.ErrorIs(t, err, storage.ErrNotFound, key)
		}
		put(t, store, name+"/kept", []byte("old"))
		_, err := store.Put(bounded(t), name+"/kept", bytes.NewReader(data[:size/2]), size, storage.PutOptions{})
		require.ErrorIs(t, err, storage.ErrTruncated)
		got, _ := read(t, store, name+"/kept", 0, -1)
		require.Equal(t, "old", string(got))
	}
}

func (s *suite) large(t *testing.T) {
	store, data := s.open(t), Bytes(s.c.Large, 4)
	type reader struct{ io.Reader }
	for name, r := range map[string]io.Reader{"seekable": bytes.NewReader(data), "stream": reader{bytes.NewReader(data)}} {
		_, err := store.Put(bounded(t), name, r, int64(len(data)), storage.PutOptions{})
		require.NoError(t, err)
		got, obj := read(t, store, name, 0, -1)
		same(t, data, got)
		require.Equal(t, s.c.Large, obj.Size)
	}
	got, _ := read(t, store, "stream", s.c.Large-10, -1)
	same(t, data[s.c.Large-10:], got)
}

// concurrentPuts checks that writers of one key never mix and that writers of many do not disturb each other.
func (s *suite) concurrentPuts(t *testing.T) {
	store, ctx := s.open(t), bounded(t)
	const writers, size = 8, 300_000
	errs := make([]error, 2*writers)
	var wg sync.WaitGroup
	for i := range writers {
		data := Bytes(size, byte(i))
		wg.Go(func() {
			_, errs[i] = store.Put(ctx, "shared/one", bytes.NewReader(data), size, storage.PutOptions{})
		})
		wg.Go(func() {
			_, errs[writers+i] = store.Put(ctx, fmt.Sprintf("own/%d/x", i), bytes.NewReader(data), size, storage.PutOptions{})
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	one, _ := read(t, store, "shared/one", 0, -1)
	whole := false
	for i := range writers {
		data := Bytes(size, byte(i))
		whole = whole || bytes.Equal(one, data)
		got, _ := read(t, store, fmt.Sprintf("own/%d/x", i), 0, -1)
		same(t, data, got)
	}
	require.True(t, whole, "the shared object is a mixture of writers")
}

func (s *suite) cancelled(t *testing.T) {
	store := s.open(t)
	put(t, store, "k", Bytes(1<<20, 5))
	ctx, cancel := context.WithCancel(bounded(t))
	rc, _, err := store.Open(ctx, "k", 0, -1)
	require.NoError(t, err)
	cancel()
	_, err = io.ReadAll(rc)
	if err != nil { // the bytes may have come already
		require.ErrorIs(t, err, context.Canceled)
	}
	require.NoError(t, rc.Close())
	_, err = store.Stat(ctx, "k")
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, storage.Retryable(err))
	_, err = store.Put(ctx, "new", bytes.NewReader([]byte("x")), 1, storage.PutOptions{})
	require.ErrorIs(t, err, context.Canceled)
	_, err = store.Stat(bounded(t), "new")
	require.ErrorIs(t, err, storage.ErrNotFound)
}

func (s *suite) ifAbsent(t *testing.T) {
	store, ctx := s.open(t), bounded(t)
	absent := storage.PutOptions{IfAbsent: true}
	if s.c.NoAbsent {
		_, err := store.Put(ctx, "k", bytes.NewReader([]byte("x")), 1, absent)
		require.ErrorIs(t, err, storage.ErrUnsupported)
		return
	}
	const writers = 8
	errs := make([]error, writers)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			_, errs[i] = store.Put(ctx, "k", bytes.NewReader([]byte{byte(i)}), 1, absent)
		})
	}
	wg.Wait()
	winner := -1
	for i, err := range errs {
		if err == nil {
			require.Equal(t, -1, winner, "two writers were told that they came first")
			winner = i
			continue
		}
		require.ErrorIs(t, err, storage.ErrExists)
	}
	require.NotEqual(t, -1, winner)
	got, _ := read(t, store, "k", 0, -1)
	require.Equal(t, []byte{byte(winner)}, got)
	data := Bytes(s.c.Large, 6)
	_, err := store.Put(ctx, "k", bytes.NewReader(data), int64(len(data)), absent)
	require.ErrorIs(t, err, storage.ErrExists)
}

func (s *suite) delete(t *testing.T) {
	store, ctx := s.open(t), bounded(t)
	if s.c.NoDelete {
		require.ErrorIs(t, store.Delete(ctx, "k"), storage.ErrUnsupported)
		return
	}
	put(t, store, "d/e/one", []byte("1"))
	put(t, store, "d/two", []byte("2"))
	require.NoError(t, store.Delete(ctx, "d/e/one"))
	require.NoError(t, store.Delete(ctx, "d/e/one"), "a second time")
	require.NoError(t, store.Delete(ctx, "never"))
	require.NoError(t, store.Delete(ctx, "d"), "a prefix is no object")
	_, err := store.Stat(ctx, "d/e/one")
	require.ErrorIs(t, err, storage.ErrNotFound)
	got, _ := read(t, store, "d/two", 0, -1)
	require.Equal(t, "2", string(got))
	put(t, store, "d/e/one", []byte("again"))
}
