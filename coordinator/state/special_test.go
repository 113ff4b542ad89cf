package state

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/batcherr"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// special says something of a special task that is with a node.
func (f *farm) special(node, job, task uint64, r *agentv1.AttemptReport) {
	key := TaskKey{job, task}
	e := f.s.specialExecution(f.s.nodes[node], key)
	require.True(f.t, inFlight(e), "task %d of job %d is with node %d", task, job, node)
	r.Ref = AttemptKey{key, e.Attempt}.Ref()
	f.send(node, r)
}

func (f *farm) nodeState(uid uint64) apiv1.NodeState {
	n, ok := f.s.NodeByUID(uid)
	require.True(f.t, ok)
	return n.NodeRecord.Node.State
}

func (f *farm) boots(pool, node, boot string) {
	f.ok(&raftlogv1.NodeHello{PoolId: pool, NodeId: node, Facts: &agentv1.NodeFacts{BootId: boot}})
}

func withStart(wait bool, retries int32) func(*apiv1.Pool) {
	return func(p *apiv1.Pool) {
		p.StartTask = &apiv1.StartTask{CommandLine: "start", WaitForSuccess: &wait, MaxTaskRetryCount: &retries}
	}
}

func withPreparation(j *apiv1.Job) {
	j.JobPreparationTask = &apiv1.JobPreparationTask{Id: "prep", CommandLine: "prepare"}
	j.JobReleaseTask = &apiv1.JobReleaseTask{Id: "rel", CommandLine: "release"}
}

func TestStartTaskDecidesAboutItsNode(t *testing.T) {
	f := newFarm(t)
	f.pool("p", withStart(true, 1))
	n := f.node("p", "n1")
	require.Equal(t, apiv1.NodeState_NODE_STATE_WAITING_FOR_START_TASK, f.nodeState(n))
	f.job("j")
	f.add("j", "a")
	room, _ := f.s.Room(PoolKey{"acct", "p"}, 10)
	require.Empty(t, room.Nodes)
	f.special(n, 0, startTask, exited(3))
	require.Equal(t, apiv1.NodeState_NODE_STATE_WAITING_FOR_START_TASK, f.nodeState(n), "it is retried")
	f.special(n, 0, startTask, lost())
	require.EqualValues(t, 1, f.s.nodes[n].rec.Start.RetryCount, "what is lost is no retry")
	f.special(n, 0, startTask, exited(3))
	require.Equal(t, apiv1.NodeState_NODE_STATE_START_TASK_FAILED, f.nodeState(n))

	f.boots("p", "n1", "")
	require.Equal(t, apiv1.NodeState_NODE_STATE_START_TASK_FAILED, f.nodeState(n), "the same boot")
	f.boots("p", "n1", "b2")
	f.special(n, 0, startTask, exited(0))
	require.Equal(t, apiv1.NodeState_NODE_STATE_IDLE, f.nodeState(n))
	f.ok(&raftlogv1.NodeLost{PoolId: "p", NodeId: "n1", Incarnation: 1})
	f.boots("p", "n1", "b2")
	require.Equal(t, apiv1.NodeState_NODE_STATE_IDLE, f.nodeState(n), "a lost connection is no boot")
}

func TestTasksWaitForThePreparationTask(t *testing.T) {
	f := newFarm(t)
	f.pool("p")
	n1, n2 := f.node("p", "n1"), f.node("p", "n2")
	j := f.job("j", withPreparation)
	f.add("j", "a", "b", "c")
	f.assign(n1, "j", "a", "b")
	require.Equal(t, apiv1.TaskState_TASK_STATE_PREPARING, f.state("j", "a"))
	held, err := f.s.Held(n1)
	require.NoError(t, err)
	require.Len(t, held, 1, "the node is told of the preparation task only")
	require.Equal(t, agentv1.AssignmentKind_ASSIGNMENT_KIND_PREPARATION, held[0].Kind)
	f.special(n1, j, preparationTask, exited(0))
	f.report(n1, "j", "a", began())
	require.Equal(t, apiv1.TaskState_TASK_STATE_RUNNING, f.state("j", "a"))

	f.assign(n2, "j", "c")
	f.special(n2, j, preparationTask, exited(1))
	require.True(t, f.queued("j", "c"))
	f.assign(n2, "j", "c")
	require.True(t, f.queued("j", "c"), "the node gets none of the job's tasks")
	room, _ := f.s.Room(PoolKey{"acct", "p"}, 10)
	require.Equal(t, map[uint64]bool{n2: true}, room.Jobs[0].Barred)
	f.boots("p", "n2", "b2")
	f.assign(n2, "j", "c")
	require.Equal(t, apiv1.TaskState_TASK_STATE_PREPARING, f.state("j", "c"), "a boot gives it another chance")

	f.ok(&raftlogv1.TerminateJob{JobId: "j", Reason: "why"})
	f.report(n1, "j", "a", released())
	f.report(n1, "j", "b", released())
	f.report(n2, "j", "c", released())
	f.ok(&raftlogv1.AdvanceJob{Job: j, Limit: 10})
	f.special(n2, j, preparationTask, released())
	require.Equal(t, jobTerminating, f.jobInfo("j").Job.State)
	f.ok(&raftlogv1.AdvanceJob{Job: j, Limit: 10})
	f.special(n1, j, releaseTask, exited(1))
	f.ok(&raftlogv1.DeleteNode{PoolId: "p", NodeId: "n2"})
	require.Equal(t, jobCompleted, f.jobInfo("j").Job.State, "a release task that fails keeps nothing up")
	nodes, err := f.s.JobNodes(j, 0, 10)
	require.NoError(t, err)
	require.Len(t, nodes, 2)
	require.False(t, nodes[1].Release.Succeeded)
	f.ok(&raftlogv1.DeleteJob{JobId: "j"})
	f.ok(&raftlogv1.AdvanceJob{Job: j, Limit: 10})
	require.Empty(t, f.s.jobByUID)
}

