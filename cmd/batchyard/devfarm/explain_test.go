//go:build linux

package devfarm_test

import (
	"io"
	"net/http"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/client"
)

// Why a task waits, as people and programs ask it of a real farm.
func TestATaskSaysWhyItWaits(t *testing.T) {
	f := startFarm(t, "--nodes", "1", "--slots", "2")
	f.must("job", "create", "nowhere", "--pool", "none")
	f.must("task", "add", "nowhere", "--id", "t", "--", "/bin/true")
	require.Contains(t, f.must("task", "explain", "nowhere", "t"), "The task can't run as things are: The pool none does not exist.")

	f.must("job", "create", "work", "--pool", "default")
	f.must("task", "add", "work", "--id", "large", "--slots", "3", "--", "/bin/true")
	require.Contains(t, f.must("task", "explain", "work", "large"), "It needs 3 slots, and the nodes of the pool default have 2.")
	out, code := f.run("task", "explain", "work", "nothing")
	require.NotZero(t, code)
	require.Contains(t, out, "TaskNotFound")

	contexts, err := client.LoadContexts(f.dir + "/contexts.yaml")
	require.NoError(t, err)
	own := contexts.Contexts[0]
	for _, path := range []string{"/jobs/work/tasks/large", "/jobs/work/tasks"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, own.HTTPS+path+"?api-version=2025-06-01&$expand=explain", http.NoBody)
		require.NoError(t, err)
		request.Header.Set("Authorization", "Bearer "+own.Token)
		answer, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		text, err := io.ReadAll(answer.Body)
		require.NoError(t, answer.Body.Close())
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, answer.StatusCode, string(text))
		require.Contains(t, string(text), `"explain":{"summary":"The task can't run as things are: It needs 3 slots`)
		require.Contains(t, string(text), `"never":true`)
	}
}

// Failures are counted by what they are, and run again together.
func TestFailuresAreCountedAndRetried(t *testing.T) {
	f := startFarm(t, "--nodes", "1", "--slots", "4")
	f.must("job", "create", "work", "--pool", "default")
	// It fails until the file is there.
	gate := f.dir + "/gate"
	for _, id := range []string{"a", "b", "c"} {
		f.must("task", "add", "work", "--id", id, "--", "/bin/sh", "-c", "test -e "+gate+" || exit 7")
	}
	f.must("task", "add", "work", "--id", "d", "--", "/no/such/program")
	f.must("task", "add", "work", "--id", "good", "--", "/bin/true")
	_, code := f.run("job", "wait", "work")
	require.NotZero(t, code)
	groups := f.must("task", "list", "work", "--failed", "--group")
	require.Regexp(t, `(?m)^ +3  FailureExitCode +7 `, groups)
	require.Regexp(t, `(?m)^ +1  CommandProgramNotFound `, groups)
	require.Contains(t, f.must("task", "list", "work", "--failed", "--group", "-o", "json"), `"tasks"`)

	require.NoError(t, os.WriteFile(gate, nil, 0o644))
	require.Contains(t, f.must("task", "retry", "work", "--exit-code", "7"), "3 tasks of job work run again")
	_, _ = f.run("job", "wait", "work")
	require.NotContains(t, f.must("task", "list", "work", "--failed", "--group"), "FailureExitCode")
	require.Contains(t, f.must("task", "retry", "work", "--code", "BlobNotFound"), "0 tasks of job work run again")
	require.Contains(t, f.must("task", "retry", "work", "--ids", "1-5,77"), "0 tasks of job work run again")
	require.Contains(t, f.must("task", "list", "work", "--failed", "--group", "--filter", "id eq 'd'"), "CommandProgramNotFound")
	require.Contains(t, f.must("task", "retry", "work"), "1 task of job work run again")
	_, _ = f.run("job", "wait", "work")
	require.Contains(t, f.must("task", "delete", "work", "--failed"), "1 task of job work deleted")
	require.Contains(t, f.must("task", "terminate", "work", "--all"), "0 tasks of job work terminated")
	out, code := f.run("task", "retry", "work", "--ids", "5-1")
	require.NotZero(t, code)
	require.Contains(t, out, "expected a number")
}

func (f *farm) must(args ...string) string {
	f.t.Helper()
	out, code := f.run(args...)
	require.Zero(f.t, code, out)
	return out
}
