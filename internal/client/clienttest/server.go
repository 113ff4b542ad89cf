// Package clienttest stands up gRPC servers with TLS on loopback, for tests of what calls them.
package clienttest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/batchyard/batchyard/internal/client"
)

// Authority signs itself and serves as every server's certificate.
type Authority struct {
	// PEM is the certificate to trust.
	PEM  []byte
	cert tls.Certificate
}

// NewAuthority makes an authority for 127.0.0.1.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "clienttest"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	return &Authority{
		PEM:  pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
	}
}

// Server is one that listens. It is stopped with its test at the latest.
type Server struct {
	Address string
	grpc    *grpc.Server
	served  chan struct{}
}

// Serve listens on address, or on a free port of loopback if it is "", with what register adds.
func (a *Authority) Serve(t testing.TB, address string, register func(*grpc.Server)) *Server {
	t.Helper()
	if address == "" {
		address = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", address)
	must(t, err)
	server := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{a.cert}, MinVersion: tls.VersionTLS13})),
		grpc.MaxRecvMsgSize(client.MaxMessage),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: client.KeepaliveTime / 2}),
	)
	register(server)
	s := &Server{Address: listener.Addr().String(), grpc: server, served: make(chan struct{})}
	go func() {
		defer close(s.served)
		if err := server.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("serve: %v", err)
		}
	}()
	t.Cleanup(s.Stop)
	return s
}

// Drain stops it when the calls in flight are answered.
func (s *Server) Drain() { s.grpc.GracefulStop() }

// Stop cuts all connections; calls in flight fail.
func (s *Server) Stop() {
	s.grpc.Stop()
	<-s.served
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
