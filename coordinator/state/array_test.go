package state

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// sweepOf is an array with the indices from first on.
func sweepOf(id, prefix string, first int64, size uint64) *raftlogv1.AddTaskArray {
	line := func(t *apiv1.Task) { t.CommandLine = "run {{index}}" }
	return &raftlogv1.AddTaskArray{JobId: "j", Spec: taskSpec(line), Array: &raftlogv1.TaskArrayRecord{
		Id: id, IdPrefix: prefix, FirstIndex: first, Step: 1, Size: size, DisplayName: "number {{index}}",
	}}
}

func (f *farm) array(id string) ArrayInfo {
	a, ok := f.s.Array(f.jobInfo("j").Uid, id)
	require.True(f.t, ok)
	return a
}

func TestElementsAreTasks(t *testing.T) {
	f, n1, _, _ := yard(t)
	f.add("j", "before")
	f.ok(sweepOf("s", "s-", 5, 3))
	f.add("j", "after")
	require.Equal(t, []string{"before", "s-5", "s-6", "s-7", "after"}, f.list(TaskSpan{}))
	task := f.task("j", "S-6").Task
	require.Equal(t, "run 6", task.CommandLine)
	require.Equal(t, "number 6", task.DisplayName)
	require.Equal(t, apiv1.TaskState_TASK_STATE_ACTIVE, task.State)
	require.EqualValues(t, 5, f.jobInfo("j").Counts.Active)
	require.EqualValues(t, 5, f.jobInfo("j").Queued)
	for _, none := range []string{"s-4", "s-8", "s-05", "s-", "s"} {
		_, _, found, err := f.s.Task("acct", "j", none)
		require.NoError(t, err)
		require.False(t, found, none)
	}

	f.run(n1, "j", "s-5", 0)
	f.run(n1, "j", "s-7", 3)
	a := f.array("S")
	require.EqualValues(t, []int64{1, 1, 1, 2}, []int64{a.Counts.Active, a.Counts.Succeeded, a.Counts.Failed, a.Counts.Completed})
	require.Equal(t, []string{"s-7"}, f.list(TaskSpan{Failed: true}))
	require.Equal(t, []string{"s-6", "s-7"}, f.list(a.Tasks(6, 100)))
	require.Equal(t, []string{"s-5"}, f.list(a.Tasks(-3, 5)))
	require.Empty(t, f.list(a.Tasks(8, 9)))
	require.Empty(t, f.list(a.Tasks(0, 4)))
	require.Empty(t, f.list(a.Tasks(7, 6)))
	f.ok(&raftlogv1.ReactivateTask{JobId: "j", TaskId: "s-7"})
	require.Empty(t, f.list(TaskSpan{Failed: true}))
}

func (f *farm) list(span TaskSpan) []string {
	tasks, more, err := f.s.Tasks(f.jobInfo("j").Uid, span, 100)
	require.NoError(f.t, err)
	require.False(f.t, more)
	var ids []string
	for _, task := range tasks {
		ids = append(ids, task.Task.Id)
	}
	return ids
}

func TestDeletedElements(t *testing.T) {
	f, n1, _, _ := yard(t)
	f.ok(sweepOf("s", "", 1, 5))
	for _, id := range []string{"2", "4", "3"} {
		f.ok(&raftlogv1.DeleteTask{JobId: "j", TaskId: id})
	}
	f.refuse(batcherr.CodeTaskNotFound, &raftlogv1.DeleteTask{JobId: "j", TaskId: "3"})
	require.Equal(t, []string{"1", "5"}, f.list(TaskSpan{}))
	require.EqualValues(t, 2, f.array("s").Size)
	f.add("j", "3") // the id is free again
	require.Equal(t, []string{"1", "5", "3"}, f.list(TaskSpan{}))
	f.run(n1, "j", "1", 1)
	f.ok(&raftlogv1.DeleteTask{JobId: "j", TaskId: "1"})
	f.ok(&raftlogv1.DeleteTask{JobId: "j", TaskId: "5"})
	_, ok := f.s.Array(f.jobInfo("j").Uid, "s")
	require.False(t, ok, "an array goes with its last element")
	f.ok(sweepOf("s", "", 4, 2))
	require.Equal(t, []string{"3", "4", "5"}, f.list(TaskSpan{}))
}

