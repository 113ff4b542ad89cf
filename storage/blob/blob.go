// Package blob reads and writes the blobs of an Azure Storage container, through a URL that is signed for it.
package blob

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/batchyard/batchyard/storage"
)

// Config says which container to use.
type Config struct {
	// URL is the container's, with a shared access signature unless anybody may use it.
	URL     storage.Location
	RootCAs *x509.CertPool     // nil: the system's
	Dial    storage.DialPolicy // which addresses may be connected to
}

// Store is a container as a storage.Store.
type Store struct {
	container *container.Client
	transport *http.Transport
}

const (
	blockBytes = 8 << 20 // of one block, unless a blob is too long for it
	maxBlocks  = 50_000  // Azure's limit
	parallel   = 4       // blocks on their way at a time
	pageSize   = 1000    // of a listing
)

// azureHost matches the hosts of Azure's own storage accounts, in all its clouds.
var azureHost = regexp.MustCompile(`^[a-z0-9-]+\.blob\.`)

// Is says whether a URL is that of a container of Azure Storage: by its host, or by a signature of Azure's kind. A signature for one blob is not.
func Is(loc storage.Location) bool {
	u, err := url.Parse(loc.URL())
	if err != nil || loc.URL() == "" {
		return false
	}
	query := u.Query()
	if query.Get("sr") == "b" {
		return false
	}
	return azureHost.MatchString(strings.ToLower(u.Hostname())) || query.Has("sig") && query.Has("sv")
}

// Open checks the configuration. It does not connect.
func Open(c Config) (*Store, error) {
	refuse := func(why string) error {
		return &storage.Error{Op: "configure blob", Key: c.URL.String(), Kind: storage.ErrInvalid, Err: errors.New(why)}
	}
	u, err := url.Parse(c.URL.URL())
	if err != nil || c.URL.URL() == "" {
		return nil, refuse("not an HTTP address")
	}
	name := strings.Trim(u.Path, "/")
	if name == "" || azureHost.MatchString(strings.ToLower(u.Hostname())) && strings.Contains(name, "/") {
		return nil, refuse("not the URL of a container")
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second, Control: c.Dial.Control}
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  2 * time.Minute,
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: 256 << 10,
		DisableCompression:     true,
	}
	// A redirect would take the signature elsewhere.
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	made, err := container.NewClientWithNoCredential(u.String(), &container.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: client,
		Retry:     policy.RetryOptions{MaxRetries: -1}, // the caller tries again, and knows for how long
		Telemetry: policy.TelemetryOptions{Disabled: true},
	}})
	if err != nil {
		return nil, refuse("the address is not accepted")
	}
	return &Store{container: made, transport: transport}, nil
}

// Close closes idle connections.
func (s *Store) Close() { s.transport.CloseIdleConnections() }

// Stat implements storage.Store.
func (s *Store) Stat(ctx context.Context, key string) (storage.Object, error) {
	p, err := s.container.NewBlobClient(key).GetProperties(ctx, nil)
	if err != nil {
		return storage.Object{}, fail("stat", key, err)
	}
	return object(key, p.ContentLength, p.LastModified, p.ETag, p.ContentType), nil
}

// Open implements storage.Store.
func (s *Store) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, storage.Object, error) {
	if offset < 0 {
		return nil, storage.Object{}, &storage.Error{Op: "open", Key: key, Kind: storage.ErrRange}
	}
	if length == 0 {
		return s.openNothing(ctx, key, offset)
	}
	resp, err := s.container.NewBlobClient(key).DownloadStream(ctx, &blob.DownloadStreamOptions{
		Range: blob.HTTPRange{Offset: offset, Count: max(length, 0)}, // no count: to the end
	})
	if err != nil {
		err = fail("open", key, err)
		if offset == 0 && errors.Is(err, storage.ErrRange) { // bytes 0 to n of an empty blob
			return s.openNothing(ctx, key, 0)
		}
		return nil, storage.Object{}, err
	}
	obj := object(key, resp.ContentLength, resp.LastModified, resp.ETag, resp.ContentType)
	if resp.ContentRange != nil {
		first, total, ok := parseContentRange(*resp.ContentRange)
		if !ok || first != offset {
			err = &storage.Error{Op: "open", Key: key, Kind: storage.ErrTemporary, Err: errors.New("the answer has another range")}
			return nil, storage.Object{}, errors.Join(err, resp.Body.Close())
		}
		if offset > 0 && offset >= total { // servers answer with nothing instead of refusing
			return nil, storage.Object{}, errors.Join(&storage.Error{Op: "open", Key: key, Kind: storage.ErrRange}, resp.Body.Close())
		}
		obj.Size = total
	} else if offset > 0 {
		err = &storage.Error{Op: "open", Key: key, Kind: storage.ErrUnsupported, Err: errors.New("the answer has no range")}
		return nil, storage.Object{}, errors.Join(err, resp.Body.Close())
	}
	return &body{resp.Body, key}, obj, nil
}

func (s *Store) openNothing(ctx context.Context, key string, offset int64) (io.ReadCloser, storage.Object, error) {
	obj, err := s.Stat(ctx, key)
	if err == nil && offset > 0 && offset >= obj.Size {
		err = &storage.Error{Op: "open", Key: key, Kind: storage.ErrRange}
	}
	return http.NoBody, obj, err
}

