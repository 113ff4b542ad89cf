package reconcile

import (
	"context"
	"math"
	"time"

	"github.com/batchyard/batchyard/coordinator/state"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// jobs moves on the jobs that are disabling, terminating or being deleted, in bounded steps, and ends those whose time has run out. It looks at the jobs that
// have changed, and at all of them now and then for the clock's sake.
func (l *Loops) jobs(ctx context.Context) error {
	w := l.State.Watch()
	defer w.Close()
	var nextSweep time.Time
	return every(ctx, time.Second, w.C(), func() error {
		changed := w.Take()
		if now := l.Now(); changed.Reset || !now.Before(nextSweep) {
			nextSweep = now.Add(time.Second)
			return l.sweep(ctx)
		}
		for uid := range changed.Jobs {
			if j, ok := l.State.JobByUID(uid); ok {
				if err := l.job(ctx, j); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (l *Loops) sweep(ctx context.Context) error {
	for _, j := range l.State.Jobs("", "", math.MaxInt) {
		if err := l.job(ctx, j); err != nil {
			return err
		}
	}
	return nil
}

func (l *Loops) job(ctx context.Context, j state.JobInfo) error {
	if j.Releasing && j.Job.State != apiv1.JobState_JOB_STATE_DELETING {
		err := l.propose(ctx, j, &raftlogv1.Command{Kind: &raftlogv1.Command_AdvanceReleases{
			AdvanceReleases: &raftlogv1.AdvanceReleases{Job: j.Uid, Limit: state.ReleaseStep},
		}})
		if err != nil {
			return err
		}
	}
	switch j.Job.State {
	case apiv1.JobState_JOB_STATE_DELETING, apiv1.JobState_JOB_STATE_DISABLING, apiv1.JobState_JOB_STATE_TERMINATING:
		return l.advance(ctx, j)
	case apiv1.JobState_JOB_STATE_ACTIVE, apiv1.JobState_JOB_STATE_DISABLED:
		limit := j.Job.GetConstraints().GetMaxWallClockTime()
		if limit != nil && l.Now().Sub(j.Job.CreationTime.AsTime()) >= limit.AsDuration() {
			return l.propose(ctx, j, &raftlogv1.Command{Kind: &raftlogv1.Command_TerminateJob{
				TerminateJob: &raftlogv1.TerminateJob{JobId: j.Job.Id, Reason: "MaxWallClockTimeExpiry"},
			}})
		}
	}
	return nil
}

// advance takes the next step of a job unless all that nodes hold of it is being stopped already.
func (l *Loops) advance(ctx context.Context, j state.JobInfo) error {
	if !l.State.CanAdvance(j.Uid) {
		return nil
	}
	return l.propose(ctx, j, &raftlogv1.Command{Kind: &raftlogv1.Command_AdvanceJob{
		AdvanceJob: &raftlogv1.AdvanceJob{Job: j.Uid, Limit: state.AdvanceStep},
	}})
}

func (l *Loops) propose(ctx context.Context, j state.JobInfo, cmd *raftlogv1.Command) error {
	cmd.Now, cmd.Account = l.Now().UnixNano(), j.Account
	_, err := l.Proposer.Propose(ctx, cmd)
	return err
}