func TestIDsOfElementsAreTaken(t *testing.T) {
	f, _, _, _ := yard(t)
	f.add("j", "s-7", "s-9x", "t")
	exists := func(cmd *raftlogv1.AddTaskArray) { f.refuse(batcherr.CodeTaskExists, cmd) }
	exists(sweepOf("s", "s-", 1, 9))
	exists(sweepOf("T", "r-", 1, 9))
	exists(sweepOf("r-3", "r-", 1, 9))
	f.ok(sweepOf("s", "s-", 8, 3))
	exists(sweepOf("s", "x-", 1, 2))
	exists(sweepOf("other", "s-1", 5, 2)) // s-15 would not be taken, but it begins like s-10
	for _, id := range []string{"s-8", "S-10", "s"} {
		r := f.ok(&raftlogv1.AddTasks{JobId: "j", Specs: [][]byte{taskSpec()}, Tasks: []*raftlogv1.NewTask{{Id: id}}})
		require.Equal(t, "TaskExists", r.Tasks[0].Error.GetCode(), id)
	}
	f.add("j", "s-11", "s-08")
	cmd := sweepOf("w", "w-", 0, 2)
	f.do(&raftlogv1.AddTasks{JobId: "j", Specs: [][]byte{taskSpec()}, Tasks: []*raftlogv1.NewTask{{Id: "w-1"}}}, cmd)
	_, ok := f.s.Array(f.jobInfo("j").Uid, "w")
	require.False(t, ok, "a task of the same entry has its id")
}

func TestItemsComeInParts(t *testing.T) {
	f, _, _, _ := yard(t)
	cmd := sweepOf("s", "s-", 0, 150)
	cmd.Array.HasItems, cmd.Items = true, someItems(0, 70)
	f.ok(cmd)
	require.EqualValues(t, 70, f.array("s").Size)
	require.EqualValues(t, 70, f.jobInfo("j").Counts.Active)
	more := func(from, n int) *raftlogv1.AddTaskArrayItems {
		return &raftlogv1.AddTaskArrayItems{JobId: "j", ArrayId: "S", Offset: uint64(from), Items: someItems(from, n)}
	}
	f.refuse(batcherr.CodeInvalidInput, more(71, 10))
	f.ok(more(60, 20))
	f.ok(more(60, 20)) // again, as after a lost answer
	require.EqualValues(t, 80, f.array("s").Size)
	f.refuse(batcherr.CodeInvalidInput, more(80, 71))
	f.ok(more(80, 70))
	require.EqualValues(t, 150, f.array("s").Size)
	require.Len(t, f.list(TaskSpan{After: 60}), 90)
	f.ok(&raftlogv1.DeleteJob{JobId: "j"})
}

func TestALimitHoldsElementsBack(t *testing.T) {
	f, n1, _, _ := yard(t)
	cmd := sweepOf("s", "s-", 0, 1_000_000)
	cmd.Array.MaxParallel = 3
	// The invariants would look at each of a million elements.
	apply := func(kind any) {
		f.index++
		answers, _ := f.s.Apply(f.index, [][]byte{marshal(t, f.command(kind))})
		require.Nil(t, answers[0].(Result).Err)
	}
	apply(cmd)
	room := func() JobQueue {
		r, ok := f.s.Room(PoolKey{"acct", "p"}, 4096)
		require.True(t, ok)
		require.Len(t, r.Jobs, 1)
		return r.Jobs[0]
	}
	q := room()
	require.Len(t, q.Runs, 1)
	require.Equal(t, map[uint64]int{q.Runs[0].Array: 3}, q.ArrayRoom)
	node, _ := f.s.NodeByUID(n1)
	plan := &raftlogv1.NodePlan{Node: n1, Incarnation: node.Incarnation}
	for i := range 3 {
		plan.Tasks = append(plan.Tasks, &raftlogv1.PlannedTask{Job: q.UID, Task: q.Runs[0].First + uint64(i)})
	}
	apply(&raftlogv1.AssignTasks{Nodes: []*raftlogv1.NodePlan{plan}})
	require.Empty(t, room().Runs, "all that may run do")
	apply(&raftlogv1.UpdateTaskArray{JobId: "j", ArrayId: "s", MaxParallel: 5})
	require.Equal(t, 2, room().ArrayRoom[q.Runs[0].Array])
	held, err := f.s.Held(n1)
	require.NoError(t, err)
	require.Len(t, held, 3)
	require.EqualValues(t, 2, held[2].Element.Index)
	require.Equal(t, "s-2", held[2].TaskID)
}

func TestDependentsOfElements(t *testing.T) {
	f, n1, _, _ := yard(t, func(j *apiv1.Job) { j.UsesTaskDependencies = proto.Bool(true) })
	f.addAfter("j", "merge", afterRange(1, 3))
	f.addAfter("j", "one", after("2"))
	f.ok(sweepOf("s", "", 1, 3))
	for i := 1; i <= 3; i++ {
		require.False(t, f.queued("j", "merge"))
		f.run(n1, "j", fmt.Sprint(i), 0)
		require.Equal(t, i >= 2, f.queued("j", "one"))
	}
	require.True(t, f.queued("j", "merge"))
}

