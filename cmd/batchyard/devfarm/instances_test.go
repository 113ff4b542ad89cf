//go:build linux

package devfarm_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/batchyard/batchyard/storage"
)

// gang is a farm with a pool "mpi" of three nodes for multi-instance tasks, and a job "j" on it.
func gang(t *testing.T) *farm {
	f := startFarm(t, "--nodes", "0")
	f.must("pool", "create", "mpi", "--nodes", "3", "--slots", "1", "--inter-node")
	f.must("job", "create", "j", "--pool", "mpi")
	require.Eventually(t, func() bool {
		out, code := f.run("node", "list", "mpi", "--filter", "state eq 'idle'", "-q")
		return code == 0 && len(strings.Fields(out)) == 3
	}, time.Minute, 20*time.Millisecond)
	return f
}

// script makes a program of shell commands and returns a command line that runs it.
func (f *farm) script(name, text string) string {
	path := f.write(name, "set -eu\ncd '"+f.dir+"'\n"+text)
	return "/bin/sh " + path
}

func (f *farm) lines(name string) []string {
	b, _ := os.ReadFile(filepath.Join(f.dir, name))
	return strings.Fields(string(b))
}

// eventually waits for what takes a while.
func (f *farm) eventually(what string, done func() bool) {
	f.t.Helper()
	require.Eventually(f.t, done, time.Minute, 20*time.Millisecond, what)
}

// running are those processes, of which a file has the numbers, that run.
func (f *farm) running(name string) (n int) {
	for _, text := range f.lines(name) {
		pid, err := strconv.Atoi(text)
		require.NoError(f.t, err)
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err == nil && syscall.Kill(pid, 0) == nil && !strings.Contains(string(stat), ") Z ") {
			n++
		}
	}
	return n
}

// leave has a node leave a process behind, beside the coordination command.
const leave = "sleep 1000 >/dev/null 2>&1 &\necho $! >> pids\n"

func TestInstancesOfATaskRunTogether(t *testing.T) {
	f := gang(t)
	bucket := f.connect("").bucket("")
	_, err := bucket.Put(t.Context(), "all/common.txt", strings.NewReader("for all"), 7, storage.PutOptions{})
	require.NoError(t, err)
	coordination := f.script("coordinate", `
test "$(cat $AZ_BATCH_TASK_SHARED_DIR/common.txt)" = "for all"
test ! -e "$AZ_BATCH_TASK_WORKING_DIR/own.txt"
echo "$AZ_BATCH_IS_CURRENT_NODE_MASTER" >> masters
echo "coordinated in $AZ_BATCH_TASK_DIR"
`+leave)
	command := f.script("solve", `
test "$(wc -l < masters)" = 3
test "$(cat $AZ_BATCH_TASK_WORKING_DIR/own.txt)" = "for all"
for pid in $(cat pids); do kill -0 $pid; done
echo "hosts $AZ_BATCH_HOST_LIST of $AZ_BATCH_NODE_LIST master $AZ_BATCH_MASTER_NODE"
`)
	f.must("task", "add", "j", "--id", "solve", "--instances", "3", "--coordination", coordination, "--common-input", "all/common.txt",
		"--input", "own.txt=all/common.txt", "--", command)
	out, code := f.run("job", "wait", "j")
	require.Zero(t, code, out+f.must("task", "show", "j", "solve"))
	require.Equal(t, "hosts 127.0.0.1,127.0.0.1,127.0.0.1 of 127.0.0.1;127.0.0.1;127.0.0.1 master 127.0.0.1:6000\n", f.must("task", "logs", "j", "solve"))
	require.ElementsMatch(t, []string{"true", "false", "false"}, f.lines("masters"))
	f.eventually("nothing of it is left", func() bool { return f.running("pids") == 0 })
	f.eventually("the subtasks are completed", func() bool {
		return strings.Count(f.must("task", "subtasks", "j", "solve"), "completed  success") == 2
	})

	admin := f.connect("")
	admin.keys, err = admin.accounts.GetAccountKeys(t.Context(), &apiv1.GetAccountKeysRequest{})
	require.NoError(t, err)
	status, body := admin.rest(http.MethodGet, "/jobs/j/tasks/solve/subtasksinfo")
	require.Equal(t, http.StatusOK, status)
	for _, part := range []string{`"id":1`, `"id":2`, `"state":"completed"`, `"exitCode":0`, `"result":"success"`, `"taskRootDirectory":"workitems/j/job-1/solve/2"`} {
		require.Contains(t, body, part)
	}
	require.NotContains(t, body, `"id":0`)
	f.must("task", "add", "j", "--id", "single", "--", "/bin/true")
	_, body = admin.rest(http.MethodGet, "/jobs/j/tasks/single/subtasksinfo")
	require.Contains(t, body, `"value":[]`)
}

