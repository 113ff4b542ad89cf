package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/client"
	"github.com/batchyard/batchyard/internal/client/clienttest"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/batchyard/batchyard/storage"
	"github.com/batchyard/batchyard/storage/file"
)

var testNow = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// lab runs whole commands against a farm in memory.
type lab struct {
	t      *testing.T
	farm   *farm
	server *clienttest.Server
	dir    string // of the store
	env    map[string]string
	stdin  string
	tty    bool
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, farm: newFarm(), dir: t.TempDir(), env: map[string]string{}}
	authority := clienttest.NewAuthority(t)
	l.server = authority.Serve(t, "", l.farm.register)
	path := filepath.Join(t.TempDir(), "contexts.yaml")
	require.NoError(t, client.SaveContext(path, client.Context{
		Name: "dev", Addresses: []string{l.server.Address}, CA: string(authority.PEM), Account: "dev", Token: "secret", HTTPS: "https://127.0.0.1:7443",
	}, true))
	l.env[client.EnvConfig] = path
	return l
}

// result is what a command printed and its exit code.
type result struct {
	out, err string
	code     int
}

// safeBuffer may be written by several goroutines.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (l *lab) runIn(ctx context.Context, args ...string) result {
	l.t.Helper()
	var out, errOut safeBuffer
	f := &factory{
		in: strings.NewReader(l.stdin), out: &out, errOut: &errOut, outTTY: l.tty,
		getenv: func(name string) string { return l.env[name] },
		now:    func() time.Time { return testNow }, version: "test", pollInterval: time.Millisecond,
		openStore: func(*apiv1.StoreAccess) (storage.Store, error) {
			store, err := file.Open(l.dir)
			if err != nil {
				return nil, err
			}
			l.t.Cleanup(func() { _ = store.Close() })
			return store, nil
		},
	}
	code := execute(ctx, f, args)
	return result{out.String(), errOut.String(), code}
}

func (l *lab) run(args ...string) result {
	l.t.Helper()
	return l.runIn(l.t.Context(), args...)
}

// ok runs a command that has to succeed and returns what it printed.
func (l *lab) ok(args ...string) string {
	l.t.Helper()
	r := l.run(args...)
	require.Zero(l.t, r.code, "%v: %s", args, r.err)
	return r.out
}

// fails runs a command that has to end with an exit code and returns its error text.
func (l *lab) fails(code int, args ...string) string {
	l.t.Helper()
	r := l.run(args...)
	require.Equal(l.t, code, r.code, "%v: %s%s", args, r.out, r.err)
	return r.err
}

func (l *lab) file(name, content string) string {
	l.t.Helper()
	path := filepath.Join(l.t.TempDir(), name)
	require.NoError(l.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(l.t, os.WriteFile(path, []byte(content), 0o644))
	return path
}
