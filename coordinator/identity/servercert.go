package identity

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"sync"
	"time"
)

// ServerCertificate keeps a coordinator's own certificate fresh: it issues a new one, on demand, once half of the current
// one's life is over. Its Current method is a trust.Certificates. It is safe for concurrent use.
type ServerCertificate struct {
	issue func() (*tls.Certificate, error)
	now   func() time.Time
	ttl   time.Duration

	mu      sync.Mutex
	current *tls.Certificate
	renewAt time.Time
}

// ServerCertificate issues the coordinator's first certificate; see IssueServer.
func (a *Authority) ServerCertificate(name string, dns []string, ips []net.IP, ttl time.Duration) (*ServerCertificate, error) {
	issue := func() (*tls.Certificate, error) { return a.IssueServer(name, dns, ips, ttl) }
	s := &ServerCertificate{issue: issue, now: a.now, ttl: ttl}
	if _, err := s.Current(); err != nil {
		return nil, err
	}
	return s, nil
}

// Current is the certificate to show now. If a new one cannot be had, the old one serves until its end.
func (s *ServerCertificate) Current() (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if s.current != nil && now.Before(s.renewAt) && covers(s.current.Leaf, now) {
		return s.current, nil
	}
	fresh, err := s.issue()
	switch {
	case err == nil:
		s.current, s.renewAt = fresh, now.Add(s.ttl/2)
	case s.current == nil || !covers(s.current.Leaf, now):
		return nil, fmt.Errorf("renewing the server certificate: %w", err)
	}
	return s.current, nil
}

func covers(leaf *x509.Certificate, now time.Time) bool {
	return !now.Before(leaf.NotBefore) && now.Before(leaf.NotAfter)
}
