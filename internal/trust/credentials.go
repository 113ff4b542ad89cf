package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

const (
	pemCertificate = "CERTIFICATE"
	pemKey         = "PRIVATE KEY"
)

// NewRequest makes a key, which stays where it is made, and the certificate request (DER) that asks to have it signed.
// The request names nobody: who the key belongs to is the signer's knowledge.
func NewRequest() (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("making a key: %w", err)
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, nil, fmt.Errorf("making a certificate request: %w", err)
	}
	return key, request, nil
}

// Credentials are a node's or user's key, its certificate and the authority of its cluster.
type Credentials struct {
	Certificate tls.Certificate
	Authority   *x509.Certificate
	Identity    Identity
}

// NewCredentials joins a key with the certificate (DER) that was signed for it, after checking that they belong together.
func NewCredentials(key crypto.Signer, certificate []byte, authority *x509.Certificate) (*Credentials, error) {
	leaf, err := x509.ParseCertificate(certificate)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(leaf.PublicKey) {
		return nil, errors.New("certificate is for another key")
	}
	if err := leaf.CheckSignatureFrom(authority); err != nil {
		return nil, fmt.Errorf("certificate is not of this cluster: %w", err)
	}
	id, err := OfCertificate(leaf)
	if err != nil {
		return nil, err
	}
	return &Credentials{
		Certificate: tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf},
		Authority:   authority,
		Identity:    id,
	}, nil
}

// RenewAt is half way through the certificate's life.
func (c *Credentials) RenewAt() time.Time {
	leaf := c.Certificate.Leaf
	return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)
}

// Format shows whose credentials they are and nothing else.
func (c *Credentials) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "credentials of %s", c.Identity)
}

// Save writes the credentials to path, readable by their owner only and all at once.
func (c *Credentials) Save(path string) error {
	key, err := x509.MarshalPKCS8PrivateKey(c.Certificate.PrivateKey)
	if err != nil {
		return fmt.Errorf("encoding the key: %w", err)
	}
	var out []byte
	out = append(out, pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: c.Certificate.Leaf.Raw})...)
	out = append(out, pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: key})...)
	out = append(out, pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: c.Authority.Raw})...)
	return WritePrivate(path, out)
}

// LoadCredentials reads what Save wrote. Without a file the error is fs.ErrNotExist.
func LoadCredentials(path string) (*Credentials, error) {
	data, err := ReadPrivate(path)
	if err != nil {
		return nil, err
	}
	certificate, data, err := block(data, pemCertificate)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	keyBytes, data, err := block(data, pemKey)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	key, err := x509.ParsePKCS8PrivateKey(keyBytes)
	if err != nil {
		return nil, fmt.Errorf("%s: the private key cannot be read", path)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: the private key cannot sign", path)
	}
	authority, err := ParseAuthority(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	credentials, err := NewCredentials(signer, certificate, authority)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return credentials, nil
}

// ParseAuthority reads an authority's certificate from PEM.
func ParseAuthority(text []byte) (*x509.Certificate, error) {
	der, _, err := block(text, pemCertificate)
	if err != nil {
		return nil, err
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the authority's certificate: %w", err)
	}
	if !ca.IsCA {
		return nil, errors.New("certificate is not an authority's")
	}
	return ca, nil
}

// EncodeAuthority writes an authority's certificate as PEM, for context files and browsers.
func EncodeAuthority(ca *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: ca.Raw})
}

func block(data []byte, kind string) (content, rest []byte, err error) {
	found, rest := pem.Decode(data)
	if found == nil || found.Type != kind {
		return nil, nil, fmt.Errorf("no PEM block %s where one is expected", kind)
	}
	return found.Bytes, rest, nil
}
