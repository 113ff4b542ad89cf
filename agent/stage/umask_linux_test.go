package stage

import (
	"io/fs"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

// TestPackagesAreReadableWhateverTheUmask runs no other test beside it: the umask is the process's.
func TestPackagesAreReadableWhateverTheUmask(t *testing.T) {
	f := newFarm(t)
	at := f.packed(t, "app", "1", zipOf(t, map[string]string{"a/b/c": "x", "d": "y"}))
	before := syscall.Umask(0o077)
	packages, err := f.Packages(t.Context(), []*agentv1.PackageLocation{at})
	syscall.Umask(before)
	require.NoError(t, err)
	require.NoError(t, filepath.WalkDir(filepath.Join(f.dirs.Root, applications, "app"), func(path string, e fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := e.Info()
		require.NoError(t, err)
		require.EqualValues(t, 0o755, info.Mode().Perm(), path)
		return nil
	}))
	require.DirExists(t, filepath.Join(packages[0].Dir, "a/b"))
}
