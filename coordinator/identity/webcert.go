package identity

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/batchyard/batchyard/internal/trust"
)

// FileCertificate is a certificate that somebody else issues and renews in place. It is safe for concurrent use.
type FileCertificate struct {
	certFile, keyFile string

	mu      sync.Mutex
	current *tls.Certificate
	seen    [2]time.Time // of the files that current was read from
}

// LoadFileCertificate reads a certificate with its chain and its key, both PEM.
func LoadFileCertificate(certFile, keyFile string) (*FileCertificate, error) {
	f := &FileCertificate{certFile: certFile, keyFile: keyFile}
	_, err := f.Current()
	return f, err
}

// Current is the certificate as the files have it now. While they can't be read or don't belong together the former one serves.
func (f *FileCertificate) Current() (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen, err := f.times()
	if err == nil && f.current != nil && seen == f.seen {
		return f.current, nil
	}
	var fresh tls.Certificate
	if err == nil {
		fresh, err = tls.LoadX509KeyPair(f.certFile, f.keyFile)
	}
	if err == nil {
		f.current, f.seen = &fresh, seen
	}
	if f.current == nil {
		return nil, fmt.Errorf("the certificate can't be read: %w", err)
	}
	return f.current, nil
}

func (f *FileCertificate) times() (out [2]time.Time, err error) {
	for i, name := range []string{f.certFile, f.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return out, err
		}
		out[i] = info.ModTime()
	}
	return out, nil
}

// ShownTo gives the web certificate to strangers and the cluster's own to other coordinators, which ask for it by name.
func ShownTo(own, web trust.Certificates) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if hello.ServerName == trust.ServerName {
			return own()
		}
		return web()
	}
}
