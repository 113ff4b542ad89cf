package embedded_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/signer"
	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/storage/embedded"
	"github.com/batchyard/batchyard/storage/storagetest"
)

// raw is a client that reaches below what a Store offers.
func raw(t *testing.T, o embedded.Options, c *embedded.Child) *minio.Core {
	t.Helper()
	core, err := minio.NewCore(c.Address(), &minio.Options{
		Creds: credentials.NewStaticV4(o.AccessKey, o.SecretKey, ""), Secure: true, Region: "us-east-1",
		BucketLookup: minio.BucketLookupPath, MaxRetries: 1,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: o.RootCAs}, DisableKeepAlives: true},
	})
	require.NoError(t, err)
	require.NoError(t, core.MakeBucket(bounded(t), "bucket", minio.MakeBucketOptions{}))
	return core
}

// putPart sends sent of announced bytes to a presigned URL and then ends the connection's sending side, as a client does
// that dies. It gives the status of the answer.
func putPart(t *testing.T, o embedded.Options, u *url.URL, header string, sent []byte, announced int) int {
	t.Helper()
	conn, err := tls.Dial("tcp", u.Host, &tls.Config{RootCAs: o.RootCAs})
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	_, err = fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: %s\r\n%sContent-Length: %d\r\n\r\n", u.RequestURI(), u.Host, header, announced)
	require.NoError(t, err)
	_, err = conn.Write(sent)
	require.NoError(t, err)
	require.NoError(t, conn.CloseWrite())
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}

func TestTruncatedPutIsNoObject(t *testing.T) {
	o := options(t)
	core := raw(t, o, start(t, o))
	ctx := bounded(t)
	data := storagetest.Bytes(4<<20, 1)
	for _, key := range []string{"new", "old"} {
		if key == "old" {
			_, err := core.Client.PutObject(ctx, "bucket", key, strings.NewReader("before"), 6, minio.PutObjectOptions{})
			require.NoError(t, err)
		}
		u, err := core.PresignedPutObject(ctx, "bucket", key, time.Minute)
		require.NoError(t, err)
		require.GreaterOrEqual(t, putPart(t, o, u, "", data[:1<<20], len(data)), 400, key)
		require.GreaterOrEqual(t, putPart(t, o, u, "", data[:len(data)-1], len(data)), 400, key)
		require.GreaterOrEqual(t, putPart(t, o, u, "", nil, len(data)), 400, key)
		info, err := core.Client.StatObject(ctx, "bucket", key, minio.StatObjectOptions{})
		if key == "new" {
			require.Equal(t, minio.NoSuchKey, minio.ToErrorResponse(err).Code)
			require.Equal(t, http.StatusOK, putPart(t, o, u, "", data, len(data)), "a whole one is taken")
			continue
		}
		require.NoError(t, err)
		require.EqualValues(t, 6, info.Size)
	}
}

func TestTruncatedPartIsNoPart(t *testing.T) {
	o := options(t)
	core := raw(t, o, start(t, o))
	ctx := bounded(t)
	data := storagetest.Bytes(6<<20, 2)
	id, err := core.NewMultipartUpload(ctx, "bucket", "k", minio.PutObjectOptions{})
	require.NoError(t, err)
	at := func(n int) *url.URL {
		u, err := core.Presign(ctx, http.MethodPut, "bucket", "k", time.Minute, url.Values{"partNumber": {fmt.Sprint(n)}, "uploadId": {id}})
		require.NoError(t, err)
		return u
	}
	require.GreaterOrEqual(t, putPart(t, o, at(1), "", data[:1<<20], len(data)), 400)
	require.GreaterOrEqual(t, putPart(t, o, at(1), "", data[:len(data)-1], len(data)), 400)
	parts, err := core.ListObjectParts(ctx, "bucket", "k", id, 0, 100)
	require.NoError(t, err)
	require.Empty(t, parts.ObjectParts)

	require.Equal(t, http.StatusOK, putPart(t, o, at(1), "", data, len(data)))
	require.GreaterOrEqual(t, putPart(t, o, at(1), "", data[:1<<20], len(data)), 400)
	parts, err = core.ListObjectParts(ctx, "bucket", "k", id, 0, 100)
	require.NoError(t, err)
	require.Len(t, parts.ObjectParts, 1)
	require.EqualValues(t, len(data), parts.ObjectParts[0].Size, "a cut part does not replace a whole one")
	_, err = core.CompleteMultipartUpload(ctx, "bucket", "k", id, []minio.CompletePart{{PartNumber: 1, ETag: parts.ObjectParts[0].ETag}}, minio.PutObjectOptions{})
	require.NoError(t, err)
	same(t, core, "k", data)
}

