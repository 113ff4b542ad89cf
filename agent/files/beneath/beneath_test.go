package beneath_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/agent/files/beneath"
)

func open(t *testing.T, path string) *beneath.Dir {
	t.Helper()
	d, err := beneath.Open(path)
	require.NoError(t, err)
	t.Cleanup(d.Close)
	return d
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

func TestLinksAreRefusedWhereverTheyLead(t *testing.T) {
	base := t.TempDir()
	root := filepath.Join(base, "root")
	write(t, filepath.Join(base, "canary"), "secret")
	write(t, filepath.Join(root, "dir/file"), "inside")
	require.NoError(t, os.Symlink("../canary", filepath.Join(root, "out")))
	require.NoError(t, os.Symlink("dir/file", filepath.Join(root, "in")))
	require.NoError(t, os.Symlink("dir", filepath.Join(root, "indir")))
	require.NoError(t, os.Symlink(base, filepath.Join(root, "outdir")))
	require.NoError(t, os.Symlink("nowhere", filepath.Join(root, "dangling")))
	d := open(t, root)

	for _, name := range []string{"out", "in", "indir", "indir/file", "outdir/canary", "outdir/root/dir/file", "dangling"} {
		_, _, err := d.File(name)
		require.ErrorIs(t, err, beneath.ErrLink, name)
	}
	for _, name := range []string{"indir", "outdir", "dangling"} {
		_, err := d.Sub(name)
		require.ErrorIs(t, err, beneath.ErrLink, name)
		_, err = d.MkdirAll(name+"/new", 0o755, beneath.Owner{})
		require.ErrorIs(t, err, beneath.ErrLink, name)
		_, err = d.Create(name, 0o644, beneath.Owner{})
		require.ErrorIs(t, err, beneath.ErrLink, name)
	}
	require.NoError(t, d.RemoveAll(t.Context(), "outdir"))
	require.NoError(t, d.Remove("out"))
	require.FileExists(t, filepath.Join(base, "canary"))

	f, info, err := d.File("dir/file")
	require.NoError(t, err)
	defer f.Close()
	text, err := io.ReadAll(f)
	require.NoError(t, err)
	require.Equal(t, "inside", string(text))
	require.EqualValues(t, 6, info.Size())
}

func TestPendingFilesAppearWhole(t *testing.T) {
	root := t.TempDir()
	d := open(t, root)
	sub, err := d.MkdirAll("a/b", 0o770, beneath.Owner{})
	require.NoError(t, err)
	sub.Close()
	info, err := os.Stat(filepath.Join(root, "a"))
	require.NoError(t, err)
	require.EqualValues(t, 0o770, info.Mode().Perm(), "not cut by the umask")

	write(t, filepath.Join(root, "a/b/f"), "old")
	p, err := d.Create("a/b/f", 0o640, beneath.Owner{})
	require.NoError(t, err)
	_, err = p.WriteString("new")
	require.NoError(t, err)
	old, err := os.ReadFile(filepath.Join(root, "a/b/f"))
	require.NoError(t, err)
	require.Equal(t, "old", string(old))
	require.NoError(t, p.Commit())
	text, err := os.ReadFile(filepath.Join(root, "a/b/f"))
	require.NoError(t, err)
	require.Equal(t, "new", string(text))

	p, err = d.Create("a/b/g", 0o640, beneath.Owner{})
	require.NoError(t, err)
	p.Abort()
	entries, err := os.ReadDir(filepath.Join(root, "a/b"))
	require.NoError(t, err)
	require.Len(t, entries, 1)

	_, err = d.Create("a/b", 0o640, beneath.Owner{})
	require.ErrorIs(t, err, beneath.ErrNotFile)
	_, err = d.MkdirAll("a/b/f/x", 0o755, beneath.Owner{})
	require.ErrorIs(t, err, beneath.ErrNotDir)
}

func TestRemove(t *testing.T) {
	root := t.TempDir()
	d := open(t, root)
	write(t, filepath.Join(root, "full/x"), "")
	require.NoError(t, os.Mkdir(filepath.Join(root, "empty"), 0o755))
	require.ErrorIs(t, d.Remove("full"), beneath.ErrNotEmpty)
	require.NoError(t, d.Remove("empty"))
	require.ErrorIs(t, d.Remove("empty"), os.ErrNotExist)
	require.NoError(t, d.RemoveAll(t.Context(), "full"))
	require.NoError(t, d.RemoveAll(t.Context(), "full"))
	require.NoError(t, d.RemoveAll(t.Context(), "no/such/place"))
	require.NoDirExists(t, filepath.Join(root, "full"))
}

func TestVeryDeepTreesAreRemoved(t *testing.T) {
	root := t.TempDir()
	d := open(t, root)
	at, err := os.OpenRoot(root)
	require.NoError(t, err)
	for i := range 3000 {
		require.NoError(t, at.Mkdir("d", 0o700))
		f, err := at.Create("file" + fmt.Sprint(i))
		require.NoError(t, err)
		require.NoError(t, f.Close())
		next, err := at.OpenRoot("d")
		require.NoError(t, err)
		require.NoError(t, at.Close())
		at = next
	}
	require.NoError(t, at.Close())
	require.NoError(t, d.RemoveAll(t.Context(), "d"))
	require.NoDirExists(t, filepath.Join(root, "d"))
	_, err = d.Sub(strings.TrimSuffix(strings.Repeat("d/", 300), "/"))
	require.ErrorIs(t, err, beneath.ErrName)
}
