package identity

import (
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/batchyard/batchyard/internal/trust"
)

const (
	sealVersion     = 1
	accountKeyBytes = 64
)

// ErrSealed says that a sealed secret was altered, moved to another context or sealed by another cluster.
var ErrSealed = errors.New("sealed secret does not open")

// Sealer encrypts the secrets that are stored in the replicated state: account keys, storage credentials, secret fields.
// It is safe for concurrent use if its randomness is.
type Sealer struct {
	aead   cipher.AEAD
	random io.Reader
}

// NewSealer gives the keyring's sealing key randomness for nonces.
func NewSealer(k *Keyring, random io.Reader) (*Sealer, error) {
	aead, err := chacha20poly1305.NewX(k.sealingKey.Reveal())
	if err != nil {
		return nil, fmt.Errorf("making the sealer: %w", err)
	}
	return &Sealer{aead: aead, random: random}, nil
}

// Seal encrypts plaintext (XChaCha20-Poly1305). context names the place where it is stored, such as
// "account/acme/key/primary", and the same bytes are needed to open it: a sealed value copied elsewhere stays shut.
func (s *Sealer) Seal(plaintext trust.Secret, context []byte) ([]byte, error) {
	nonce, err := randomBytes(s.random, chacha20poly1305.NonceSizeX)
	if err != nil {
		return nil, err
	}
	out := append([]byte{sealVersion}, nonce...)
	return s.aead.Seal(out, nonce, plaintext.Reveal(), sealContext(context)), nil
}

// Unseal opens what Seal made with the same context; otherwise the error is ErrSealed.
func (s *Sealer) Unseal(sealed, context []byte) (trust.Secret, error) {
	if len(sealed) < 1+chacha20poly1305.NonceSizeX || sealed[0] != sealVersion {
		return trust.Secret{}, ErrSealed
	}
	nonce, body := sealed[1:1+chacha20poly1305.NonceSizeX], sealed[1+chacha20poly1305.NonceSizeX:]
	plaintext, err := s.aead.Open(nil, nonce, body, sealContext(context))
	if err != nil {
		return trust.Secret{}, ErrSealed
	}
	return trust.NewSecret(plaintext), nil
}

func sealContext(context []byte) []byte { return append([]byte("batchyard seal 1\x00"), context...) }

// NewAccountKey makes a shared key for an account as Azure's are: 64 random bytes, in base64. The Secret holds the
// base64 text, which is what people paste into clients.
func NewAccountKey(random io.Reader) (trust.Secret, error) {
	raw, err := randomBytes(random, accountKeyBytes)
	if err != nil {
		return trust.Secret{}, err
	}
	return trust.NewSecret([]byte(base64.StdEncoding.EncodeToString(raw))), nil
}
