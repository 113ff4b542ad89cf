package identity

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/trust"
)

func writePair(t *testing.T, dir string, cert *tls.Certificate, at time.Time) (certFile, keyFile string) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	require.NoError(t, err)
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
	require.NoError(t, os.Chtimes(certFile, at, at))
	require.NoError(t, os.Chtimes(keyFile, at, at))
	return certFile, keyFile
}

// TestGivenCertificate serves a certificate of another authority to strangers and the cluster's own to coordinators, and takes up a renewed one.
func TestGivenCertificate(t *testing.T) {
	dir := t.TempDir()
	foreign := NewAuthority(newKeyring(t), time.Now, rand.Reader)
	first, err := foreign.IssueServer("web", []string{"batch.example"}, nil, time.Hour)
	require.NoError(t, err)
	certFile, keyFile := writePair(t, dir, first, time.Now().Add(-time.Hour))
	given, err := LoadFileCertificate(certFile, keyFile)
	require.NoError(t, err)

	keyring := newKeyring(t)
	own, err := NewAuthority(keyring, time.Now, rand.Reader).ServerCertificate("c1", nil, nil, time.Hour)
	require.NoError(t, err)
	config := WebTLS(own.Current, time.Now)
	config.GetCertificate = ShownTo(own.Current, given.Current)
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func(c net.Conn) {
				defer c.Close()
				_ = c.(*tls.Conn).Handshake()
				_, _ = c.Read(make([]byte, 1))
			}(c)
		}
	}()
	serial := func(config *tls.Config) string {
		c, err := tls.Dial("tcp", l.Addr().String(), config)
		require.NoError(t, err)
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	stranger := &tls.Config{ServerName: "batch.example", RootCAs: pool(foreign.keyring.CA())}
	require.Equal(t, first.Leaf.SerialNumber.String(), serial(stranger))
	ours, err := own.Current()
	require.NoError(t, err)
	require.Equal(t, ours.Leaf.SerialNumber.String(), serial(trust.ClientTLS(keyring.CA(), nil, time.Now)))

	second, err := foreign.IssueServer("web", []string{"batch.example"}, nil, time.Hour)
	require.NoError(t, err)
	writePair(t, dir, second, time.Now())
	require.Equal(t, second.Leaf.SerialNumber.String(), serial(stranger))
	require.NoError(t, os.WriteFile(keyFile, []byte("half a key"), 0o600))
	require.Equal(t, second.Leaf.SerialNumber.String(), serial(stranger), "a damaged file changes nothing")
	_, err = LoadFileCertificate(certFile, keyFile)
	require.Error(t, err)
}
