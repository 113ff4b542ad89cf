package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// runTask is the id of the task of a job that run makes.
const runTask = "run"

// cleanupTimeout limits what is done after an interruption.
const cleanupTimeout = 15 * time.Second

type runOptions struct {
	taskFlags
	pool    string
	job     string
	keep    bool
	raw     bool
	timeout durationFlag
}

func newRunCommand(f *factory) *cobra.Command {
	opts := &runOptions{}
	cmd := &cobra.Command{
		Use:   "run [flags] -- COMMAND...",
		Short: "Run one command on a node and show what it prints",
		Long: `Run one command as the only task of a job made for it, and show what it prints while it runs.

The exit code is that of the command; 125 when the command was not started. Ctrl-C ends the task.
The job is deleted afterwards unless --keep is given.

The command is not run by a shell unless --shell is given. A single argument is taken as the whole command line;
several are quoted where needed, so that the program gets them as they are.`,
		Example: `  batchyard run -- hostname
  batchyard run --pool demo --env WIDTH=80 --slots 2 --shell -- 'echo $WIDTH | tr 0-9 a-j'
  batchyard run --input in.csv=data/in.csv --upload out.csv=results/ -- python3 model.py`,
		Args: atLeast(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error { return opts.run(cmd.Context(), f, s, args) })
		},
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false) // what follows the command is the command's
	flags.StringVar(&opts.pool, "pool", "", "pool to run on (default the only one)")
	flags.StringVar(&opts.job, "job", "", "id of the job (default one is made up)")
	flags.BoolVar(&opts.keep, "keep", false, "keep the job")
	flags.BoolVar(&opts.raw, "raw", false, "print control characters on a terminal, too")
	flags.Var(&opts.timeout, "timeout", "end the task after this time, waiting for a node included")
	opts.register(flags)
	_ = cmd.RegisterFlagCompletionFunc("pool", completeFlag(f, poolIDs))
	return cmd
}

func (o *runOptions) run(ctx context.Context, f *factory, s *session, command []string) (err error) {
	pool, err := o.choosePool(ctx, s)
	if err != nil {
		return err
	}
	task, err := o.task(ctx, s, command)
	if err != nil {
		return err
	}
	task.Id = runTask
	job := o.job
	if job == "" {
		job = "run-" + f.now().UTC().Format("20060102-150405") + "-" + strings.ToLower(rand.Text()[:6])
	}
	spec := &apiv1.Job{Id: job, PoolInfo: &apiv1.PoolInfo{PoolId: pool}}
	if _, err := s.jobs.CreateJob(ctx, &apiv1.CreateJobRequest{Job: spec}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.cleanUp(ctx, s, job)) }()
	results, err := s.AddTasks(ctx, job, []*apiv1.Task{task}, nil)
	if err != nil {
		return err
	}
	if results[0].GetStatus() != apiv1.TaskAddStatus_TASK_ADD_STATUS_SUCCESS {
		return addError(results[0])
	}
	limited, cancel := withTimeout(ctx, o.timeout.value)
	defer cancel()
	return o.attend(limited, f, s, job)
}

// choosePool takes the only pool where none is named. One that does not exist is refused, although a job may wait for it: nobody who waits for a
// command's output means that.
func (o *runOptions) choosePool(ctx context.Context, s *session) (string, error) {
	if o.pool != "" {
		_, err := s.pools.GetPool(ctx, &apiv1.GetPoolRequest{PoolId: o.pool})
		return o.pool, err
	}
	pools, _, err := collect(ctx, listFlags{limit: 50}, s.listPools)
	switch {
	case err != nil:
		return "", err
	case len(pools) == 0:
		return "", usagef("there is no pool: make one with `batchyard pool create`")
	case len(pools) > 1:
		return "", usagef("there are several pools: choose one with --pool")
	}
	return pools[0].GetId(), nil
}

// attend shows what the task prints until it is completed and turns its end into an error.
func (o *runOptions) attend(ctx context.Context, f *factory, s *session, job string) error {
	group, groupCtx := errgroup.WithContext(ctx)
	reading, stopReading := context.WithCancel(groupCtx)
	defer stopReading()
	group.Go(func() error { return o.follow(reading, s, job, stdoutFile, f.outputWriter(o.raw)) })
	group.Go(func() error { return o.follow(reading, s, job, stderrFile, f.errorWriter(o.raw)) })
	var task *apiv1.Task
	group.Go(func() error {
		err := s.WatchJob(groupCtx, job, true, func(*apiv1.JobProgress) error { return nil })
		if err != nil {
			return err
		}
		task, err = s.tasks.GetTask(groupCtx, &apiv1.GetTaskRequest{JobId: job, TaskId: runTask})
		if err == nil && !started(task) { // then nothing will ever be printed
			stopReading()
		}
		return err
	})
	if err := group.Wait(); err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return batcherr.New(batcherr.KindTimeout, batcherr.CodeOperationTimedOut, "The command did not end within %s.", o.timeout.value)
		}
		return err
	}
	return outcome(task)
}

// follow copies one of the task's files as it grows. That there is none is for the task's end to explain.
func (o *runOptions) follow(ctx context.Context, s *session, job, name string, w io.Writer) error {
	req := &apiv1.ReadFileRequest{Root: &apiv1.FileRoot{JobId: job, TaskId: runTask}, Name: name, Follow: true}
	err := s.ReadFile(ctx, req, w, nil)
	if batcherr.HasKind(err, batcherr.KindNotFound) || batcherr.HasCode(err, batcherr.CodeTaskFilesUnavailable, batcherr.CodeTaskFilesCleanedup) {
		return nil
	}
	if err != nil && ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		return nil // the reading was stopped; a reason is found elsewhere
	}
	return err
}

func started(task *apiv1.Task) bool {
	return task.GetExecutionInfo() != nil && task.ExecutionInfo.ExitCode != nil
}

// outcome is the exit code of a completed task as an error.
func outcome(task *apiv1.Task) error {
	info := task.GetExecutionInfo()
	failure := info.GetFailureInfo()
	text := ""
	if failure != nil && failure.GetCode() != "FailureExitCode" {
		text = fmt.Sprintf("%s (%s)", failure.GetMessage(), failure.GetCode())
		for _, d := range failure.GetDetails() {
			text += fmt.Sprintf("\n  %s: %s", render.Plain(d.GetName()), render.Plain(d.GetValue()))
		}
	}
	switch {
	case !started(task):
		if text == "" {
			text = "the command was not started"
		}
		return &codedError{exitNotStarted, text}
	case info.GetExitCode() != 0:
		return &codedError{programExit(info.GetExitCode()), text}
	case failure != nil:
		return &codedError{batcherr.ExitFailure, text}
	}
	return nil
}

// programExit makes an exit code that this system can pass on, and that is not success.
func programExit(code int32) int {
	if code > 0 && code < 256 {
		return int(code)
	}
	return batcherr.ExitFailure
}

// cleanUp ends the task, if it still runs, and removes the job. It does so also after an interruption.
func (o *runOptions) cleanUp(ctx context.Context, s *session, job string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	var err error
	if o.keep {
		_, err = s.jobs.TerminateJob(ctx, &apiv1.TerminateJobRequest{JobId: job})
		if batcherr.HasCode(err, batcherr.CodeJobCompleted, batcherr.CodeJobBeingTerminated) {
			err = nil
		}
	} else {
		_, err = s.jobs.DeleteJob(ctx, &apiv1.DeleteJobRequest{JobId: job})
		if batcherr.HasKind(err, batcherr.KindNotFound) {
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("job %s is left over: %w", job, err)
	}
	return nil
}
