//go:build linux

package devfarm_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// livingTask is what programs see of a task's life.
type livingTask struct {
	ID            string
	State         string
	PreviousState string
	ExecutionInfo struct {
		ExitCode                 *int
		RetryCount, RequeueCount int
		Result                   string
		FailureInfo              *failure
	}
}

func (f *farm) living(job, task string) (t livingTask) {
	f.t.Helper()
	f.shown(&t, "task", "show", job, task)
	return t
}

// becomes waits until a task is in a state.
func (f *farm) becomes(job, task, state string) (t livingTask) {
	f.t.Helper()
	require.Eventually(f.t, func() bool {
		t = f.living(job, task)
		return t.State == state
	}, time.Minute, 30*time.Millisecond, "%s %s becomes %s: %+v", job, task, state, &t)
	return t
}

// The rules of the life of a task, each met by a task of its own.
func TestLivesOfTasks(t *testing.T) {
	f := startFarm(t, "--nodes", "1", "--slots", "8")
	trace, gate := filepath.Join(f.dir, "trace"), filepath.Join(f.dir, "gate")
	f.ok("submit", f.write("job.yaml", fmt.Sprintf(`
job: {id: work, usesTaskDependencies: true, constraints: {maxTaskRetryCount: 1}, poolInfo: {poolId: default}}
tasks:
  - {id: job-retries, commandLine: "/bin/sh -c 'echo job-retries >> %[1]s; exit 3'"}
  - {id: own-retries, commandLine: "/bin/sh -c 'echo own-retries >> %[1]s; exit 4'", constraints: {maxTaskRetryCount: 2}}
  - {id: no-limit, commandLine: "/bin/sh -c 'echo no-limit >> %[1]s; test -e %[2]s'", constraints: {maxTaskRetryCount: -1}}
  - {id: too-long, commandLine: "/bin/sleep 600", constraints: {maxWallClockTime: PT0.3S, maxTaskRetryCount: 3}}
  - {id: ended, commandLine: "/bin/sleep 600"}
  - {id: short-lived, commandLine: "/bin/true", constraints: {retentionTime: PT0.2S}}
  - {id: no-input, commandLine: "/bin/true", resourceFiles: [{httpUrl: "{{store}}/nothing", filePath: x}], constraints: {maxTaskRetryCount: 5}}
  - {id: tolerated, commandLine: "/bin/false", constraints: {maxTaskRetryCount: 0}, exitConditions: {exitCodeRanges: [{start: 1, end: 9, exitOptions: {dependencyAction: satisfy}}]}}
  - {id: excused, commandLine: "/bin/true", resourceFiles: [{httpUrl: "{{store}}/nothing", filePath: x}], exitConditions: {preProcessingError: {dependencyAction: satisfy}}}
  - id: unsent
    commandLine: "/bin/sh -c 'echo x > out.txt'"
    outputFiles: [{filePattern: out.txt, destination: {container: {containerUrl: "s3://no-such-bucket-of-anybody"}}, uploadOptions: {uploadCondition: tasksuccess}}]
    exitConditions: {fileUploadError: {dependencyAction: satisfy}}
  - {id: unforgiven, commandLine: "/bin/false", constraints: {maxTaskRetryCount: 0}}
  - {id: after-tolerated, commandLine: "/bin/true", dependsOn: {taskIds: [tolerated, excused, unsent]}}
  - {id: after-unforgiven, commandLine: "/bin/true", dependsOn: {taskIds: [unforgiven]}}
  - {id: after-later, commandLine: "/bin/true", dependsOn: {taskIds: [later], taskIdRanges: [{start: 7, end: 8}]}}
`, trace, gate)))
	count := func(id string) (n int) {
		for _, line := range lines(trace) {
			if line == id {
				n++
			}
		}
		return n
	}
	for id, want := range map[string]struct{ runs, code int }{"job-retries": {2, 3}, "own-retries": {3, 4}} {
		task := f.becomes("work", id, "completed")
		require.Equal(t, want.runs, count(id), id)
		require.Equal(t, []int{want.runs - 1, want.code}, []int{task.ExecutionInfo.RetryCount, *task.ExecutionInfo.ExitCode}, id)
		require.Equal(t, []string{"failure", "FailureExitCode"}, []string{task.ExecutionInfo.Result, task.ExecutionInfo.FailureInfo.Code})
	}
	require.Eventually(t, func() bool { return count("no-limit") > 4 }, time.Minute, 20*time.Millisecond)
	require.NoError(t, os.WriteFile(gate, nil, 0o600))
	require.Equal(t, "success", f.becomes("work", "no-limit", "completed").ExecutionInfo.Result)

	task := f.becomes("work", "too-long", "completed")
	require.Equal(t, "TaskEnded", task.ExecutionInfo.FailureInfo.Code)
	require.Zero(t, task.ExecutionInfo.RetryCount, "a limit that was reached is no reason to try again")
	task = f.becomes("work", "no-input", "completed")
	require.Equal(t, "BlobNotFound", task.ExecutionInfo.FailureInfo.Code)
	require.Zero(t, task.ExecutionInfo.RetryCount, "only exit codes are tried again")
	require.Nil(t, task.ExecutionInfo.ExitCode)

	f.becomes("work", "ended", "running")
	f.ok("task", "terminate", "work", "ended")
	require.Equal(t, "TaskEnded", f.becomes("work", "ended", "completed").ExecutionInfo.FailureInfo.Code)
	f.ok("task", "reactivate", "work", "ended")
	f.becomes("work", "ended", "running")
	f.ok("task", "delete", "work", "ended")

	directory := func(id string) bool {
		found, err := filepath.Glob(filepath.Join(f.dir, "farm", "nodes", "*", "*", "workitems", "work", "job-1", id))
		require.NoError(t, err)
		return len(found) > 0
	}
	f.becomes("work", "short-lived", "completed")
	require.Eventually(t, func() bool { return !directory("short-lived") && !directory("ended") }, time.Minute, 50*time.Millisecond)
	require.True(t, directory("no-limit"))

	require.Equal(t, "success", f.becomes("work", "after-tolerated", "completed").ExecutionInfo.Result)
	require.Equal(t, "active", f.living("work", "after-unforgiven").State)
	require.Contains(t, f.ok("task", "explain", "work", "after-unforgiven"), "failed or can't run: unforgiven")
	require.Contains(t, f.ok("task", "explain", "work", "after-later"), "not added yet: later, 7, 8")
	for _, id := range []string{"later", "007", "8"} {
		f.ok("task", "add", "work", "--id", id, "--", "/bin/true")
	}
	require.Equal(t, "success", f.becomes("work", "after-later", "completed").ExecutionInfo.Result)
}

