package files_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/batchyard/batchyard/agent/files"
	"github.com/batchyard/batchyard/internal/batcherr"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

// TestServesATaskThatExchangesItsPaths serves and deletes the files of a task that exchanges its directories and files
// with links to a canary all the time.
func TestServesATaskThatExchangesItsPaths(t *testing.T) {
	root := node(t, map[string]string{task + "/wd/d/x": "inside", task + "/wd/f": "inside"})
	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "x"), []byte("CANARY"), 0o644))
	wd := filepath.Join(root, task, "wd")
	require.NoError(t, os.Symlink(outside, filepath.Join(wd, "link")))
	require.NoError(t, os.Symlink(filepath.Join(outside, "x"), filepath.Join(wd, "filelink")))

	ctx, cancel := context.WithCancel(t.Context())
	var attackers sync.WaitGroup
	for _, pair := range [][2]string{{"d", "link"}, {"f", "filelink"}} {
		attackers.Go(func() {
			for ctx.Err() == nil {
				_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(wd, pair[0]), unix.AT_FDCWD, filepath.Join(wd, pair[1]), unix.RENAME_EXCHANGE)
			}
		})
	}
	defer attackers.Wait()
	defer cancel()

	codes := map[string]int{}
	for range 2000 {
		for _, req := range []*agentv1.FileRequest{
			{Operation: agentv1.FileOperation_FILE_OPERATION_READ, Root: task, Name: "wd/d/x"},
			{Operation: agentv1.FileOperation_FILE_OPERATION_READ, Root: task, Name: "wd/f", Follow: true},
			{Operation: agentv1.FileOperation_FILE_OPERATION_READ, Root: task + "/wd/d", Name: "x"},
			{Operation: agentv1.FileOperation_FILE_OPERATION_LIST, Root: task, Recursive: true},
			{Operation: agentv1.FileOperation_FILE_OPERATION_DELETE, Root: task, Name: "wd/link", Recursive: true},
		} {
			if req.GetOperation() == agentv1.FileOperation_FILE_OPERATION_DELETE && codes[""] < 2000 {
				continue // first the reading
			}
			var a answer
			require.NoError(t, files.Serve(t.Context(), root, req, a.take, nil))
			require.NotContains(t, a.data, "CANARY")
			require.False(t, slices.ContainsFunc(a.names, func(name string) bool { return name == "wd/link/x" && a.data == "CANARY" }))
			codes[a.code]++
		}
	}
	cancel()
	attackers.Wait()
	require.Positive(t, codes[""])
	require.Positive(t, codes[batcherr.CodeFileNotFound], "the attack was never in the way")
	text, err := os.ReadFile(filepath.Join(outside, "x"))
	require.NoError(t, err, "the canary was deleted")
	require.Equal(t, "CANARY", string(text))
}
