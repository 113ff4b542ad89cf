//go:build linux

package devfarm_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const top = "../../.."

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
	python := installedClient(t, "quickstart-python", "examples/quickstart-python/requirements.txt")
	js := installedClient(t, "js10", "coordinator/azure/conformance/clients/js10.json")
	f := startFarm(t, "--nodes", "0")

	main, err := filepath.Abs(filepath.Join(top, "examples", "quickstart-python", "main.py"))
	require.NoError(t, err)
	out := f.quickstart(f.dir, filepath.Join(python, "bin", "python"), main)
	for _, line := range []string{"Batch processing number 0\n", "Batch processing number 1\n", "Batch processing number 2\n"} {
		require.Contains(t, out, line)
	}

	// Modules are looked for beside the program.
	dir := t.TempDir()
	text, err := os.ReadFile(filepath.Join(top, "examples", "quickstart-javascript", "main.mjs"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.mjs"), text, 0o600))
	require.NoError(t, os.Symlink(filepath.Join(js, "node_modules"), filepath.Join(dir, "node_modules")))
	out = f.quickstart(dir, "node", "main.mjs")
	for _, task := range []string{"task0", "task1", "task2"} {
		require.Contains(t, out, task+": hello from "+task+"\n")
	}
	left, code := f.run("job", "list", "-q")
	require.Zero(t, code)
	require.NotContains(t, strings.ToLower(left), "quickstart", "the programs clean up")
}

// TestQuickstartPackages keeps the example's client the one that the conformance tests use.
func TestQuickstartPackages(t *testing.T) {
	for example, client := range map[string]string{"quickstart-javascript/package.json": "js10.json", "quickstart-python/requirements.txt": "python15.txt"} {
		got, err := os.ReadFile(filepath.Join(top, "examples", example))
		require.NoError(t, err)
		want, err := os.ReadFile(filepath.Join(top, "coordinator", "azure", "conformance", "clients", client))
		require.NoError(t, err)
		require.Contains(t, string(got), strings.TrimSpace(string(want)))
	}
}
