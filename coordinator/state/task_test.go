package state

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

const (
	active    = apiv1.TaskState_TASK_STATE_ACTIVE
	runs      = apiv1.TaskState_TASK_STATE_RUNNING
	done      = apiv1.TaskState_TASK_STATE_COMPLETED
	succeeded = apiv1.TaskExecutionResult_TASK_EXECUTION_RESULT_SUCCESS
	failed    = apiv1.TaskExecutionResult_TASK_EXECUTION_RESULT_FAILURE
)

// yard is a farm with a pool of two nodes and a job.
func yard(t *testing.T, edits ...func(*apiv1.Job)) (f *farm, n1, n2, job uint64) {
	f = newFarm(t)
	f.pool("p")
	n1, n2 = f.node("p", "n1"), f.node("p", "n2")
	return f, n1, n2, f.job("j", edits...)
}

func TestLifeOfATask(t *testing.T) {
	f, n1, _, job := yard(t)
	f.addSpec("j", taskSpec(withSlots(2)), "t")
	created := f.now
	info := f.task("j", "T")
	require.Equal(t, active, info.Task.State)
	require.Equal(t, "t", info.Task.Id)
	require.Equal(t, "run t", info.Task.CommandLine)
	require.Equal(t, ETag(created), info.Task.ETag)
	require.Zero(t, info.Task.PreviousState)
	require.Nil(t, info.Task.NodeInfo)

	f.assign(n1, "j", "t")
	info = f.task("j", "t")
	require.Equal(t, active, info.Task.State, "users see a task that has not started as active")
	require.Equal(t, at2pb(created), info.Task.StateTransitionTime)
	require.Zero(t, info.Task.PreviousState)
	require.EqualValues(t, 1, info.Attempt)
	require.EqualValues(t, 2, f.s.nodes[n1].used)

	f.report(n1, "j", "t", began())
	info = f.task("j", "t")
	require.Equal(t, runs, info.Task.State)
	require.Equal(t, active, info.Task.PreviousState)
	require.Equal(t, at2pb(created), info.Task.PreviousStateTransitionTime)
	require.Equal(t, "n1", info.Task.NodeInfo.NodeId)
	require.Equal(t, "workitems/j/job-1/t", info.Task.NodeInfo.TaskRootDirectory)
	node, _ := f.s.NodeByUID(n1)
	require.Equal(t, []int{1, 1, 2}, []int{node.Running, node.Held, int(node.RunningSlots)})

	f.report(n1, "j", "t", exited(0))
	info = f.task("j", "t")
	require.Equal(t, done, info.Task.State)
	require.Equal(t, runs, info.Task.PreviousState)
	require.Equal(t, succeeded, info.Task.ExecutionInfo.Result)
	require.EqualValues(t, 0, info.Task.ExecutionInfo.GetExitCode())
	require.NotNil(t, info.Task.ExecutionInfo.ExitCode)
	require.Nil(t, info.Task.ExecutionInfo.FailureInfo)
	require.Equal(t, ETag(created), info.Task.ETag, "state moves leave the version")
	node, _ = f.s.NodeByUID(n1)
	require.Equal(t, []int64{0, 1, 1}, []int64{int64(node.Held), node.Totals.TasksRun, node.Totals.TasksSucceeded})
	require.True(t, proto.Equal(&raftlogv1.JobCounts{Completed: 1, Succeeded: 1, CompletedSlots: 2, SucceededSlots: 2}, f.s.jobByUID[job].counts))
}

func TestEventsAreNeverInTheFuture(t *testing.T) {
	f, n1, _, _ := yard(t)
	f.add("j", "t")
	f.assign(n1, "j", "t")
	r := exited(0)
	r.StartTime, r.EndTime = f.now+1000*tick, 5
	f.report(n1, "j", "t", r)
	info := f.task("j", "t").Task.ExecutionInfo
	require.Equal(t, at2pb(f.now), info.StartTime)
	require.Equal(t, at2pb(f.now), info.EndTime, "it does not end before it starts")
}