func TestManagerTaskIsFirstAndAlone(t *testing.T) {
	f := newFarm(t)
	f.pool("p")
	n := f.node("p", "n1")
	f.job("other")
	f.add("other", "x")
	f.assign(n, "other", "x")
	f.job("j", func(j *apiv1.Job) { j.JobManagerTask = &apiv1.JobManagerTask{Id: "m", CommandLine: "manage"} })
	f.add("j", "a")
	f.assign(n, "j", "m")
	require.True(t, f.queued("j", "m"), "the node is not empty")
	f.report(n, "other", "x", exited(0))
	f.assign(n, "j", "m", "a")
	require.False(t, f.queued("j", "m"))
	require.True(t, f.queued("j", "a"), "nothing goes beside it")
	f.report(n, "j", "m", exited(0))
	require.Equal(t, "JMComplete", f.jobInfo("j").Job.ExecutionInfo.TerminateReason)

	r := f.do(&raftlogv1.CreateJob{Job: &apiv1.Job{Id: "q", PoolInfo: &apiv1.PoolInfo{PoolId: "p"}, JobPreparationTask: &apiv1.JobPreparationTask{Id: "Prep"}}},
		&raftlogv1.AddTasks{JobId: "q", Specs: [][]byte{taskSpec()}, Tasks: []*raftlogv1.NewTask{{Id: "pREP"}}})
	require.Equal(t, batcherr.CodeTaskIdSameAsJobPreparationTask, r[1].Tasks[0].Error.Code)
}

func TestNodeActions(t *testing.T) {
	f := newFarm(t)
	f.pool("p")
	n := f.node("p", "n1")
	act := func(to apiv1.NodeState) *raftlogv1.ActOnNode {
		return &raftlogv1.ActOnNode{PoolId: "p", NodeId: "n1", Target: to}
	}
	f.job("j")
	f.add("j", "a")
	f.assign(n, "j", "a")
	f.refuse(batcherr.CodeOperationInvalidForCurrentState, act(apiv1.NodeState_NODE_STATE_STARTING))
	f.ok(act(apiv1.NodeState_NODE_STATE_REBOOTING))
	f.refuse(batcherr.CodeNodeBeingRebooted, act(apiv1.NodeState_NODE_STATE_REIMAGING))
	f.report(n, "j", "a", released())
	require.True(t, f.queued("j", "a"))
	f.boots("p", "n1", "")
	require.Equal(t, apiv1.NodeState_NODE_STATE_REBOOTING, f.nodeState(n), "a new session is no boot")
	f.boots("p", "n1", "b2")
	require.Equal(t, apiv1.NodeState_NODE_STATE_IDLE, f.nodeState(n))
	f.ok(act(apiv1.NodeState_NODE_STATE_DEALLOCATING))
	f.boots("p", "n1", "b2")
	require.Equal(t, apiv1.NodeState_NODE_STATE_DEALLOCATING, f.nodeState(n))
	f.ok(&raftlogv1.SetNodeState{PoolId: "p", NodeId: "n1", State: apiv1.NodeState_NODE_STATE_DEALLOCATED})
	f.ok(act(apiv1.NodeState_NODE_STATE_STARTING))
	f.refuse(batcherr.CodeNodeBeingStarted, act(apiv1.NodeState_NODE_STATE_REBOOTING))
	f.boots("p", "n1", "b2")
	require.Equal(t, apiv1.NodeState_NODE_STATE_IDLE, f.nodeState(n))
}
