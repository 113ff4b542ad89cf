// Package oidctest is an OpenID issuer for tests.
package oidctest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
)

// Issuer is an OpenID issuer on loopback.
type Issuer struct {
	URL string

	mu    sync.Mutex
	keys  map[string]crypto.PublicKey
	asked map[string]int
}

// Audience is what the issuer's tokens are made out for.
const Audience = "batchyard"

// New runs an issuer without keys until the test ends.
func New(t *testing.T) *Issuer {
	t.Helper()
	i := &Issuer{keys: map[string]crypto.PublicKey{}, asked: map[string]int{}}
	server := httptest.NewServer(i)
	t.Cleanup(server.Close)
	i.URL = server.URL
	return i
}

// ServeHTTP serves the discovery document and the keys.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked[r.URL.Path]++
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path == "/.well-known/openid-configuration" {
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL + "/a", "token_endpoint": i.URL + "/t",
			"id_token_signing_alg_values_supported": []string{"none", "HS256", "RS256"},
		})
		return
	}
	var keys []map[string]string
	b64 := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.Bytes()) }
	for id, key := range i.keys {
		switch k := key.(type) {
		case *rsa.PublicKey:
			keys = append(keys, map[string]string{"kty": "RSA", "kid": id, "use": "sig", "n": b64(k.N), "e": b64(big.NewInt(int64(k.E)))})
		case *ecdsa.PublicKey:
			point, err := k.Bytes() // 4, x, y
			if err != nil {
				continue
			}
			half := (len(point) - 1) / 2
			x, y := point[1:1+half], point[1+half:]
			keys = append(keys, map[string]string{
				"kty": "EC", "kid": id, "crv": "P-256", "x": base64.RawURLEncoding.EncodeToString(x), "y": base64.RawURLEncoding.EncodeToString(y),
			})
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"keys": keys})
}

// Asked is how often a path was asked for.
func (i *Issuer) Asked(path string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked[path]
}

// Publish makes a key one of the issuer's.
func (i *Issuer) Publish(id string, key crypto.PublicKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys[id] = key
}

// NewKey makes a key of the issuer's.
func (i *Issuer) NewKey(t *testing.T, id string) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	i.Publish(id, &key.PublicKey)
	return key
}

// Claims are those of a good token for subject, an hour long from now on.
func (i *Issuer) Claims(subject string, now time.Time) jwt.MapClaims {
	return jwt.MapClaims{"iss": i.URL, "aud": []string{"other", Audience}, "sub": subject, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
}

// Sign makes a token.
func Sign(t *testing.T, method jwt.SigningMethod, key any, id string, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	token.Header["kid"] = id
	text, err := token.SignedString(key)
	require.NoError(t, err)
	return text
}
