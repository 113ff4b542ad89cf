// Package s3 keeps objects in a bucket of an S3-compatible store.
package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/batchyard/batchyard/storage"
)

const (
	minPart     = 5 << 20  // bytes; the protocol's least part
	defaultPart = 16 << 20 // bytes
	maxParts    = 10_000
)

// Config says where a store is and who we are to it.
type Config struct {
	Endpoint     string // https://host[:port] or http://host[:port]
	Region       string // default us-east-1
	AccessKey    string // both keys empty: anonymous
	SecretKey    string
	SessionToken string
	RootCAs      *x509.CertPool // nil: the system's
	PathStyle    bool           // https://host/bucket rather than https://bucket.host

	PartSize int64 // bytes of one part of a large upload; default 16 MiB, at least 5 MiB
	Threads  int   // parts of one file sent at a time; default 4

	Dial storage.DialPolicy // which addresses the endpoint may turn out to have
}

// LogValue keeps the keys out of logs.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(slog.String("endpoint", c.Endpoint), slog.String("region", c.Region), slog.Bool("path_style", c.PathStyle))
}

// String keeps the keys out of formatted text.
func (c Config) String() string { return fmt.Sprintf("s3.Config{%s %s}", c.Endpoint, c.Region) }

// GoString is String, for %#v.
func (c Config) GoString() string { return c.String() }

// Client speaks to one store as one user. It holds idle connections until Close.
type Client struct {
	minio     *minio.Client
	core      minio.Core
	transport *http.Transport
	part      int64
	threads   int
}

// NewClient checks the configuration. It does not connect.
func NewClient(c Config) (*Client, error) {
	invalid := func(why string) error {
		return &storage.Error{Op: "configure s3", Kind: storage.ErrInvalid, Err: errors.New(why)}
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Path != "" && u.Path != "/" {
		return nil, invalid("the endpoint is not http[s]://host[:port]")
	}
	if c.Region == "" {
		c.Region = "us-east-1"
	}
	if c.PartSize == 0 {
		c.PartSize = defaultPart
	}
	if c.PartSize < minPart {
		return nil, invalid("the part size is below 5 MiB")
	}
	if c.Threads <= 0 {
		c.Threads = 4
	}
	lookup := minio.BucketLookupDNS
	if c.PathStyle {
		lookup = minio.BucketLookupPath
	}
	t := transport(c)
	m, err := minio.New(u.Host, &minio.Options{
		Creds:        credentials.NewStaticV4(c.AccessKey, c.SecretKey, c.SessionToken),
		Secure:       u.Scheme == "https",
		Transport:    t,
		Region:       c.Region,
		BucketLookup: lookup,
		// Without TLS the body is signed in chunks, which not every server accepts together with a trailer.
		TrailingHeaders: u.Scheme == "https",
		MaxRetries:      3,
	})
	if err != nil {
		return nil, &storage.Error{Op: "configure s3", Kind: storage.ErrInvalid, Err: err}
	}
	return &Client{minio: m, core: minio.Core{Client: m}, transport: t, part: c.PartSize, threads: c.Threads}, nil
}

func transport(c Config) *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second, Control: c.Dial.Control}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  10 * time.Minute, // putting many large parts together takes minutes
		ExpectContinueTimeout:  time.Second,
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: 1 << 20,
		DisableCompression:     true,
	}
}

// Close closes idle connections.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Bucket gives the store of the objects in a bucket whose keys start with prefix; keys of the store leave it out.
func (c *Client) Bucket(name, prefix string) *Store {
	return &Store{c: c, bucket: name, prefix: prefix}
}

// EnsureBucket makes a bucket unless we have it already.
func (c *Client) EnsureBucket(ctx context.Context, name string) error {
	if err := storage.ValidateBucket(name); err != nil {
		return err
	}
	err := c.minio.MakeBucket(ctx, name, minio.MakeBucketOptions{})
	if err == nil {
		return nil
	}
	if ours, herr := c.minio.BucketExists(ctx, name); herr == nil && ours {
		return nil
	}
	return fail("make bucket", name, err)
}

// RemoveBucket removes an empty bucket; one with objects gives ErrPrecondition, one that is not there ErrNoBucket.
func (c *Client) RemoveBucket(ctx context.Context, name string) error {
	return fail("remove bucket", name, c.minio.RemoveBucket(ctx, name))
}

// Buckets lists our buckets by name.
func (c *Client) Buckets(ctx context.Context) ([]string, error) {
	infos, err := c.minio.ListBuckets(ctx)
	if err != nil {
		return nil, fail("list buckets", "", err)
	}
	names := make([]string, len(infos))
	for i, info := range infos {
		names[i] = info.Name
	}
	slices.Sort(names)
	return names, nil
}
