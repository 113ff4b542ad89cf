package stage

import (
	"testing"

	"github.com/stretchr/testify/require"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/batchyard/batchyard/storage"
)

func TestLocations(t *testing.T) {
	access := &apiv1.StoreAccess{Endpoint: "https://s3.example.com", Bucket: "acc"}
	for text, want := range map[string]string{
		"s3://bucket/a/k":                       "s3://bucket/a/k",
		"https://s3.example.com/bucket/k/x":     "s3://bucket/k/x",
		"https://S3.example.com:443/bucket/k":   "s3://bucket/k",
		"https://bucket.s3.example.com/k":       "s3://bucket/k",
		"http://s3.example.com/bucket/k":        "http://s3.example.com/bucket/k",
		"https://s3.example.com:444/bucket/k":   "https://s3.example.com:444/bucket/k",
		"https://evils3.example.com/bucket/k":   "https://evils3.example.com/bucket/k",
		"https://s3.example.com.evil/bucket/k":  "https://s3.example.com.evil/bucket/k",
		"https://s3.example.com/bucket/k?sig=S": "https://s3.example.com/bucket/k?REDACTED",
		"https://s3.example.com/B/k":            "https://s3.example.com/B/k",
	} {
		got, err := locate(access, text)
		require.NoError(t, err, text)
		require.Equal(t, want, got.String(), text)
	}
	for text, want := range map[string]string{
		"s3://bucket": "s3://bucket/", "s3://bucket/": "s3://bucket/", "s3://bucket/a": "s3://bucket/a/", "s3://bucket/a/": "s3://bucket/a/",
		"https://s3.example.com/bucket": "s3://bucket/", "https://bucket.s3.example.com": "s3://bucket/",
	} {
		got, err := container(access, text)
		require.NoError(t, err, text)
		require.Equal(t, want, got.String(), text)
	}
	_, err := locate(nil, "s3://bucket/k")
	require.ErrorIs(t, err, errNoStore)
	_, err = autoStorage(nil, "x")
	require.ErrorIs(t, err, errNoStore)
	got, err := autoStorage(access, "x")
	require.NoError(t, err)
	require.Equal(t, "s3://acc/x/", got.String())
	for _, name := range []string{"", "..", "a/b", "a\x00", "."} {
		_, err := autoStorage(access, name)
		require.Error(t, err, name)
	}
	signed := func(text string) string {
		loc, err := storage.ParseLocation(text)
		require.NoError(t, err)
		return identity(loc)
	}
	require.Equal(t, signed("https://h/a?X-Amz-Signature=1&v=1"), signed("https://h/a?X-Amz-Signature=2&x-amz-date=3&v=1"))
	require.NotEqual(t, signed("https://h/a?v=1"), signed("https://h/a?v=2"))
}
