package storagetest

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/storage"
)

// quick makes retries not wait.
func quick() storage.Retry {
	return storage.Retry{Attempts: 5, Base: time.Millisecond, Max: 5 * time.Millisecond}
}

func directory(t *testing.T) (*os.Root, string) {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, root.Close()) })
	return root, dir
}

// names gives every file below dir, hidden ones too.
func names(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	require.NoError(t, filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, p)
			out = append(out, filepath.ToSlash(rel))
		}
		return err
	}))
	return out
}

func (s *suite) transfer(t *testing.T) {
	store, ctx := s.open(t), bounded(t)
	root, dir := directory(t)
	data := Bytes(s.c.Large, 8)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "in"), data, 0o600))
	var last, total int64
	up := storage.UploadOptions{Retry: quick(), Progress: func(done, of int64) { last, total = done, of }}
	_, err := storage.Upload(ctx, store, "t/large", root, "in", up)
	require.NoError(t, err)
	require.Equal(t, []int64{s.c.Large, s.c.Large}, []int64{last, total})

	last, total = 0, 0
	down := storage.DownloadOptions{Retry: quick(), SHA256: SHA256(data), Size: s.c.Large, Mode: 0o640,
		Progress: func(done, of int64) { last, total = done, of }}
	obj, err := storage.Download(ctx, store, "t/large", root, "deep/er/out", down)
	require.NoError(t, err)
	require.Equal(t, s.c.Large, obj.Size)
	require.Equal(t, []int64{s.c.Large, s.c.Large}, []int64{last, total})
	got, err := os.ReadFile(filepath.Join(dir, "deep/er/out"))
	require.NoError(t, err)
	same(t, data, got)
	require.Equal(t, []string{"deep/er/out", "in"}, names(t, dir), "nothing else is left")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "empty"), nil, 0o600))
	_, err = storage.Upload(ctx, store, "t/empty", root, "empty", up)
	require.NoError(t, err)
	_, err = storage.Download(ctx, store, "t/empty", root, "empty2", down)
	require.ErrorIs(t, err, storage.ErrPrecondition, "another size than expected")
	_, err = storage.Download(ctx, store, "t/empty", root, "empty2", storage.DownloadOptions{SHA256: SHA256(nil)})
	require.NoError(t, err)
	require.Equal(t, []string{"deep/er/out", "empty", "empty2", "in"}, names(t, dir))
}

// cutting ends reads early, as a cut connection does.
type cutting struct {
	storage.Store
	after int64
	cuts  atomic.Int64 // how many reads are still to be cut
	opens []int64      // the offsets asked for
}

func (c *cutting) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, storage.Object, error) {
	c.opens = append(c.opens, offset)
	rc, obj, err := c.Store.Open(ctx, key, offset, length)
	if err != nil || c.cuts.Add(-1) < 0 {
		return rc, obj, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(rc, c.after), cutOff{}), rc}, obj, nil
}

type cutOff struct{}

func (cutOff) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func (s *suite) resumedDownload(t *testing.T) {
	store, ctx := s.open(t), bounded(t)
	root, dir := directory(t)
	data := Bytes(100_000, 9)
	put(t, store, "k", data)

	// Within one call.
	cut := &cutting{Store: store, after: 30_000}
	cut.cuts.Store(3)
	opts := storage.DownloadOptions{SHA256: SHA256(data), Retry: quick()}
	_, err := storage.Download(ctx, cut, "k", root, "a", opts)
	require.NoError(t, err)
	require.Equal(t, []int64{0, 30_000, 60_000, 90_000}, cut.opens)
	got, err := os.ReadFile(filepath.Join(dir, "a"))
	require.NoError(t, err)
	same(t, data, got)

	// Over two calls, as after a restart.
	once := opts
	once.Retry.Attempts = 1
	cut.opens = nil
	cut.cuts.Store(1)
	_, err = storage.Download(ctx, cut, "k", root, "b", once)
	require.ErrorIs(t, err, storage.ErrTemporary)
	require.NoFileExists(t, filepath.Join(dir, "b"))
	_, err = storage.Download(ctx, cut, "k", root, "b", opts)
	require.NoError(t, err)
	require.Equal(t, []int64{0, 30_000}, cut.opens)

	// The object changes in between: longer, then shorter than what is there already.
	for _, size := range []int64{120_000, 10_000} {
		cut.cuts.Store(1)
		_, err = storage.Download(ctx, cut, "k", root, "c", once)
		require.ErrorIs(t, err, storage.ErrTemporary)
		changed := Bytes(size, 10)
		put(t, store, "k", changed)
		_, err = storage.Download(ctx, cut, "k", root, "c", storage.DownloadOptions{SHA256: SHA256(changed), Retry: quick()})
		require.NoError(t, err)
		put(t, store, "k", data)
	}
	require.Equal(t, []string{"a", "b", "c"}, names(t, dir))
}