// parseContentRange reads "bytes 5-9/100".
func parseContentRange(text string) (first, total int64, ok bool) {
	span, whole, found := strings.Cut(strings.TrimPrefix(text, "bytes "), "/")
	from, _, dash := strings.Cut(span, "-")
	first, err1 := strconv.ParseInt(from, 10, 64)
	total, err2 := strconv.ParseInt(whole, 10, 64)
	return first, total, found && dash && err1 == nil && err2 == nil
}

// Put implements storage.Store. Blocks become a blob only when all have arrived; those of an upload that ended early are forgotten by Azure.
func (s *Store) Put(ctx context.Context, key string, r io.Reader, size int64, opts storage.PutOptions) (storage.Object, error) {
	if err := storage.ValidateKey(key); err != nil {
		return storage.Object{}, err
	}
	if err := ctx.Err(); err != nil {
		return storage.Object{}, storage.Fail("put", key, err)
	}
	src, err := storage.NewSource(key, r, size, opts.SHA256)
	if err != nil {
		return storage.Object{}, err
	}
	upload := &blockblob.UploadStreamOptions{
		BlockSize: max(blockBytes, (size+maxBlocks-1)/maxBlocks), Concurrency: parallel, HTTPHeaders: &blob.HTTPHeaders{}, Metadata: map[string]*string{},
	}
	if opts.ContentType != "" {
		upload.HTTPHeaders.BlobContentType = &opts.ContentType
	}
	for name, value := range opts.Metadata {
		upload.Metadata[name] = &value
	}
	if opts.IfAbsent {
		any := azcore.ETagAny
		upload.AccessConditions = &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: &any}}
	}
	resp, err := s.container.NewBlockBlobClient(key).UploadStream(ctx, src, upload)
	if serr := src.Err(); serr != nil {
		return storage.Object{}, storage.Fail("put", key, serr)
	}
	if err != nil {
		err = fail("put", key, err)
		if opts.IfAbsent && errors.Is(err, storage.ErrPrecondition) {
			err = &storage.Error{Op: "put", Key: key, Kind: storage.ErrExists}
		}
		return storage.Object{}, err
	}
	done := src.Count()
	return object(key, &done, resp.LastModified, resp.ETag, upload.HTTPHeaders.BlobContentType), nil
}

// List implements storage.Store.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		most := int32(pageSize)
		pager := s.container.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &prefix, MaxResults: &most})
		for pager.More() {
			page, err := pager.NextPage(ctx)
			if err != nil {
				yield(storage.Object{}, fail("list", prefix, err))
				return
			}
			for _, item := range page.Segment.BlobItems {
				if item.Name == nil || item.Properties == nil {
					continue
				}
				p := item.Properties
				if !yield(object(*item.Name, p.ContentLength, p.LastModified, p.ETag, p.ContentType), nil) {
					return
				}
			}
		}
	}
}

// Delete implements storage.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	_, err := s.container.NewBlobClient(key).Delete(ctx, nil)
	if err = fail("delete", key, err); errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	return err
}

func object(key string, size *int64, modified *time.Time, etag *azcore.ETag, contentType *string) storage.Object {
	o := storage.Object{Key: key, Size: -1}
	if size != nil {
		o.Size = *size
	}
	if modified != nil {
		o.ModTime = *modified
	}
	if etag != nil {
		o.ETag = strings.Trim(string(*etag), `"`)
	}
	if contentType != nil {
		o.ContentType = *contentType
	}
	return o
}

// body gives failures of reading their kind.
type body struct {
	io.ReadCloser
	key string
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fail("read", b.key, err)
	}
	return n, err
}

// fail gives a failure of the container its kind. Of Azure's error only the code is kept: its text holds the request.
func fail(op, key string, err error) error {
	var refused *azcore.ResponseError
	if err == nil || !errors.As(err, &refused) {
		return storage.Fail(op, key, err)
	}
	cause := fmt.Errorf("status %d, %s", refused.StatusCode, refused.ErrorCode)
	return &storage.Error{Op: op, Key: key, Kind: kindOf(refused), Err: cause}
}

func kindOf(e *azcore.ResponseError) error {
	switch e.ErrorCode {
	case "ContainerNotFound", "ContainerBeingDeleted", "ContainerDisabled":
		return storage.ErrNoBucket
	case "BlobAlreadyExists":
		return storage.ErrExists
	case "Md5Mismatch", "Crc64Mismatch":
		return storage.ErrTemporary
	}
	switch status := e.StatusCode; {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return storage.ErrForbidden
	case status == http.StatusNotFound:
		return storage.ErrNotFound
	case status == http.StatusPreconditionFailed || status == http.StatusNotModified:
		return storage.ErrPrecondition
	case status == http.StatusRequestedRangeNotSatisfiable:
		return storage.ErrRange
	case status == http.StatusRequestEntityTooLarge:
		return storage.ErrTooLarge
	case status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status >= 500:
		return storage.ErrTemporary
	default:
		return storage.ErrInvalid
	}
}
