//go:build linux

package conformance_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/coordinator/azure/conformance"
)

var update = flag.Bool("update", false, "write docs/azure-compatibility.md instead of comparing it")

const top = "../../.."

// program is the real program, built once for all tests.
var program string

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "batchyard-program")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "batchyard")
	build := exec.Command("go", "build", "-o", program, "github.com/batchyard/batchyard/cmd/batchyard")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("build: %v\n%s", err, out))
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// TestOfficialClients drives a cluster of real processes with the official clients, side by side, and compares what they found with the page
// in docs: what worked must work.
func TestOfficialClients(t *testing.T) {
	clients := installed(t)
	account := startCluster(t)
	programs, err := filepath.Abs(".")
	require.NoError(t, err)
	found := make([][]conformance.Result, len(conformance.Clients()))
	t.Run("clients", func(t *testing.T) {
		for i, client := range conformance.Clients() {
			t.Run(client.Name, func(t *testing.T) {
				t.Parallel()
				var err error
				found[i], err = client.Run(t.Context(), clients, programs, account)
				require.NoError(t, err)
			})
		}
	})
	if t.Failed() {
		return
	}
	var results []conformance.Result
	for _, r := range found {
		results = append(results, r...)
	}
	table := conformance.Table(results)
	page := filepath.Join(top, "docs", "azure-compatibility.md")
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(table), 0o600))
		return
	}
	kept, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Equal(t, string(kept), table, "docs/azure-compatibility.md does not show this run: mend what got worse, then run make compatibility")
}

// installed is the directory with the clients, which are installed where they are missing and that is no fault of the set-up.
func installed(t *testing.T) string {
	dir, err := filepath.Abs(filepath.Join(top, ".cache", "clients"))
	require.NoError(t, err)
	for _, client := range conformance.Clients() {
		if client.Installed(dir) {
			continue
		}
		require.NotEqual(t, "true", os.Getenv("CI"), "%s is missing", client.Name)
		out, err := exec.Command(filepath.Join(top, "scripts", "test-clients")).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	return dir
}

// startCluster runs a cluster until the test ends; nothing of it may be left then.
func startCluster(t *testing.T) conformance.Account {
	dir := t.TempDir()
	said, err := os.Create(filepath.Join(dir, "dev.out"))
	require.NoError(t, err)
	defer said.Close()
	var log bytes.Buffer
	dev := exec.Command(program, "dev", "--data-dir", filepath.Join(dir, "farm"), "--any-ports", "--nodes", "0")
	dev.Env = append(os.Environ(), "BATCHYARD_CONFIG="+filepath.Join(dir, "contexts.yaml"))
	dev.Stdout, dev.Stderr = said, &log
	require.NoError(t, dev.Start())
	t.Cleanup(func() {
		_ = dev.Process.Signal(syscall.SIGTERM)
		_ = dev.Wait()
		if t.Failed() {
			const most = 20_000
			t.Logf("the end of the log of dev:\n%s", log.Bytes()[max(0, log.Len()-most):])
		}
		require.Empty(t, processes(t, dir), "nothing is left running")
	})
	require.Eventually(t, func() bool {
		b, _ := os.ReadFile(said.Name())
		return bytes.Contains(b, []byte("is ready"))
	}, time.Minute, 20*time.Millisecond, "the cluster is ready")

	upload := exec.Command(program, "app", "upload", "everything", "1", "clients", "--default", "--display-name", "an application")
	upload.Env = dev.Env
	uploaded, err := upload.CombinedOutput()
	require.NoError(t, err, "%s", uploaded)

	env := exec.Command(program, "account", "env")
	env.Env = dev.Env
	out, err := env.Output()
	require.NoError(t, err)
	var account conformance.Account
	for line := range strings.Lines(string(out)) {
		variable, ok := strings.CutPrefix(strings.TrimSpace(line), "export ")
		require.True(t, ok, "a shell assignment: %s", line)
		account = append(account, variable)
	}
	return account
}

// processes are the command lines of everything that works under dir.
func processes(t *testing.T, dir string) (out []string) {
	entries, err := os.ReadDir("/proc")
	require.NoError(t, err)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && bytes.Contains(b, []byte(dir)) {
			out = append(out, fmt.Sprintf("%s: %q", e.Name(), b))
		}
	}
	return out
}
