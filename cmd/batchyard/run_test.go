package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/batchyard/batchyard/storage"
)

func TestRunShowsOutputAndPassesTheExitCode(t *testing.T) {
	l := newLab(t)
	l.ok("pool", "create", "demo")
	l.farm.files["*/run/stdout.txt"], l.farm.files["*/run/stderr.txt"] = "out\n", "err\n"
	require.Equal(t, result{"out\n", "err\n", 0}, l.run("run", "--", "hostname"))
	job := last[*apiv1.CreateJobRequest](l.farm).GetJob()
	require.Equal(t, "demo", job.GetPoolInfo().GetPoolId(), "the only pool")
	require.True(t, strings.HasPrefix(job.GetId(), "run-20260501-120000-"), job.GetId())
	require.Empty(t, l.farm.jobs, "the job is deleted")

	l.farm.finish = fail(42)
	require.Equal(t, result{"out\n", "err\n", 42}, l.run("run", "--env", "A=b", "--slots", "2", "prog", "--env", "is", "the command's"))
	task := last[*apiv1.AddTasksRequest](l.farm).GetTasks()[0]
	require.Equal(t, `prog --env is 'the command'\''s'`, task.GetCommandLine())
	require.Equal(t, "A", task.GetEnvironmentSettings()[0].GetName())
	require.EqualValues(t, 2, task.GetRequiredSlots())

	l.farm.finish = fail(-1073741510) // what Windows calls an exit code
	require.Equal(t, batcherr.ExitFailure, l.run("run", "--job", "mine", "--keep", "--", "x").code)
	require.Contains(t, l.farm.jobs, "mine")
}

func TestRunOfACommandThatNeverStarts(t *testing.T) {
	l := newLab(t)
	l.ok("pool", "create", "demo")
	l.farm.finish = notStarted
	text := l.fails(exitNotStarted, "run", "--input", "x", "--", "true")
	require.Equal(t, "error: The specified object does not exist. (BlobNotFound)\n  HttpUrl: s3://b/x\n", text)
}

func TestRunChoosesAPool(t *testing.T) {
	l := newLab(t)
	require.Contains(t, l.fails(batcherr.ExitInvalid, "run", "--", "true"), "no pool")
	l.ok("pool", "create", "a")
	l.ok("pool", "create", "b")
	require.Contains(t, l.fails(batcherr.ExitInvalid, "run", "--", "true"), "--pool")
	l.ok("run", "--pool", "b", "--", "true")
}

func TestRunEndsTheTaskWhenInterrupted(t *testing.T) {
	l := newLab(t)
	l.ok("pool", "create", "demo")
	l.farm.finish, l.farm.hang = nil, true
	l.farm.files["*/run/stdout.txt"] = "working\n"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan result, 1)
	go func() { done <- l.runIn(ctx, "run", "--", "sleep", "1000") }()
	<-l.farm.reading
	cancel()
	require.Equal(t, exitInterrupted, (<-done).code)
	require.NotEmpty(t, last[*apiv1.DeleteJobRequest](l.farm).GetJobId(), "its job is deleted, and the task with it")

	require.Contains(t, l.fails(batcherr.ExitTimeout, "run", "--timeout", "50ms", "--", "sleep", "1000"), "did not end within 50ms")
}

const sweepFile = `
parameters: {pool: demo, n: 2}
job:
  id: sweep
  poolInfo: {poolId: "{{pool}}"}
  onAllTasksComplete: terminatejob
tasks:
- id: "t{{i}}"
  commandLine: "echo {{i}}"
  outputFiles: [{filePattern: x, destination: {container: {containerUrl: "{{store}}", path: "{{job}}/{{i}}"}}, uploadOptions: {uploadCondition: tasksuccess}}]
  sweep: {i: {first: 1, last: "{{n}}"}}
`

