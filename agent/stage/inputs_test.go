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
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/batchyard/batchyard/storage"
)

func newReader(text string) io.Reader { return strings.NewReader(text) }

func from(url, path string) *apiv1.ResourceFile {
	return &apiv1.ResourceFile{HttpUrl: url, FilePath: path}
}

func TestInputsOfEveryKind(t *testing.T) {
	f := newFarm(t)
	f.stores.make(t, "data")
	f.stores.make(t, "web")
	f.put(t, "data", "one", "1")
	f.put(t, "data", "set/a.csv", "a")
	f.put(t, "data", "set/sub/b.csv", "b")
	f.put(t, "data", "settle", "no")
	f.put(t, "account", "in/x", "x")
	f.put(t, "account", "inner", "no")
	f.put(t, "web", "page", "w")
	err := f.Inputs(t.Context(), f.dirs, []*apiv1.ResourceFile{
		from("s3://data/one", "deep/er/one.txt"),
		{HttpUrl: "https://STORE.example:9000/data/one", FilePath: "byurl", FileMode: "0640"},
		from("https://example.com/page?X-Amz-Signature=SECRET", "page"),
		{StorageContainerUrl: "s3://data/set", FilePath: "set"},
		{StorageContainerUrl: "https://data.store.example:9000", BlobPrefix: "set/s"},
		{AutoStorageContainerName: "in", FilePath: "auto/"},
	}, Owner{})
	require.NoError(t, err)
	for name, want := range map[string]string{
		"deep/er/one.txt": "1", "byurl": "1", "page": "w", "set/a.csv": "a", "set/sub/b.csv": "b", "auto/x": "x",
	} {
		require.Equal(t, want, f.read(t, "wd/"+name), name)
	}
	require.Equal(t, "b", f.read(t, "wd/set/sub/b.csv"))
	require.NoFileExists(t, filepath.Join(f.dirs.Work, "settle"))
	require.NoFileExists(t, filepath.Join(f.dirs.Work, "auto/ner"))
	info, err := os.Stat(filepath.Join(f.dirs.Work, "byurl"))
	require.NoError(t, err)
	require.EqualValues(t, 0o640, info.Mode().Perm())
	for _, name := range []string{"page", "deep", "deep/er", "auto/x"} {
		info, err = os.Stat(filepath.Join(f.dirs.Work, name))
		require.NoError(t, err)
		require.EqualValues(t, 0o770, info.Mode().Perm(), name)
	}
	require.NoError(t, f.Inputs(t.Context(), f.dirs, nil, Owner{}))
}

func TestInputsBelongToTheTask(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("only root can give files away: checking the caller's own ids")
	}
	owner := Owner{UID: os.Getuid(), GID: os.Getgid(), Set: true}
	if os.Getuid() == 0 {
		owner = Owner{UID: 12345, GID: 12346, Set: true}
	}
	for _, cacheBytes := range []int64{0, -1} {
		f := newFarm(t, func(c *Config) { c.CacheBytes = cacheBytes })
		f.put(t, "account", "a", "a")
		require.NoError(t, f.Inputs(t.Context(), f.dirs, []*apiv1.ResourceFile{from("s3://account/a", "d/a")}, owner))
		for _, name := range []string{"d", "d/a"} {
			info, err := os.Stat(filepath.Join(f.dirs.Work, name))
			require.NoError(t, err)
			st := info.Sys().(*syscall.Stat_t)
			require.EqualValues(t, owner.UID, st.Uid, name)
			require.EqualValues(t, owner.GID, st.Gid, name)
		}
	}
}

