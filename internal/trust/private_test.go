//go:build unix

package trust

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPrivateFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "secrets")
	path := filepath.Join(dir, "x")
	require.NoError(t, WritePrivate(path, []byte("one")))
	require.NoError(t, WritePrivate(path, []byte("two")))
	got, err := ReadPrivate(path)
	require.NoError(t, err)
	require.Equal(t, "two", string(got))

	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "no temporary file stays")
	for name, mode := range map[string]fs.FileMode{dir: 0o700, path: 0o600} {
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm())
	}

	_, err = ReadPrivate(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = ReadPrivate(filepath.Join(dir, "nodir", "none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestPrivateFilesRefuseOthersRights(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	path := filepath.Join(dir, "x")
	require.NoError(t, WritePrivate(path, []byte("one")))
	require.NoError(t, os.Chmod(path, 0o640))
	_, err := ReadPrivate(path)
	require.ErrorIs(t, err, ErrExposed)
	require.NoError(t, os.Chmod(path, 0o600))
	require.NoError(t, os.Chmod(dir, 0o701))
	_, err = ReadPrivate(path)
	require.ErrorIs(t, err, ErrExposed)
	require.ErrorIs(t, WritePrivate(path, nil), ErrExposed)
	require.NoError(t, os.Chmod(dir, 0o700))
	_, err = ReadPrivate(path)
	require.NoError(t, err)

	require.NoError(t, os.Mkdir(filepath.Join(dir, "d"), 0o700))
	_, err = ReadPrivate(filepath.Join(dir, "d"))
	require.Error(t, err)
}
