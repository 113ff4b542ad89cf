package storagetest

import (
	"crypto/rand"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/storage"
	"github.com/batchyard/batchyard/storage/s3"
)

// RunS3 tests the S3 client and a server together. Every store is a new bucket.
func RunS3(t *testing.T, config s3.Config) {
	u, err := url.Parse(config.Endpoint)
	require.NoError(t, err)
	client := Client(t, config)
	var newest string
	open := func(t *testing.T) storage.Store {
		newest = NewBucket(t, client)
		return client.Bucket(newest, "")
	}
	Run(t, open, Capabilities{
		Forbidden: func(t *testing.T) storage.Store {
			wrong := config
			wrong.SecretKey += "x"
			return Client(t, wrong).Bucket(newest, "")
		},
		NoBucket: func(*testing.T) storage.Store { return client.Bucket("no-such-bucket-here", "") },
		Cut: func(t *testing.T) (storage.Store, *CutProxy) {
			proxy := OpenCutProxy(t, u.Host)
			through := config
			through.Endpoint = u.Scheme + "://" + proxy.Addr()
			return Client(t, through).Bucket(newest, ""), proxy
		},
	})
	t.Run("Prefix", func(t *testing.T) {
		Run(t, func(t *testing.T) storage.Store {
			return client.Bucket(NewBucket(t, client), "some/prefix-")
		}, Capabilities{})
	})
}

// Client opens a client that is closed when the test ends.
func Client(t *testing.T, config s3.Config) *s3.Client {
	t.Helper()
	c, err := s3.NewClient(config)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// NewBucket makes a bucket with a name of its own.
func NewBucket(t *testing.T, c *s3.Client) string {
	t.Helper()
	name := "test-" + strings.ToLower(rand.Text())
	require.NoError(t, c.EnsureBucket(bounded(t), name))
	return name
}
