package state

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

const (
	terminateAll  = apiv1.TaskGroupAction_TASK_GROUP_ACTION_TERMINATE
	reactivateAll = apiv1.TaskGroupAction_TASK_GROUP_ACTION_REACTIVATE
	deleteAll     = apiv1.TaskGroupAction_TASK_GROUP_ACTION_DELETE
)

func (c *chooser) actOnTasks(job string) any {
	cmd := &raftlogv1.ActOnTasks{JobId: job, Action: apiv1.TaskGroupAction(rapid.IntRange(0, 3).Draw(c.T, "action"))}
	for range rapid.IntRange(0, 4).Draw(c.T, "selected") {
		task := &raftlogv1.SelectedTask{Task: rapid.Uint64Range(0, 12).Draw(c.T, "number")}
		if c.chance("for having failed", 2) {
			task.Attempt = proto.Uint32(rapid.Uint32Range(0, 3).Draw(c.T, "attempt"))
		}
		cmd.Tasks = append(cmd.Tasks, task)
	}
	return cmd
}

// selected selects tasks, limit at a time.
func (f *farm) selected(job uint64, by *apiv1.TaskSelection, limit int) (numbers []uint64, out []*raftlogv1.SelectedTask) {
	after := uint64(0)
	for {
		found, err := f.s.SelectTasks(job, TaskSpan{After: after}, by, limit)
		require.NoError(f.t, err)
		require.LessOrEqual(f.t, found.Examined, limit)
		for _, one := range found.Tasks {
			numbers = append(numbers, one.Task)
		}
		if out = append(out, found.Tasks...); found.Last == 0 {
			return numbers, out
		}
		after = found.Last
	}
}

// groupYard is a job with failed, succeeded and waiting tasks.
func groupYard(t *testing.T) (f *farm, node, job uint64) {
	f, node, _, job = yard(t)
	f.add("j", "1", "2", "3", "04", "x", "6")
	for id, code := range map[string]int32{"1": 7, "2": 9, "3": 0, "04": 7, "x": 7} {
		f.run(node, "j", id, code)
	}
	return f, node, job
}

func TestSelectTasks(t *testing.T) {
	f, _, job := groupYard(t)
	ranges := []*apiv1.TaskIdRange{{Start: 2, End: 3}, {Start: 4, End: 4}}
	for _, tc := range []struct {
		by   *apiv1.TaskSelection
		want []uint64
	}{
		{&apiv1.TaskSelection{}, []uint64{1, 2, 3, 4, 5, 6}},
		{&apiv1.TaskSelection{Failed: true}, []uint64{1, 2, 4, 5}},
		{&apiv1.TaskSelection{ExitCode: proto.Int32(7)}, []uint64{1, 4, 5}},
		{&apiv1.TaskSelection{ExitCode: proto.Int32(0)}, nil},
		{&apiv1.TaskSelection{FailureCode: "FailureExitCode", ExitCode: proto.Int32(9)}, []uint64{2}},
		{&apiv1.TaskSelection{FailureCode: "TaskEnded"}, nil},
		{&apiv1.TaskSelection{IdRanges: ranges}, []uint64{2, 3, 4}},
		{&apiv1.TaskSelection{Failed: true, IdRanges: ranges}, []uint64{2, 4}},
	} {
		for _, limit := range []int{1, 2, 100} {
			numbers, _ := f.selected(job, tc.by, limit)
			require.Equal(t, tc.want, numbers, "%v, %d at a time", tc.by, limit)
		}
	}
}

func TestReactivateTasks(t *testing.T) {
	f, node, job := groupYard(t)
	_, seven := f.selected(job, &apiv1.TaskSelection{ExitCode: proto.Int32(7)}, 100)
	again := &raftlogv1.ActOnTasks{JobId: "j", Action: reactivateAll, Tasks: seven}
	require.Equal(t, 3, f.ok(again).Count)
	require.True(t, f.queued("j", "1") && f.queued("j", "04") && f.queued("j", "x"))
	require.Equal(t, []string{"1 FailureExitCode 9 2"}, f.failures("j"))
	require.Equal(t, 0, f.ok(again).Count, "what runs again is not failed")
	f.run(node, "j", "1", 7)
	require.Equal(t, 0, f.ok(again).Count, "an attempt that the caller has not seen")

	_, all := f.selected(job, &apiv1.TaskSelection{}, 100)
	require.Equal(t, 2, f.ok(&raftlogv1.ActOnTasks{JobId: "j", Action: reactivateAll, Tasks: all}).Count, "others than failed ones are passed over")
	f.refuse(batcherr.CodeJobNotFound, &raftlogv1.ActOnTasks{JobId: "no", Action: reactivateAll, Tasks: seven})
	f.ok(&raftlogv1.TerminateJob{JobId: "j"})
	f.refuse(batcherr.CodeJobCompleted, again)
}

func TestTerminateAndDeleteTasks(t *testing.T) {
	f, node, job := groupYard(t)
	f.add("j", "7")
	f.assign(node, "j", "7")
	f.report(node, "j", "7", began())
	_, all := f.selected(job, &apiv1.TaskSelection{}, 100)
	require.Equal(t, 2, f.ok(&raftlogv1.ActOnTasks{JobId: "j", Action: terminateAll, Tasks: all}).Count, "completed ones are passed over")
	require.Equal(t, done, f.state("j", "6"))
	require.Equal(t, done, f.state("j", "7"))
	require.Contains(t, f.failures("j")[1], "2 TaskEnded")

	_, ended := f.selected(job, &apiv1.TaskSelection{FailureCode: "TaskEnded"}, 100)
	require.Equal(t, 2, f.ok(&raftlogv1.ActOnTasks{JobId: "j", Action: deleteAll, Tasks: ended}).Count)
	require.Equal(t, 0, f.ok(&raftlogv1.ActOnTasks{JobId: "j", Action: deleteAll, Tasks: ended}).Count)
	require.Equal(t, 5, f.ok(&raftlogv1.ActOnTasks{JobId: "j", Action: deleteAll, Tasks: all}).Count)
	require.Empty(t, f.failures("j"))
}
