package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"time"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/trust"
)

// Longest lives of certificates.
const (
	MaxNodeTTL   = 24 * time.Hour
	MaxUserTTL   = 24 * time.Hour
	MaxServerTTL = 90 * 24 * time.Hour
)

const (
	maxRequestBytes = 16 << 10
	serialBytes     = 16
)

// Authority signs certificates and makes join tokens. It is safe for concurrent use if random is.
type Authority struct {
	keyring *Keyring
	now     func() time.Time
	random  io.Reader
}

// NewAuthority gives the keyring a clock and randomness.
func NewAuthority(k *Keyring, now func() time.Time, random io.Reader) *Authority {
	return &Authority{keyring: k, now: now, random: random}
}

// IssueServer makes a key and a certificate for a coordinator, good for serving under dns and ips (and under
// trust.ServerName) and for calling other coordinators. ttl is at most MaxServerTTL.
func (a *Authority) IssueServer(name string, dns []string, ips []net.IP, ttl time.Duration) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), a.random)
	if err != nil {
		return nil, fmt.Errorf("making a server key: %w", err)
	}
	template := &x509.Certificate{
		DNSNames:    append([]string{trust.ServerName}, dns...),
		IPAddresses: ips,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := a.sign(template, key.Public(), trust.Identity{Role: trust.RoleServer, Name: name}, ttl, MaxServerTTL)
	if err != nil {
		return nil, fmt.Errorf("signing the certificate of server %s: %w", name, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate of server %s: %w", name, err)
	}
	// The authority's certificate goes along for those who know only its pin.
	chain := [][]byte{der, a.keyring.authority.Raw}
	return &tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: leaf}, nil
}

// NodeIdentity is which node a certificate is for.
type NodeIdentity struct {
	Account, Pool, Node string
	Incarnation         uint64
}

// SignNode signs a node's certificate (DER). From the request it takes the public key, whose possession the request
// proves, and nothing else: who the node is comes from the caller. ttl is at most MaxNodeTTL.
func (a *Authority) SignNode(request []byte, node NodeIdentity, ttl time.Duration) ([]byte, error) {
	id := trust.Identity{
		Role: trust.RoleNode, Account: node.Account, Pool: node.Pool, Name: node.Node, Incarnation: node.Incarnation,
	}
	return a.signRequest(request, id, ttl, MaxNodeTTL)
}

// SignUser signs a user's certificate (DER); see SignNode. ttl is at most MaxUserTTL.
func (a *Authority) SignUser(request []byte, account, name string, ttl time.Duration) ([]byte, error) {
	return a.signRequest(request, trust.Identity{Role: trust.RoleUser, Account: account, Name: name}, ttl, MaxUserTTL)
}

func (a *Authority) signRequest(request []byte, id trust.Identity, ttl, longest time.Duration) ([]byte, error) {
	public, err := requestedKey(request)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := a.sign(template, public, id, ttl, longest)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate of role %s: %w", id.Role, err)
	}
	return der, nil
}

// requestedKey checks a certificate request from a stranger.
func requestedKey(request []byte) (crypto.PublicKey, error) {
	if len(request) > maxRequestBytes {
		return nil, batcherr.InvalidProperty("certificateRequest", "", "is too long")
	}
	parsed, err := x509.ParseCertificateRequest(request)
	if err != nil {
		return nil, batcherr.InvalidProperty("certificateRequest", "", "is not a PKCS 10 request").Wrap(err)
	}
	switch key := parsed.PublicKey.(type) {
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() {
			return nil, batcherr.InvalidProperty("certificateRequest", key.Params().Name, "has a curve other than P-256 and P-384")
		}
	case ed25519.PublicKey:
	default:
		return nil, batcherr.InvalidProperty("certificateRequest", parsed.PublicKeyAlgorithm.String(), "has a key other than ECDSA and Ed25519")
	}
	if err := parsed.CheckSignature(); err != nil {
		return nil, batcherr.InvalidProperty("certificateRequest", "", "is not signed with its own key").Wrap(err)
	}
	return parsed.PublicKey, nil
}

// sign completes the template with who and when.
func (a *Authority) sign(template *x509.Certificate, public crypto.PublicKey, id trust.Identity, ttl, longest time.Duration) ([]byte, error) {
	id.Cluster = a.keyring.clusterID
	if err := id.Validate(); err != nil {
		return nil, batcherr.InvalidProperty("identity", id.String(), err.Error())
	}
	if ttl <= 0 || ttl > longest {
		return nil, batcherr.InvalidProperty("ttl", ttl.String(), "must be positive and at most "+longest.String())
	}
	now := a.now()
	if !now.Before(a.keyring.authority.NotAfter) {
		return nil, batcherr.Internal(fmt.Errorf("the cluster's authority ended at %s", a.keyring.authority.NotAfter))
	}
	serial, err := newSerial(a.random)
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.Subject = pkix.Name{CommonName: string(id.Role)}
	template.URIs = []*url.URL{id.URI()}
	template.NotBefore = now.Add(-clockSkew)
	template.NotAfter = now.Add(ttl)
	if template.NotAfter.After(a.keyring.authority.NotAfter) {
		template.NotAfter = a.keyring.authority.NotAfter
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	return x509.CreateCertificate(a.random, template, a.keyring.authority, public, a.keyring.caKey)
}

// newSerial is positive and has 127 random bits.
func newSerial(random io.Reader) (*big.Int, error) {
	b, err := randomBytes(random, serialBytes)
	if err != nil {
		return nil, err
	}
	b[0] = b[0]&0x3f | 0x40
	return new(big.Int).SetBytes(b), nil
}
