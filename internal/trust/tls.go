package trust

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// ServerName stands in the certificate of every coordinator and is what our own programs ask for, so that a
// coordinator may be reached under any address. What tells clusters apart is the authority.
const ServerName = "server.batchyard.internal"

// Certificates gives the certificate to show now; it is asked at every handshake, so that a renewed one takes over.
type Certificates func() (*tls.Certificate, error)

// ErrNoCertificate says that the other end showed no certificate.
var ErrNoCertificate = errors.New("no verified certificate")

// PeerIdentity is who is at the other end of a connection. It needs a chain that the handshake verified.
func PeerIdentity(state tls.ConnectionState) (Identity, error) {
	if len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return Identity{}, ErrNoCertificate
	}
	return OfCertificate(state.VerifiedChains[0][0])
}

// Accept makes a check for tls.Config.VerifyConnection that only the roles pass.
func Accept(roles ...Role) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		id, err := PeerIdentity(state)
		if err != nil {
			return err
		}
		if !slices.Contains(roles, id.Role) {
			return fmt.Errorf("certificate of role %s is not accepted here", id.Role)
		}
		return nil
	}
}

// ClientTLS is for calling a coordinator of the cluster whose authority is ca. A nil own calls without a certificate, as
// users with a token do.
func ClientTLS(ca *x509.Certificate, own Certificates, now func() time.Time) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	config := &tls.Config{
		MinVersion:       tls.VersionTLS13,
		ServerName:       ServerName,
		RootCAs:          roots,
		VerifyConnection: Accept(RoleServer),
		Time:             now,
	}
	if own != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own() }
	}
	return config
}

// PinnedTLS is for the first contact with a cluster of which only the pin is known: the server must show a chain that
// ends in the pinned authority.
func PinnedTLS(pin Pin, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: ServerName,
		Time:       now,
		// The chain is verified below instead, since its root is known only once the server has shown it.
		InsecureSkipVerify: true, //nolint:gosec // see VerifyConnection
		VerifyConnection:   func(state tls.ConnectionState) error { return verifyPinned(state.PeerCertificates, pin, now()) },
	}
}

func verifyPinned(shown []*x509.Certificate, pin Pin, now time.Time) error {
	if len(shown) == 0 {
		return ErrNoCertificate
	}
	ca, err := pin.Find(shown[1:])
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	_, err = shown[0].Verify(x509.VerifyOptions{
		Roots: roots, DNSName: ServerName, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return fmt.Errorf("verifying the server's certificate: %w", err)
	}
	id, err := OfCertificate(shown[0])
	if err != nil {
		return err
	}
	if id.Role != RoleServer {
		return fmt.Errorf("certificate of role %s cannot serve", id.Role)
	}
	return nil
}