func TestInputFailures(t *testing.T) {
	for what, c := range map[string]struct {
		file *apiv1.ResourceFile
		code string
		user bool
	}{
		"missing":          {from("s3://account/none", "x"), batcherr.CodeBlobNotFound, true},
		"missing bucket":   {from("s3://nowhere/none", "x"), batcherr.CodeBlobNotFound, true},
		"missing folder":   {&apiv1.ResourceFile{StorageContainerUrl: "s3://nowhere"}, batcherr.CodeBlobNotFound, true},
		"forbidden":        {from("s3://account/forbidden", "x"), batcherr.CodeBlobAccessDenied, true},
		"slow":             {from("s3://account/slow", "x"), batcherr.CodeBlobDownloadTimedOut, false},
		"broken":           {from("s3://account/broken", "x"), batcherr.CodeBlobDownloadMiscError, false},
		"signed":           {from("https://example.com/none?X-Amz-Signature=SECRET", "x"), batcherr.CodeBlobNotFound, true},
		"larger than disk": {from("s3://account/huge", "x"), batcherr.CodeDiskFull, false},
		"disk full":        {from("s3://account/full", "x"), batcherr.CodeDiskFull, false},
		"parent":           {from("s3://account/ok", "../x"), batcherr.CodeResourceFileCreateFailed, true},
		"inner parent":     {from("s3://account/ok", "a/../../x"), batcherr.CodeResourceFileCreateFailed, true},
		"absolute":         {from("s3://account/ok", "/tmp/x"), batcherr.CodeResourceFileCreateFailed, true},
		"drive":            {from("s3://account/ok", "C:x"), batcherr.CodeResourceFileCreateFailed, true},
		"NUL":              {from("s3://account/ok", "a\x00b"), batcherr.CodeResourceFileCreateFailed, true},
		"long":             {from("s3://account/ok", strings.Repeat("n", 300)), batcherr.CodeResourceFileCreateFailed, true},
		"directory there":  {from("s3://account/ok", "directory"), batcherr.CodeResourceFileCreateFailed, false},
		"link there":       {from("s3://account/ok", "link"), batcherr.CodeResourceFileCreateFailed, false},
		"through a link":   {from("s3://account/ok", "linkdir/x"), batcherr.CodeResourceDirectoryCreateFailed, false},
		"through a file":   {from("s3://account/ok", "file/x"), batcherr.CodeResourceDirectoryCreateFailed, false},
		"container parent": {&apiv1.ResourceFile{StorageContainerUrl: "s3://account", FilePath: "../x"}, batcherr.CodeResourceFileCreateFailed, true},
		"file URL":         {from("file:///etc/passwd", "x"), batcherr.CodeBlobDownloadMiscError, true},
		"other scheme":     {from("ftp://host/x?sig=SECRET", "x"), batcherr.CodeBlobDownloadMiscError, true},
		"folder as file":   {from("s3://account/", "x"), batcherr.CodeBlobDownloadMiscError, true},
		"foreign folder":   {&apiv1.ResourceFile{StorageContainerUrl: "https://example.com/c?sig=SECRET"}, batcherr.CodeBlobDownloadMiscError, true},
		"bad auto storage": {&apiv1.ResourceFile{AutoStorageContainerName: "../other"}, batcherr.CodeBlobDownloadMiscError, true},
		"no source":        {&apiv1.ResourceFile{FilePath: "x"}, batcherr.CodeBlobDownloadMiscError, true},
		"mode":             {&apiv1.ResourceFile{HttpUrl: "s3://account/ok", FilePath: "x", FileMode: "4755"}, batcherr.CodeResourceFileCreateFailed, true},
	} {
		t.Run(what, func(t *testing.T) {
			f := newFarm(t)
			f.stores.make(t, "web")
			f.put(t, "account", "ok", "ok")
			f.put(t, "account", "full", "full")
			outside := t.TempDir()
			require.NoError(t, os.Mkdir(filepath.Join(f.dirs.Work, "directory"), 0o755))
			require.NoError(t, os.Symlink(outside, filepath.Join(f.dirs.Work, "linkdir")))
			require.NoError(t, os.Symlink(filepath.Join(outside, "x"), filepath.Join(f.dirs.Work, "link")))
			f.write(t, "wd/file", "")
			f.stores.stores["account"].before = func(op, key string) error {
				kind := map[string]error{"forbidden": storage.ErrForbidden, "slow": storage.ErrTimeout, "broken": storage.ErrTemporary}[key]
				switch {
				case kind != nil:
					return &storage.Error{Op: op, Key: key, Kind: kind}
				case key == "full" && op == "open":
					return &storage.Error{Op: "write file of", Key: key, Kind: storage.ErrNoSpace, Err: syscall.ENOSPC}
				}
				return nil
			}
			f.stores.stores["account"].Store = sized{f.stores.stores["account"].Store}
			failure := failed(t, f.Inputs(t.Context(), f.dirs, []*apiv1.ResourceFile{c.file}, Owner{}), c.code)
			user := failure.GetCategory() == apiv1.ErrorSourceCategory_ERROR_SOURCE_CATEGORY_USER_ERROR
			require.Equal(t, c.user, user)
			left, err := os.ReadDir(outside)
			require.NoError(t, err)
			require.Empty(t, left)
			entries, err := os.ReadDir(f.dirs.Work)
			require.NoError(t, err)
			require.Len(t, entries, 4, "something was left behind")
		})
	}
}

// sized tells of an object larger than any disk.
type sized struct{ storage.Store }

func (s sized) Stat(ctx context.Context, key string) (storage.Object, error) {
	if key == "huge" {
		return storage.Object{Key: key, Size: 1 << 60, ETag: "1"}, nil
	}
	return s.Store.Stat(ctx, key)
}

func TestContainersLargerThanTheDiskAreRefusedAtOnce(t *testing.T) {
	err := roomFor(t.TempDir(), []input{{object: &storage.Object{Size: 1 << 60}}, {object: &storage.Object{Size: -1}}, {}})
	failed(t, err, batcherr.CodeDiskFull)
}

