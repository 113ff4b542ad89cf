//go:build linux

package devfarm_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const top = "../../.."

// quickstarts are the example programs: what runs them, where their client is installed and of what list, and the words of their code blocks in the page.
var quickstarts = map[string]struct{ command, program, client, list, block string }{
	"python":        {"bin/python", "quickstart-python/main.py", "quickstart-python", "examples/quickstart-python/requirements.txt", "python"},
	"python-track1": {"bin/python", "quickstart-python-track1/main.py", "quickstart-python-track1", "examples/quickstart-python-track1/requirements.txt", "python track1"},
	"javascript":    {"", "quickstart-javascript/main.mjs", "js10", "coordinator/azure/conformance/clients/js10.json", "js"},
}

// installedClient is where a client of the examples is installed; it is installed where it is missing, unless that is a fault of the set-up.
func installedClient(t *testing.T, name, list string) string {
	dir, err := filepath.Abs(filepath.Join(top, ".cache", "clients", name))
	require.NoError(t, err)
	want, err := os.ReadFile(filepath.Join(top, list))
	require.NoError(t, err)
	if got, err := os.ReadFile(filepath.Join(dir, "installed")); err == nil && string(got) == string(want) {
		return dir
	}
	require.NotEqual(t, "true", os.Getenv("CI"), "%s is missing", name)
	out, err := exec.Command(filepath.Join(top, "scripts", "test-clients")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return dir
}

// quickstart runs a program as the page in docs says: with the variables that account env prints.
func (f *farm) quickstart(dir string, command ...string) string {
	cmd := exec.CommandContext(f.t.Context(), "sh", append([]string{"-c", `eval "$("$0" account env)" && exec "$@"`, program}, command...)...)
	cmd.Env, cmd.Dir = append(f.env(), "PYTHONDONTWRITEBYTECODE=1"), dir
	out, err := cmd.CombinedOutput()
	require.NoError(f.t, err, "%s", out)
	return string(out)
}

func TestQuickstarts(t *testing.T) {
	f := startFarm(t, "--nodes", "0")
	for name, q := range quickstarts {
		client := installedClient(t, q.client, q.list)
		dir := t.TempDir()
		text, err := os.ReadFile(filepath.Join(top, "examples", q.program))
		require.NoError(t, err)
		main := filepath.Base(q.program)
		require.NoError(t, os.WriteFile(filepath.Join(dir, main), text, 0o600))
		if q.command == "" { // modules are looked for beside the program
			require.NoError(t, os.Symlink(filepath.Join(client, "node_modules"), filepath.Join(dir, "node_modules")))
			out := f.quickstart(dir, "node", main)
			for _, task := range []string{"task0", "task1", "task2"} {
				require.Contains(t, out, task+": hello from "+task+"\n", name)
			}
			continue
		}
		out := f.quickstart(dir, filepath.Join(client, q.command), main)
		for _, line := range []string{"Batch processing number 0\n", "Batch processing number 1\n", "Batch processing number 2\n"} {
			require.Contains(t, out, line, name)
		}
	}
	left, code := f.run("job", "list", "-q")
	require.Zero(t, code)
	require.NotContains(t, strings.ToLower(left), "quickstart", "the programs clean up")
}

// TestQuickstartPackages keeps the examples' clients those that the conformance tests use.
func TestQuickstartPackages(t *testing.T) {
	for example, client := range map[string]string{
		"quickstart-javascript/package.json": "js10.json", "quickstart-python/requirements.txt": "python15.txt",
		"quickstart-python-track1/requirements.txt": "python14.txt",
	} {
		got, err := os.ReadFile(filepath.Join(top, "examples", example))
		require.NoError(t, err)
		want, err := os.ReadFile(filepath.Join(top, "coordinator", "azure", "conformance", "clients", client))
		require.NoError(t, err)
		require.Contains(t, string(got), strings.TrimSpace(string(want)))
	}
}

// TestMigrationPage keeps the page's lines those of the programs.
func TestMigrationPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(top, "docs", "migrating-from-azure-batch.md"))
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?ms)^```([a-z0-9 ]+)\n(.*?)^```$").FindAllStringSubmatch(string(page), -1)
	for name, q := range quickstarts {
		text, err := os.ReadFile(filepath.Join(top, "examples", q.program))
		require.NoError(t, err)
		found := 0
		for _, block := range blocks {
			if block[1] != q.block {
				continue
			}
			found++
			for line := range strings.Lines(block[2]) {
				require.Contains(t, string(text), line, name)
			}
		}
		require.NotZero(t, found, name)
	}
}
