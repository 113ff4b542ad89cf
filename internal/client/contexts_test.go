package client_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/client"
)

func environ(pairs ...string) func(string) string {
	values := map[string]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		values[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return values[name] }
}

func TestContextFileRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "contexts.yaml")
	dev := client.Context{Name: "dev", Addresses: []string{"127.0.0.1:7444"}, CA: "-----BEGIN\nx\n", Account: "dev", Token: "secret", HTTPS: "https://127.0.0.1:7443"}
	farm := client.Context{Name: "farm", Addresses: []string{"a:1", "b:2"}}
	require.NoError(t, client.SaveContext(path, dev, false))
	require.NoError(t, client.SaveContext(path, farm, false))
	all, err := client.LoadContexts(path)
	require.NoError(t, err)
	require.Equal(t, client.Contexts{Current: "dev", Contexts: []client.Context{dev, farm}}, all, "the first is current")

	require.NoError(t, client.UseContext(path, "farm"))
	require.Error(t, client.UseContext(path, "nowhere"))
	dev.Token = "new"
	require.NoError(t, client.SaveContext(path, dev, true))
	all, err = client.LoadContexts(path)
	require.NoError(t, err)
	require.Equal(t, client.Contexts{Current: "dev", Contexts: []client.Context{farm, dev}}, all)

	require.NoError(t, client.RemoveContext(path, "dev"))
	require.NoError(t, client.RemoveContext(path, "dev"), "removing twice is no error")
	all, err = client.LoadContexts(path)
	require.NoError(t, err)
	require.Equal(t, client.Contexts{Contexts: []client.Context{farm}}, all)

	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1, "no temporary file stays")
}

func TestContextFileIsForItsOwnerOnly(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // where files have no such bits
	}
	path := filepath.Join(t.TempDir(), "batchyard", "contexts.yaml")
	require.NoError(t, client.SaveContext(path, client.Context{Name: "x", Addresses: []string{"h:1"}}, true))
	for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.Equal(t, want, info.Mode().Perm(), name)
	}
}

func TestContextsThatCannotBe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "contexts.yaml")
	require.Error(t, client.SaveContext(path, client.Context{Name: "a b", Addresses: []string{"h:1"}}, true))
	require.Error(t, client.SaveContext(path, client.Context{Name: "a"}, true))
	require.NoError(t, os.WriteFile(path, []byte("contexts: []\nsurprise: 1\n"), 0o600))
	_, err := client.LoadContexts(path)
	require.ErrorContains(t, err, "surprise")
	require.Error(t, client.SaveContext(path, client.Context{Name: "a", Addresses: []string{"h:1"}}, true), "what is not understood is not overwritten")
}

func TestContextPath(t *testing.T) {
	for _, c := range []struct {
		want string
		env  []string
	}{
		{"/x/y.yaml", []string{"BATCHYARD_CONFIG", "/x/y.yaml", "HOME", "/h", "XDG_CONFIG_HOME", "/c"}},
		{"/c/batchyard/contexts.yaml", []string{"HOME", "/h", "XDG_CONFIG_HOME", "/c"}},
		{"/h/.config/batchyard/contexts.yaml", []string{"HOME", "/h", "XDG_CONFIG_HOME", "relative"}},
	} {
		got, err := client.ContextPath(environ(c.env...))
		require.NoError(t, err)
		require.Equal(t, filepath.FromSlash(c.want), got)
	}
	_, err := client.ContextPath(environ())
	require.ErrorContains(t, err, "BATCHYARD_CONFIG")
}

func TestResolveContext(t *testing.T) {
	dir := t.TempDir()
	path, ca := filepath.Join(dir, "c.yaml"), filepath.Join(dir, "ca.pem")
	require.NoError(t, os.WriteFile(ca, []byte("other authority"), 0o600))
	require.NoError(t, client.SaveContext(path, client.Context{Name: "a", Addresses: []string{"a:1"}, Token: "ta", CA: "ca"}, true))
	require.NoError(t, client.SaveContext(path, client.Context{Name: "b", Addresses: []string{"b:1"}, Token: "tb"}, false))
	for name, c := range map[string]struct {
		flag string
		env  []string
		want client.Context
	}{
		"current":               {"", nil, client.Context{Name: "a", Addresses: []string{"a:1"}, Token: "ta", CA: "ca"}},
		"variable":              {"", []string{"BATCHYARD_CONTEXT", "b"}, client.Context{Name: "b", Addresses: []string{"b:1"}, Token: "tb"}},
		"flag wins":             {"b", []string{"BATCHYARD_CONTEXT", "a", "BATCHYARD_ADDRESS", "c:1", "BATCHYARD_TOKEN", "x"}, client.Context{Name: "b", Addresses: []string{"b:1"}, Token: "tb"}},
		"address brings itself": {"", []string{"BATCHYARD_ADDRESS", "c:1,d:2"}, client.Context{Name: "BATCHYARD_ADDRESS", Addresses: []string{"c:1", "d:2"}}},
		"token and authority":   {"", []string{"BATCHYARD_TOKEN", "x", "BATCHYARD_CA", ca}, client.Context{Name: "a", Addresses: []string{"a:1"}, Token: "x", CA: "other authority"}},
	} {
		got, err := client.ResolveContext(environ(append(c.env, "BATCHYARD_CONFIG", path)...), c.flag)
		require.NoError(t, err, name)
		require.Equal(t, c.want, got, name)
	}
	_, err := client.ResolveContext(environ("BATCHYARD_CONFIG", path), "zz")
	require.ErrorContains(t, err, "known: a, b")
	_, err = client.ResolveContext(environ("BATCHYARD_CONFIG", filepath.Join(dir, "none")), "")
	require.ErrorIs(t, err, client.ErrNoContext)
	require.NoError(t, client.RemoveContext(path, "a"))
	_, err = client.ResolveContext(environ("BATCHYARD_CONFIG", path), "")
	require.ErrorContains(t, err, "context use")
}
