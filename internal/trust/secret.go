// Package trust is what both ends of a connection need to know each other: identities in certificates, join tokens, pins and TLS settings.
package trust

import (
	"bytes"
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Secret is bytes that no print, log or JSON shows. They hide in a closure, because fmt and the like print the plain
// contents of unexported fields without asking the field's own methods.
type Secret struct{ reveal func() []byte }

// NewSecret keeps a copy of b.
func NewSecret(b []byte) Secret {
	kept := bytes.Clone(b)
	return Secret{reveal: func() []byte { return kept }}
}

// Reveal returns a copy of the bytes; nil for the zero Secret.
func (s Secret) Reveal() []byte {
	if s.reveal == nil {
		return nil
	}
	return bytes.Clone(s.reveal())
}

// Len is the number of bytes.
func (s Secret) Len() int { return len(s.Reveal()) }

// Equal compares in constant time.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare(s.Reveal(), other.Reveal()) == 1
}

// String hides the secret.
func (Secret) String() string { return redacted }

// Format hides the secret from every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue hides the secret.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the secret, in JSON and YAML too.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
