package identity

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"time"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/trust"
)

// Why a join token is refused: for the audit log. The caller of the API learns less.
var (
	ErrJoinUnknown = errors.New("join token: no such token, or its secret or kind is wrong")
	ErrJoinExpired = errors.New("join token: expired")
	ErrJoinUsed    = errors.New("join token: no uses left")
)

// JoinRecord is what is kept of a join token: enough to check it and not enough to use it.
type JoinRecord struct {
	ID         string
	Kind       trust.JoinKind
	SecretHash []byte // see HashJoinSecret
	Expires    time.Time
	MaxUses    uint32 // 0: without limit
	Uses       uint32
}

// NewJoinToken makes a token for nodes or coordinators. Expiry and uses of the record are the caller's to set.
func (a *Authority) NewJoinToken(kind trust.JoinKind) (trust.JoinToken, JoinRecord, error) {
	id, err := randomBytes(a.random, trust.JoinIDBytes)
	if err != nil {
		return trust.JoinToken{}, JoinRecord{}, err
	}
	secret, err := randomBytes(a.random, trust.JoinSecretBytes)
	if err != nil {
		return trust.JoinToken{}, JoinRecord{}, err
	}
	token := trust.JoinToken{
		Kind:   kind,
		ID:     string(kind) + hex.EncodeToString(id),
		Secret: trust.NewSecret(secret),
		Pin:    a.keyring.Pin(),
	}
	return token, JoinRecord{ID: token.ID, Kind: kind, SecretHash: HashJoinSecret(token)}, nil
}

// HashJoinSecret is the SHA-256 that the record keeps. No salt or slow hash is needed: the secret has 256 random bits.
func HashJoinSecret(token trust.JoinToken) []byte {
	h := sha256.New()
	h.Write([]byte("batchyard join token\x00" + token.ID + "\x00"))
	h.Write(token.Secret.Reveal())
	return h.Sum(nil)
}

// VerifyJoin checks a presented token against the record that is stored under its ID, in a time that tells nothing of
// the secret. Counting the use is the caller's, in the same step as the admission. The error is
// batcherr.KindUnauthenticated and wraps one of ErrJoinUnknown, ErrJoinExpired, ErrJoinUsed.
func VerifyJoin(record JoinRecord, presented trust.JoinToken, kind trust.JoinKind, now time.Time) error {
	same := subtle.ConstantTimeCompare(record.SecretHash, HashJoinSecret(presented)) == 1
	switch {
	case !same || record.ID != presented.ID || record.Kind != kind || presented.Kind != kind:
		return RefuseJoin(ErrJoinUnknown)
	case !now.Before(record.Expires):
		return RefuseJoin(ErrJoinExpired)
	case record.MaxUses > 0 && record.Uses >= record.MaxUses:
		return RefuseJoin(ErrJoinUsed)
	}
	return nil
}

// RefuseJoin is the one answer to every token that lets nobody in, also to one whose ID is not stored (ErrJoinUnknown).
func RefuseJoin(why error) error {
	return batcherr.Unauthenticated("The join token is unknown, expired or used up.").Wrap(why)
}
