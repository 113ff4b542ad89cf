//go:build linux

package devfarm_test

import (
	"archive/zip"
	"encoding/json"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/batcherr"
)

// failure is what a task's record says of its end.
type failure struct {
	Category, Code, Message string
	Details                 []struct{ Name, Value string }
}

// failureOf reads it as programs do.
func (f *farm) failureOf(job, task string) *failure {
	out, code := f.run("task", "show", job, task, "-o", "json")
	require.Zero(f.t, code, out)
	var shown struct {
		State         string
		ExecutionInfo struct {
			Result      string
			FailureInfo *failure
		}
	}
	require.NoError(f.t, json.Unmarshal([]byte(out), &shown), out)
	require.Equal(f.t, "completed", shown.State)
	if shown.ExecutionInfo.FailureInfo != nil {
		require.Equal(f.t, "failure", shown.ExecutionInfo.Result)
	}
	return shown.ExecutionInfo.FailureInfo
}

// stillWorks says that the node goes on as if nothing had been.
func (f *farm) stillWorks() {
	f.t.Helper()
	out, code := f.run("run", "--", "echo", "still works")
	require.Zero(f.t, code, out)
	require.Contains(f.t, out, "still works")
}

// What is wrong with a request is refused before anything is made of it, by the code that the API documents.
func TestBadRequestsAreRefused(t *testing.T) {
	f := startFarm(t)
	for _, args := range [][]string{
		{"job", "create", "here", "--pool", "default"}, {"task", "add", "here", "--id", "one", "--", "true"}, {"job", "create", "waits", "--pool", "nowhere"},
	} {
		out, code := f.run(args...)
		require.Zero(t, code, out)
	}
	task := func(text string) string { return f.write("task.yaml", text) }
	long := strings.Repeat("x", 65)
	for _, c := range []struct {
		code string
		exit int
		args []string
	}{
		{batcherr.CodeInvalidPropertyValue, batcherr.ExitInvalid, []string{"pool", "create", long}},
		{batcherr.CodeInvalidPropertyValue, batcherr.ExitInvalid, []string{"pool", "create", "a b"}},
		{batcherr.CodeInvalidPropertyValue, batcherr.ExitInvalid, []string{"job", "create", long, "--pool", "default"}},
		{batcherr.CodeInvalidPropertyValue, batcherr.ExitInvalid, []string{"job", "create", "ä", "--pool", "default"}},
		{batcherr.CodeInvalidPropertyValue, batcherr.ExitInvalid, []string{"task", "add", "here", "--id", long, "--", "true"}},
		{batcherr.CodeInvalidPropertyValue, batcherr.ExitInvalid, []string{"task", "add", "here", "--id", "../x", "--", "true"}},
		{batcherr.CodePoolNotFound, batcherr.ExitNotFound, []string{"pool", "show", "nowhere"}},
		{batcherr.CodePoolNotFound, batcherr.ExitNotFound, []string{"pool", "resize", "nowhere", "--nodes", "1"}},
		{batcherr.CodePoolNotFound, batcherr.ExitNotFound, []string{"run", "--pool", "nowhere", "--", "true"}},
		{batcherr.CodePoolExists, batcherr.ExitConflict, []string{"pool", "create", "DEFAULT"}},
		{batcherr.CodeJobExists, batcherr.ExitConflict, []string{"job", "create", "Here", "--pool", "default"}},
		{batcherr.CodeTaskExists, batcherr.ExitConflict, []string{"task", "add", "here", "--id", "ONE", "--", "true"}},
		{batcherr.CodeInvalidPropertyValue, batcherr.ExitInvalid, []string{"pool", "create", "few", "--nodes", "-1"}},
		{batcherr.CodeInvalidPropertyValue, batcherr.ExitInvalid, []string{"pool", "create", "few", "--slots", "-1"}},
		{batcherr.CodeInvalidPropertyValue, batcherr.ExitInvalid, []string{"task", "add", "here", "--id", "t", "--slots", "-1", "--", "true"}},
		{batcherr.CodeInvalidPropertyValue, batcherr.ExitInvalid, []string{"task", "add", "here", "--id", "t", "--retries", "-2", "--", "true"}},
		{batcherr.CodeOutOfRangePriority, batcherr.ExitInvalid, []string{"job", "create", "high", "--pool", "default", "--priority", "-1001"}},
		{batcherr.CodeMissingRequiredProperty, batcherr.ExitInvalid, []string{"task", "add", "here", "--file", task("id: t\ncommandLine: ''\n")}},
		{batcherr.CodeInvalidPropertyValue, batcherr.ExitInvalid, []string{"task", "add", "here", "--id", "t", "--", "  "}},
		{batcherr.CodeInvalidPropertyValue, batcherr.ExitInvalid, []string{"task", "add", "here", "--id", "t", "--input", "../up=https://example.org/x", "--", "true"}},
		{batcherr.CodeInvalidPropertyValue, batcherr.ExitInvalid, []string{"task", "add", "here", "--id", "t", "--input", "/etc/passwd=https://example.org/x", "--", "true"}},
	} {
		out, code := f.run(c.args...)
		require.Equal(t, c.exit, code, "%v: %s", c.args, out)
		require.Contains(t, out, "("+c.code+")", "%v", c.args)
	}
	out, code := f.run("job", "list", "-o", "json")
	require.Zero(t, code)
	for _, none := range []string{long, `"high"`, `"ä"`, `"run-`} {
		require.NotContains(t, out, none)
	}
	out, code = f.run("task", "list", "here", "--quiet")
	require.Zero(t, code)
	require.Equal(t, "one\n", out)
	f.stillWorks()
}

