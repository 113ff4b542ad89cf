package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/batcherr"
)

var limits = TokenLimits{User: time.Hour, Task: 48 * time.Hour}

func tokensAt(k *Keyring, now time.Time) *Tokens {
	return NewTokens(k, limits, func() time.Time { return now }, rand.Reader)
}

func TestTokensRoundTrip(t *testing.T) {
	k := newKeyring(t)
	tokens := tokensAt(k, start.Add(123*time.Millisecond))
	for _, claims := range []Claims{
		{Subject: "ann", Account: "acme", Access: AccessUser},
		{Subject: "root", Access: AccessAdmin},
		{Subject: "bob", Account: "acme", Access: AccessReader},
		{Subject: "t1", Account: "acme", Access: AccessTask, Job: "job/Ω"},
	} {
		text, issued, err := tokens.Issue(claims, time.Hour)
		require.NoError(t, err)
		require.Len(t, issued.ID, 32)
		require.Equal(t, start, issued.IssuedAt)
		got, err := tokensAt(k, start.Add(time.Hour-time.Second)).Verify(string(text.Reveal()))
		require.NoError(t, err)
		require.Equal(t, issued, got)
		_, err = tokensAt(k, start.Add(time.Hour)).Verify(string(text.Reveal()))
		require.ErrorIs(t, err, ErrTokenExpired)
		require.True(t, batcherr.HasKind(err, batcherr.KindUnauthenticated))
	}
}

func TestIssueRefusals(t *testing.T) {
	tokens := tokensAt(newKeyring(t), start)
	good := Claims{Subject: "ann", Account: "acme", Access: AccessUser}
	for _, claims := range []Claims{
		{}, {Subject: "ann", Access: AccessUser}, {Account: "acme", Access: AccessUser}, {Subject: "ann", Account: "acme"},
		{Subject: "ann", Account: "acme", Access: "root"}, {Subject: "t", Account: "acme", Access: AccessTask},
		{Subject: "ann", Account: "acme", Access: AccessUser, Job: "j"},
		{Subject: strings.Repeat("a", maxClaimBytes+1), Account: "acme", Access: AccessUser},
	} {
		_, _, err := tokens.Issue(claims, time.Minute)
		require.True(t, batcherr.HasKind(err, batcherr.KindInvalid), claims)
	}
	for _, ttl := range []time.Duration{0, -time.Hour, time.Millisecond, time.Hour + 1} {
		_, _, err := tokens.Issue(good, ttl)
		require.True(t, batcherr.HasKind(err, batcherr.KindInvalid), ttl)
	}
}

// forge signs any header and claims with any method.
func forge(t *testing.T, method jwt.SigningMethod, key any, header map[string]any, claims map[string]any) string {
	t.Helper()
	token := jwt.NewWithClaims(method, jwt.MapClaims(claims))
	for name, value := range header {
		token.Header[name] = value
	}
	text, err := token.SignedString(key)
	require.NoError(t, err)
	return text
}

