package reconcile

import (
	"context"
	"math"
	"time"

	"github.com/batchyard/batchyard/coordinator/state"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// schedules makes the jobs of job schedules when they are due, completes schedules of which nothing is to come, and deletes the jobs of those that are being
// deleted in bounded steps. It looks at the schedules that have changed, and at all of them now and then for the clock's sake: the clock may jump.
func (l *Loops) schedules(ctx context.Context) error {
	w := l.State.Watch()
	defer w.Close()
	var nextSweep time.Time
	return every(ctx, time.Second, w.C(), func() error {
		changed := w.Take()
		now := l.Now()
		if changed.Reset || !now.Before(nextSweep) || nextSweep.Sub(now) > time.Second {
			nextSweep = now.Add(time.Second)
			return l.sweepSchedules(ctx)
		}
		for uid := range changed.JobSchedules {
			if s, ok := l.State.JobScheduleByUID(uid); ok {
				if err := l.schedule(ctx, s); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (l *Loops) sweepSchedules(ctx context.Context) error {
	for _, s := range l.State.JobSchedules("", "", math.MaxInt) {
		if err := l.schedule(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// schedule takes the next step of one job schedule.
func (l *Loops) schedule(ctx context.Context, s state.JobScheduleInfo) error {
	cmd := &raftlogv1.Command{Now: l.Now().UnixNano(), Account: s.Account}
	switch s.Schedule.State {
	case apiv1.JobScheduleState_JOB_SCHEDULE_STATE_ACTIVE:
		step := stepOf(s, cmd.Now)
		if step == nil {
			return nil
		}
		if step.Run != 0 {
			step.AutoPoolId = l.NewPoolID(s.Schedule.JobSpecification.GetPoolInfo().GetAutoPoolSpecification().GetAutoPoolIdPrefix())
		}
		cmd.Kind = &raftlogv1.Command_StepJobSchedule{StepJobSchedule: step}
	case apiv1.JobScheduleState_JOB_SCHEDULE_STATE_DELETING:
		if !l.State.CanAdvanceJobSchedule(s.Uid) {
			return nil
		}
		cmd.Kind = &raftlogv1.Command_AdvanceJobSchedule{AdvanceJobSchedule: &raftlogv1.AdvanceJobSchedule{JobSchedule: s.Uid, Limit: state.AdvanceJobs}}
	default:
		return nil
	}
	_, err := l.Proposer.Propose(ctx, cmd)
	return err
}

// stepOf is what an active schedule is to do at a moment; nil: nothing.
func stepOf(s state.JobScheduleInfo, now int64) *raftlogv1.StepJobSchedule {
	due := lifecycle.RecurrenceOf(s.Schedule.Schedule, s.FirstRun).At(now, s.NextRun, s.Active)
	if due.Run == 0 && !due.Complete && due.Next == s.NextRun {
		return nil
	}
	return &raftlogv1.StepJobSchedule{
		JobSchedule: s.Uid, SeenNextJob: s.NextJob, SeenNextRun: s.NextRun, Run: due.Run, NextRun: due.Next, Complete: due.Complete,
	}
}