func TestSubmit(t *testing.T) {
	l := newLab(t)
	path := l.file("job.yaml", sweepFile)
	require.Equal(t, "job sweep created with 2 tasks\n", l.ok("submit", path))
	require.Equal(t, apiv1.AllTasksCompleteMode_ALL_TASKS_COMPLETE_MODE_NO_ACTION, last[*apiv1.CreateJobRequest](l.farm).GetJob().GetOnAllTasksComplete(),
		"else it would end before it has tasks")
	require.Equal(t, apiv1.AllTasksCompleteMode_ALL_TASKS_COMPLETE_MODE_TERMINATE_JOB, last[*apiv1.UpdateJobRequest](l.farm).GetUpdate().GetOnAllTasksComplete())
	tasks := last[*apiv1.AddTasksRequest](l.farm).GetTasks()
	require.Equal(t, "echo 2", tasks[1].GetCommandLine())
	require.Equal(t, "s3://dev-bucket", tasks[1].GetOutputFiles()[0].GetDestination().GetContainer().GetContainerUrl())

	require.Contains(t, l.ok("submit", path, "--set", "n=5", "--job", "more", "--pool", "other", "--wait"), "job more: 0 active, 0 running, 5 succeeded, 0 failed\n")
	require.Equal(t, "other", last[*apiv1.CreateJobRequest](l.farm).GetJob().GetPoolInfo().GetPoolId())
	require.Contains(t, l.fails(batcherr.ExitConflict, "submit", path), "(JobExists)")
	l.farm.finish = fail(1)
	l.fails(exitTasksFailed, "submit", path, "--job", "failing", "--wait")
	require.Contains(t, l.fails(batcherr.ExitInvalid, "submit", path, "--set", "m=5"), `no parameter "m"`)
	bad := l.file("bad.yaml", "job: {id: x, poolInfo: {poolId: p}}\ntasks:\n- {id: a, commandLine: c}\n- {id: a, commandLine: c}\n")
	require.Contains(t, l.fails(batcherr.ExitInvalid, "submit", bad), `bad.yaml: line 4: task id "a" comes twice`)
	require.NotContains(t, l.farm.jobs, "x", "nothing is created of a file with a mistake")
}

func TestSubmitDryRun(t *testing.T) {
	l := newLab(t)
	require.Equal(t, `---
id: sweep
poolInfo:
  poolId: demo
onAllTasksComplete: terminatejob
---
id: t1
commandLine: echo 1
outputFiles:
  - filePattern: x
    destination:
      container:
        path: sweep/1
        containerUrl: s3://dev-bucket
    uploadOptions:
      uploadCondition: tasksuccess
`, l.ok("submit", l.file("job.yaml", sweepFile), "--dry-run", "--set", "n=1"))
	require.Empty(t, l.farm.jobs)
}

func TestTheExampleJob(t *testing.T) {
	l := newLab(t)
	path := filepath.Join("..", "..", "examples", "hello", "job.yaml")
	_, err := os.Stat(path)
	require.NoError(t, err)
	require.Contains(t, l.ok("submit", path, "--wait"), "12 succeeded")
	require.Contains(t, l.ok("task", "list", "hello", "-q"), "fr-02\n")
}

func TestExitCodes(t *testing.T) {
	for want, err := range map[int]error{
		batcherr.ExitFailure:      errors.New("anything"),
		batcherr.ExitInvalid:      usagef("wrong"),
		batcherr.ExitNotFound:     &storage.Error{Kind: storage.ErrNotFound},
		batcherr.ExitConflict:     batcherr.Of(batcherr.CodeJobExists),
		batcherr.ExitUnauthorized: &storage.Error{Kind: storage.ErrForbidden},
		batcherr.ExitUnavailable:  &storage.Error{Kind: storage.ErrTemporary},
		batcherr.ExitTimeout:      context.DeadlineExceeded,
		exitTasksFailed:           &codedError{exitTasksFailed, ""},
	} {
		require.Equal(t, want, exitCode(err), "%v", err)
		require.Equal(t, want, exitCode(errors.Join(err)), "%v", err)
	}
}

func TestErrorsCannotSteerATerminal(t *testing.T) {
	var b strings.Builder
	printError(&b, batcherr.Invalid("Bad\x1b", "no\x1b[2J\nsecond").With("k\x07", "v\x1b]0;x"))
	require.Equal(t, "error: no [2J second (Bad )\n  k : v ]0;x\n", b.String())
}
