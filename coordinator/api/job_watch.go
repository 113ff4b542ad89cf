package api

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/coordinator/state"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

const (
	// watchPause is the least time between two messages of a watch.
	watchPause = 100 * time.Millisecond
	// watchProof is how often a quiet watch makes sure that this coordinator still leads, and so sees what changes.
	watchProof = 5 * time.Second
)

// WatchJob sends the progress at once and after changes, and ends when there is nothing more to come.
func (s *jobService) WatchJob(req *apiv1.WatchJobRequest, stream grpc.ServerStreamingServer[apiv1.JobProgress]) error {
	ctx := stream.Context()
	g, err := granted(ctx)
	if err != nil {
		return err
	}
	info, err := s.job(ctx, g, req.GetJobId())
	if err != nil {
		return err
	}
	changed, cancel := s.signals.watch(info.Uid)
	defer cancel()
	var last *apiv1.JobProgress
	for {
		now, gone := s.progress(info.Uid, last)
		if !proto.Equal(now, last) {
			if err := stream.Send(now); err != nil {
				return err
			}
			last = now
		}
		if gone || req.GetUntilDone() && finished(now) {
			return nil
		}
		if err := s.nextChange(ctx, changed); err != nil {
			return err
		}
	}
}

// nextChange waits at least watchPause, and until something changes.
func (c *core) nextChange(ctx context.Context, changed <-chan struct{}) error {
	pause := time.NewTimer(watchPause)
	defer pause.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-pause.C:
	}
	proof := time.NewTicker(watchProof)
	defer proof.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
			return nil
		case <-proof.C:
			if err := c.Reader.Barrier(ctx); err != nil {
				return err
			}
		}
	}
}

// progress is what a watcher is shown of a job. One that is gone is shown once as deleting, with the counts that it had last.
func (c *core) progress(job uint64, last *apiv1.JobProgress) (now *apiv1.JobProgress, gone bool) {
	info, ok := c.State.JobByUID(job)
	if !ok {
		now = &apiv1.JobProgress{Counts: last.GetCounts(), TerminateReason: last.GetTerminateReason(), Blocked: last.GetBlocked()}
		now.State, now.Done = apiv1.JobState_JOB_STATE_DELETING, last.GetDone()
		return now, true
	}
	return showProgress(info), false
}

func showProgress(info state.JobInfo) *apiv1.JobProgress {
	counts := info.Counts
	return &apiv1.JobProgress{
		State:           info.Job.State,
		Counts:          showCounts(counts),
		TerminateReason: info.Job.GetExecutionInfo().GetTerminateReason(),
		Done:            info.Job.State == apiv1.JobState_JOB_STATE_COMPLETED || counts.Active == 0 && counts.Running == 0,
		Blocked:         counts.Blocked,
	}
}

// finished says whether nothing of the job will run any more, short of a new request.
func finished(p *apiv1.JobProgress) bool {
	counts := p.Counts.TaskCounts
	return p.Done || p.State == apiv1.JobState_JOB_STATE_DELETING || counts.Running == 0 && int64(counts.Active) <= p.Blocked
}
