package stage

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"io"
	"iter"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/batchyard/batchyard/storage"
	"github.com/batchyard/batchyard/storage/web"
)

// webClients are the client for the web and the one for signed URLs of the account's own store, whose certificate
// authority is trusted for nothing else.
type webClients struct {
	plain, own *web.Store
	ownOf      [sha256.Size]byte
}

// Web implements Stores.
func (n *network) Web(access *apiv1.StoreAccess, loc storage.Location) (storage.Store, string, error) {
	if loc.URL() == "" {
		return nil, "", &storage.Error{Op: "open store", Key: loc.String(), Kind: storage.ErrInvalid, Err: errors.New("not an http or https URL")}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	client, err := n.webFor(access, loc)
	if err != nil {
		return nil, "", err
	}
	return address{web: client, url: loc.URL()}, loc.String(), nil
}

func (n *network) webFor(access *apiv1.StoreAccess, loc storage.Location) (*web.Store, error) {
	var err error
	if len(access.GetCaPem()) == 0 || !sameStore(access, loc) {
		if n.web.plain == nil {
			n.web.plain, err = web.New(web.Config{Dial: n.dial})
		}
		return n.web.plain, err
	}
	of := sha256.Sum256(access.GetCaPem())
	if n.web.own != nil && n.web.ownOf == of {
		return n.web.own, nil
	}
	roots, err := authority(access)
	if err != nil {
		return nil, err
	}
	client, err := web.New(web.Config{Dial: n.dial, RootCAs: roots})
	if err != nil {
		return nil, err
	}
	if n.web.own != nil {
		n.web.own.Close()
	}
	n.web.own, n.web.ownOf = client, of
	return client, nil
}

// authority is who signs the store's certificates; nil means the system's authorities.
func authority(access *apiv1.StoreAccess) (*x509.CertPool, error) {
	if len(access.GetCaPem()) == 0 {
		return nil, nil
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(access.GetCaPem()) {
		return nil, errors.New("the store's certificate authority is not in PEM")
	}
	return roots, nil
}

// address is the one object at a URL. Its key is the URL without its query, so that errors and logs that name the key
// never tell a signature.
type address struct {
	web *web.Store
	url string
}

// Stat implements storage.Store.
func (a address) Stat(ctx context.Context, key string) (storage.Object, error) {
	object, err := a.web.Stat(ctx, a.url)
	object.Key = key
	return object, err
}

// Open implements storage.Store.
func (a address) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, storage.Object, error) {
	r, object, err := a.web.Open(ctx, a.url, offset, length)
	object.Key = key
	return r, object, err
}

// Put implements storage.Store.
func (a address) Put(ctx context.Context, key string, r io.Reader, size int64, opts storage.PutOptions) (storage.Object, error) {
	object, err := a.web.Put(ctx, a.url, r, size, opts)
	object.Key = key
	return object, err
}

// List implements storage.Store; a URL has no list.
func (a address) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return a.web.List(ctx, prefix)
}

// Delete implements storage.Store; what may be written may not be deleted.
func (a address) Delete(ctx context.Context, _ string) error { return a.web.Delete(ctx, a.url) }
