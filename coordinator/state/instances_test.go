package state

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

func forInstances(p *apiv1.Pool) {
	p.TaskSlotsPerNode, p.EnableInterNodeCommunication = proto.Int32(1), proto.Bool(true)
}

// gang is a pool with nodes for a multi-instance task "a" of job "j".
func gang(t *testing.T, nodes int, spec []byte, edits ...func(*apiv1.Job)) (*farm, []uint64) {
	f := newFarm(t)
	f.pool("p", forInstances)
	uids := make([]uint64, nodes)
	for i := range uids {
		uids[i] = f.node("p", string(rune('a'+i)))
	}
	f.job("j", edits...)
	f.addSpec("j", spec, "a")
	return f, uids
}

func (f *farm) assignAll(job, id string, nodes ...uint64) {
	key := f.key(job, id)
	plan := &raftlogv1.InstancesPlan{Job: key.Job, Task: key.Task}
	for _, uid := range nodes {
		n, _ := f.s.NodeByUID(uid)
		plan.Nodes = append(plan.Nodes, &raftlogv1.InstanceNode{Node: uid, Incarnation: n.GetIncarnation()})
	}
	f.ok(&raftlogv1.AssignInstances{Tasks: []*raftlogv1.InstancesPlan{plan}})
}

func ready() *agentv1.AttemptReport { return phase(agentv1.AttemptPhase_ATTEMPT_PHASE_READY) }

// place is what the node is told of its instance.
func (f *farm) place(node uint64) *agentv1.Instance {
	held, err := f.s.Held(node)
	require.NoError(f.t, err)
	require.Len(f.t, held, 1)
	return held[0].Instance
}

func (f *farm) subtasks(job, id string) []Subtask {
	out, err := f.s.Subtasks(f.key(job, id).TaskKey)
	require.NoError(f.t, err)
	return out
}

func (f *farm) stopping(node uint64) bool {
	held, err := f.s.Held(node)
	require.NoError(f.t, err)
	return len(held) == 1 && held[0].Stopping
}

func TestAllInstancesAreAssignedOrNone(t *testing.T) {
	for name, nodes := range map[string]func(n []uint64) []uint64{
		"too few":      func(n []uint64) []uint64 { return n[:2] },
		"too many":     func(n []uint64) []uint64 { return n[:4] },
		"one is busy":  func(n []uint64) []uint64 { return []uint64{n[0], n[1], n[4]} },
		"one is twice": func(n []uint64) []uint64 { return []uint64{n[0], n[1], n[1]} },
		"one is gone":  func(n []uint64) []uint64 { return []uint64{n[0], n[1], 999} },
	} {
		t.Run(name, func(t *testing.T) {
			f, n := gang(t, 5, taskSpec(withInstances(3)))
			f.add("j", "other")
			f.assign(n[4], "j", "other")
			f.assignAll("j", "a", nodes(n)...)
			require.True(t, f.queued("j", "a"))
			require.Empty(t, f.subtasks("j", "a"))
		})
	}
	f, n := gang(t, 3, taskSpec(withInstances(3)))
	f.assign(n[0], "j", "a")
	require.True(t, f.queued("j", "a"), "it is never given to one node alone")
	load, _ := f.s.PoolLoad(PoolKey{"acct", "p"})
	require.EqualValues(t, 3, load.Active, "it counts once for each node")
	f.assignAll("j", "a", n...)
	require.False(t, f.queued("j", "a"))
	load, _ = f.s.PoolLoad(PoolKey{"acct", "p"})
	require.EqualValues(t, 3, load.Active)
}

func TestPoolsWithoutInterNodeCommunicationTakeNoInstances(t *testing.T) {
	for name, edit := range map[string]func(*apiv1.Pool){
		"apart":         func(p *apiv1.Pool) { p.TaskSlotsPerNode = proto.Int32(1) },
		"several slots": func(p *apiv1.Pool) { p.EnableInterNodeCommunication = proto.Bool(true) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFarm(t)
			f.pool("p", edit)
			n := f.node("p", "a")
			f.job("j")
			f.addSpec("j", taskSpec(withInstances(1)), "a")
			room, _ := f.s.Room(PoolKey{"acct", "p"}, 10)
			require.False(t, room.Instances)
			f.assignAll("j", "a", n)
			require.True(t, f.queued("j", "a"))
		})
	}
}