func TestTemporaryFailuresAreRetried(t *testing.T) {
	f := newFarm(t)
	f.put(t, "account", "a", "a")
	var mu sync.Mutex
	asked := map[string]int{}
	f.stores.stores["account"].before = func(op, key string) error {
		mu.Lock()
		defer mu.Unlock()
		if asked[op]++; asked[op] < 3 {
			return &storage.Error{Op: op, Key: key, Kind: storage.ErrTemporary}
		}
		return nil
	}
	require.NoError(t, f.Inputs(t.Context(), f.dirs, []*apiv1.ResourceFile{from("s3://account/a", "a")}, Owner{}))
	require.Equal(t, "a", f.read(t, "wd/a"))
	require.Equal(t, map[string]int{"stat": 3, "open": 3}, asked)

	asked["stat"] = -100
	failed(t, f.Inputs(t.Context(), f.dirs, []*apiv1.ResourceFile{from("s3://account/a", "a")}, Owner{}), batcherr.CodeBlobDownloadMiscError)
	require.Equal(t, -97, asked["stat"], "as often as allowed")
}

func TestAnObjectThatChangesArrivesInOneVersion(t *testing.T) {
	f := newFarm(t)
	f.put(t, "account", "a", "old")
	changed := false
	f.stores.stores["account"].before = func(op, _ string) error {
		if op == "open" && !changed {
			changed = true
			f.put(t, "account", "a", "new and longer")
		}
		return nil
	}
	require.NoError(t, f.Inputs(t.Context(), f.dirs, []*apiv1.ResourceFile{from("s3://account/a", "a")}, Owner{}))
	require.Equal(t, "new and longer", f.read(t, "wd/a"))
}

func TestServersThatRefuseQuestionsAreAskedForTheObject(t *testing.T) {
	f := newFarm(t)
	f.stores.make(t, "web")
	f.put(t, "web", "signed", "contents")
	f.stores.stores["web"].before = func(op, key string) error {
		if op == "stat" {
			return &storage.Error{Op: op, Key: key, Kind: storage.ErrForbidden}
		}
		return nil
	}
	require.NoError(t, f.Inputs(t.Context(), f.dirs, []*apiv1.ResourceFile{from("https://example.com/signed?X-Amz-Signature=s", "x")}, Owner{}))
	require.Equal(t, "contents", f.read(t, "wd/x"))
}

func TestTheEndOfTheContextIsNoFailureOfTheFile(t *testing.T) {
	f := newFarm(t)
	f.put(t, "account", "a", "a")
	ctx, cancel := context.WithCancel(t.Context())
	f.stores.stores["account"].before = func(string, string) error { cancel(); return nil }
	err := f.Inputs(ctx, f.dirs, []*apiv1.ResourceFile{from("s3://account/a", "a")}, Owner{})
	require.ErrorIs(t, err, context.Canceled)
	var failure *Failure
	require.False(t, errors.As(err, &failure))
}

func TestLaterResourceFilesReplaceEarlierOnes(t *testing.T) {
	f := newFarm(t)
	f.put(t, "account", "a", "a")
	f.put(t, "account", "b", "b")
	require.NoError(t, f.Inputs(t.Context(), f.dirs, []*apiv1.ResourceFile{from("s3://account/a", "x"), from("s3://account/b", "x")}, Owner{}))
	require.Equal(t, "b", f.read(t, "wd/x"))
	require.NoError(t, f.Inputs(t.Context(), f.dirs, []*apiv1.ResourceFile{from("s3://account/a", "x")}, Owner{}), "a retry")
	require.Equal(t, "a", f.read(t, "wd/x"))
	failed(t, f.Inputs(t.Context(), f.dirs, []*apiv1.ResourceFile{from("s3://account/a", "y"), from("s3://account/b", "y/z")}, Owner{}),
		batcherr.CodeResourceDirectoryCreateFailed)
}

func TestNoMoreTransfersThanAllowed(t *testing.T) {
	f := newFarm(t, func(c *Config) { c.Parallel = 2; c.CacheBytes = -1 })
	var mu sync.Mutex
	now, most := 0, 0
	var files []*apiv1.ResourceFile
	for i := range 20 {
		f.put(t, "account", fmt.Sprint(i), "x")
		files = append(files, from(fmt.Sprintf("s3://account/%d", i), fmt.Sprint(i)))
	}
	f.stores.stores["account"].reader = func(r io.ReadCloser) io.ReadCloser {
		mu.Lock()
		defer mu.Unlock()
		now++
		most = max(most, now)
		return closing{r, func() { mu.Lock(); now--; mu.Unlock() }}
	}
	var tasks sync.WaitGroup
	for i := range 3 {
		dirs := taskDirs(t, f.dirs.Root, fmt.Sprint("p", i))
		tasks.Go(func() {
			if err := f.Inputs(t.Context(), dirs, files, Owner{}); err != nil {
				t.Error(err)
			}
		})
	}
	tasks.Wait()
	require.LessOrEqual(t, most, 2)
	require.EqualValues(t, 60, f.stores.stores["account"].opened.Load())
}

type closing struct {
	io.ReadCloser
	done func()
}

func (c closing) Close() error {
	c.done()
	return c.ReadCloser.Close()
}
