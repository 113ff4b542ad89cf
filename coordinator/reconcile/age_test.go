package reconcile

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/batchyard/batchyard/coordinator/state"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// Tasks end 180 days after they were added, those that were added later do not, and completed ones stay as they are.
func TestOldTasksEnd(t *testing.T) {
	y := newYard(t)
	y.do(&raftlogv1.Command{Kind: &raftlogv1.Command_CreateJob{CreateJob: &raftlogv1.CreateJob{Job: &apiv1.Job{
		Id: "j", PoolInfo: &apiv1.PoolInfo{PoolId: "p"}, CreationTime: timestamppb.New(y.now),
	}}}})
	add := func(first, n int) {
		cmd := &raftlogv1.AddTasks{JobId: "j", Specs: [][]byte{{}}}
		for i := range n {
			cmd.Tasks = append(cmd.Tasks, &raftlogv1.NewTask{Id: fmt.Sprint("t", first+i), CommandLine: "x"})
		}
		y.do(&raftlogv1.Command{Kind: &raftlogv1.Command_AddTasks{AddTasks: cmd}})
	}
	add(0, 3*ageScan)
	y.do(&raftlogv1.Command{Kind: &raftlogv1.Command_AddTaskArray{AddTaskArray: &raftlogv1.AddTaskArray{
		JobId: "j", Array: &raftlogv1.TaskArrayRecord{Id: "a", IdPrefix: "a-", Step: 1, Size: 10},
	}}})
	y.do(&raftlogv1.Command{Kind: &raftlogv1.Command_TerminateTask{TerminateTask: &raftlogv1.TerminateTask{JobId: "j", TaskId: "t1"}}})
	y.pass(time.Hour)
	add(10_000, 5)
	info, _ := y.store.Job("acct", "j")
	l := y.loops()
	age := func() state.JobInfo {
		before := l.Now().Add(-lifecycle.MaxTaskLife)
		if j, _ := y.store.Job("acct", "j"); mayHaveAged(j, before) {
			require.NoError(t, l.ageJob(t.Context(), j, before))
		}
		info, _ = y.store.Job("acct", "j")
		return info
	}
	y.pass(lifecycle.MaxTaskLife - time.Hour - time.Second)
	require.EqualValues(t, 1, age().Counts.Completed)
	y.pass(2 * time.Second)
	require.EqualValues(t, 3*ageScan+10, age().Counts.Completed)
	require.EqualValues(t, 5, info.Counts.Active)
	for id, want := range map[string]string{"t0": "within 180 days", "a-9": "within 180 days", "t1": "by user request"} {
		task, _, found, err := y.store.Task("acct", "j", id)
		require.NoError(t, err)
		require.True(t, found)
		require.Contains(t, task.Task.ExecutionInfo.FailureInfo.GetMessage(), want, id)
	}
	y.pass(time.Hour)
	require.EqualValues(t, 3*ageScan+15, age().Counts.Completed)
}