func TestDependentsOfAnArray(t *testing.T) {
	f, n1, _, _ := yard(t, func(j *apiv1.Job) { j.UsesTaskDependencies = proto.Bool(true) })
	f.addAfter("j", "merge", after("S"))
	f.ok(sweepOf("s", "s-", 1, 3))
	f.addAfter("j", "later", after("s", "none"))
	f.run(n1, "j", "s-1", 0)
	f.run(n1, "j", "s-2", 1)
	require.EqualValues(t, 2, f.jobInfo("j").Counts.Blocked, "one that failed keeps them")
	require.Equal(t, []string{"S"}, f.situation("j", "merge").Failed)
	f.run(n1, "j", "s-3", 0)
	require.False(t, f.queued("j", "merge"))
	f.ok(&raftlogv1.ReactivateTask{JobId: "j", TaskId: "s-2"})
	require.Zero(t, f.jobInfo("j").Counts.Blocked)
	f.run(n1, "j", "s-2", 0)
	require.True(t, f.queued("j", "merge"))
	f.addAfter("j", "last", after("s"))
	require.True(t, f.queued("j", "last"))

	f.ok(sweepOf("t", "t-", 1, 2))
	f.addAfter("j", "rest", after("t"))
	f.run(n1, "j", "t-1", 0)
	f.ok(&raftlogv1.DeleteTask{JobId: "j", TaskId: "t-2"})
	require.True(t, f.queued("j", "rest"), "those that are left have succeeded")
	f.refuse(batcherr.CodeInvalidPropertyValue, sweepOf("77", "u-", 1, 2))
}

func TestAnArrayThatDependsOnTasks(t *testing.T) {
	f, n1, _, _ := yard(t, func(j *apiv1.Job) { j.UsesTaskDependencies = proto.Bool(true) })
	f.add("j", "prepare", "7")
	cmd := sweepOf("s", "s-", 1, 3)
	cmd.Array.DependsOn = &apiv1.TaskDependencies{TaskIds: []string{"Prepare"}, TaskIdRanges: []*apiv1.TaskIdRange{{Start: 7, End: 8}}}
	f.ok(cmd)
	f.addAfter("j", "merge", after("s"))
	counts := func() []int64 {
		c := f.jobInfo("j").Counts
		return []int64{c.Active, c.Waiting, c.Blocked}
	}
	require.Equal(t, []int64{6, 4, 0}, counts())
	runnable := func() bool {
		r, _ := f.s.Room(PoolKey{"acct", "p"}, 100)
		for _, run := range r.Jobs[0].Runs {
			if run.Array != 0 {
				return true
			}
		}
		return false
	}
	require.False(t, runnable())
	load, _ := f.s.PoolLoad(PoolKey{"acct", "p"})
	require.EqualValues(t, 2, load.Active, "a pool is not made larger for what can't run yet")
	require.EqualValues(t, 2, f.jobInfo("j").Queued)
	s := f.situation("j", "s-2")
	require.Equal(t, waiting, s.Phase)
	require.Equal(t, []string{"Prepare", "7", "8"}, s.Open)
	require.Equal(t, []string{"Prepare"}, f.task("j", "s-2").Task.DependsOn.TaskIds)
	f.ok(&raftlogv1.TerminateTask{JobId: "j", TaskId: "s-3"})
	require.Equal(t, []int64{5, 3, 1}, counts(), "merge can't run any more")
	f.ok(&raftlogv1.ReactivateTask{JobId: "j", TaskId: "s-3"})

	f.run(n1, "j", "prepare", 1)
	require.Equal(t, []int64{5, 4, 4}, counts(), "three elements and what comes after them")
	f.ok(&raftlogv1.ReactivateTask{JobId: "j", TaskId: "prepare"})
	require.Equal(t, []int64{6, 4, 0}, counts())
	f.run(n1, "j", "prepare", 0)
	f.run(n1, "j", "7", 0)
	f.add("j", "8")
	require.False(t, runnable())
	f.run(n1, "j", "8", 0)
	require.True(t, runnable())
	require.Equal(t, []int64{4, 1, 0}, counts())
	for _, id := range []string{"s-1", "s-2", "s-3"} {
		f.run(n1, "j", id, 0)
	}
	require.True(t, f.queued("j", "merge"))
}
