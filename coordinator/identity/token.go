package identity

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/trust"
)

// Access is what the bearer of a token may do in its account.
type Access string

// The kinds of access.
const (
	AccessAdmin  Access = "admin"  // everything, and in every account if the token names none
	AccessUser   Access = "user"   // pools, jobs, tasks, files of the account
	AccessReader Access = "reader" // the same, without changing anything
	AccessTask   Access = "task"   // the one job that the task belongs to
)

// Claims say who the bearer of a token is. ID, IssuedAt and Expires are set by Issue; times are whole seconds.
type Claims struct {
	ID       string // 32 hexadecimal digits; revocation goes by it
	Subject  string // who: a person's or program's name, or a task's id
	Account  string // empty only for an administrator of the cluster
	Access   Access
	Job      string // for AccessTask, and only there
	IssuedAt time.Time
	Expires  time.Time
}

// TokenLimits are the longest lives of tokens.
type TokenLimits struct {
	User time.Duration // of people's and programs' tokens
	Task time.Duration // of tokens that tasks get
}

// Why a token is refused.
var (
	ErrTokenInvalid = errors.New("token: not one of this cluster")
	ErrTokenExpired = errors.New("token: expired")
)

const (
	tokenType     = "batchyard+jwt"
	tokenAudience = "batchyard"
	tokenIDBytes  = 16
	maxTokenBytes = 4096
	maxClaimBytes = 256
	// A token from a coordinator whose clock is further ahead than this is refused.
	maxClockLead = 5 * time.Minute
)

// Tokens issues and verifies the bearer tokens of users and tasks: JWTs signed with the cluster's Ed25519 key. It is safe
// for concurrent use if its randomness is.
type Tokens struct {
	cluster string
	key     trust.Secret // Ed25519 private key
	public  ed25519.PublicKey
	limits  TokenLimits
	now     func() time.Time
	random  io.Reader
}

// NewTokens gives the keyring's token key limits, a clock and randomness for ids.
func NewTokens(k *Keyring, limits TokenLimits, now func() time.Time, random io.Reader) *Tokens {
	key := ed25519.NewKeyFromSeed(k.tokenSeed.Reveal())
	return &Tokens{
		cluster: k.clusterID, key: trust.NewSecret(key), public: key.Public().(ed25519.PublicKey),
		limits: limits, now: now, random: random,
	}
}

// wireClaims is the JWT's payload.
type wireClaims struct {
	jwt.RegisteredClaims
	Account string `json:"account,omitempty"`
	Access  Access `json:"access"`
	Job     string `json:"job,omitempty"`
}

// Issue signs a token for the claims that lives for ttl, and returns the claims as they stand in it. The Secret holds the
// token's text.
func (t *Tokens) Issue(claims Claims, ttl time.Duration) (trust.Secret, Claims, error) {
	if err := claims.validate(); err != nil {
		return trust.Secret{}, Claims{}, batcherr.Invalid(batcherr.CodeInvalidInput, "%s", err)
	}
	if longest := t.limit(claims.Access); ttl < time.Second || ttl > longest {
		return trust.Secret{}, Claims{}, batcherr.InvalidProperty("ttl", ttl.String(), "must be from 1s to "+longest.String())
	}
	id, err := randomBytes(t.random, tokenIDBytes)
	if err != nil {
		return trust.Secret{}, Claims{}, err
	}
	claims.ID = hex.EncodeToString(id)
	claims.IssuedAt = t.now().UTC().Truncate(time.Second)
	claims.Expires = claims.IssuedAt.Add(ttl.Truncate(time.Second))
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, wireClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: t.cluster, Audience: jwt.ClaimStrings{tokenAudience}, Subject: claims.Subject, ID: claims.ID,
			IssuedAt: jwt.NewNumericDate(claims.IssuedAt), ExpiresAt: jwt.NewNumericDate(claims.Expires),
		},
		Account: claims.Account, Access: claims.Access, Job: claims.Job,
	})
	token.Header["typ"] = tokenType
	text, err := token.SignedString(ed25519.PrivateKey(t.key.Reveal()))
	if err != nil {
		return trust.Secret{}, Claims{}, fmt.Errorf("signing a token: %w", err)
	}
	return trust.NewSecret([]byte(text)), claims, nil
}

// Verify reads a token that this cluster issued and that has not expired. Whether it was revoked is the caller's to check,
// by its ID. The error is batcherr.KindUnauthenticated and wraps ErrTokenExpired or ErrTokenInvalid.
func (t *Tokens) Verify(text string) (Claims, error) {
	if len(text) > maxTokenBytes {
		return Claims{}, refuseToken(ErrTokenInvalid)
	}
	var wire wireClaims
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithStrictDecoding(),
		jwt.WithIssuer(t.cluster), jwt.WithAudience(tokenAudience), jwt.WithExpirationRequired(), jwt.WithTimeFunc(t.now),
	)
	_, err := parser.ParseWithClaims(text, &wire, func(token *jwt.Token) (any, error) {
		// Only alg and typ: a kid, jku, jwk or crit would be a wish to be verified some other way.
		if len(token.Header) != 2 || token.Header["typ"] != tokenType {
			return nil, ErrTokenInvalid
		}
		return t.public, nil
	})
	if errors.Is(err, jwt.ErrTokenExpired) {
		return Claims{}, refuseToken(ErrTokenExpired)
	}
	if err != nil || wire.IssuedAt == nil {
		return Claims{}, refuseToken(ErrTokenInvalid)
	}
	claims := Claims{
		ID: wire.ID, Subject: wire.Subject, Account: wire.Account, Access: wire.Access, Job: wire.Job,
		IssuedAt: wire.IssuedAt.UTC(), Expires: wire.ExpiresAt.UTC(),
	}
	tooLong := claims.Expires.Sub(claims.IssuedAt) > t.limit(claims.Access)
	if claims.validate() != nil || tooLong || claims.IssuedAt.After(t.now().Add(maxClockLead)) {
		return Claims{}, refuseToken(ErrTokenInvalid)
	}
	return claims, nil
}

func (t *Tokens) limit(access Access) time.Duration {
	if access == AccessTask {
		return t.limits.Task
	}
	return t.limits.User
}

// validate checks what is the same before signing and after verifying.
func (c Claims) validate() error {
	for _, text := range []string{c.Subject, c.Account, c.Job} {
		if len(text) > maxClaimBytes {
			return fmt.Errorf("a claim has more than %d bytes", maxClaimBytes)
		}
	}
	switch c.Access {
	case AccessAdmin, AccessUser, AccessReader, AccessTask:
	default:
		return fmt.Errorf("unknown access %q", c.Access)
	}
	switch {
	case c.Subject == "":
		return errors.New("a token needs a subject")
	case c.Account == "" && c.Access != AccessAdmin:
		return errors.New("a token needs an account")
	case (c.Job == "") == (c.Access == AccessTask):
		return errors.New("tokens of tasks, and no others, name a job")
	}
	return nil
}

func refuseToken(why error) error {
	detail := "The token is not valid."
	if errors.Is(why, ErrTokenExpired) {
		detail = "The token has expired."
	}
	return batcherr.Unauthenticated(detail).Wrap(why)
}