// What only the node finds out ends the task with the code that says what is wrong; people and programs read it, and the node's next task works.
func TestTroubleOnTheNodeIsNamed(t *testing.T) {
	f := startFarm(t)
	out, code := f.run("run", "--", "printenv", "AZ_BATCH_NODE_ROOT_DIR")
	require.Zero(t, code, out)
	root := strings.TrimSpace(out)
	require.True(t, filepath.IsAbs(root), root)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/forbidden":
			http.Error(w, "no", http.StatusForbidden)
		case "/huge":
			w.Header().Set("Content-Length", "1125899906842624") // 1 PiB
		default:
			http.NotFound(w, r)
		}
	}))
	defer web.Close()
	require.NoError(t, os.WriteFile(filepath.Join(root, "workitems", "no-directory"), nil, 0o600))
	for name, entries := range hostilePackages() {
		out, code := f.run("app", "upload", name, "1", f.archive(name, entries), "--default")
		require.Zero(t, code, out)
	}
	const user, server = "usererror", "servererror"
	for i, c := range []struct {
		name, code, category, says string
		exit                       int
		args                       []string
	}{
		{"no-program", batcherr.CodeCommandProgramNotFound, user, "/no/such/program", 125, []string{"--", "/no/such/program"}},
		{"not-in-path", batcherr.CodeCommandProgramNotFound, user, "no-such-program", 125, []string{"--", "no-such-program"}},
		{"no-permission", batcherr.CodeCommandLaunchFailed, user, "/etc/passwd", 125, []string{"--", "/etc/passwd"}},
		{"bad-quotes", batcherr.CodeCommandLaunchFailed, user, "", 125, []string{"--", `echo "unbalanced`}},
		{"no-directory", batcherr.CodeResourceDirectoryCreateFailed, server, "", 125, []string{"--", "true"}},
		{"missing-url", batcherr.CodeBlobNotFound, user, web.URL + "/missing", 125, []string{"--input", "in=" + web.URL + "/missing", "--", "true"}},
		{"missing-key", batcherr.CodeBlobNotFound, user, "no/such/key", 125, []string{"--input", "in=no/such/key", "--", "true"}},
		{"missing-bucket", batcherr.CodeBlobNotFound, user, "s3://no-such-bucket/x", 125, []string{"--input", "in=s3://no-such-bucket/x", "--", "true"}},
		{"forbidden", batcherr.CodeBlobAccessDenied, user, web.URL + "/forbidden", 125, []string{"--input", "in=" + web.URL + "/forbidden", "--", "true"}},
		{"huge", batcherr.CodeDiskFull, server, "BytesNeeded", 125, []string{"--input", "in=" + web.URL + "/huge", "--", "true"}},
		{"absolute", batcherr.CodeApplicationPackageError, user, "is absolute", 125, []string{"--app", "absolute", "--", "true"}},
		{"outside", batcherr.CodeApplicationPackageError, user, "..", 125, []string{"--app", "outside", "--", "true"}},
		{"link", batcherr.CodeApplicationPackageError, user, "is a symbolic link", 125, []string{"--app", "link", "--", "true"}},
		{"bomb", batcherr.CodeApplicationPackageError, user, "times its packed size", 125, []string{"--app", "bomb", "--", "true"}},
		{"no-package", batcherr.CodeApplicationPackageError, user, "no-such-app", 125, []string{"--app", "no-such-app:1", "--", "true"}},
		{"no-container", batcherr.CodeFileUploadContainerNotFound, user, "no-such-bucket", 1, []string{"--upload", "../stdout.txt=s3://no-such-bucket/", "--", "echo", "x"}},
		{"nothing-matches", "", "", "", 0, []string{"--upload", "*.none=results/", "--", "true"}},
	} {
		out, code := f.run(append([]string{"run", "--keep", "--job", c.name}, c.args...)...)
		require.Equal(t, c.exit, code, "%s: %s", c.name, out)
		info := f.failureOf(c.name, "run")
		if c.code == "" {
			require.Nil(t, info, c.name)
			continue
		}
		require.NotNil(t, info, c.name)
		require.Equal(t, c.code, info.Code, "%s: %+v", c.name, info)
		require.Equal(t, c.category, info.Category, "%s: %+v", c.name, info)
		require.Contains(t, out, "("+c.code+")", c.name)
		require.Contains(t, out, c.says, c.name)
		out, code = f.run("task", "show", c.name, "run")
		require.Zero(t, code)
		require.Contains(t, out, c.code)
		require.Contains(t, out, c.says, c.name)
		if i%4 == 0 {
			f.stillWorks()
		}
	}
	f.stillWorks()
	require.NoFileExists(t, "/batchyard-hostile")
	require.NoFileExists(t, filepath.Join(root, "applications", "batchyard-hostile"))
	for name := range hostilePackages() {
		require.NoDirExists(t, filepath.Join(root, "applications", name, "1"), "no package is there in part")
	}
	entries, err := os.ReadDir(filepath.Join(root, "applications", ".unfinished"))
	require.NoError(t, err)
	require.Empty(t, entries)
}

