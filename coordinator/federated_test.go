package coordinator_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/coordinator"
	"github.com/batchyard/batchyard/coordinator/identity"
	"github.com/batchyard/batchyard/coordinator/identity/oidctest"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// noUsers is an object store that agrees to everything.
type noUsers struct{}

func (noUsers) Put(context.Context, string, string) error        { return nil }
func (noUsers) Delete(context.Context, string) error             { return nil }
func (noUsers) List(context.Context) ([]string, error)           { return nil, nil }
func (noUsers) MakeBucket(context.Context, string, string) error { return nil }
func (noUsers) GiveBucket(context.Context, string, string) error { return nil }

// start runs a coordinator with two accounts until the test ends.
func start(t *testing.T, change func(*coordinator.Config)) *coordinator.Coordinator {
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "<Error><Code>NoSuchBucket</Code></Error>")
	}))
	t.Cleanup(store.Close)
	cfg := coordinator.Default()
	cfg.DataDir, cfg.Host = filepath.Join(t.TempDir(), "data"), "127.0.0.1"
	cfg.ListenGRPC, cfg.ListenHTTPS, cfg.ListenRaft, cfg.ListenHTTP = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.Store = &apiv1.StoreAccess{Endpoint: store.URL, Region: "us-east-1", AccessKey: "access", SecretKey: "secret"}
	cfg.StoreUsers, cfg.Logger = noUsers{}, slog.New(slog.DiscardHandler)
	ready := make(chan *coordinator.Coordinator, 1)
	cfg.OnReady = func(c *coordinator.Coordinator) { ready <- c }
	change(&cfg)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- coordinator.Run(ctx, cfg) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	var c *coordinator.Coordinator
	select {
	case c = <-ready:
	case err := <-ended:
		ended <- nil
		require.NoError(t, err)
	case <-time.After(time.Minute):
		require.Fail(t, "the coordinator does not lead")
	}
	for _, id := range []string{"films", "shared"} {
		require.NoError(t, c.EnsureAccount(ctx, id))
	}
	return c
}

func ask(t *testing.T, client *http.Client, method, url, token, body string) (int, string) {
	r, err := http.NewRequestWithContext(t.Context(), method, url+"?api-version=2025-06-01", strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json; odata=minimalmetadata")
	resp, err := client.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(text)
}

// TestTokensOfAnotherIssuer uses REST with tokens that an OpenID issuer signs, for what their claims give.
func TestTokensOfAnotherIssuer(t *testing.T) {
	issuer := oidctest.New(t)
	key := issuer.NewKey(t, "k")
	c := start(t, func(cfg *coordinator.Config) {
		cfg.OIDC = &identity.OIDCConfig{Issuer: issuer.URL, Audience: oidctest.Audience}
		for _, text := range []string{"groups=render:films/user", "groups=staff:shared/reader", "groups=left:nowhere/user"} {
			grant, err := identity.ParseOIDCGrant(text)
			require.NoError(t, err)
			cfg.OIDC.Grants = append(cfg.OIDC.Grants, grant)
		}
	})
	of := func(group string) string {
		claims := issuer.Claims("anna", time.Now())
		claims["groups"] = []string{group}
		claims["iat"] = time.Now().Add(time.Minute).Unix() // the accounts were made a moment ago
		return oidctest.Sign(t, jwt.SigningMethodRS256, key, "k", claims)
	}
	url := c.RESTEndpoint()
	const job = `{"id":"j","poolInfo":{"poolId":"p"}}`
	for _, step := range []struct {
		group, method, path, body string
		status                    int
	}{
		{"render", http.MethodPost, "/jobs", job, 201},
		{"render", http.MethodGet, "/jobs/j", "", 200},
		{"staff", http.MethodGet, "/jobs/j", "", 404},
		{"staff", http.MethodGet, "/jobs", "", 200},
		{"staff", http.MethodPost, "/jobs", job, 403},
		{"left", http.MethodGet, "/jobs", "", 404},
		{"guests", http.MethodGet, "/jobs", "", 403},
	} {
		status, text := ask(t, http.DefaultClient, step.method, url+step.path, of(step.group), step.body)
		require.Equal(t, step.status, status, "%+v: %s", step, text)
	}
	claims := issuer.Claims("anna", time.Now())
	claims["aud"] = "another"
	status, _ := ask(t, http.DefaultClient, http.MethodGet, url+"/jobs", oidctest.Sign(t, jwt.SigningMethodRS256, key, "k", claims), "")
	require.Equal(t, 401, status)

	own, err := c.AdminToken(t.Context(), "films", time.Hour)
	require.NoError(t, err)
	status, _ = ask(t, http.DefaultClient, http.MethodGet, url+"/jobs/j", own, "")
	require.Equal(t, 200, status, "the cluster's own tokens hold beside them")
}

// TestGivenCertificate serves HTTPS with a certificate of somebody else's authority.
func TestGivenCertificate(t *testing.T) {
	keyring, err := identity.NewKeyring("other", time.Now(), rand.Reader)
	require.NoError(t, err)
	cert, err := identity.NewAuthority(keyring, time.Now, rand.Reader).IssueServer("web", []string{"batch.example"}, nil, time.Hour)
	require.NoError(t, err)
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	require.NoError(t, err)
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
	c := start(t, func(cfg *coordinator.Config) { cfg.WebCertFile, cfg.WebKeyFile, cfg.ListenHTTP = certFile, keyFile, "" })

	roots := x509.NewCertPool()
	roots.AddCert(keyring.CA())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "batch.example", MinVersion: tls.VersionTLS13}}
	t.Cleanup(transport.CloseIdleConnections)
	require.True(t, strings.HasPrefix(c.RESTEndpoint(), "https://"))
	token, err := c.AdminToken(t.Context(), "films", time.Hour)
	require.NoError(t, err)
	status, text := ask(t, &http.Client{Transport: transport}, http.MethodGet, c.RESTEndpoint()+"/jobs", token, "")
	require.Equal(t, 200, status, text)
}
