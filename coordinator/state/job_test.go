package state

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/batcherr"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// threeStages brings task a to running, b to assigned and leaves c queued.
func threeStages(f *farm, node uint64) {
	f.addSpec("j", taskSpec(withRetries(5)), "a", "b", "c")
	f.assign(node, "j", "a", "b")
	f.report(node, "j", "a", began())
}

func TestDisableJob(t *testing.T) {
	for _, c := range []struct {
		option    apiv1.DisableJobOption
		a         apiv1.TaskState // of the running task after the node has done as it was told
		stopped   bool
		aReleases bool
	}{
		{apiv1.DisableJobOption_DISABLE_JOB_OPTION_REQUEUE, active, true, true},
		{apiv1.DisableJobOption_DISABLE_JOB_OPTION_TERMINATE, done, true, true},
		{apiv1.DisableJobOption_DISABLE_JOB_OPTION_WAIT, done, false, false},
	} {
		f, n1, _, _ := yard(t)
		threeStages(f, n1)
		a, b := f.key("j", "a"), f.key("j", "b")
		w := f.s.Watch()
		before := f.jobInfo("j").Job
		answer := f.ok(&raftlogv1.DisableJob{JobId: "j", Option: c.option})
		require.NotEqual(t, before.ETag, answer.Written.Etag)
		require.Equal(t, f.jobInfo("j").Job.ETag, answer.Written.Etag)
		stopping := w.Take().Nodes[n1].Stopping
		w.Close()
		require.Contains(t, stopping, b)
		require.Equal(t, c.stopped, len(stopping) == 2, "%v", stopping)
		require.Equal(t, jobDisabling, f.jobInfo("j").Job.State)
		f.assign(n1, "j", "c")
		require.True(t, f.queued("j", "c"), "nothing of a disabled job is scheduled")

		f.report(n1, "j", "b", returned())
		require.True(t, f.queued("j", "b"))
		require.Equal(t, jobDisabling, f.jobInfo("j").Job.State, "%v", a)
		if c.aReleases {
			f.report(n1, "j", "a", released())
		} else {
			f.report(n1, "j", "a", exited(0))
		}
		info := f.jobInfo("j").Job
		require.Equal(t, jobDisabled, info.State)
		require.Equal(t, jobDisabling, info.PreviousState)
		require.Equal(t, c.a, f.state("j", "a"))
		require.Equal(t, c.option == apiv1.DisableJobOption_DISABLE_JOB_OPTION_REQUEUE, f.task("j", "a").Task.ExecutionInfo.RequeueCount == 1)

		f.ok(&raftlogv1.DisableJob{JobId: "j", Option: c.option})
		require.Equal(t, jobDisabled, f.jobInfo("j").Job.State, "disabling a disabled job is allowed")
		f.ok(&raftlogv1.EnableJob{JobId: "j"})
		f.run(n1, "j", "b", 0)
		require.Equal(t, done, f.state("j", "b"))
	}
}

func TestDisablingIsNoFailure(t *testing.T) {
	f, n1, _, _ := yard(t, func(j *apiv1.Job) {
		j.OnTaskFailure = apiv1.TaskFailureMode_TASK_FAILURE_MODE_PERFORM_EXIT_OPTIONS_JOB_ACTION
	})
	threeStages(f, n1)
	f.ok(&raftlogv1.DisableJob{JobId: "j", Option: apiv1.DisableJobOption_DISABLE_JOB_OPTION_TERMINATE})
	require.Equal(t, done, f.state("j", "a"))
	require.Equal(t, jobDisabling, f.jobInfo("j").Job.State, "the job acts on failures of its tasks, not on its own")
	f.ok(&raftlogv1.EnableJob{JobId: "j"})
	f.ok(&raftlogv1.TerminateTask{JobId: "j", TaskId: "c"})
	require.Equal(t, jobTerminating, f.jobInfo("j").Job.State)
}

func TestEnableWhileDisabling(t *testing.T) {
	f, n1, n2, _ := yard(t)
	threeStages(f, n1)
	f.ok(&raftlogv1.DisableJob{JobId: "j"})
	f.ok(&raftlogv1.EnableJob{JobId: "j"})
	require.Equal(t, jobActive, f.jobInfo("j").Job.State)
	f.report(n1, "j", "a", released())
	f.report(n1, "j", "b", released())
	f.assign(n2, "j", "a", "b", "c")
	require.Equal(t, 3, f.jobInfo("j").Held)
	require.Zero(t, f.task("j", "b").Task.ExecutionInfo.RequeueCount, "it had not started")
}

