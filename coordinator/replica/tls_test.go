package replica

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// mutualTLS is a configuration in which everybody holds the same certificate and accepts no other.
func mutualTLS(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "coordinator"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		RootCAs:      pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	}
}

func TestReplicasTalkOverMutualTLS(t *testing.T) {
	config := mutualTLS(t)
	peers := cluster(t, 3, func(c *Config) {
		c.Listener = tls.NewListener(c.Listener, config)
		c.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			d := tls.Dialer{Config: config}
			return d.DialContext(ctx, "tcp", addr)
		}
	})
	want := peers[0].proposeMany("x", 50)
	require.NoError(t, peers[0].Barrier(t.Context()))
	awaitEqual(t, peers, want)

	stranger := config.Clone()
	stranger.Certificates = nil
	conn, err := tls.Dial("tcp", peers[0].cfg.Advertise, stranger)
	require.NoError(t, err, "in TLS 1.3 a client learns later that it was refused")
	defer conn.Close()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err = conn.Read(make([]byte, 1))
	require.ErrorContains(t, err, "certificate required")
}

func TestCloseEndsConnectionsThatNeverShookHands(t *testing.T) {
	p := newPeer(t, "a", func(c *Config) { c.Listener = tls.NewListener(c.Listener, mutualTLS(t)) })
	conn, err := net.Dial("tcp", p.cfg.Advertise)
	require.NoError(t, err)
	defer conn.Close()
	p.shut()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection is still open")
}
