package process

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/coordinator/pools"
	"github.com/batchyard/batchyard/internal/mountinfo"
)

// A node whose agent could not clean up is removed with its directory. What was mounted in there is not the node's: it stays as it is.
func TestRemoveLeavesWhatIsMounted(t *testing.T) {
	if os.Geteuid() != 0 {
		require.NotEqual(t, "true", os.Getenv("CI"), "only root can mount")
		t.Skip("only root can mount")
	}
	dir := t.TempDir()
	share := filepath.Join(dir, "share")
	require.NoError(t, os.MkdirAll(share, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(share, "kept"), []byte("of others"), 0o600))
	p := New(Config{Dir: filepath.Join(dir, "nodes"), Logger: slog.New(slog.DiscardHandler)})
	m := pools.Machine{UID: 7}
	for _, name := range []string{"one", "two/deep"} {
		at := filepath.Join(p.dir(m), "root", "fsmounts", name)
		require.NoError(t, os.MkdirAll(at, 0o755))
		require.NoError(t, exec.Command("mount", "--bind", share, at).Run())
	}
	require.NoError(t, p.Remove(t.Context(), m))
	require.NoDirExists(t, p.dir(m))
	require.FileExists(t, filepath.Join(share, "kept"))
	list, err := mountinfo.List()
	require.NoError(t, err)
	require.Empty(t, mountinfo.Under(list, dir))
	require.NoError(t, p.Remove(t.Context(), m), "what is gone is gone")
}