func TestTerminateJob(t *testing.T) {
	f, n1, _, _ := yard(t)
	threeStages(f, n1)
	f.ok(&raftlogv1.TerminateJob{JobId: "j", Reason: "enough"})
	info := f.jobInfo("j").Job
	require.Equal(t, jobTerminating, info.State)
	require.Empty(t, info.ExecutionInfo.TerminateReason)
	require.Equal(t, done, f.state("j", "a"))
	f.report(n1, "j", "a", released())
	f.report(n1, "j", "b", returned())
	info = f.jobInfo("j").Job
	require.Equal(t, jobCompleted, info.State)
	require.Equal(t, "enough", info.ExecutionInfo.TerminateReason)
	require.Equal(t, f.now, timeOf(info.ExecutionInfo.EndTime))
	require.Equal(t, active, f.state("j", "b"), "what had not started stays active for ever")
	require.Equal(t, active, f.state("j", "c"))
	f.ok(&raftlogv1.DeleteTask{JobId: "j", TaskId: "c"})
	f.ok(&raftlogv1.DeleteJob{JobId: "j"})
}

func TestDeleteJob(t *testing.T) {
	f, n1, _, uid := yard(t)
	threeStages(f, n1)
	f.addAfter("j", "d", &apiv1.TaskDependencies{TaskIds: []string{"c"}, TaskIdRanges: []*apiv1.TaskIdRange{{Start: 1, End: 3}}})
	f.add("j", "1", "2")
	f.run(n1, "j", "1", 0)
	f.run(n1, "j", "2", 1)
	b := f.key("j", "b")
	f.ok(&raftlogv1.DeleteJob{JobId: "j"})
	require.Equal(t, jobDeleting, f.jobInfo("j").Job.State)
	require.True(t, f.s.CanAdvance(uid) == false, "all is being stopped")
	f.report(n1, "j", "a", exited(0))
	require.Equal(t, runs, f.state("j", "a"), "what tasks of a deleted job do is of no interest")
	require.Equal(t, jobDeleting, f.jobInfo("j").Job.State)
	w := f.s.Watch()
	defer w.Close()
	r := released()
	r.Ref = b.Ref()
	f.send(n1, r)
	_, found := f.s.Job("acct", "j")
	require.False(t, found)
	changes := w.Take()
	require.True(t, changes.Jobs[uid])
	require.Equal(t, []Clean{{AttemptKey{TaskKey: TaskKey{Job: uid}}, "j", ""}}, changes.Nodes[n1].Clean)
	for _, table := range jobTables {
		require.NoError(t, f.s.scan(keyNumber(table, uid), func(key, _ []byte) error {
			require.FailNow(t, "left", "%c %x", table, key)
			return nil
		}))
	}
	require.NotEqual(t, uid, f.job("j"), "numbers are never used again")
	require.Zero(t, f.jobInfo("j").Queued)
}

func TestDeletingAnIdleJobTakesTwoSteps(t *testing.T) {
	f, _, _, uid := yard(t)
	f.ok(&raftlogv1.DeleteJob{JobId: "j"})
	require.Equal(t, jobDeleting, f.jobInfo("j").Job.State)
	require.True(t, f.s.CanAdvance(uid))
	f.ok(&raftlogv1.AdvanceJob{Job: uid, Limit: 1})
	_, found := f.s.Job("acct", "j")
	require.False(t, found)
	f.ok(&raftlogv1.AdvanceJob{Job: uid, Limit: 1})
	require.False(t, f.s.CanAdvance(uid))
}

