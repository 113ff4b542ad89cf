package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func TestTasksShareOneDownload(t *testing.T) {
	f := newFarm(t)
	text := strings.Repeat("contents ", 10_000)
	f.put(t, "account", "a", text)
	files := []*apiv1.ResourceFile{from("s3://account/a", "x")}
	var tasks sync.WaitGroup
	for i := range 10 {
		dirs := taskDirs(t, f.dirs.Root, fmt.Sprint("c", i))
		tasks.Go(func() {
			if err := f.Inputs(t.Context(), dirs, files, Owner{}); err != nil {
				t.Error(err)
			}
		})
	}
	tasks.Wait()
	require.EqualValues(t, 1, f.stores.stores["account"].opened.Load())
	for i := range 10 {
		got, err := os.ReadFile(filepath.Join(taskDirs(t, f.dirs.Root, fmt.Sprint("c", i)).Work, "x"))
		require.NoError(t, err)
		require.True(t, text == string(got))
	}
	// A task that writes to its file, in place, changes nobody else's.
	require.NoError(t, os.WriteFile(filepath.Join(f.dirs.Root, "workitems/job/job-1/c0/wd/x"), []byte("spoilt"), 0o644))
	require.NoError(t, f.Inputs(t.Context(), f.dirs, files, Owner{}))
	require.True(t, text == f.read(t, "wd/x"))
	require.EqualValues(t, 1, f.stores.stores["account"].opened.Load())

	f.put(t, "account", "a", "new contents")
	require.NoError(t, f.Inputs(t.Context(), f.dirs, files, Owner{}))
	require.Equal(t, "new contents", f.read(t, "wd/x"))
}

func TestTheCacheOutlivesTheStager(t *testing.T) {
	f := newFarm(t)
	f.put(t, "account", "a", "kept")
	files := []*apiv1.ResourceFile{from("s3://account/a", "x")}
	require.NoError(t, f.Inputs(t.Context(), f.dirs, files, Owner{}))
	dir := filepath.Join(f.dirs.Root, "volatile", "cache")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rubbish"), nil, 0o600))
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.EqualValues(t, 0o700, info.Mode().Perm())

	again, err := New(f.cfg)
	require.NoError(t, err)
	require.NoError(t, again.Inputs(t.Context(), f.dirs, files, Owner{}))
	require.NoError(t, again.Close())
	require.EqualValues(t, 1, f.stores.stores["account"].opened.Load())
	require.NoFileExists(t, filepath.Join(dir, "rubbish"))
}

func fillWith(text string, count *int) func(*os.Root, string) error {
	return func(root *os.Root, name string) error {
		*count++
		return root.WriteFile(name, []byte(text), 0o600)
	}
}

func TestTheLeastRecentlyUsedGo(t *testing.T) {
	c, err := openCache(t.TempDir(), 100)
	require.NoError(t, err)
	defer c.close()
	fills := 0
	get := func(key string) {
		t.Helper()
		f, release, err := c.open(t.Context(), cacheKey(key, ""), 30, fillWith(strings.Repeat(key, 30), &fills))
		require.NoError(t, err)
		text, err := io.ReadAll(f)
		require.NoError(t, err)
		require.Equal(t, strings.Repeat(key, 30), string(text))
		release()
	}
	for _, key := range []string{"a", "b", "c", "a", "d"} {
		get(key)
	}
	require.Equal(t, 4, fills)
	get("a")
	get("c")
	require.Equal(t, 4, fills, "still there")
	get("b")
	require.Equal(t, 5, fills, "b had to go for d")
	entries, err := os.ReadDir(c.dir)
	require.NoError(t, err)
	require.LessOrEqual(t, len(entries), 3)
	require.False(t, c.admits(26), "one object may not push out all others")
	require.False(t, c.admits(-1))
}

func TestWhatIsBeingReadStays(t *testing.T) {
	c, err := openCache(t.TempDir(), 10)
	require.NoError(t, err)
	defer c.close()
	fills := 0
	_, releaseA, err := c.open(t.Context(), cacheKey("a", ""), 8, fillWith("aaaaaaaa", &fills))
	require.NoError(t, err)
	_, releaseB, err := c.open(t.Context(), cacheKey("b", ""), 8, fillWith("bbbbbbbb", &fills))
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(c.dir, cacheKey("a", "")))
	releaseB()
	releaseA()
	require.EqualValues(t, 8, c.total)
}

func TestDamagedAndFailedEntries(t *testing.T) {
	c, err := openCache(t.TempDir(), 1000)
	require.NoError(t, err)
	defer c.close()
	key, fills, broken := cacheKey("a", "1"), 0, errors.New("broken")
	_, _, err = c.open(t.Context(), key, 4, func(*os.Root, string) error { return broken })
	require.ErrorIs(t, err, broken)
	for range 2 {
		f, release, err := c.open(t.Context(), key, 4, fillWith("good", &fills))
		require.NoError(t, err)
		text, err := io.ReadAll(f)
		require.NoError(t, err)
		require.Equal(t, "good", string(text))
		release()
		require.NoError(t, os.WriteFile(filepath.Join(c.dir, key), []byte("cut"), 0o600))
	}
	require.Equal(t, 2, fills, "a file of another length is fetched again")
	require.EqualValues(t, 4, c.total)
}

func TestWaitingForAnothersDownloadEndsWithTheContext(t *testing.T) {
	var l keyedLock
	unlock, err := l.lock(t.Context(), "k")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = l.lock(ctx, "k")
	require.ErrorIs(t, err, context.Canceled)
	other, err := l.lock(t.Context(), "other")
	require.NoError(t, err)
	other()
	unlock()
	unlock, err = l.lock(t.Context(), "k")
	require.NoError(t, err)
	unlock()
	require.Empty(t, l.held)
}