func TestRetries(t *testing.T) {
	for _, c := range []struct {
		limit int32
		codes []int32 // of one attempt after another
		left  apiv1.TaskState
		made  int32
	}{
		{0, []int32{1}, done, 0},
		{3, []int32{1, 1, 1}, active, 3},
		{3, []int32{1, 1, 1, 1}, done, 3},
		{3, []int32{1, 0}, done, 1},
		{-1, []int32{1, 2, 3, 4, 5, 6, 7}, active, 7},
	} {
		f, n1, n2, _ := yard(t)
		f.addSpec("j", taskSpec(withRetries(c.limit)), "t")
		for i, code := range c.codes {
			f.run([]uint64{n1, n2}[i%2], "j", "t", code)
		}
		info := f.task("j", "t")
		require.Equal(t, c.left, info.Task.State, "%v", c)
		require.Equal(t, c.made, info.Task.ExecutionInfo.RetryCount, "%v", c)
		require.Zero(t, info.Task.ExecutionInfo.RequeueCount)
		require.EqualValues(t, len(c.codes), info.Attempt)
		require.Equal(t, c.left == active, f.queued("j", "t"))
		require.Equal(t, c.made > 0, info.Task.ExecutionInfo.LastRetryTime != nil)
	}
}

func TestOnlyExitCodesAreRetried(t *testing.T) {
	zero, one := int32(0), int32(1)
	for name, r := range map[string]*agentv1.AttemptReport{
		"pre-processing": failedIn(agentv1.FailureStage_FAILURE_STAGE_PRE_PROCESSING, nil),
		"upload":         failedIn(agentv1.FailureStage_FAILURE_STAGE_FILE_UPLOAD, &zero),
		"time is up":     failedIn(agentv1.FailureStage_FAILURE_STAGE_COMMAND, &one),
		"nothing said":   phase(agentv1.AttemptPhase_ATTEMPT_PHASE_ENDED),
	} {
		t.Run(name, func(t *testing.T) {
			f, n1, _, _ := yard(t)
			f.addSpec("j", taskSpec(withRetries(-1)), "t")
			f.assign(n1, "j", "t")
			f.report(n1, "j", "t", r)
			info := f.task("j", "t").Task.ExecutionInfo
			require.Equal(t, failed, info.Result)
			require.NotNil(t, info.FailureInfo)
			require.Zero(t, info.RetryCount)
		})
	}
}

func TestUpdatedConstraintsCount(t *testing.T) {
	f, n1, _, _ := yard(t)
	f.addSpec("j", taskSpec(withRetries(0)), "t", "u")
	before := f.task("j", "t").Task
	limit := int32(1)
	f.ok(&raftlogv1.UpdateTask{JobId: "j", TaskId: "t", Constraints: &apiv1.TaskConstraints{MaxTaskRetryCount: &limit}, Conditions: &apiv1.Conditions{IfMatch: before.ETag}})
	updated := f.task("j", "t").Task
	require.NotEqual(t, before.ETag, updated.ETag)
	require.Equal(t, limit, updated.Constraints.GetMaxTaskRetryCount())
	f.run(n1, "j", "t", 1)
	require.Equal(t, active, f.state("j", "t"))
	f.run(n1, "j", "u", 1)
	require.Equal(t, done, f.state("j", "u"))
	f.assign(n1, "j", "t")
	held, err := f.s.Held(n1)
	require.NoError(t, err)
	require.Len(t, held, 1)
	require.Equal(t, limit, held[0].Constraints.GetMaxTaskRetryCount())
}