// A deleted job takes its directory on the node along, and its tasks' files with it.
func TestADeletedJobLeavesNothingOnTheNode(t *testing.T) {
	f := startFarm(t)
	out, code := f.run("run", "--keep", "--job", "gone", "--", "printenv", "AZ_BATCH_TASK_DIR")
	require.Zero(t, code, out)
	dir := strings.TrimSpace(out)
	require.FileExists(t, filepath.Join(dir, "stdout.txt"))
	out, code = f.run("job", "delete", "gone")
	require.Zero(t, code, out)
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Dir(filepath.Dir(dir)))
		return os.IsNotExist(err)
	}, 30*time.Second, 10*time.Millisecond)
	f.stillWorks()
}

// entry is one of an archive that somebody has made to do harm.
type entry struct {
	name string
	mode fs.FileMode
	text string
}

func hostilePackages() map[string][]entry {
	return map[string][]entry{
		"absolute": {{"/batchyard-hostile", 0o644, "x"}},
		"outside":  {{"../../batchyard-hostile", 0o644, "x"}},
		"link":     {{"way-out", fs.ModeSymlink | 0o777, "/"}, {"way-out/batchyard-hostile", 0o644, "x"}},
		"bomb":     {{"zeros", 0o644, strings.Repeat("\x00", 64<<20)}},
	}
}

func (f *farm) archive(name string, entries []entry) string {
	path := filepath.Join(f.dir, name+".zip")
	out, err := os.Create(path)
	require.NoError(f.t, err)
	w := zip.NewWriter(out)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		h.SetMode(e.mode)
		to, err := w.CreateHeader(h)
		require.NoError(f.t, err)
		_, err = to.Write([]byte(e.text))
		require.NoError(f.t, err)
	}
	require.NoError(f.t, w.Close())
	require.NoError(f.t, out.Close())
	return path
}