type livingJob struct {
	State         string
	ExecutionInfo struct{ PoolID, TerminateReason string }
}

// jobBecomes waits until a job is in a state.
func (f *farm) jobBecomes(id, state string) (j livingJob) {
	f.t.Helper()
	require.Eventually(f.t, func() bool {
		j = livingJob{}
		f.shown(&j, "job", "show", id)
		return j.State == state
	}, time.Minute, 30*time.Millisecond, "job %s becomes %s: %+v", id, state, &j)
	return j
}

// The rules of the life of a job, each met by a job of its own.
func TestLivesOfJobs(t *testing.T) {
	f := startFarm(t, "--nodes", "1", "--slots", "4")
	submit := func(id, job, tasks string) {
		f.ok("submit", f.write(id+".yaml", fmt.Sprintf("job: {id: %s, poolInfo: {poolId: default}, %s}\ntasks:\n%s", id, job, tasks)))
	}
	const sleeps = `  - {id: t, commandLine: "/bin/sleep 600"}` + "\n"

	// Disabled in the three ways, and enabled again.
	for how, state := range map[string]string{"requeue": "active", "terminate": "completed"} {
		submit("disable-"+how, "priority: 5", sleeps)
		f.becomes("disable-"+how, "t", "running")
		f.ok("job", "disable", "disable-"+how, "--tasks", how)
		f.jobBecomes("disable-"+how, "disabled")
		require.Equal(t, state, f.living("disable-"+how, "t").State, how)
	}
	f.ok("job", "enable", "disable-requeue")
	task := f.becomes("disable-requeue", "t", "running")
	require.Equal(t, []int{1, 0}, []int{task.ExecutionInfo.RequeueCount, task.ExecutionInfo.RetryCount}, "requeues are counted apart")
	gate := filepath.Join(f.dir, "gate")
	submit("disable-wait", "priority: 5", fmt.Sprintf("  - {id: t, commandLine: \"/bin/sh -c 'while [ ! -e %s ]; do sleep 0.02; done'\"}\n", gate))
	f.becomes("disable-wait", "t", "running")
	f.ok("job", "disable", "disable-wait", "--tasks", "wait")
	f.jobBecomes("disable-wait", "disabling")
	require.NoError(t, os.WriteFile(gate, nil, 0o600))
	f.jobBecomes("disable-wait", "disabled")
	require.Equal(t, "success", f.living("disable-wait", "t").ExecutionInfo.Result)

	// Ended by a user, by a limit, by its tasks.
	f.ok("job", "terminate", "disable-requeue", "--reason", "enough")
	require.Equal(t, "enough", f.jobBecomes("disable-requeue", "completed").ExecutionInfo.TerminateReason)
	require.Equal(t, "TaskEnded", f.living("disable-requeue", "t").ExecutionInfo.FailureInfo.Code)
	for id, c := range map[string]struct{ job, tasks, reason string }{
		"limit":      {"constraints: {maxWallClockTime: PT1S}", sleeps, "MaxWallClockTimeExpiry"},
		"all-done":   {"onAllTasksComplete: terminatejob", `  - {id: t, commandLine: "/bin/true"}`, "AllTasksComplete"},
		"one-failed": {"onTaskFailure: performexitoptionsjobaction", sleeps + `  - {id: u, commandLine: "/bin/false", exitConditions: {exitCodes: [{code: 1, exitOptions: {jobAction: terminate}}]}}`, "TaskFailed"},
	} {
		submit(id, c.job, c.tasks)
		require.Equal(t, c.reason, f.jobBecomes(id, "completed").ExecutionInfo.TerminateReason, id)
	}
	submit("stopped", "onTaskFailure: performexitoptionsjobaction", sleeps+
		`  - {id: u, commandLine: "/bin/false", exitConditions: {default: {jobAction: disable}}}`)
	f.jobBecomes("stopped", "disabled")
	require.Equal(t, "active", f.living("stopped", "t").State)

	// A pool that comes later, and a move while disabled; what the job's tasks have in common.
	f.ok("submit", f.write("moves.yaml", `
job: {id: moves, poolInfo: {poolId: later}, commonEnvironmentSettings: [{name: A, value: common}, {name: B, value: common}]}
tasks:
  - {id: first, commandLine: "/bin/sh -c 'echo $A $B'", environmentSettings: [{name: B, value: own}]}
`))
	require.Contains(t, f.ok("task", "explain", "moves", "first"), "The pool later does not exist")
	f.ok("pool", "create", "later", "--nodes", "1")
	f.becomes("moves", "first", "completed")
	require.Equal(t, "common own\n", f.ok("task", "logs", "moves", "first"))
	out, code := f.run("job", "update", "moves", "--pool", "default")
	require.NotZero(t, code, "a job moves only while it is disabled: %s", out)
	f.ok("job", "disable", "moves", "--tasks", "requeue")
	f.jobBecomes("moves", "disabled")
	f.ok("job", "update", "moves", "--pool", "default")
	f.ok("job", "enable", "moves")
	f.ok("task", "add", "moves", "--id", "second", "--", "/bin/sh", "-c", "echo $AZ_BATCH_POOL_ID")
	f.becomes("moves", "second", "completed")
	require.Equal(t, "default\n", f.ok("task", "logs", "moves", "second"))

	// No more tasks at once than the job allows, and what has the higher priority first.
	submit("narrow", "maxParallelTasks: 1", `  - {id: a, commandLine: "/bin/sleep 600"}`+"\n"+`  - {id: b, commandLine: "/bin/sleep 600"}`)
	f.becomes("narrow", "a", "running")
	require.Contains(t, f.ok("task", "explain", "narrow", "b"), "at most 1 tasks at once")
	f.ok("job", "delete", "narrow")
	require.Eventually(t, func() bool {
		_, code := f.run("job", "show", "narrow")
		found, _ := filepath.Glob(filepath.Join(f.dir, "farm", "nodes", "*", "*", "workitems", "narrow"))
		return code != 0 && len(found) == 0
	}, time.Minute, 50*time.Millisecond, "a job goes with its files")
}
