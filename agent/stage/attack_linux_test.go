package stage

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// TestStagesForATaskThatExchangesItsPaths uploads from, downloads to and deletes the directory of a task that exchanges
// its directories and files with links to canaries all the time.
func TestStagesForATaskThatExchangesItsPaths(t *testing.T) {
	f := newFarm(t)
	outside := t.TempDir()
	for _, name := range []string{"x", "wd/d/x", "d/x"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(outside, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(outside, name), []byte("CANARY"), 0o644))
	}
	f.put(t, "account", "in", "input")
	f.write(t, "wd/d/x", "inside")
	f.write(t, "wd/f", "inside")
	links := map[string]string{"wd": filepath.Join(outside, "wd"), "wd/d": outside, "wd/f": filepath.Join(outside, "x")}
	for name, target := range links {
		require.NoError(t, os.Symlink(target, filepath.Join(f.dirs.Task, name+"-link")))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var attackers sync.WaitGroup
	for name := range links {
		// By handle, since other attackers exchange what a path leads through.
		at, err := os.Open(filepath.Dir(filepath.Join(f.dirs.Task, name)))
		require.NoError(t, err)
		attackers.Go(func() {
			defer at.Close()
			for ctx.Err() == nil {
				_ = unix.Renameat2(int(at.Fd()), filepath.Base(name), int(at.Fd()), filepath.Base(name)+"-link", unix.RENAME_EXCHANGE)
			}
		})
	}
	defer attackers.Wait()
	defer cancel()

	uploads, arrivals := 0, 0
	for i := 0; i < 100 || i < 1000 && (uploads == 0 || arrivals == 0); i++ {
		_ = f.Outputs(t.Context(), f.dirs, []*apiv1.OutputFile{
			to("**", "s3://account", "all", always), to("d/x", "s3://account", "one", always), to("f", "s3://account", "two", always), to("../*/*", "s3://account", "up", always),
		}, env, true)
		for _, key := range f.objects(t, "account") {
			if key != "in" {
				require.Contains(t, []string{"inside", "input"}, f.object(t, "account", key), key)
				require.NoError(t, f.stores.stores["account"].Delete(t.Context(), key))
				uploads++
			}
		}
		if f.Inputs(t.Context(), f.dirs, []*apiv1.ResourceFile{from("s3://account/in", "d/new"), from("s3://account/in", "new/deep")}, Owner{}) == nil {
			arrivals++
		}
	}
	require.Positive(t, uploads, "nothing was ever uploaded")
	require.Positive(t, arrivals, "nothing ever arrived")
	for range 50 {
		_ = f.Clean(t.Context(), f.dirs)
	}
	cancel()
	attackers.Wait()
	require.NoError(t, f.Clean(t.Context(), f.dirs))

	var found []string
	require.NoError(t, filepath.WalkDir(outside, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			text, readErr := os.ReadFile(path)
			require.NoError(t, readErr)
			found = append(found, strings.TrimPrefix(path, outside)+"="+string(text))
		}
		return err
	}))
	require.Equal(t, []string{"/d/x=CANARY", "/wd/d/x=CANARY", "/x=CANARY"}, found)
}
