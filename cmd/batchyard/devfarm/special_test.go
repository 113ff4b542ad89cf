//go:build linux

package devfarm_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ok runs a command that must succeed.
func (f *farm) ok(args ...string) string {
	f.t.Helper()
	out, code := f.run(args...)
	require.Zero(f.t, code, "%s\n%s", strings.Join(args, " "), out)
	return out
}

// shown is what a command prints as JSON.
func (f *farm) shown(into any, args ...string) {
	f.t.Helper()
	out := f.ok(append(args, "-o", "json")...)
	require.NoError(f.t, json.Unmarshal([]byte(out), into), out)
}

type shownNode struct {
	ID            string
	State         string
	StartTaskInfo *struct {
		State, Result string
		ExitCode      *int
		RetryCount    int
		FailureInfo   *failure
	}
}

func (f *farm) node(pool string) (n shownNode) {
	f.t.Helper()
	var all []shownNode
	f.shown(&all, "node", "list", pool)
	require.Len(f.t, all, 1)
	return all[0]
}

// until waits for the pool's only node to come into a state.
func (f *farm) until(pool, state string) (n shownNode) {
	f.t.Helper()
	require.Eventually(f.t, func() bool {
		n = f.node(pool)
		return n.State == state
	}, time.Minute, 100*time.Millisecond, "%s: %+v", state, &n)
	return n
}

func lines(path string) []string {
	b, _ := os.ReadFile(path)
	return strings.Fields(string(b))
}

// A start task is retried, keeps tasks away until it has succeeded, and runs again after a reboot and after a reimage.
func TestStartTask(t *testing.T) {
	f := startFarm(t)
	trace := filepath.Join(f.dir, "trace")
	file := f.write("pool.yaml", fmt.Sprintf(`
id: special
targetDedicatedNodes: 1
vmSize: any
startTask:
  commandLine: "/bin/sh -c 'echo start >> %s; echo $AZ_BATCH_TASK_WORKING_DIR $GREETING ${AZ_BATCH_JOB_ID-nojob}; echo kept > $AZ_BATCH_NODE_SHARED_DIR/kept; [ $(wc -l < %s) -ge 2 ]'"
  environmentSettings: [{name: GREETING, value: hello}]
  maxTaskRetryCount: 1
`, trace, trace))
	f.ok("pool", "create", "-f", file)
	n := f.until("special", "idle")
	require.Equal(t, []string{"start", "start"}, lines(trace))
	require.Equal(t, "success", n.StartTaskInfo.Result)
	require.Equal(t, 1, n.StartTaskInfo.RetryCount)
	out := f.ok("node", "files", "special", n.ID, "startup/stdout.txt")
	require.Contains(t, out, "startup/wd hello nojob")

	out = f.ok("run", "--pool", "special", "--", "sh", "-c", "echo task >> "+trace+"; cat $AZ_BATCH_NODE_SHARED_DIR/kept; touch $AZ_BATCH_NODE_SHARED_DIR/mine")
	require.Contains(t, out, "kept")
	f.ok("node", "reboot", "special", n.ID)
	require.Eventually(t, func() bool { return len(lines(trace)) == 4 }, time.Minute, 50*time.Millisecond)
	f.until("special", "idle")
	f.ok("run", "--pool", "special", "--", "sh", "-c", "test -e $AZ_BATCH_NODE_SHARED_DIR/mine")
	f.ok("node", "reimage", "special", n.ID)
	require.Eventually(t, func() bool { return len(lines(trace)) == 5 }, time.Minute, 50*time.Millisecond)
	f.until("special", "idle")
	f.ok("run", "--pool", "special", "--", "sh", "-c", "test ! -e $AZ_BATCH_NODE_SHARED_DIR/mine")

	f.ok("pool", "create", "-f", f.write("bad.yaml", "{id: bad, targetDedicatedNodes: 1, vmSize: any, startTask: {commandLine: \"sh -c 'exit 3'\"}}"))
	n = f.until("bad", "starttaskfailed")
	require.Equal(t, 3, *n.StartTaskInfo.ExitCode)
	require.Equal(t, "FailureExitCode", n.StartTaskInfo.FailureInfo.Code)
	f.ok("node", "deallocate", "bad", n.ID)
	f.until("bad", "deallocated")
	f.ok("node", "start", "bad", n.ID)
	f.until("bad", "starttaskfailed")
}