func TestAdvanceIsBounded(t *testing.T) {
	f, n1, _, uid := yard(t)
	const tasks = 2*AdvanceStep + 500
	cmd := &raftlogv1.AddTasks{JobId: "j", Specs: [][]byte{taskSpec()}}
	plan := &raftlogv1.NodePlan{Node: n1, Incarnation: 1}
	var reports []*agentv1.AttemptReport
	for i := range uint64(tasks) {
		cmd.Tasks = append(cmd.Tasks, &raftlogv1.NewTask{Id: fmt.Sprint(i)})
		plan.Tasks = append(plan.Tasks, &raftlogv1.PlannedTask{Job: uid, Task: i + 1})
		r := began()
		r.Ref = AttemptKey{TaskKey{uid, i + 1}, 1}.Ref()
		reports = append(reports, r)
	}
	f.ok(cmd)
	f.ok(&raftlogv1.AssignTasks{Nodes: []*raftlogv1.NodePlan{plan}})
	f.send(n1, reports...)
	f.ok(&raftlogv1.TerminateJob{JobId: "j"})
	w := f.s.Watch()
	defer w.Close()
	for _, ended := range []int64{AdvanceStep, 2 * AdvanceStep, tasks} {
		require.Equal(t, ended, f.jobInfo("j").Counts.Completed)
		require.Equal(t, ended < tasks, f.s.CanAdvance(uid))
		f.ok(&raftlogv1.AdvanceJob{Job: uid, Limit: AdvanceStep})
		require.Equal(t, ended < tasks, w.Take().Jobs[uid], "who advances the job hears of it while there is more")
	}
	for _, r := range reports {
		r.Phase = agentv1.AttemptPhase_ATTEMPT_PHASE_RELEASED
	}
	f.send(n1, reports...)
	require.Equal(t, jobCompleted, f.jobInfo("j").Job.State)
}

func TestWaitingDisableLetsTasksRun(t *testing.T) {
	f, n1, _, uid := yard(t)
	threeStages(f, n1)
	f.ok(&raftlogv1.DisableJob{JobId: "j", Option: apiv1.DisableJobOption_DISABLE_JOB_OPTION_WAIT})
	require.False(t, f.s.CanAdvance(uid), "what runs may go on")
	f.ok(&raftlogv1.DisableJob{JobId: "j", Option: apiv1.DisableJobOption_DISABLE_JOB_OPTION_REQUEUE})
	f.report(n1, "j", "a", released())
	require.True(t, f.queued("j", "a"))
}

func TestAllTasksComplete(t *testing.T) {
	terminate := apiv1.AllTasksCompleteMode_ALL_TASKS_COMPLETE_MODE_TERMINATE_JOB
	auto := func(j *apiv1.Job) { j.OnAllTasksComplete = terminate }
	t.Run("the last task ends", func(t *testing.T) {
		f, n1, _, _ := yard(t, auto)
		require.Equal(t, jobActive, f.jobInfo("j").Job.State)
		f.add("j", "a", "b")
		f.run(n1, "j", "a", 1)
		require.Equal(t, jobActive, f.jobInfo("j").Job.State)
		f.run(n1, "j", "b", 0)
		require.Equal(t, jobCompleted, f.jobInfo("j").Job.State)
		require.Equal(t, "AllTasksComplete", f.jobInfo("j").Job.ExecutionInfo.TerminateReason)
	})
	t.Run("the last task is ended", func(t *testing.T) {
		f, n1, _, _ := yard(t, auto)
		f.add("j", "a")
		f.assign(n1, "j", "a")
		f.ok(&raftlogv1.TerminateTask{JobId: "j", TaskId: "a"})
		require.Equal(t, jobTerminating, f.jobInfo("j").Job.State, "until its node has stopped it")
		f.report(n1, "j", "a", released())
		require.Equal(t, jobCompleted, f.jobInfo("j").Job.State)
	})
	t.Run("the last task is deleted", func(t *testing.T) {
		f, n1, _, _ := yard(t, auto)
		f.add("j", "a", "b")
		f.run(n1, "j", "a", 0)
		f.ok(&raftlogv1.DeleteTask{JobId: "j", TaskId: "b"})
		require.Equal(t, jobCompleted, f.jobInfo("j").Job.State)
	})
	t.Run("set on a job that has none", func(t *testing.T) {
		f, _, _, _ := yard(t)
		f.ok(&raftlogv1.UpdateJob{JobId: "j", Update: &apiv1.JobUpdateOptions{OnAllTasksComplete: &terminate}})
		require.Equal(t, jobCompleted, f.jobInfo("j").Job.State)
	})
	t.Run("set while a task is left", func(t *testing.T) {
		f, n1, _, _ := yard(t)
		f.add("j", "a")
		f.ok(&raftlogv1.UpdateJob{JobId: "j", Update: &apiv1.JobUpdateOptions{OnAllTasksComplete: &terminate}})
		require.Equal(t, jobActive, f.jobInfo("j").Job.State)
		f.run(n1, "j", "a", 0)
		require.Equal(t, jobCompleted, f.jobInfo("j").Job.State)
	})
	t.Run("a blocked task is not complete", func(t *testing.T) {
		f, n1, _, _ := yard(t, auto)
		f.add("j", "a")
		f.addAfter("j", "b", after("a"))
		f.run(n1, "j", "a", 1)
		require.Equal(t, jobActive, f.jobInfo("j").Job.State)
		require.EqualValues(t, 1, f.jobInfo("j").Counts.Blocked)
	})
}