func TestThePrimaryProceedsWhenAllAreReady(t *testing.T) {
	f, n := gang(t, 3, taskSpec(withInstances(3)))
	f.assignAll("j", "a", n[2], n[0], n[1])
	require.Equal(t, apiv1.TaskState_TASK_STATE_ACTIVE, f.state("j", "a"))
	require.EqualValues(t, 0, f.place(n[2]).Id)
	require.EqualValues(t, 2, f.place(n[1]).Id)
	require.Len(t, f.place(n[1]).Peers, 3)
	require.Equal(t, n[2], f.task("j", "a").Node)

	f.report(n[0], "j", "a", began())
	require.Equal(t, apiv1.TaskState_TASK_STATE_RUNNING, f.state("j", "a"))
	require.Equal(t, subtaskRunning, f.subtasks("j", "a")[0].State)
	require.Equal(t, subtaskPreparing, f.subtasks("j", "a")[1].State)
	f.report(n[2], "j", "a", ready())
	f.report(n[1], "j", "a", ready())
	require.False(t, f.place(n[2]).Proceed)
	w := f.s.Watch()
	defer w.Close()
	f.report(n[0], "j", "a", ready())
	require.Equal(t, []AttemptKey{f.key("j", "a")}, w.Take().Nodes[n[2]].Assigned, "the primary is told")
	require.True(t, f.place(n[2]).Proceed)
	require.False(t, f.place(n[0]).Proceed, "no other is")
	f.report(n[0], "j", "a", ready()) // said again

	f.report(n[2], "j", "a", exited(0))
	require.Equal(t, apiv1.TaskState_TASK_STATE_COMPLETED, f.state("j", "a"))
	require.Equal(t, apiv1.TaskExecutionResult_TASK_EXECUTION_RESULT_SUCCESS, f.task("j", "a").Task.ExecutionInfo.Result)
	require.True(t, f.stopping(n[0]) && f.stopping(n[1]), "the end of the primary ends the others")
	f.report(n[0], "j", "a", released())
	f.ok(&raftlogv1.NodeLost{PoolId: "p", NodeId: "b", Incarnation: 1})
	for _, s := range f.subtasks("j", "a") {
		require.Equal(t, subtaskCompleted, s.State)
		require.Nil(t, s.Failure)
		require.EqualValues(t, 0, s.GetExitCode())
	}
	require.Empty(t, f.s.jobByUID[f.key("j", "a").Job].held)
	f.ok(&raftlogv1.DeleteTask{JobId: "j", TaskId: "a"})
	require.NotEmpty(t, w.Take().Nodes[n[0]].Clean, "subtasks' directories go with the task")
}

func TestTheFailureOfAnyInstanceFailsTheTask(t *testing.T) {
	f, n := gang(t, 3, taskSpec(withInstances(3), withRetries(1)))
	f.assignAll("j", "a", n...)
	f.report(n[0], "j", "a", ready())
	f.report(n[2], "j", "a", exited(7))
	require.True(t, f.queued("j", "a"), "it is retried as a whole")
	require.EqualValues(t, 1, f.task("j", "a").Task.ExecutionInfo.RetryCount)
	require.True(t, f.stopping(n[0]) && f.stopping(n[1]))
	f.assignAll("j", "a", n...)
	require.True(t, f.queued("j", "a"), "nodes that still stop it are not given it")
	f.report(n[0], "j", "a", released())
	f.report(n[1], "j", "a", released())
	require.EqualValues(t, 7, f.subtasks("j", "a")[1].GetExitCode())
	require.Equal(t, "FailureExitCode", f.subtasks("j", "a")[1].Failure.Code)
	require.Equal(t, "TaskEnded", f.subtasks("j", "a")[0].Failure.Code)

	f.assignAll("j", "a", n...)
	require.False(t, f.queued("j", "a"))
	f.report(n[1], "j", "a", failedIn(agentv1.FailureStage_FAILURE_STAGE_PRE_PROCESSING, nil))
	task := f.task("j", "a").Task
	require.Equal(t, apiv1.TaskState_TASK_STATE_COMPLETED, task.State)
	require.Equal(t, "Broken", task.ExecutionInfo.FailureInfo.Code)
}