func TestTasksComeBackFromNodes(t *testing.T) {
	for _, c := range []struct {
		name     string
		started  bool
		away     func(f *farm, node uint64)
		requeues int32
	}{
		{"returned", false, func(f *farm, n uint64) { f.report(n, "j", "t", returned()) }, 0},
		{"lost before it started", false, func(f *farm, n uint64) { f.report(n, "j", "t", lost()) }, 0},
		{"lost", true, func(f *farm, n uint64) { f.report(n, "j", "t", lost()) }, 1},
		{"released", true, func(f *farm, n uint64) { f.report(n, "j", "t", released()) }, 1},
		{"node lost", true, func(f *farm, n uint64) {
			f.ok(&raftlogv1.NodeLost{PoolId: "p", NodeId: "n1", Incarnation: 1})
		}, 1},
		{"node deleted", true, func(f *farm, n uint64) { f.ok(&raftlogv1.DeleteNode{PoolId: "p", NodeId: "n1"}) }, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, n1, n2, _ := yard(t)
			f.addSpec("j", taskSpec(withRetries(0)), "t")
			f.assign(n1, "j", "t")
			if c.started {
				f.report(n1, "j", "t", began())
			}
			c.away(f, n1)
			info := f.task("j", "t").Task
			require.Equal(t, active, info.State)
			require.True(t, f.queued("j", "t"))
			require.Equal(t, c.requeues, info.ExecutionInfo.RequeueCount)
			require.Equal(t, c.requeues > 0, info.ExecutionInfo.LastRequeueTime != nil)
			require.Zero(t, info.ExecutionInfo.RetryCount)
			require.Nil(t, info.ExecutionInfo.StartTime)
			f.run(n2, "j", "t", 0)
			require.Equal(t, done, f.state("j", "t"))
		})
	}
}

// stage is how far a task has come.
type stage int

const (
	stageWaiting stage = iota
	stageQueued
	stageAssigned
	stageRunning
	stageFailed
)

func (f *farm) bring(t *testing.T, node uint64, to stage) {
	if to == stageWaiting {
		f.addAfter("j", "t", after("later"))
		return
	}
	f.add("j", "t")
	if to >= stageAssigned {
		f.assign(node, "j", "t")
	}
	if to >= stageRunning {
		f.report(node, "j", "t", began())
	}
	if to == stageFailed {
		f.report(node, "j", "t", exited(1))
	}
}

func TestTerminateWins(t *testing.T) {
	for to := stageWaiting; to <= stageRunning; to++ {
		f, n1, _, _ := yard(t)
		f.bring(t, n1, to)
		f.ok(&raftlogv1.TerminateTask{JobId: "j", TaskId: "t"})
		info := f.task("j", "t").Task.ExecutionInfo
		require.Equal(t, done, f.state("j", "t"), "stage %d", to)
		require.Equal(t, "TaskEnded", info.FailureInfo.Code)
		require.Equal(t, failed, info.Result)
		node, _ := f.s.NodeByUID(n1)
		require.Equal(t, to >= stageAssigned, node.Held == 1, "the node holds it until it has stopped it")
		if to >= stageAssigned {
			before := dump(f.s)
			f.report(n1, "j", "t", began())
			require.Equal(t, before, dump(f.s), "a late start has no effect")
			f.report(n1, "j", "t", exited(0))
			require.Equal(t, failed, f.task("j", "t").Task.ExecutionInfo.Result, "a late success does not undo it")
			require.Zero(t, f.s.nodes[n1].used)
		}
		f.add("j", "later")
		f.run(n1, "j", "later", 0)
		require.Equal(t, done, f.state("j", "t"))
	}
}

func TestDeleteTask(t *testing.T) {
	for to := stageWaiting; to <= stageFailed; to++ {
		f, n1, _, job := yard(t)
		f.bring(t, n1, to)
		old := f.key("j", "t")
		w := f.s.Watch()
		f.ok(&raftlogv1.DeleteTask{JobId: "j", TaskId: "t"})
		changes := w.Take().Nodes[n1]
		w.Close()
		_, _, found, err := f.s.Task("acct", "j", "t")
		require.NoError(t, err)
		require.False(t, found)
		require.True(t, proto.Equal(&raftlogv1.JobCounts{}, f.s.jobByUID[job].counts), "stage %d: %v", to, f.s.jobByUID[job].counts)
		if to >= stageAssigned {
			require.Equal(t, []Clean{{old, "j", "t"}}, changes.Clean)
		}
		f.add("j", "t") // a new task of the same name, while the node may still run the old one
		require.NotEqual(t, old.TaskKey, f.key("j", "t").TaskKey)
		if to == stageAssigned || to == stageRunning {
			require.Equal(t, []AttemptKey{old}, changes.Stopping)
			r := exited(1)
			r.Ref = old.Ref()
			f.send(n1, r)
			require.Zero(t, f.s.nodes[n1].used)
		}
		require.True(t, f.queued("j", "t"))
	}
}

