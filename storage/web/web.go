// Package web reads and writes objects at plain and presigned HTTP and HTTPS addresses.
package web

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/batchyard/batchyard/storage"
)

// maxRedirects is how many redirects a read follows; a write follows none.
const maxRedirects = 5

// Config says how to reach addresses that somebody else names. The zero value is safe to use.
type Config struct {
	// Base, when set, is a container's address: keys are added to its path and its query is kept. Otherwise keys are
	// whole addresses.
	Base     string
	RootCAs  *x509.CertPool                        // nil: the system's
	Dial     storage.DialPolicy                    // which addresses may be connected to, also after a redirect
	Header   http.Header                           // sent to the host that the key or Base names, never to one that a redirect names
	Proxy    func(*http.Request) (*url.URL, error) // nil: none; the dial policy then holds for the proxy's address only
	MaxBytes int64                                 // of one object, when positive; ErrTooLarge beyond it
}

// Store is a web of addresses as a storage.Store. It neither lists nor deletes.
type Store struct {
	config    Config
	base      *url.URL
	client    *http.Client
	transport *http.Transport
}

// New checks the configuration. It does not connect.
func New(c Config) (*Store, error) {
	s := &Store{config: c}
	if c.Base != "" {
		loc, err := storage.ParseLocation(c.Base)
		if err != nil {
			return nil, err
		}
		if loc.URL() == "" {
			return nil, &storage.Error{Op: "configure web", Kind: storage.ErrInvalid, Err: errors.New("the base is not an HTTP address")}
		}
		if s.base, err = url.Parse(loc.URL()); err != nil {
			return nil, storage.Fail("configure web", "", err)
		}
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second, Control: c.Dial.Control}
	s.transport = &http.Transport{
		Proxy:                  c.Proxy,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  2 * time.Minute,
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: 256 << 10,
		DisableCompression:     true, // an object is its bytes; a small answer must not unpack into a large one
	}
	s.client = &http.Client{Transport: s.transport, CheckRedirect: s.redirect}
	return s, nil
}

// Close closes idle connections.
func (s *Store) Close() { s.transport.CloseIdleConnections() }

var (
	errRedirects = errors.New("too many redirects")
	errRedirect  = errors.New("a redirect that is not followed")
)

// redirect lets a read go on to another address without what was meant for the first. net/http would tell the next host
// the first address, signature and all.
func (s *Store) redirect(req *http.Request, via []*http.Request) error {
	first := via[0]
	switch {
	case len(via) > maxRedirects:
		return errRedirects
	case first.Method != http.MethodGet && first.Method != http.MethodHead:
		return errRedirect
	case req.URL.Scheme != "https" && (req.URL.Scheme != "http" || via[len(via)-1].URL.Scheme == "https"):
		return fmt.Errorf("%w: from https to %s", errRedirect, req.URL.Scheme)
	case req.URL.User != nil:
		return fmt.Errorf("%w: with credentials", errRedirect)
	}
	req.Header.Del("Referer")
	req.Header.Del("Cookie")
	req.Header.Del("Authorization")
	for name := range s.config.Header {
		req.Header.Del(name)
	}
	return nil
}

// address gives the URL of a key and the text to show for it, which leaves the query out.
func (s *Store) address(op, key string) (*url.URL, string, error) {
	if s.base == nil {
		loc, err := storage.ParseLocation(key)
		if err != nil {
			return nil, "", err
		}
		u, err := url.Parse(loc.URL())
		if err != nil || loc.URL() == "" {
			return nil, "", &storage.Error{Op: op, Kind: storage.ErrInvalid, Err: errors.New("the key is not an HTTP address")}
		}
		return u, loc.String(), nil
	}
	if err := storage.ValidateKey(key); err != nil {
		return nil, "", err
	}
	u := *s.base
	u.Path = strings.TrimSuffix(u.Path, "/") + "/" + key
	u.RawPath = strings.TrimSuffix(s.base.EscapedPath(), "/") + "/" + escape(key)
	return &u, key, nil
}

// escape leaves slashes and unreserved characters as they are, and nothing else: servers differ on the others.
func escape(key string) string {
	var b strings.Builder
	for i := range len(key) {
		c := key[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~/", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}

func (s *Store) request(ctx context.Context, op, method, key string) (*http.Request, string, error) {
	u, shown, err := s.address(op, key)
	if err != nil {
		return nil, "", err
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, "", storage.Fail(op, shown, err)
	}
	for name, values := range s.config.Header {
		req.Header[http.CanonicalHeaderKey(name)] = append([]string(nil), values...)
	}
	req.Header.Set("User-Agent", "batchyard")
	req.Header.Set("Accept-Encoding", "identity")
	return req, shown, nil
}

// do sends a request. The answer's body is the caller's unless there is an error.
func (s *Store) do(req *http.Request, op, shown string) (*http.Response, error) {
	resp, err := s.client.Do(req)
	if err == nil {
		return resp, nil
	}
	if errors.Is(err, errRedirect) || errors.Is(err, errRedirects) {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, &storage.Error{Op: op, Key: shown, Kind: storage.ErrForbidden, Err: err}
	}
	return nil, storage.Fail(op, shown, err)
}

// List is not possible over plain HTTP.
func (s *Store) List(_ context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		yield(storage.Object{}, &storage.Error{Op: "list", Key: prefix, Kind: storage.ErrUnsupported})
	}
}

// Delete is not offered: an address that may be written is not one that may be deleted.
func (s *Store) Delete(_ context.Context, key string) error {
	_, shown, err := s.address("delete", key)
	if err != nil {
		return err
	}
	return &storage.Error{Op: "delete", Key: shown, Kind: storage.ErrUnsupported}
}
