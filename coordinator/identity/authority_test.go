package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/trust"
)

var node = NodeIdentity{Account: "acme", Pool: "p1", Node: "tvm-1", Incarnation: 3}

func newAuthority(t testing.TB) *Authority {
	t.Helper()
	return NewAuthority(newKeyring(t), func() time.Time { return start }, rand.Reader)
}

func TestSignNodeTakesOnlyTheKeyFromTheRequest(t *testing.T) {
	a := newAuthority(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	evil := trust.Identity{Cluster: a.keyring.ClusterID(), Role: trust.RoleServer, Name: "c1"}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "admin"}, DNSNames: []string{trust.ServerName}, URIs: []*url.URL{evil.URI()},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, EmailAddresses: []string{"root@example.org"},
		ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 3, 1, 1, 0xff}}},
	}, key)
	require.NoError(t, err)

	der, err := a.SignNode(request, node, MaxNodeTTL)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	require.Empty(t, cert.DNSNames)
	require.Empty(t, cert.IPAddresses)
	require.Empty(t, cert.EmailAddresses)
	require.False(t, cert.IsCA)
	require.Equal(t, "node", cert.Subject.CommonName)
	require.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, cert.ExtKeyUsage)
	require.Equal(t, x509.KeyUsageDigitalSignature, cert.KeyUsage)
	require.Equal(t, start.Add(MaxNodeTTL), cert.NotAfter.UTC())
	require.Equal(t, start.Add(-clockSkew), cert.NotBefore.UTC())
	require.True(t, key.PublicKey.Equal(cert.PublicKey))

	id, err := trust.OfCertificate(cert)
	require.NoError(t, err)
	require.Equal(t, trust.Identity{
		Cluster: a.keyring.ClusterID(), Role: trust.RoleNode, Account: "acme", Pool: "p1", Name: "tvm-1", Incarnation: 3,
		Expires: cert.NotAfter,
	}, id)
}

func TestSignNodeRefusals(t *testing.T) {
	a := newAuthority(t)
	_, good, err := trust.NewRequest()
	require.NoError(t, err)

	tampered := append([]byte(nil), good...)
	tampered[len(tampered)-1] ^= 1
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	withRSA, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, rsaKey)
	require.NoError(t, err)
	weak, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	require.NoError(t, err)
	withP224, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, weak)
	require.NoError(t, err)
	for name, request := range map[string][]byte{
		"nothing": nil, "junk": []byte("junk"), "tampered": tampered, "RSA": withRSA, "P-224": withP224, "long": make([]byte, maxRequestBytes+1),
	} {
		_, err := a.SignNode(request, node, time.Hour)
		require.True(t, batcherr.HasKind(err, batcherr.KindInvalid), "%s: %v", name, err)
	}
	for _, ttl := range []time.Duration{0, -1, MaxNodeTTL + 1} {
		_, err := a.SignNode(good, node, ttl)
		require.True(t, batcherr.HasKind(err, batcherr.KindInvalid), ttl)
	}
	for _, who := range []NodeIdentity{{}, {Account: "a", Pool: "p"}, {Account: "a", Pool: "p", Node: ".."}, {Account: "a", Pool: "\n", Node: "n"}} {
		_, err := a.SignNode(good, who, time.Hour)
		require.True(t, batcherr.HasKind(err, batcherr.KindInvalid), who)
	}
	late := NewAuthority(a.keyring, func() time.Time { return start.AddDate(11, 0, 0) }, rand.Reader)
	_, err = late.SignNode(good, node, time.Hour)
	require.True(t, batcherr.HasKind(err, batcherr.KindInternal))
	nearEnd := NewAuthority(a.keyring, func() time.Time { return start.AddDate(authorityYears, 0, 0).Add(-time.Minute) }, rand.Reader)
	der, err := nearEnd.SignNode(good, node, time.Hour)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	require.Equal(t, a.keyring.CA().NotAfter, cert.NotAfter)
}

func TestCredentialsSurviveTheDisk(t *testing.T) {
	a := newAuthority(t)
	key, request, err := trust.NewRequest()
	require.NoError(t, err)
	der, err := a.SignNode(request, node, time.Hour)
	require.NoError(t, err)
	c, err := trust.NewCredentials(key, der, a.keyring.CA())
	require.NoError(t, err)
	require.Equal(t, start.Add(-clockSkew+(time.Hour+clockSkew)/2), c.RenewAt().UTC())

	path := filepath.Join(t.TempDir(), "identity", "node.pem")
	require.NoError(t, c.Save(path))
	got, err := trust.LoadCredentials(path)
	require.NoError(t, err)
	require.Equal(t, c.Identity, got.Identity)
	require.True(t, got.Authority.Equal(a.keyring.CA()))

	otherKey, _, err := trust.NewRequest()
	require.NoError(t, err)
	_, err = trust.NewCredentials(otherKey, der, a.keyring.CA())
	require.ErrorContains(t, err, "another key")
	_, err = trust.NewCredentials(key, der, newKeyring(t).CA())
	require.ErrorContains(t, err, "not of this cluster")
}

func TestServerCertificateRenewsAtHalfLife(t *testing.T) {
	now := start
	random := &switchedRandom{}
	a := NewAuthority(newKeyring(t), func() time.Time { return now }, random)
	s, err := a.ServerCertificate("c1", []string{"batch.example.org"}, []net.IP{net.IPv4(10, 0, 0, 1)}, 2*time.Hour)
	require.NoError(t, err)
	first, err := s.Current()
	require.NoError(t, err)
	require.Equal(t, []string{trust.ServerName, "batch.example.org"}, first.Leaf.DNSNames)

	now = start.Add(59 * time.Minute)
	same, err := s.Current()
	require.NoError(t, err)
	require.Same(t, first, same)

	now = start.Add(time.Hour)
	random.broken = true
	still, err := s.Current()
	require.NoError(t, err, "the old one serves on while a new one cannot be had")
	require.Same(t, first, still)
	random.broken = false
	second, err := s.Current()
	require.NoError(t, err)
	require.NotSame(t, first, second)
	require.Equal(t, start.Add(3*time.Hour), second.Leaf.NotAfter.UTC())

	now = start.Add(4 * time.Hour)
	random.broken = true
	_, err = s.Current()
	require.Error(t, err)
	_, err = a.ServerCertificate("c1", nil, nil, MaxServerTTL+1)
	require.Error(t, err)
}

type switchedRandom struct{ broken bool }

func (r *switchedRandom) Read(b []byte) (int, error) {
	if r.broken {
		return brokenRandom{}.Read(b)
	}
	return rand.Read(b)
}