func TestAFailureOfOneInstanceIsThatOfTheTask(t *testing.T) {
	f := gang(t)
	coordination := f.script("coordinate", leave+`
if [ "$AZ_BATCH_IS_CURRENT_NODE_MASTER" = false ] && mkdir chosen-$(date +%s%N) && [ ! -e failed ] && touch failed; then exit 3; fi
`)
	f.must("task", "add", "j", "--id", "once", "--retries", "1", "--instances", "3", "--coordination", coordination, "--", "/bin/true")
	_, code := f.run("job", "wait", "j")
	shown := f.must("task", "show", "j", "once", "-o", "json")
	require.Zero(t, code, shown)
	require.Contains(t, shown, `"retryCount": 1`)

	f.must("task", "add", "j", "--id", "never", "--instances", "2", "--coordination", f.script("bad", leave+"exit 5\n"), "--", "/bin/true")
	_, code = f.run("job", "wait", "j")
	require.NotZero(t, code)
	shown = f.must("task", "show", "j", "never", "-o", "json")
	require.Contains(t, shown, `"exitCode": 5`)
	require.Contains(t, shown, `"FailureExitCode"`)
	f.must("task", "add", "j", "--id", "absent", "--instances", "2", "--coordination", "/no/such/program", "--", "/bin/true")
	f.eventually("it has failed", func() bool {
		return strings.Contains(f.must("task", "show", "j", "absent", "-o", "json"), "CommandProgramNotFound")
	})
	f.eventually("nothing of them is left", func() bool { return f.running("pids") == 0 })
}

func TestTerminationEndsAllInstances(t *testing.T) {
	f := gang(t)
	coordination := f.script("coordinate", leave)
	command := f.script("wait", "echo $$ >> pids\nwhile :; do sleep 0.1; done\n")
	f.must("task", "add", "j", "--id", "long", "--instances", "3", "--coordination", coordination, "--", command)
	f.eventually("it runs", func() bool { return len(f.lines("pids")) == 4 })
	require.Equal(t, 4, f.running("pids"))
	f.must("task", "terminate", "j", "long")
	f.eventually("nothing of it is left", func() bool { return f.running("pids") == 0 })

	// The primary's command does not begin before the last coordination command has succeeded.
	held := f.script("held", leave+"until [ -e go ] || [ \"$AZ_BATCH_IS_CURRENT_NODE_MASTER\" = true ]; do sleep 0.1; done\n")
	f.must("task", "add", "j", "--id", "waits", "--instances", "3", "--coordination", held, "--", f.script("late", "test -e go\n"))
	f.eventually("they coordinate", func() bool { return len(f.lines("pids")) == 7 })
	require.Contains(t, f.must("task", "show", "j", "waits", "-o", "json"), `"running"`)
	f.write("go", "")
	f.eventually("it has succeeded", func() bool { return strings.Contains(f.must("task", "show", "j", "waits", "-o", "json"), `"success"`) })
}

func TestAMultiInstanceTaskSaysWhyItWaits(t *testing.T) {
	f := gang(t)
	f.must("task", "add", "j", "--id", "large", "--instances", "4", "--coordination", "/bin/true", "--", "/bin/true")
	require.Contains(t, f.must("task", "explain", "j", "large"),
		"The task can't run as things are: It runs on 4 nodes at once, and 3 of the pool mpi can be given tasks.")
	f.must("job", "create", "other", "--pool", "mpi")
	f.must("task", "add", "other", "--id", "busy", "--", f.script("busy", "touch begun\nuntil [ -e go ]; do sleep 0.1; done\n"))
	f.eventually("one node is busy, though a task waits that is too large", func() bool { _, err := os.Stat(f.dir + "/begun"); return err == nil })
	f.must("task", "delete", "j", "large")
	f.must("task", "add", "j", "--id", "gang", "--instances", "3", "--coordination", "/bin/true", "--", "/bin/true")
	f.must("task", "add", "other", "--id", "small", "--", "/bin/true")
	out := f.must("task", "explain", "j", "gang")
	require.Contains(t, out, "It runs on 3 nodes at once, and 2 of the 3 that can run it are idle.")
	require.Contains(t, out, "Nodes that become idle are kept for it.")
	require.Contains(t, f.must("task", "explain", "other", "small"), "Nodes that become idle are kept for a task of the job j, which runs on 3 at once.")
	// Without it, nothing is kept any more.
	f.must("task", "terminate", "j", "gang")
	f.eventually("the small task has run", func() bool {
		return strings.Contains(f.must("task", "show", "other", "small", "-o", "json"), `"success"`)
	})
	f.must("task", "add", "j", "--id", "again", "--instances", "3", "--coordination", "/bin/true", "--", "/bin/true")
	f.write("go", "")
	f.eventually("it runs as soon as the last node is idle", func() bool {
		return strings.Contains(f.must("task", "show", "j", "again", "-o", "json"), `"success"`)
	})
	out, code := f.run("job", "wait", "other")
	require.Zero(t, code, out)

	f.must("pool", "create", "apart", "--nodes", "1", "--slots", "1")
	f.must("job", "create", "lost", "--pool", "apart")
	f.must("task", "add", "lost", "--id", "t", "--instances", "1", "--coordination", "/bin/true", "--", "/bin/true")
	require.Contains(t, f.must("task", "explain", "lost", "t"), "the pool apart has no inter-node communication")
	out, code = f.run("task", "add", "lost", "--id", "u", "--slots", "2", "--instances", "1", "--coordination", "/bin/true", "--", "/bin/true")
	require.NotZero(t, code)
	require.Contains(t, out, "InvalidPropertyValue")
}
