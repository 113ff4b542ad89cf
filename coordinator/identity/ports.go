package identity

import (
	"crypto/tls"
	"crypto/x509"
	"time"

	"github.com/batchyard/batchyard/internal/trust"
)

// WebTLS is for the HTTPS port (REST, dashboard): no client certificates, HTTP/2 offered.
func WebTLS(own trust.Certificates, now func() time.Time) *tls.Config {
	config := serverTLS(own, now)
	config.NextProtos = []string{"h2", "http/1.1"}
	return config
}

// GRPCTLS is for the gRPC port: callers may come with a certificate of one of the roles, or with none and a token.
func GRPCTLS(own trust.Certificates, authority *x509.Certificate, now func() time.Time, roles ...trust.Role) *tls.Config {
	accept := trust.Accept(roles...)
	config := serverTLS(own, now)
	config.NextProtos = []string{"h2"}
	config.ClientAuth = tls.VerifyClientCertIfGiven
	config.ClientCAs = pool(authority)
	config.SessionTicketsDisabled = true // a resumed session would outlive its certificate's checks
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return nil
		}
		return accept(state)
	}
	return config
}

// RaftTLS is for both ends of a connection between coordinators: each must show a certificate of role server.
func RaftTLS(own trust.Certificates, authority *x509.Certificate, now func() time.Time) *tls.Config {
	config := serverTLS(own, now)
	config.ClientAuth = tls.RequireAndVerifyClientCert
	config.ClientCAs = pool(authority)
	config.SessionTicketsDisabled = true
	config.VerifyConnection = trust.Accept(trust.RoleServer)
	config.RootCAs = pool(authority)
	config.ServerName = trust.ServerName
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own() }
	return config
}

func serverTLS(own trust.Certificates, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own() },
		Time:           now,
	}
}

func pool(authority *x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(authority)
	return p
}
