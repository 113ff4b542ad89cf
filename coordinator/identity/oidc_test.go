package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/coordinator/identity/oidctest"
	"github.com/batchyard/batchyard/internal/batcherr"
)

func claimsOf(i *oidctest.Issuer, now time.Time) jwt.MapClaims {
	c := i.Claims("anna", now)
	c["groups"] = []string{"staff", "render"}
	return c
}

func grants(t *testing.T, texts ...string) (out []OIDCGrant) {
	for _, text := range texts {
		g, err := ParseOIDCGrant(text)
		require.NoError(t, err, text)
		out = append(out, g)
	}
	return out
}

func TestOIDCTokens(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	i := oidctest.New(t)
	key := i.NewKey(t, "one")
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	i.Publish("ec", &ec.PublicKey)
	o, err := NewOIDC(OIDCConfig{
		Issuer: i.URL, Audience: "batchyard", Grants: grants(t, "sub=root:default/admin", "groups=render:films/user", "groups=staff:shared/reader"),
	}, func() time.Time { return now })
	require.NoError(t, err)

	good := oidctest.Sign(t, jwt.SigningMethodRS256, key, "one", claimsOf(i, now))
	claims, err := o.Verify(t.Context(), good, "")
	require.NoError(t, err)
	require.Equal(t, Claims{Subject: "anna", Account: "films", Access: AccessUser, IssuedAt: now, Expires: now.Add(time.Hour)}, claims)
	claims, err = o.Verify(t.Context(), good, "shared")
	require.NoError(t, err)
	require.Equal(t, AccessReader, claims.Access)
	_, err = o.Verify(t.Context(), oidctest.Sign(t, jwt.SigningMethodES256, ec, "ec", claimsOf(i, now)), "")
	require.NoError(t, err)
	_, err = o.Verify(t.Context(), good, "default")
	require.True(t, batcherr.HasKind(err, batcherr.KindForbidden), err)

	with := func(name string, value any) jwt.MapClaims {
		c := claimsOf(i, now)
		c[name] = value
		return c
	}
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	public := base64.RawURLEncoding.EncodeToString(key.PublicKey.N.Bytes())
	injected := jwt.NewWithClaims(jwt.SigningMethodRS256, claimsOf(i, now))
	injected.Header["jwk"] = map[string]string{"kty": "RSA", "n": base64.RawURLEncoding.EncodeToString(stranger.N.Bytes()), "e": "AQAB"}
	injectedText, err := injected.SignedString(stranger)
	require.NoError(t, err)
	for name, text := range map[string]string{
		"no algorithm":      oidctest.Sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "one", claimsOf(i, now)),
		"public key as key": oidctest.Sign(t, jwt.SigningMethodHS256, []byte(public), "one", claimsOf(i, now)),
		"weaker algorithm":  oidctest.Sign(t, jwt.SigningMethodRS512, key, "one", claimsOf(i, now)),
		"another key":       oidctest.Sign(t, jwt.SigningMethodRS256, stranger, "one", claimsOf(i, now)),
		"its own key":       injectedText,
		"audience":          oidctest.Sign(t, jwt.SigningMethodRS256, key, "one", with("aud", "other")),
		"issuer":            oidctest.Sign(t, jwt.SigningMethodRS256, key, "one", with("iss", "https://elsewhere.example")),
		"expired":           oidctest.Sign(t, jwt.SigningMethodRS256, key, "one", with("exp", now.Add(-time.Second).Unix())),
		"not yet":           oidctest.Sign(t, jwt.SigningMethodRS256, key, "one", with("nbf", now.Add(time.Hour).Unix())),
		"from the future":   oidctest.Sign(t, jwt.SigningMethodRS256, key, "one", with("iat", now.Add(time.Hour).Unix())),
		"nobody":            oidctest.Sign(t, jwt.SigningMethodRS256, key, "one", with("sub", "")),
		"tampered":          good[:len(good)-4] + "AAAA",
		"not a token":       "a.b.c",
		"too long":          string(make([]byte, maxOIDCToken+1)),
	} {
		_, err := o.Verify(t.Context(), text, "")
		require.True(t, batcherr.HasKind(err, batcherr.KindUnauthenticated), "%s: %v", name, err)
		require.NotContains(t, err.Error(), good[len(good)-40:], name)
	}
	_, err = o.Verify(t.Context(), oidctest.Sign(t, jwt.SigningMethodRS256, key, "one", with("groups", "guests")), "")
	require.True(t, batcherr.HasKind(err, batcherr.KindForbidden), err)
}

func TestOIDCKeysAreKeptAndChange(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	i := oidctest.New(t)
	first := i.NewKey(t, "first")
	o, err := NewOIDC(OIDCConfig{Issuer: i.URL, Audience: "batchyard", Grants: grants(t, "sub=anna:films/user")}, func() time.Time { return now })
	require.NoError(t, err)
	for range 5 {
		_, err = o.Verify(t.Context(), oidctest.Sign(t, jwt.SigningMethodRS256, first, "first", claimsOf(i, now)), "")
		require.NoError(t, err)
	}
	require.Equal(t, 1, i.Asked("/.well-known/openid-configuration"))
	require.Equal(t, 1, i.Asked("/keys"))

	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	for range 5 {
		_, err = o.Verify(t.Context(), oidctest.Sign(t, jwt.SigningMethodRS256, stranger, "unknown", claimsOf(i, now)), "")
		require.Error(t, err)
	}
	require.Equal(t, 1, i.Asked("/keys"), "strangers don't set the pace")
	second := i.NewKey(t, "second")
	now = now.Add(oidcQuiet)
	_, err = o.Verify(t.Context(), oidctest.Sign(t, jwt.SigningMethodRS256, second, "second", claimsOf(i, now)), "")
	require.NoError(t, err)
	require.Equal(t, 2, i.Asked("/keys"))
}

func TestOIDCIssuerThatIsAway(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	at := server.URL
	server.Close()
	o, err := NewOIDC(OIDCConfig{Issuer: at, Audience: "a", Grants: grants(t, "sub=anna:films/user")}, time.Now)
	require.NoError(t, err)
	_, err = o.Verify(t.Context(), "a.b.c", "")
	require.True(t, batcherr.HasKind(err, batcherr.KindUnavailable), err)
}

func TestOIDCConfig(t *testing.T) {
	good := OIDCConfig{Issuer: "https://id.example/realms/x", Audience: "a", Grants: grants(t, "groups=urn:team:a=b:films/user")}
	require.NoError(t, good.Validate())
	require.Equal(t, OIDCGrant{Claim: "groups", Value: "urn:team:a=b", Account: "films", Access: AccessUser}, good.Grants[0])
	for _, change := range []func(*OIDCConfig){
		func(c *OIDCConfig) { c.Issuer = "http://id.example" },
		func(c *OIDCConfig) { c.Issuer = "http://localhost" },
		func(c *OIDCConfig) { c.Issuer = "" },
		func(c *OIDCConfig) { c.Audience = "" },
		func(c *OIDCConfig) { c.Grants = nil },
	} {
		bad := good
		change(&bad)
		require.Error(t, bad.Validate())
	}
	for _, text := range []string{"", "a", "a=b", "a=b:c", "a=b/user", "=b:c/user", "a=:c/user", "a=b:/user", "a=b:c/king", "a=b:c/task"} {
		_, err := ParseOIDCGrant(text)
		require.Error(t, err, text)
	}
}
