package embedded_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/storage"
	"github.com/batchyard/batchyard/storage/embedded"
	"github.com/batchyard/batchyard/storage/s3"
	"github.com/batchyard/batchyard/storage/storagetest"
)

func users(t *testing.T, c *embedded.Child) *embedded.Users {
	t.Helper()
	u, err := c.Users()
	require.NoError(t, err)
	t.Cleanup(u.Close)
	return u
}

// as is the store as a user sees it.
func as(t *testing.T, o embedded.Options, c *embedded.Child, accessKey, secretKey string) *s3.Client {
	t.Helper()
	o.AccessKey, o.SecretKey = accessKey, secretKey
	return client(t, o, c)
}

func put(t *testing.T, c *s3.Client, bucket, key string) error {
	t.Helper()
	_, err := c.Bucket(bucket, "").Put(bounded(t), key, strings.NewReader("x"), 1, storage.PutOptions{})
	return err
}

// TestUsersReachTheirOwnBucketsOnly tries every way from one user's credentials to another's objects.
func TestUsersReachTheirOwnBucketsOnly(t *testing.T) {
	o := options(t)
	child := start(t, o)
	u := users(t, child)
	for _, name := range []string{"anna", "berta"} {
		require.NoError(t, u.Put(bounded(t), name+"-key", name+"-secret"))
		require.NoError(t, u.MakeBucket(bounded(t), name+"-bucket", name+"-key"))
		require.NoError(t, put(t, as(t, o, child, name+"-key", name+"-secret"), name+"-bucket", "own"))
	}
	require.ErrorIs(t, u.MakeBucket(bounded(t), "anna-bucket", "berta-key"), storage.ErrExists)
	require.ErrorIs(t, u.MakeBucket(bounded(t), "anna-bucket", "anna-key"), storage.ErrExists)

	anna := as(t, o, child, "anna-key", "anna-secret")
	names, err := anna.Buckets(bounded(t))
	require.NoError(t, err)
	require.Equal(t, []string{"anna-bucket"}, names)
	other := anna.Bucket("berta-bucket", "")
	_, err = other.Stat(bounded(t), "own")
	require.ErrorIs(t, err, storage.ErrForbidden)
	_, _, err = other.Open(bounded(t), "own", 0, -1)
	require.ErrorIs(t, err, storage.ErrForbidden)
	require.ErrorIs(t, put(t, anna, "berta-bucket", "mine"), storage.ErrForbidden)
	require.ErrorIs(t, other.Delete(bounded(t), "own"), storage.ErrForbidden)
	for _, err := range other.List(bounded(t), "") {
		require.ErrorIs(t, err, storage.ErrForbidden)
	}
	require.Error(t, anna.EnsureBucket(bounded(t), "anna-second"), "users make no buckets")
	require.ErrorIs(t, anna.RemoveBucket(bounded(t), "berta-bucket"), storage.ErrForbidden)

	o.AccessKey, o.SecretKey, o.Address = "anna-key", "anna-secret", child.Address()
	mere, err := embedded.NewUsers(o.Config, o.RootCAs)
	require.NoError(t, err)
	t.Cleanup(mere.Close)
	require.Error(t, mere.GiveBucket(bounded(t), "berta-bucket", "anna-key"), "users administer nothing")
	require.Error(t, mere.Put(bounded(t), "berta-key", "known"))
	_, err = mere.List(bounded(t))
	require.Error(t, err)
	obj, err := as(t, o, child, "berta-key", "berta-secret").Bucket("berta-bucket", "").Stat(bounded(t), "own")
	require.NoError(t, err)
	require.EqualValues(t, 1, obj.Size)
}

func TestUsersChangeAndOutliveTheProcess(t *testing.T) {
	o := options(t)
	child := start(t, o)
	u := users(t, child)
	require.NoError(t, u.Put(bounded(t), "anna-key", "first-secret"))
	require.NoError(t, u.MakeBucket(bounded(t), "anna-bucket", "anna-key"))
	require.NoError(t, put(t, as(t, o, child, "anna-key", "first-secret"), "anna-bucket", "a"))
	require.NoError(t, u.Put(bounded(t), "anna-key", "other-secret"))
	require.ErrorIs(t, put(t, as(t, o, child, "anna-key", "first-secret"), "anna-bucket", "b"), storage.ErrForbidden, "the old secret ends at once")
	require.NoError(t, put(t, as(t, o, child, "anna-key", "other-secret"), "anna-bucket", "b"))

	require.NoError(t, syscall.Kill(child.PID(), syscall.SIGKILL))
	<-child.Done()
	child = start(t, o)
	u = users(t, child)
	require.NoError(t, put(t, as(t, o, child, "anna-key", "other-secret"), "anna-bucket", "c"))
	keys, err := u.List(bounded(t))
	require.NoError(t, err)
	require.Equal(t, []string{"anna-key"}, keys)

	require.NoError(t, u.Put(bounded(t), "berta-key", "berta-secret"))
	require.NoError(t, u.GiveBucket(bounded(t), "anna-bucket", "berta-key"))
	require.NoError(t, put(t, as(t, o, child, "berta-key", "berta-secret"), "anna-bucket", "d"))
	require.ErrorIs(t, put(t, as(t, o, child, "anna-key", "other-secret"), "anna-bucket", "e"), storage.ErrForbidden)
	require.NoError(t, u.Delete(bounded(t), "berta-key"))
	require.NoError(t, u.Delete(bounded(t), "berta-key"), "a second time")
	require.ErrorIs(t, put(t, as(t, o, child, "berta-key", "berta-secret"), "anna-bucket", "f"), storage.ErrForbidden)
	require.NoError(t, put(t, client(t, o, child), "anna-bucket", "g"), "the administrator")

	info, err := os.Stat(filepath.Join(o.DataDir, "users"))
	require.NoError(t, err)
	require.EqualValues(t, 0o700, info.Mode().Perm())
}

// TestSuiteAsUser shows that a user can do in its buckets whatever the interface promises.
func TestSuiteAsUser(t *testing.T) {
	o := options(t)
	child := start(t, o)
	u := users(t, child)
	require.NoError(t, u.Put(bounded(t), "anna-key", "anna-secret"))
	admin, anna := client(t, o, child), as(t, o, child, "anna-key", "anna-secret")
	storagetest.Run(t, func(t *testing.T) storage.Store {
		name := storagetest.NewBucket(t, admin)
		require.NoError(t, u.GiveBucket(bounded(t), name, "anna-key"))
		return anna.Bucket(name, "")
	}, storagetest.Capabilities{})
}
