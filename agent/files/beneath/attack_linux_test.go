package beneath_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/batchyard/batchyard/agent/files/beneath"
)

// TestExchangedPathsNeverLeadOut works on a/b/file while somebody exchanges every element of that path with links that
// lead out, and shows with the os package's own calls that the attack is real.
func TestExchangedPathsNeverLeadOut(t *testing.T) {
	base := t.TempDir()
	root, outside := filepath.Join(base, "root"), filepath.Join(base, "outside")
	write(t, filepath.Join(root, "a/b/file"), "inside")
	write(t, filepath.Join(outside, "b/file"), "CANARY")
	write(t, filepath.Join(outside, "file"), "CANARY")
	require.NoError(t, os.Symlink(outside, filepath.Join(root, "evil-a")))
	require.NoError(t, os.Symlink(outside, filepath.Join(root, "a/evil-b")))
	require.NoError(t, os.Symlink(filepath.Join(outside, "file"), filepath.Join(root, "a/b/evil-file")))

	ctx, cancel := context.WithCancel(t.Context())
	var exchanges atomic.Int64
	var attackers sync.WaitGroup
	for dir, pair := range map[string][2]string{".": {"a", "evil-a"}, "a": {"b", "evil-b"}, "a/b": {"file", "evil-file"}} {
		// By handle, since other attackers exchange what a path leads through.
		at, err := os.Open(filepath.Join(root, dir))
		require.NoError(t, err)
		attackers.Go(func() {
			defer at.Close()
			for ctx.Err() == nil {
				if unix.Renameat2(int(at.Fd()), pair[0], int(at.Fd()), pair[1], unix.RENAME_EXCHANGE) == nil {
					exchanges.Add(1)
				}
			}
		})
	}
	defer attackers.Wait()
	defer cancel()

	d := open(t, root)
	fooled, read, refused := 0, 0, 0
	for i := 0; i < 20_000 && (fooled == 0 || read == 0 || refused == 0 || exchanges.Load() < 5_000 || i < 3_000); i++ {
		if text, err := os.ReadFile(filepath.Join(root, "a/b/file")); err == nil && string(text) == "CANARY" {
			fooled++
		}
		f, _, err := d.File("a/b/file")
		if err != nil {
			refused++
		} else {
			text, err := io.ReadAll(f)
			require.NoError(t, err)
			require.NoError(t, f.Close())
			require.Equal(t, "inside", string(text))
			read++
		}
		if p, err := d.Create("a/b/new", 0o644, beneath.Owner{}); err == nil {
			_, err = p.WriteString("new")
			require.NoError(t, err)
			_ = p.Commit() // what stands under its name may have become a link meanwhile
		}
		if sub, err := d.MkdirAll("a/b/made/deep", 0o755, beneath.Owner{}); err == nil {
			sub.Close()
		}
		_ = d.RemoveAll(ctx, "a/b/made")
		_ = d.Remove("a/b/new")
	}
	cancel()
	attackers.Wait()
	require.Positive(t, fooled, "the attack does not work")
	require.Positive(t, read, "nothing was ever read")
	require.Positive(t, refused, "the attack was never in the way")

	_ = d.RemoveAll(t.Context(), "a")
	_ = d.RemoveAll(t.Context(), "evil-a")
	for _, name := range []string{"file", "b/file"} {
		text, err := os.ReadFile(filepath.Join(outside, name))
		require.NoError(t, err)
		require.Equal(t, "CANARY", string(text))
	}
	var names []string
	require.NoError(t, filepath.WalkDir(outside, func(path string, _ os.DirEntry, err error) error {
		names = append(names, path)
		return err
	}))
	require.Len(t, names, 4, "something was written outside")
}
