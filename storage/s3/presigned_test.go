package s3_test

import (
	"bytes"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/storage"
	"github.com/batchyard/batchyard/storage/s3"
	"github.com/batchyard/batchyard/storage/storagetest"
	"github.com/batchyard/batchyard/storage/web"
)

// presigned checks that the holder of a URL can do what it says and no more, through the web store that nodes use.
func presigned(t *testing.T, config s3.Config, client *s3.Client) {
	ctx, store := t.Context(), client.Bucket(storagetest.NewBucket(t, client), "")
	holder, err := web.New(web.Config{RootCAs: config.RootCAs})
	require.NoError(t, err)
	defer holder.Close()
	data := storagetest.Bytes(1<<20, 1)

	putURL, err := store.PresignPut(ctx, "dir/wörld file", time.Minute)
	require.NoError(t, err)
	_, err = holder.Put(ctx, putURL, bytes.NewReader(data), int64(len(data)), storage.PutOptions{SHA256: storagetest.SHA256(data)})
	require.NoError(t, err)
	_, err = holder.Put(ctx, putURL, strings.NewReader("short"), 100, storage.PutOptions{})
	require.ErrorIs(t, err, storage.ErrTruncated)

	getURL, err := store.PresignGet(ctx, "dir/wörld file", time.Minute)
	require.NoError(t, err)
	obj, err := holder.Stat(ctx, getURL)
	require.NoError(t, err, "HEAD is not signed for")
	require.EqualValues(t, len(data), obj.Size)
	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	defer root.Close()
	_, err = storage.Download(ctx, holder, getURL, root, "f", storage.DownloadOptions{SHA256: storagetest.SHA256(data)})
	require.NoError(t, err)

	_, err = holder.Put(ctx, getURL, strings.NewReader("x"), 1, storage.PutOptions{})
	require.ErrorIs(t, err, storage.ErrForbidden)
	u, err := url.Parse(getURL)
	require.NoError(t, err)
	_, _, err = holder.Open(ctx, strings.Replace(getURL, "file", "elif", 1), 0, -1)
	require.ErrorIs(t, err, storage.ErrForbidden)
	require.NotContains(t, err.Error(), u.Query().Get("X-Amz-Signature"))
	_, err = store.Stat(ctx, "dir/wörld file")
	require.NoError(t, err)
}