// cutConnection cuts real connections under a download.
func (s *suite) cutConnection(t *testing.T) {
	if s.c.Cut == nil {
		return
	}
	direct := s.open(t)
	data := Bytes(s.c.Large, 11)
	put(t, direct, "cut/k", data)
	store, proxy := s.c.Cut(t)
	proxy.CutNext(3, 1<<20)
	root, dir := directory(t)
	var retries int
	_, err := storage.Download(bounded(t), store, "cut/k", root, "k", storage.DownloadOptions{
		SHA256: SHA256(data), Retry: quick(), OnRetry: func(int, error) { retries++ }})
	require.NoError(t, err)
	require.Positive(t, retries)
	require.Equal(t, []string{"k"}, names(t, dir))

	require.NoError(t, os.WriteFile(filepath.Join(dir, "up"), data, 0o600))
	proxy.CutNext(1, 0) // the answer to the next request is lost
	_, err = storage.Upload(bounded(t), store, "cut/up", root, "up", storage.UploadOptions{Retry: quick()})
	require.NoError(t, err)
	got, _ := read(t, direct, "cut/up", 0, -1)
	same(t, data, got)
}

func (s *suite) downloadLimits(t *testing.T) {
	store, ctx := s.open(t), bounded(t)
	root, dir := directory(t)
	data := Bytes(100_000, 12)
	obj := put(t, store, "k", data)
	stat, err := store.Stat(ctx, "k")
	require.NoError(t, err)
	for want, opts := range map[error]storage.DownloadOptions{
		storage.ErrTooLarge:     {MaxBytes: 99_999},
		storage.ErrChecksum:     {SHA256: SHA256([]byte("other"))},
		storage.ErrPrecondition: {Validator: stat.Validator() + "x"},
	} {
		_, err := storage.Download(ctx, store, "k", root, "k", opts)
		require.ErrorIs(t, err, want)
		require.Empty(t, names(t, dir), "nothing is left after %v", want)
	}
	_, err = storage.Download(ctx, store, "none", root, "none", storage.DownloadOptions{Retry: quick()})
	require.ErrorIs(t, err, storage.ErrNotFound)
	_, err = storage.Download(ctx, store, "k", root, "../k", storage.DownloadOptions{})
	require.Error(t, err)
	_, err = storage.Download(ctx, store, "k", root, "k", storage.DownloadOptions{MaxBytes: obj.Size, Validator: stat.Validator()})
	require.NoError(t, err)

	_, err = storage.Upload(ctx, store, "up", root, "k", storage.UploadOptions{MaxBytes: 99_999})
	require.ErrorIs(t, err, storage.ErrTooLarge)
	_, err = storage.Upload(ctx, store, "up", root, "gone", storage.UploadOptions{})
	require.ErrorIs(t, err, storage.ErrNotFound)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "sub"), 0o700))
	_, err = storage.Upload(ctx, store, "up", root, "sub", storage.UploadOptions{})
	require.ErrorIs(t, err, storage.ErrInvalid)
	outside := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(outside, []byte("secret"), 0o600))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "link")))
	_, err = storage.Upload(ctx, store, "up", root, "link", storage.UploadOptions{})
	require.Error(t, err)
	_, err = store.Stat(ctx, "up")
	require.ErrorIs(t, err, storage.ErrNotFound)
}
