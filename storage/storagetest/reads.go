package storagetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/storage"
)

func listed(t *testing.T, s storage.Store, prefix string) []string {
	t.Helper()
	var keys []string
	for obj, err := range s.List(bounded(t), prefix) {
		require.NoError(t, err)
		keys = append(keys, obj.Key)
	}
	return keys
}

func (s *suite) list(t *testing.T) {
	store := s.open(t)
	if s.c.NoList {
		for _, err := range store.List(bounded(t), "") {
			require.ErrorIs(t, err, storage.ErrUnsupported)
		}
		return
	}
	require.Empty(t, listed(t, store, ""))
	keys := []string{"a", "a.b", "b/1", "b/10", "b/2", "b/c/3", "b.txt", "b-1", "part-1", "part-2", "partial", "ü/x y", "z"}
	for _, key := range keys {
		put(t, store, key, []byte(key))
	}
	slices.Sort(keys)
	for _, prefix := range []string{"", "a", "b", "b/", "b/1", "b/c", "b/c/", "b/c/3", "part", "part-", "part-1", "ü", "ü/x ", "none", "none/x", "a/b", "z/"} {
		var want []string
		for _, key := range keys {
			if strings.HasPrefix(key, prefix) {
				want = append(want, key)
			}
		}
		require.Equal(t, want, listed(t, store, prefix), "prefix %q", prefix)
	}
	for obj, err := range store.List(bounded(t), "b/c/") {
		require.NoError(t, err)
		stat, err := store.Stat(bounded(t), obj.Key)
		require.NoError(t, err)
		require.Equal(t, stat.Size, obj.Size)
		require.Equal(t, stat.Validator(), obj.Validator(), "a listing pins contents")
	}
	for _, err := range store.List(bounded(t), "") {
		require.NoError(t, err)
		break // a caller may have enough
	}
}

func (s *suite) listPages(t *testing.T) {
	if s.c.NoList {
		return
	}
	store := s.open(t)
	var want []string
	for i := range s.c.ManyKeys {
		want = append(want, fmt.Sprintf("many/%d/%04d", i%3, i))
	}
	errs := make([]error, 8)
	var wg sync.WaitGroup
	ctx := bounded(t)
	for w := range errs {
		wg.Go(func() {
			for i := w; i < len(want) && errs[w] == nil; i += len(errs) {
				_, errs[w] = store.Put(ctx, want[i], bytes.NewReader([]byte("x")), 1, storage.PutOptions{})
			}
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	slices.Sort(want)
	require.Equal(t, want, listed(t, store, "many/"))
}

func (s *suite) refusals(t *testing.T) {
	if s.c.Forbidden != nil {
		store := s.c.Forbidden(t)
		_, err := store.Stat(bounded(t), "k")
		require.ErrorIs(t, err, storage.ErrForbidden)
		_, _, err = store.Open(bounded(t), "k", 0, -1)
		require.ErrorIs(t, err, storage.ErrForbidden)
		_, err = store.Put(bounded(t), "k", strings.NewReader("x"), 1, storage.PutOptions{})
		require.ErrorIs(t, err, storage.ErrForbidden)
		require.False(t, storage.Retryable(err))
		if !s.c.NoList {
			for _, err := range store.List(bounded(t), "") {
				require.ErrorIs(t, err, storage.ErrForbidden)
			}
		}
	}
	if s.c.NoBucket != nil {
		store := s.c.NoBucket(t)
		_, err := store.Put(bounded(t), "k", strings.NewReader("x"), 1, storage.PutOptions{})
		require.ErrorIs(t, err, storage.ErrNoBucket)
		data := Bytes(s.c.Large, 7)
		_, err = store.Put(bounded(t), "k", bytes.NewReader(data), s.c.Large, storage.PutOptions{})
		require.ErrorIs(t, err, storage.ErrNoBucket)
		_, err = store.Stat(bounded(t), "k")
		require.True(t, errors.Is(err, storage.ErrNoBucket) || errors.Is(err, storage.ErrNotFound), "%v", err)
		_, _, err = store.Open(bounded(t), "k", 0, -1)
		require.ErrorIs(t, err, storage.ErrNoBucket)
		for _, err := range store.List(bounded(t), "") {
			require.ErrorIs(t, err, storage.ErrNoBucket)
		}
	}
}
