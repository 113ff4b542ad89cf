package state

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/batcherr"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

func withImages(names ...string) func(*apiv1.Pool) {
	return func(p *apiv1.Pool) {
		p.VirtualMachineConfiguration = &apiv1.VirtualMachineConfiguration{ContainerConfiguration: &apiv1.ContainerConfiguration{ContainerImageNames: names}}
	}
}

func notPulled() *agentv1.AttemptReport {
	r := failedIn(agentv1.FailureStage_FAILURE_STAGE_PRE_PROCESSING, nil)
	r.Failure = &apiv1.TaskFailureInfo{Code: batcherr.CodeContainerInvalidImage, Message: "no such image"}
	return r
}

// A node brings the pool's images before its start task, and is of no use without them until it boots again.
func TestImagesComeFirst(t *testing.T) {
	f := newFarm(t)
	f.pool("p", withImages("box"), withStart(true, 0))
	n := f.node("p", "n1")
	require.Equal(t, apiv1.NodeState_NODE_STATE_WAITING_FOR_START_TASK, f.nodeState(n))
	held, err := f.s.Held(n)
	require.NoError(t, err)
	require.Len(t, held, 1, "the start task comes later")
	require.Equal(t, agentv1.AssignmentKind_ASSIGNMENT_KIND_PREFETCH, held[0].Kind)
	f.special(n, 0, prefetchTask, lost())
	f.special(n, 0, prefetchTask, notPulled())
	require.Equal(t, apiv1.NodeState_NODE_STATE_UNUSABLE, f.nodeState(n))
	f.boots("p", "n1", "")
	require.Equal(t, apiv1.NodeState_NODE_STATE_UNUSABLE, f.nodeState(n), "the same boot")
	failed, _ := f.s.NodeByUID(n)
	require.Equal(t, batcherr.CodeContainerImagesFailed, failed.NodeRecord.Node.Errors[0].Code)
	require.Equal(t, "no such image", failed.NodeRecord.Node.Errors[0].ErrorDetails[0].Value)

	f.boots("p", "n1", "b2")
	require.Equal(t, apiv1.NodeState_NODE_STATE_WAITING_FOR_START_TASK, f.nodeState(n))
	f.special(n, 0, prefetchTask, exited(0))
	require.Equal(t, apiv1.NodeState_NODE_STATE_WAITING_FOR_START_TASK, f.nodeState(n), "for the start task now")
	f.special(n, 0, startTask, exited(0))
	require.Equal(t, apiv1.NodeState_NODE_STATE_IDLE, f.nodeState(n))
	mended, _ := f.s.NodeByUID(n)
	require.Empty(t, mended.NodeRecord.Node.Errors)
	f.ok(&raftlogv1.NodeLost{PoolId: "p", NodeId: "n1", Incarnation: 1})
	f.boots("p", "n1", "b2")
	require.Equal(t, apiv1.NodeState_NODE_STATE_IDLE, f.nodeState(n), "a lost connection is no boot")
}

// What is lost with the node's connection while it brings its images is begun anew.
func TestImagesAreBroughtAfterAllOnceTheNodeIsBack(t *testing.T) {
	f := newFarm(t)
	f.pool("p", withImages("box"))
	n := f.node("p", "n1")
	f.ok(&raftlogv1.NodeLost{PoolId: "p", NodeId: "n1", Incarnation: 1})
	f.boots("p", "n1", "")
	require.Equal(t, apiv1.NodeState_NODE_STATE_WAITING_FOR_START_TASK, f.nodeState(n))
	f.special(n, 0, prefetchTask, exited(0))
	require.Equal(t, apiv1.NodeState_NODE_STATE_IDLE, f.nodeState(n), "there is no start task")
}
