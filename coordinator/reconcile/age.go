package reconcile

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/batchyard/batchyard/coordinator/state"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

const (
	// ageInterval is how often old tasks are looked for: their life is counted in days.
	ageInterval = time.Hour
	// ageScan is how many tasks are looked at in one go, ageBatch how many one command ends.
	ageScan  = 2000
	ageBatch = 250
)

// age ends tasks that are not completed within 180 days (Azure Batch's rule).
func (l *Loops) age(ctx context.Context) error {
	return every(ctx, ageInterval, nil, func() error {
		before := l.Now().Add(-lifecycle.MaxTaskLife)
		for _, j := range l.State.Jobs("", "", math.MaxInt) {
			if !mayHaveAged(j, before) {
				continue
			}
			if err := l.ageJob(ctx, j, before); err != nil {
				return err
			}
		}
		return nil
	})
}

func mayHaveAged(j state.JobInfo, before time.Time) bool {
	if s := j.Job.State; s != apiv1.JobState_JOB_STATE_ACTIVE && s != apiv1.JobState_JOB_STATE_DISABLED {
		return false
	}
	return j.Job.CreationTime.AsTime().Before(before) && j.Counts.GetActive()+j.Counts.GetRunning() > 0
}

func (l *Loops) ageJob(ctx context.Context, j state.JobInfo, before time.Time) error {
	for last, more := uint64(0), true; more; more = last != 0 {
		found, err := l.State.Aged(j.Uid, last, before.UnixNano(), ageScan)
		if err != nil {
			return err
		}
		last = found.Last
		for batch := range slices.Chunk(found.Tasks, ageBatch) {
			err := l.propose(ctx, j, &raftlogv1.Command{Kind: &raftlogv1.Command_ActOnTasks{ActOnTasks: &raftlogv1.ActOnTasks{
				JobId: j.Job.Id, Action: apiv1.TaskGroupAction_TASK_GROUP_ACTION_TERMINATE, Tasks: batch, Expired: true,
			}}})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
