package stage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/batchyard/batchyard/storage"
	"github.com/batchyard/batchyard/storage/file"
)

// farm is a node with a task's directory, and a store whose buckets are directories.
type farm struct {
	*Stager
	stores *buckets
	dirs   Dirs
}

func newFarm(t *testing.T, change ...func(*Config)) *farm {
	t.Helper()
	f := &farm{stores: &buckets{dir: t.TempDir(), stores: map[string]*counting{}}}
	t.Cleanup(func() { f.stores.close(t) })
	f.stores.make(t, "account")
	root := t.TempDir()
	f.dirs = taskDirs(t, root, "t1")
	cfg := Config{
		NodeRoot: root, Stores: f.stores, Retry: storage.Retry{Attempts: 3, Base: time.Millisecond, Max: time.Millisecond},
		Access: func() *apiv1.StoreAccess {
			return &apiv1.StoreAccess{Endpoint: "https://store.example:9000", Bucket: "account", AccessKey: "KEY", SecretKey: "SECRET"}
		},
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	for _, c := range change {
		c(&cfg)
	}
	var err error
	f.Stager, err = New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

func taskDirs(t testing.TB, root, task string) Dirs {
	t.Helper()
	dir := filepath.Join(root, "workitems", "job", "job-1", task)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "wd"), 0o755))
	return Dirs{Root: root, Task: dir, Work: filepath.Join(dir, "wd"), Shared: filepath.Join(root, "shared")}
}

func (f *farm) put(t testing.TB, bucket, key, text string) {
	t.Helper()
	s, err := f.stores.Bucket(nil, bucket)
	require.NoError(t, err)
	_, err = s.(*counting).Store.Put(t.Context(), key, newReader(text), int64(len(text)), storage.PutOptions{})
	require.NoError(t, err)
}

func (f *farm) object(t testing.TB, bucket, key string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(f.stores.dir, bucket, key))
	require.NoError(t, err)
	return string(text)
}

func (f *farm) read(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(f.dirs.Task, name))
	require.NoError(t, err)
	return string(text)
}

func (f *farm) write(t testing.TB, name, text string) {
	t.Helper()
	path := filepath.Join(f.dirs.Task, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

// buckets implements Stores over directories. URLs at example.com name the objects of the bucket "web".
type buckets struct {
	dir string

	mu     sync.Mutex
	stores map[string]*counting
}

func (b *buckets) make(t testing.TB, name string) *counting {
	t.Helper()
	dir := filepath.Join(b.dir, name)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	s, err := file.Open(dir)
	require.NoError(t, err)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stores[name] = &counting{Store: s, file: s}
	return b.stores[name]
}

func (b *buckets) close(t testing.TB) {
	for _, s := range b.stores {
		require.NoError(t, s.file.Close())
	}
}

func (b *buckets) Bucket(_ *apiv1.StoreAccess, name string) (storage.Store, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.stores[name]; s != nil {
		return s, nil
	}
	return missing{}, nil
}

func (b *buckets) Container(storage.Location) (storage.Store, error) { return missing{}, nil }

func (b *buckets) Web(_ *apiv1.StoreAccess, loc storage.Location) (storage.Store, string, error) {
	s, err := b.Bucket(nil, "web")
	return s, filepath.Base(identity(loc)), err
}

// counting counts what is asked, and fails where before says so.
type counting struct {
	storage.Store
	file   *file.Store
	opened atomic.Int64
	before func(op, key string) error
	reader func(io.ReadCloser) io.ReadCloser
}

func (c *counting) ask(op, key string) error {
	if c.before == nil {
		return nil
	}
	return c.before(op, key)
}

func (c *counting) Stat(ctx context.Context, key string) (storage.Object, error) {
	if err := c.ask("stat", key); err != nil {
		return storage.Object{}, err
	}
	return c.Store.Stat(ctx, key)
}

func (c *counting) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, storage.Object, error) {
	c.opened.Add(1)
	if err := c.ask("open", key); err != nil {
		return nil, storage.Object{}, err
	}
	r, obj, err := c.Store.Open(ctx, key, offset, length)
	if err == nil && c.reader != nil {
		r = c.reader(r)
	}
	return r, obj, err
}

func (c *counting) Put(ctx context.Context, key string, r io.Reader, size int64, opts storage.PutOptions) (storage.Object, error) {
	if err := c.ask("put", key); err != nil {
		return storage.Object{}, err
	}
	return c.Store.Put(ctx, key, r, size, opts)
}

// missing is a bucket that does not exist.
type missing struct{}

func noBucket(op, key string) error {
	return &storage.Error{Op: op, Key: key, Kind: storage.ErrNoBucket}
}

func (missing) Stat(_ context.Context, key string) (storage.Object, error) {
	return storage.Object{}, noBucket("stat", key)
}

func (missing) Open(_ context.Context, key string, _, _ int64) (io.ReadCloser, storage.Object, error) {
	return nil, storage.Object{}, noBucket("open", key)
}

func (missing) Put(_ context.Context, key string, _ io.Reader, _ int64, _ storage.PutOptions) (storage.Object, error) {
	return storage.Object{}, noBucket("put", key)
}

func (missing) Delete(_ context.Context, key string) error { return noBucket("delete", key) }

func (missing) List(_ context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) { yield(storage.Object{}, noBucket("list", prefix)) }
}

// failed checks the failure that an error is.
func failed(t testing.TB, err error, code string) (info *apiv1.TaskFailureInfo) {
	t.Helper()
	var f *Failure
	require.ErrorAs(t, err, &f)
	require.Equal(t, code, f.Info.GetCode(), "%v", err)
	require.NotEmpty(t, f.Info.GetMessage())
	for _, secret := range []string{"SECRET", "X-Amz-Signature=", "sig="} {
		require.NotContains(t, fmt.Sprint(f.Info, err), secret)
	}
	return f.Info
}

// packed puts an archive into the account's bucket.
func (f *farm) packed(t testing.TB, id, version string, data []byte) *agentv1.PackageLocation {
	t.Helper()
	key := "applications/" + id + "/" + version + ".zip"
	f.put(t, "account", key, string(data))
	sum := sha256.Sum256(data)
	return &agentv1.PackageLocation{ApplicationId: id, Version: version, StorageKey: key, Size: int64(len(data)), Sha256: hex.EncodeToString(sum[:])}
}