func TestVerifyRefusesForgeries(t *testing.T) {
	k, other := newKeyring(t), newKeyring(t)
	tokens := tokensAt(k, start)
	key := ed25519.NewKeyFromSeed(k.tokenSeed.Reveal())
	otherKey := ed25519.NewKeyFromSeed(other.tokenSeed.Reveal())
	typ := map[string]any{"typ": tokenType}
	claims := func(change map[string]any) map[string]any {
		c := map[string]any{
			"iss": k.ClusterID(), "aud": []string{tokenAudience}, "sub": "ann", "account": "acme", "access": "admin", "jti": "1",
			"iat": start.Unix(), "exp": start.Add(time.Hour).Unix(),
		}
		for name, value := range change {
			if c[name] = value; value == nil {
				delete(c, name)
			}
		}
		return c
	}
	signed := func(header, change map[string]any) string {
		return forge(t, jwt.SigningMethodEdDSA, key, header, claims(change))
	}
	valid := signed(typ, nil)
	_, err := tokens.Verify(valid)
	require.NoError(t, err, "the forge makes valid tokens if asked to")
	parts := strings.Split(valid, ".")
	encode := base64.RawURLEncoding.EncodeToString
	noneHeader := encode([]byte(`{"alg":"none","typ":"` + tokenType + `"}`))

	for name, text := range map[string]string{
		"empty": "", "dots": "..", "junk": "a.b.c", "long": strings.Repeat("a", maxTokenBytes+1),
		"alg none":              forge(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, typ, claims(nil)),
		"alg none, signature":   noneHeader + "." + parts[1] + "." + parts[2],
		"alg HS256, public key": forge(t, jwt.SigningMethodHS256, []byte(tokens.public), typ, claims(nil)),
		"alg HS512, public key": forge(t, jwt.SigningMethodHS512, []byte(tokens.public), typ, claims(nil)),
		"another cluster's key": forge(t, jwt.SigningMethodEdDSA, otherKey, typ, claims(nil)),
		"no signature":          parts[0] + "." + parts[1] + ".",
		"padded signature":      valid + "==",
		"another payload":       parts[0] + "." + encode([]byte(`{"sub":"root"}`)) + "." + parts[2],
		"typ JWT":               signed(map[string]any{"typ": "JWT"}, nil),
		"kid":                   signed(map[string]any{"typ": tokenType, "kid": "../../dev/null"}, nil),
		"jwk":                   signed(map[string]any{"typ": tokenType, "jwk": map[string]any{"kty": "OKP"}}, nil),
		"crit":                  signed(map[string]any{"typ": tokenType, "crit": []string{"exp"}}, nil),
		"another issuer":        signed(typ, map[string]any{"iss": other.ClusterID()}),
		"no issuer":             signed(typ, map[string]any{"iss": nil}),
		"another audience":      signed(typ, map[string]any{"aud": "https://batch.core.windows.net/"}),
		"no audience":           signed(typ, map[string]any{"aud": nil}),
		"no end":                signed(typ, map[string]any{"exp": nil}),
		"no start":              signed(typ, map[string]any{"iat": nil}),
		"longer than the limit": signed(typ, map[string]any{"exp": start.Add(2 * time.Hour).Unix()}),
		"issued in the future":  signed(typ, map[string]any{"iat": start.Add(6 * time.Minute).Unix()}),
		"not valid yet":         signed(typ, map[string]any{"nbf": start.Add(time.Minute).Unix()}),
		"task without a job":    signed(typ, map[string]any{"access": "task"}),
		"admin with a job":      signed(typ, map[string]any{"job": "j"}),
		"unknown access":        signed(typ, map[string]any{"access": "root"}),
		"user without account":  signed(typ, map[string]any{"access": "user", "account": nil}),
		"account is no string":  signed(typ, map[string]any{"account": []string{"acme", "evil"}}),
	} {
		_, err := tokens.Verify(text)
		require.ErrorIs(t, err, ErrTokenInvalid, name)
		require.True(t, batcherr.HasKind(err, batcherr.KindUnauthenticated), name)
		if text != "" {
			require.NotContains(t, fmt.Sprint(err), text, name)
		}
	}
	_, err = tokens.Verify(signed(typ, map[string]any{"exp": 1e300}))
	require.True(t, batcherr.HasKind(err, batcherr.KindUnauthenticated))
	_, err = tokens.Verify(signed(typ, map[string]any{"iat": start.Add(-2 * time.Hour).Unix(), "exp": start.Add(-time.Hour).Unix()}))
	require.ErrorIs(t, err, ErrTokenExpired)
}

func TestEveryBitOfATokenCounts(t *testing.T) {
	tokens := tokensAt(newKeyring(t), start)
	secret, _, err := tokens.Issue(Claims{Subject: "ann", Account: "acme", Access: AccessUser}, time.Hour)
	require.NoError(t, err)
	text := secret.Reveal()
	for i := range text {
		changed := append([]byte(nil), text...)
		changed[i] ^= 1
		_, err := tokens.Verify(string(changed))
		require.Error(t, err, "byte %d", i)
	}
}

func FuzzVerifyToken(f *testing.F) {
	k := newKeyring(f)
	tokens := tokensAt(k, start)
	secret, issued, err := tokens.Issue(Claims{Subject: "ann", Account: "acme", Access: AccessUser}, time.Hour)
	require.NoError(f, err)
	valid := string(secret.Reveal())
	want, err := json.Marshal(issued)
	require.NoError(f, err)
	f.Add(valid)
	f.Add(strings.Replace(valid, ".", "..", 1))
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, text string) {
		claims, err := tokens.Verify(text)
		if err != nil {
			require.True(t, batcherr.HasKind(err, batcherr.KindUnauthenticated))
			return
		}
		require.Equal(t, valid, text, "only what was issued is accepted")
		got, err := json.Marshal(claims)
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}