func TestUpdateJob(t *testing.T) {
	f, n1, _, uid := yard(t, func(j *apiv1.Job) { j.Metadata = []*apiv1.MetadataItem{{Name: "a"}} })
	f.pool("q")
	before := f.jobInfo("j").Job
	answer := f.ok(&raftlogv1.UpdateJob{JobId: "j", Conditions: &apiv1.Conditions{IfMatch: before.ETag}, Cleared: []string{"metadata"}, Update: &apiv1.JobUpdateOptions{
		Priority: proto.Int32(7), MaxParallelTasks: proto.Int32(2), Constraints: &apiv1.JobConstraints{},
	}})
	after := f.jobInfo("j").Job
	require.Equal(t, []int32{7, 2, 0}, []int32{after.GetPriority(), after.GetMaxParallelTasks(), after.Constraints.GetMaxTaskRetryCount()})
	require.Empty(t, after.Metadata)
	require.Equal(t, answer.Written.Etag, after.ETag)
	require.Zero(t, before.GetPriority(), "a record that a reader holds does not change")

	f.add("j", "a", "b", "c")
	room, _ := f.s.Room(PoolKey{"acct", "p"}, 10)
	require.Equal(t, 2, room.Jobs[0].Allowed)
	f.assign(n1, "j", "a")
	room, _ = f.s.Room(PoolKey{"acct", "p"}, 10)
	require.Equal(t, 1, room.Jobs[0].Allowed)

	f.ok(&raftlogv1.DisableJob{JobId: "j"})
	f.report(n1, "j", "a", returned())
	w := f.s.Watch()
	defer w.Close()
	f.ok(&raftlogv1.UpdateJob{JobId: "j", Update: &apiv1.JobUpdateOptions{PoolInfo: &apiv1.PoolInfo{PoolId: "Q"}}})
	require.Equal(t, map[PoolKey]bool{{"acct", "q"}: true}, w.Take().Rooms, "under the pool's own name")
	f.ok(&raftlogv1.EnableJob{JobId: "j"})
	room, _ = f.s.Room(PoolKey{"acct", "q"}, 10)
	require.Equal(t, uid, room.Jobs[0].UID)
	room, _ = f.s.Room(PoolKey{"acct", "p"}, 10)
	require.Empty(t, room.Jobs)
}

func TestJobBeforeItsPool(t *testing.T) {
	f := newFarm(t)
	f.job("j", func(j *apiv1.Job) { j.PoolInfo.PoolId = "LATER" })
	f.add("j", "a")
	f.pool("later")
	n := f.node("later", "n")
	room, ok := f.s.Room(PoolKey{"acct", "later"}, 10)
	require.True(t, ok)
	require.Len(t, room.Jobs, 1)
	f.run(n, "j", "a", 0)
	require.Equal(t, done, f.state("j", "a"))
}

func TestSizesDoNotHideEachOther(t *testing.T) {
	f, _, _, _ := yard(t)
	big := taskSpec(withSlots(50))
	f.addSpec("j", big, "1", "2", "3", "4", "5", "6")
	f.add("j", "7", "8")
	f.addSpec("j", big, "9")
	room, _ := f.s.Room(PoolKey{"acct", "p"}, 4)
	var seen []Run
	for _, r := range room.Jobs[0].Runs {
		seen = append(seen, Run{First: r.First, Last: r.Last, Slots: r.Slots})
	}
	require.Equal(t, []Run{{First: 1, Last: 6, Slots: 50}, {First: 7, Last: 8, Slots: 1}}, seen)
}

func TestTimesNeverGoBack(t *testing.T) {
	f, _, _, _ := yard(t)
	first := f.jobInfo("j").Job
	f.now -= 1000 * tick
	f.ok(&raftlogv1.UpdateJob{JobId: "j", Update: &apiv1.JobUpdateOptions{Priority: proto.Int32(1)}})
	second := f.jobInfo("j").Job
	require.True(t, second.LastModified.AsTime().After(first.LastModified.AsTime()))
	require.NotEqual(t, first.ETag, second.ETag)
	f.refuse(batcherr.CodeConditionNotMet, &raftlogv1.TerminateJob{JobId: "j", Conditions: &apiv1.Conditions{IfMatch: first.ETag}})
}