// TestTruncatedChunksAreNoObject checks bodies that go in chunks with a checksum behind them.
func TestTruncatedChunksAreNoObject(t *testing.T) {
	o := options(t)
	c := start(t, o)
	core := raw(t, o, c)
	ctx := bounded(t)
	u := &url.URL{Scheme: "https", Host: c.Address(), Path: "/bucket/k"}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, u.String(), nil)
	require.NoError(t, err)
	req.Header.Set("X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
	req.Header.Set("X-Amz-Decoded-Content-Length", "100000")
	req.Header.Set("X-Amz-Trailer", "x-amz-checksum-crc32c")
	req = signer.SignV4(*req, o.AccessKey, o.SecretKey, "", "us-east-1")
	var header strings.Builder
	require.NoError(t, req.Header.Write(&header))
	data := storagetest.Bytes(100_000, 3)
	chunk := append(fmt.Appendf(nil, "%x\r\n", 50_000), data[:50_000]...)
	ends := append(bytes.Clone(chunk), "\r\n0\r\n"...)
	sum := crc32.Checksum(data[:50_000], crc32.MakeTable(crc32.Castagnoli))
	lies := fmt.Appendf(bytes.Clone(ends), "x-amz-checksum-crc32c:%s\r\n\r\n", base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum)))
	for _, body := range [][]byte{chunk, ends, append(bytes.Clone(ends), "\r\n"...), lies} {
		require.GreaterOrEqual(t, putPart(t, o, u, header.String(), body, len(body)), 400)
		_, err = core.Client.StatObject(ctx, "bucket", "k", minio.StatObjectOptions{})
		require.Equal(t, minio.NoSuchKey, minio.ToErrorResponse(err).Code)
	}
	sum = crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
	good := fmt.Appendf(nil, "%x\r\n%s\r\n0\r\nx-amz-checksum-crc32c:%s\r\n\r\n", len(data), data,
		base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum)))
	require.Equal(t, http.StatusOK, putPart(t, o, u, header.String(), good, len(good)), "a whole one is taken")
	same(t, core, "k", data)
}

func TestCopyAndManyParts(t *testing.T) {
	o := options(t)
	core := raw(t, o, start(t, o))
	ctx := bounded(t)
	data := storagetest.Bytes(1<<20, 4)
	_, err := core.Client.PutObject(ctx, "bucket", "from", bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{})
	require.NoError(t, err)
	_, err = core.Client.CopyObject(ctx, minio.CopyDestOptions{Bucket: "bucket", Object: "deep/to"}, minio.CopySrcOptions{Bucket: "bucket", Object: "from"})
	require.NoError(t, err)
	same(t, core, "deep/to", data)

	id, err := core.NewMultipartUpload(ctx, "bucket", "many", minio.PutObjectOptions{})
	require.NoError(t, err)
	_, err = core.PutObjectPart(ctx, "bucket", "many", id, 10_000, bytes.NewReader(data), int64(len(data)), minio.PutObjectPartOptions{})
	require.NoError(t, err)
	_, err = core.PutObjectPart(ctx, "bucket", "many", id, 10_001, bytes.NewReader(data), int64(len(data)), minio.PutObjectPartOptions{})
	require.Error(t, err)
}

func same(t *testing.T, core *minio.Core, key string, want []byte) {
	t.Helper()
	rc, _, _, err := core.GetObject(bounded(t), "bucket", key, minio.GetObjectOptions{})
	require.NoError(t, err)
	defer rc.Close()
	var got bytes.Buffer
	_, err = got.ReadFrom(rc)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got.Bytes()), "contents differ")
}