func TestALostInstanceRequeuesTheTask(t *testing.T) {
	for name, lose := range map[string]func(f *farm, n []uint64){
		"its node":         func(f *farm, _ []uint64) { f.ok(&raftlogv1.NodeLost{PoolId: "p", NodeId: "b", Incarnation: 1}) },
		"its node deleted": func(f *farm, _ []uint64) { f.ok(&raftlogv1.DeleteNode{PoolId: "p", NodeId: "b"}) },
		"its supervisor":   func(f *farm, n []uint64) { f.report(n[1], "j", "a", lost()) },
		"unexpected end":   func(f *farm, n []uint64) { f.report(n[1], "j", "a", exited(0)) },
		"scheduling disabled": func(f *farm, n []uint64) {
			f.ok(&raftlogv1.SetNodeScheduling{PoolId: "p", NodeId: "b"})
			require.True(f.t, f.stopping(n[0]))
			f.report(n[1], "j", "a", released())
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, n := gang(t, 2, taskSpec(withInstances(2)))
			f.assignAll("j", "a", n...)
			f.report(n[0], "j", "a", began())
			lose(f, n)
			require.True(t, f.queued("j", "a"))
			info := f.task("j", "a").Task.ExecutionInfo
			require.EqualValues(t, []int32{1, 0}, []int32{info.RequeueCount, info.RetryCount})
			require.True(t, f.stopping(n[0]))
			f.report(n[0], "j", "a", exited(0)) // too late to count
			require.True(t, f.queued("j", "a"))
		})
	}
}

func TestInstancesWaitForThePreparationTask(t *testing.T) {
	f, n := gang(t, 2, taskSpec(withInstances(2)), withPreparation)
	j := f.jobInfo("j").Uid
	f.assignAll("j", "a", n...)
	require.Equal(t, apiv1.TaskState_TASK_STATE_PREPARING, f.state("j", "a"))
	f.special(n[0], j, preparationTask, exited(0))
	f.report(n[0], "j", "a", ready())
	f.special(n[1], j, preparationTask, exited(1))
	require.True(t, f.queued("j", "a"), "a node is barred")
	require.True(t, f.stopping(n[0]))
	f.report(n[0], "j", "a", released())
	f.assignAll("j", "a", n...)
	require.True(t, f.queued("j", "a"))
}

func TestTerminationEndsAllInstances(t *testing.T) {
	f, n := gang(t, 2, taskSpec(withInstances(2)))
	f.assignAll("j", "a", n...)
	f.report(n[1], "j", "a", began())
	f.ok(&raftlogv1.TerminateJob{JobId: "j"})
	require.Equal(t, apiv1.TaskState_TASK_STATE_COMPLETED, f.state("j", "a"))
	require.True(t, f.stopping(n[0]) && f.stopping(n[1]))
	f.report(n[1], "j", "a", released())
	require.Equal(t, jobTerminating, f.jobInfo("j").Job.State)
	f.report(n[0], "j", "a", released())
	require.Equal(t, jobCompleted, f.jobInfo("j").Job.State)
	f.ok(&raftlogv1.DeleteJob{JobId: "j"})
}

func TestWhatWaitedForAMultiInstanceTaskIsLookedAtWhenItNoLongerComes(t *testing.T) {
	for name, end := range map[string]any{
		"task terminated": &raftlogv1.TerminateTask{JobId: "j", TaskId: "a"},
		"task deleted":    &raftlogv1.DeleteTask{JobId: "j", TaskId: "a"},
		"job disabled":    &raftlogv1.DisableJob{JobId: "j"},
		"job terminated":  &raftlogv1.TerminateJob{JobId: "j"},
		"job deleted":     &raftlogv1.DeleteJob{JobId: "j"},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := gang(t, 2, taskSpec(withInstances(2)))
			w := f.s.Watch()
			defer w.Close()
			f.ok(end)
			require.True(t, w.Take().Rooms[PoolKey{"acct", "p"}])
		})
	}
}
