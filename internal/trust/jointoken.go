package trust

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// JoinKind is what a join token lets in.
type JoinKind byte

// The kinds of join tokens.
const (
	JoinNode        JoinKind = 'n'
	JoinCoordinator JoinKind = 'c'
)

// String names the kind.
func (k JoinKind) String() string {
	switch k {
	case JoinNode:
		return "node"
	case JoinCoordinator:
		return "coordinator"
	default:
		return "unknown"
	}
}

// Sizes of a join token's parts, in bytes.
const (
	JoinIDBytes     = 8
	JoinSecretBytes = 32
)

const (
	joinPrefix    = "byj1"
	maxTokenChars = 256
)

// ErrJoinToken says that a text is not a join token; it never quotes the text.
var ErrJoinToken = errors.New("not a join token (byj1.ID.SECRET.PIN)")

// JoinToken lets a machine into a cluster. It also names the cluster's authority, so that the machine gives its secret
// to nobody else.
type JoinToken struct {
	Kind   JoinKind
	ID     string // 'n' or 'c' and 16 hexadecimal digits; not secret
	Secret Secret
	Pin    Pin
}

// Text is the token as it is handed to a person; it contains the secret.
func (t JoinToken) Text() string {
	enc := base64.RawURLEncoding
	return strings.Join([]string{joinPrefix, t.ID, enc.EncodeToString(t.Secret.Reveal()), enc.EncodeToString(t.Pin[:])}, ".")
}

// ParseJoinToken reads a token's text; white space around it is ignored.
func ParseJoinToken(text string) (JoinToken, error) {
	text = strings.TrimSpace(text)
	parts := strings.Split(text, ".")
	if len(text) > maxTokenChars || len(parts) != 4 || parts[0] != joinPrefix {
		return JoinToken{}, ErrJoinToken
	}
	id := parts[1]
	if len(id) == 0 || !isHex(id[1:], 2*JoinIDBytes) {
		return JoinToken{}, ErrJoinToken
	}
	kind := JoinKind(id[0])
	if kind != JoinNode && kind != JoinCoordinator {
		return JoinToken{}, ErrJoinToken
	}
	enc := base64.RawURLEncoding.Strict()
	secret, err := enc.DecodeString(parts[2])
	if err != nil || len(secret) != JoinSecretBytes || strings.ContainsAny(parts[2], "\r\n") {
		return JoinToken{}, ErrJoinToken
	}
	pin, err := enc.DecodeString(parts[3])
	if err != nil || len(pin) != sha256.Size || strings.ContainsAny(parts[3], "\r\n") {
		return JoinToken{}, ErrJoinToken
	}
	return JoinToken{Kind: kind, ID: id, Secret: NewSecret(secret), Pin: Pin(pin)}, nil
}

// Pin is the SHA-256 of a certificate authority's public key (SubjectPublicKeyInfo).
type Pin [sha256.Size]byte

// PinOf is the pin of an authority's certificate.
func PinOf(ca *x509.Certificate) Pin { return sha256.Sum256(ca.RawSubjectPublicKeyInfo) }

// Matches reports whether ca is an authority with the pinned key.
func (p Pin) Matches(ca *x509.Certificate) bool {
	found := PinOf(ca)
	return ca.IsCA && subtle.ConstantTimeCompare(p[:], found[:]) == 1
}

// String is the pin in hexadecimal digits.
func (p Pin) String() string { return hex.EncodeToString(p[:]) }

// Find returns the pinned authority among the certificates that a server showed.
func (p Pin) Find(shown []*x509.Certificate) (*x509.Certificate, error) {
	for _, cert := range shown {
		if p.Matches(cert) {
			return cert, nil
		}
	}
	return nil, fmt.Errorf("server is not of the cluster whose authority has the pin %s", p)
}
