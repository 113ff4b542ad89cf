package file_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/storage"
	"github.com/batchyard/batchyard/storage/file"
	"github.com/batchyard/batchyard/storage/storagetest"
)

func open(t *testing.T, dir string) *file.Store {
	t.Helper()
	s, err := file.Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestSuite(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storage.Store { return open(t, t.TempDir()) }, storagetest.Capabilities{})
}

func TestLinksDoNotLeadOut(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "dir")))
	require.NoError(t, os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "link")))
	s := open(t, dir)
	for _, key := range []string{"dir/secret", "link"} {
		_, _, err := s.Open(t.Context(), key, 0, -1)
		require.ErrorIs(t, err, storage.ErrForbidden, key)
		_, err = s.Stat(t.Context(), key)
		require.ErrorIs(t, err, storage.ErrForbidden, key)
	}
	_, err := s.Put(t.Context(), "dir/new", strings.NewReader("x"), 1, storage.PutOptions{})
	require.Error(t, err)
	for obj, err := range s.List(t.Context(), "") {
		require.Fail(t, "listed", "%v, %v", obj, err)
	}
	entries, err := os.ReadDir(outside)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

func TestAnObjectIsNoDirectory(t *testing.T) {
	s := open(t, t.TempDir())
	put := func(key string) error {
		_, err := s.Put(t.Context(), key, bytes.NewReader(nil), 0, storage.PutOptions{})
		return err
	}
	require.NoError(t, put("a"))
	require.ErrorIs(t, put("a/b"), storage.ErrExists)
	require.NoError(t, put("d/e"))
	require.Error(t, put("d"))
	require.ErrorIs(t, put(".batchyard-staging/x"), storage.ErrInvalid)
	_, err := file.Open(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, storage.ErrNotFound)
}