// The preparation task runs once on a node before the job's tasks, the release task when the job ends.
func TestPreparationAndRelease(t *testing.T) {
	f := startFarm(t, "--slots", "4")
	trace := filepath.Join(f.dir, "trace")
	file := f.write("job.yaml", fmt.Sprintf(`
job:
  id: prepared
  poolInfo: {poolId: default}
  jobPreparationTask: {commandLine: "/bin/sh -c 'sleep 0.3; echo data > data; echo prepare >> %s'"}
  jobReleaseTask: {commandLine: "/bin/sh -c 'cat $AZ_BATCH_JOB_PREP_WORKING_DIR/data && echo release >> %s'"}
  onAllTasksComplete: terminatejob
tasks:
  - id: "t{{n}}"
    commandLine: "/bin/sh -c 'grep -q data $AZ_BATCH_JOB_PREP_WORKING_DIR/data && echo task >> %s'"
    sweep: {n: {first: 1, last: 6}}
`, trace, trace, trace))
	f.ok("submit", file, "--wait")
	require.Eventually(t, func() bool { return len(lines(trace)) == 8 }, time.Minute, 50*time.Millisecond)
	got := lines(trace)
	require.Equal(t, "prepare", got[0])
	require.Equal(t, "release", got[7])
	out := f.ok("job", "nodes", "prepared")
	require.Contains(t, out, "completed")
	out, code := f.run("task", "add", "prepared", "--id", "jobpreparation", "--", "true")
	require.NotZero(t, code, out)

	f.ok("submit", f.write("barred.yaml", `
job: {id: barred, poolInfo: {poolId: default}, jobPreparationTask: {id: no, commandLine: "sh -c 'exit 1'"}}
tasks: [{id: never, commandLine: "true"}]
`))
	require.Eventually(t, func() bool { return strings.Contains(f.ok("job", "nodes", "barred"), "exit code 1") }, time.Minute, 50*time.Millisecond)
	var task struct{ State string }
	f.shown(&task, "task", "show", "barred", "never")
	require.Equal(t, "active", task.State)
	f.stillWorks()
	out, _ = f.run("task", "add", "barred", "--id", "NO", "--", "true")
	require.Contains(t, out, "TaskIdSameAsJobPreparationTask")
}

// The manager task adds the job's tasks through the REST API with the token that it is given, which reaches nothing else.
func TestManagerTask(t *testing.T) {
	f := startFarm(t)
	f.ok("job", "create", "other", "--pool", "default")
	script := f.write("manager.sh", `set -e
call() { curl -sk -o /dev/null -w '%{http_code}\n' -H "Authorization: Bearer $AZ_BATCH_AUTHENTICATION_TOKEN" -H "Content-Type: application/json; odata=minimalmetadata" "$@"; }
v='?api-version=2022-10-01.16.0'
call -X POST -d '{"id":"child","commandLine":"echo child"}' "$AZ_BATCH_ACCOUNT_URL/jobs/$AZ_BATCH_JOB_ID/tasks$v"
call "$AZ_BATCH_ACCOUNT_URL/jobs/$AZ_BATCH_JOB_ID$v"
call "$AZ_BATCH_ACCOUNT_URL/jobs/other$v"
call "$AZ_BATCH_ACCOUNT_URL/pools$v"
call -X DELETE "$AZ_BATCH_ACCOUNT_URL/jobs/$AZ_BATCH_JOB_ID$v"
call -X POST -d '{"id":"child","commandLine":"echo child"}' "$AZ_BATCH_ACCOUNT_URL/jobs/other/tasks$v"
`)
	f.ok("submit", f.write("job.yaml", `
job:
  id: managed
  poolInfo: {poolId: default}
  jobManagerTask: {id: manager, commandLine: "/bin/sh `+script+`", killJobOnCompletion: false, authenticationTokenSettings: {access: [job]}}
`))
	require.Eventually(t, func() bool {
		var tasks []struct{ ID, State string }
		f.shown(&tasks, "task", "list", "managed")
		return len(tasks) == 2 && tasks[0].State == "completed" && tasks[1].State == "completed"
	}, time.Minute, 50*time.Millisecond)
	out := f.ok("task", "logs", "managed", "manager")
	require.Equal(t, []string{"201", "200", "403", "403", "403", "403"}, strings.Fields(out))

	f.ok("submit", f.write("kill.yaml", `
job: {id: killed, poolInfo: {poolId: default}, jobManagerTask: {id: manager, commandLine: "sh -c 'while [ ! -e `+filepath.Join(f.dir, "go")+` ]; do sleep 0.05; done'"}}
tasks: [{id: waits, commandLine: "true"}]
`))
	require.NoError(t, os.WriteFile(filepath.Join(f.dir, "go"), nil, 0o600))
	var job struct {
		State         string
		ExecutionInfo struct{ TerminateReason string }
	}
	require.Eventually(t, func() bool {
		f.shown(&job, "job", "show", "killed")
		return job.State == "completed"
	}, time.Minute, 50*time.Millisecond)
	require.Equal(t, "JMComplete", job.ExecutionInfo.TerminateReason)
}
