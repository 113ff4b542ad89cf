package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGatherTails(t *testing.T) {
	root, to := t.TempDir(), t.TempDir()
	write := func(name string, b []byte) {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, b, 0o600))
	}
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("secret"), 0o600))
	write("startup/stdout.txt", []byte("started"))
	write("workitems/j/job-1/t/stderr.txt", append(bytes.Repeat([]byte("x"), maxTail), "the end"...))
	require.NoError(t, os.Symlink(secret, filepath.Join(root, "workitems/j/job-1/t/stdout.txt")))
	write("workitems/j/job-1/empty/stdout.txt", nil)

	count, err := gatherTails(t.Context(), root, to, []string{"workitems/j/job-1/t", "workitems/j/job-1/empty", "workitems/j/job-1/gone", "../" + filepath.Base(filepath.Dir(secret))})
	require.NoError(t, err)
	require.EqualValues(t, 3, count)
	b, err := os.ReadFile(filepath.Join(to, "workitems_j_job-1_t_stderr.txt"))
	require.NoError(t, err)
	require.Len(t, b, maxTail)
	require.True(t, bytes.HasSuffix(b, []byte("the end")))
	b, err = os.ReadFile(filepath.Join(to, "startup_stdout.txt"))
	require.NoError(t, err)
	require.Equal(t, "started", string(b))
	entries, err := os.ReadDir(to)
	require.NoError(t, err)
	require.Len(t, entries, 3, "a link, what is not there, and what is outside are left out")
}
