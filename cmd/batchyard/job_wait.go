package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func newJobWaitCommand(f *factory) *cobra.Command {
	var timeout durationFlag
	cmd := &cobra.Command{
		Use:   "wait JOB",
		Short: "Wait until a job has no task left to run",
		Long: `Wait until every task of a job is completed, the job has ended, or what is left can never run.

Exit codes: 0 when all tasks succeeded, 8 when some failed or can never run, 7 after --timeout.
A coordinator that restarts meanwhile is waited for (--retry-for).`,
		Example:           "  batchyard job wait work\n  batchyard job wait work --timeout 2h && batchyard file download --prefix results/",
		Args:              exactly(1),
		ValidArgsFunction: completeIDs(f, jobIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error {
				return waitForJob(cmd.Context(), f, s, args[0], timeout.value)
			})
		},
	}
	cmd.Flags().Var(&timeout, "timeout", "give up after this time")
	return cmd
}

// waitForJob shows the progress of a job until nothing is left to run; failed tasks are an error of their own exit code.
func waitForJob(ctx context.Context, f *factory, s *session, id string, timeout time.Duration) error {
	ctx, cancel := withTimeout(ctx, timeout)
	defer cancel()
	meter := f.newMeter("tasks", 0, countUnit)
	var last *apiv1.JobProgress
	err := s.WatchJob(ctx, id, true, func(p *apiv1.JobProgress) error {
		last = p
		counts := p.GetCounts().GetTaskCounts()
		meter.set(int64(counts.GetCompleted()), int64(counts.GetCompleted()+counts.GetActive()+counts.GetRunning()))
		return nil
	})
	meter.finish()
	switch {
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return batcherr.New(batcherr.KindTimeout, batcherr.CodeOperationTimedOut, "After %s job %s is not done: %s.", timeout, id, progressText(last))
	case err != nil:
		return err
	case last == nil:
		return batcherr.NotFound(batcherr.CodeJobNotFound, "Job %s is gone.", id)
	}
	return f.concludeJob(id, last)
}

func progressText(p *apiv1.JobProgress) string {
	text := countsText(p.GetCounts().GetTaskCounts())
	if n := p.GetBlocked(); n > 0 {
		text += fmt.Sprintf(", %d blocked", n)
	}
	return text
}

// concludeJob prints the outcome of a job and turns failed tasks into an exit code.
func (f *factory) concludeJob(id string, p *apiv1.JobProgress) error {
	if err := f.show(p, func(w writer) error {
		text := progressText(p)
		if reason := p.GetTerminateReason(); reason != "" {
			text += ", " + reason
		}
		return writeLine(w, fmt.Sprintf("job %s: %s", id, text))
	}); err != nil {
		return err
	}
	failed := p.GetCounts().GetTaskCounts().GetFailed()
	switch {
	case failed > 0:
		return &codedError{exitTasksFailed, fmt.Sprintf("%s of job %s failed; see: batchyard task list %s --failed", plural(int(failed), "task"), id, id)}
	case p.GetBlocked() > 0:
		return &codedError{exitTasksFailed, fmt.Sprintf("%s of job %s can never run", plural(int(p.GetBlocked()), "task"), id)}
	}
	return nil
}