func TestReactivate(t *testing.T) {
	f, n1, n2, _ := yard(t)
	f.addSpec("j", taskSpec(withRetries(1)), "t")
	f.run(n1, "j", "t", 1)
	f.run(n1, "j", "t", 7)
	require.Equal(t, done, f.state("j", "t"))
	f.ok(&raftlogv1.ReactivateTask{JobId: "j", TaskId: "t"})
	task := f.task("j", "t").Task
	require.Equal(t, active, task.State)
	require.Equal(t, done, task.PreviousState)
	require.True(t, proto.Equal(&apiv1.TaskExecutionInfo{}, task.ExecutionInfo), "%v", task.ExecutionInfo)
	f.assign(n2, "j", "t")
	require.Equal(t, done, f.task("j", "t").Task.PreviousState)
	f.report(n2, "j", "t", exited(0))
	require.Equal(t, succeeded, f.task("j", "t").Task.ExecutionInfo.Result)
}

// A task that was ended runs again while its old node is still stopping it: what that node says counts for nothing.
func TestReactivatedWhileStopping(t *testing.T) {
	for name, late := range map[string]*agentv1.AttemptReport{"released": released(), "success": exited(0), "failure": exited(1), "lost": lost(), "began": began()} {
		for _, again := range []bool{false, true} {
			f, n1, n2, _ := yard(t)
			f.add("j", "t")
			f.assign(n1, "j", "t")
			f.report(n1, "j", "t", began())
			old := f.key("j", "t")
			f.ok(&raftlogv1.TerminateTask{JobId: "j", TaskId: "t"})
			f.ok(&raftlogv1.ReactivateTask{JobId: "j", TaskId: "t"})
			f.assign(n1, "j", "t")
			require.True(t, f.queued("j", "t"), "not on a node that is stopping it")
			if again {
				f.assign(n2, "j", "t")
			}
			late.Ref = old.Ref()
			f.send(n1, late)
			require.Equal(t, !again, f.queued("j", "t"), name)
			require.Equal(t, active, f.state("j", "t"))
			if !again {
				f.assign(n2, "j", "t")
			}
			f.report(n2, "j", "t", exited(0))
			require.Equal(t, succeeded, f.task("j", "t").Task.ExecutionInfo.Result)
			require.EqualValues(t, 2, f.key("j", "t").Attempt)
		}
	}
}

func TestStaleReportsHaveNoEffect(t *testing.T) {
	f, n1, n2, _ := yard(t)
	f.addSpec("j", taskSpec(withRetries(1)), "t", "u")
	f.assign(n1, "j", "t")
	first := f.key("j", "t")
	f.report(n1, "j", "t", exited(1))
	f.assign(n2, "j", "t")
	f.assign(n1, "j", "u")
	before := dump(f.s)
	stale := func(key AttemptKey, r *agentv1.AttemptReport) *agentv1.AttemptReport {
		r.Ref = key.Ref()
		return r
	}
	now := f.key("j", "t")
	f.send(n1, stale(first, exited(0)), stale(first, lost()), stale(now, exited(0)), began(), stale(AttemptKey{TaskKey{99, 1}, 1}, began()))
	f.send(n2, stale(first, exited(0)), stale(AttemptKey{now.TaskKey, 9}, released()))
	require.Equal(t, before, dump(f.s))
	r := stale(now, exited(0))
	f.refuse("OperationInvalidForCurrentState", &raftlogv1.ReportAttempts{Node: n2, Incarnation: 2, Reports: []*agentv1.AttemptReport{r}})
	f.send(n2, r, r)
	ended := dump(f.s)
	f.send(n2, r, stale(now, released()), stale(now, lost()))
	require.Equal(t, ended, dump(f.s), "duplicates")
}

func TestLostNodeBeginsAnew(t *testing.T) {
	f, n1, _, _ := yard(t)
	f.add("j", "t")
	f.assign(n1, "j", "t")
	old := f.key("j", "t")
	f.ok(&raftlogv1.NodeLost{PoolId: "p", NodeId: "n1", Incarnation: 7})
	require.False(t, f.queued("j", "t"), "another incarnation")
	f.ok(&raftlogv1.NodeLost{PoolId: "p", NodeId: "n1", Incarnation: 1})
	node, _ := f.s.NodeByUID(n1)
	require.Equal(t, apiv1.NodeState_NODE_STATE_UNKNOWN, node.NodeRecord.Node.State)
	f.assign(n1, "j", "t")
	require.True(t, f.queued("j", "t"), "nothing for a node that is unknown")
	late := exited(0)
	late.Ref = old.Ref()
	f.refuse("OperationInvalidForCurrentState", &raftlogv1.ReportAttempts{Node: n1, Incarnation: 1, Reports: []*agentv1.AttemptReport{late}})
	f.ok(&raftlogv1.NodeHello{PoolId: "p", NodeId: "n1"})
	f.ok(&raftlogv1.AssignTasks{Nodes: []*raftlogv1.NodePlan{{Node: n1, Incarnation: 1, Tasks: []*raftlogv1.PlannedTask{{Job: old.Job, Task: old.Task}}}}})
	require.True(t, f.queued("j", "t"), "a plan for the former incarnation")
	f.run(n1, "j", "t", 0)
	require.Equal(t, done, f.state("j", "t"))
}

func TestRetractIsOnlyARequest(t *testing.T) {
	f, n1, _, _ := yard(t)
	f.add("j", "t", "u")
	f.assign(n1, "j", "t", "u")
	f.report(n1, "j", "u", began())
	before := dump(f.s)
	w := f.s.Watch()
	defer w.Close()
	key, other := f.key("j", "t"), f.key("j", "u")
	old := key
	old.Attempt = 9
	f.ok(&raftlogv1.RetractTasks{Node: n1, Attempts: []*agentv1.AttemptRef{key.Ref(), other.Ref(), old.Ref()}})
	f.ok(&raftlogv1.RetractTasks{Node: 99, Attempts: []*agentv1.AttemptRef{key.Ref()}})
	require.Equal(t, before, dump(f.s))
	require.Equal(t, []AttemptKey{key}, w.Take().Nodes[n1].Retracting, "what has started stays")
	require.Equal(t, []AttemptKey{key}, f.s.Unstarted(n1, 5))
}

func TestExitConditionsActOnTheJob(t *testing.T) {
	options := func(job apiv1.JobActionKind) *apiv1.ExitConditions {
		return &apiv1.ExitConditions{ExitCodes: []*apiv1.ExitCodeMapping{{Code: 5, ExitOptions: &apiv1.ExitOptions{JobAction: job}}}}
	}
	perform := apiv1.TaskFailureMode_TASK_FAILURE_MODE_PERFORM_EXIT_OPTIONS_JOB_ACTION
	for _, c := range []struct {
		mode   apiv1.TaskFailureMode
		action apiv1.JobActionKind
		want   apiv1.JobState
	}{
		{apiv1.TaskFailureMode_TASK_FAILURE_MODE_NO_ACTION, apiv1.JobActionKind_JOB_ACTION_KIND_TERMINATE, jobActive},
		{perform, apiv1.JobActionKind_JOB_ACTION_KIND_NONE, jobActive},
		{perform, apiv1.JobActionKind_JOB_ACTION_KIND_DISABLE, jobDisabling},
		{perform, apiv1.JobActionKind_JOB_ACTION_KIND_TERMINATE, jobTerminating},
		{perform, apiv1.JobActionKind_JOB_ACTION_KIND_UNSPECIFIED, jobTerminating},
	} {
		f, n1, _, _ := yard(t, func(j *apiv1.Job) { j.OnTaskFailure = c.mode })
		f.addSpec("j", taskSpec(withExit(options(c.action))), "t", "other")
		f.assign(n1, "j", "other")
		f.report(n1, "j", "other", began())
		f.run(n1, "j", "t", 5)
		info := f.jobInfo("j")
		require.Equal(t, c.want, info.Job.State, "%v", c)
		if c.want == jobActive {
			continue
		}
		f.report(n1, "j", "other", released())
		info = f.jobInfo("j")
		if c.want == jobTerminating {
			require.Equal(t, jobCompleted, info.Job.State)
			require.Equal(t, "TaskFailed", info.Job.ExecutionInfo.TerminateReason)
			require.Equal(t, done, f.state("j", "other"))
		} else {
			require.Equal(t, jobDisabled, info.Job.State)
			require.True(t, f.queued("j", "other"))
		}
	}
}
