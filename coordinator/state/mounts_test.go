package state

import (
	"testing"

	"github.com/stretchr/testify/require"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

func withMounts(p *apiv1.Pool) {
	p.MountConfiguration = []*apiv1.MountConfiguration{{NfsMountConfiguration: &apiv1.NfsMountConfiguration{Source: "h:/e", RelativeMountPath: "x"}}}
}

func (f *farm) mounted(boot string, incarnation uint32, messages ...string) {
	m := &raftlogv1.NodeMounted{PoolId: "p", NodeId: "n1", BootId: boot, Incarnation: incarnation}
	for _, message := range messages {
		m.Errors = append(m.Errors, &apiv1.NodeError{Code: "MountConfigurationError", Message: message})
	}
	f.ok(m)
}

func TestNodesWaitForTheirMounts(t *testing.T) {
	f := newFarm(t)
	f.pool("p", withMounts, withStart(true, 0))
	n := f.node("p", "n1")
	require.Equal(t, apiv1.NodeState_NODE_STATE_STARTING, f.nodeState(n))
	require.False(t, inFlight(f.s.nodes[n].rec.Start), "the start task is held back")
	f.mounted("another boot", 1)
	f.mounted("", 7)
	require.Equal(t, apiv1.NodeState_NODE_STATE_STARTING, f.nodeState(n), "what is said of another boot or incarnation has no effect")

	f.mounted("", 1, "server is down")
	require.Equal(t, apiv1.NodeState_NODE_STATE_UNUSABLE, f.nodeState(n))
	require.Equal(t, "server is down", f.s.nodes[n].rec.Node.Errors[0].Message)
	f.boots("p", "n1", "")
	require.Equal(t, apiv1.NodeState_NODE_STATE_UNUSABLE, f.nodeState(n), "a new session mends nothing by itself")
	require.NotEmpty(t, f.s.nodes[n].rec.Node.Errors)
	require.False(t, inFlight(f.s.nodes[n].rec.Start))

	f.mounted("", 1)
	require.Equal(t, apiv1.NodeState_NODE_STATE_WAITING_FOR_START_TASK, f.nodeState(n), "what mounts later is as good")
	require.Empty(t, f.s.nodes[n].rec.Node.Errors)
	f.special(n, 0, startTask, exited(0))
	require.Equal(t, apiv1.NodeState_NODE_STATE_IDLE, f.nodeState(n))

	// They fail while the node works: it gets no more tasks until they are back, and the start task does not run again.
	f.mounted("", 1, "server is down")
	require.Equal(t, apiv1.NodeState_NODE_STATE_UNUSABLE, f.nodeState(n))
	f.job("j")
	f.add("j", "a")
	room, _ := f.s.Room(PoolKey{"acct", "p"}, 10)
	require.Empty(t, room.Nodes)
	situation, _, err := f.s.Situation("acct", "j", "a")
	require.NoError(t, err)
	require.Equal(t, "server is down", situation.Nodes[0].Problem)
	f.mounted("", 1)
	require.Equal(t, apiv1.NodeState_NODE_STATE_IDLE, f.nodeState(n))

	f.boots("p", "n1", "b2")
	require.Equal(t, apiv1.NodeState_NODE_STATE_STARTING, f.nodeState(n), "a boot mounts anew")
	f.mounted("b2", 1)
	f.special(n, 0, startTask, exited(0))
	require.Equal(t, apiv1.NodeState_NODE_STATE_IDLE, f.nodeState(n))
}

func TestNodesWithoutMountsDoNotWait(t *testing.T) {
	f := newFarm(t)
	f.pool("p")
	n := f.node("p", "n1")
	require.Equal(t, apiv1.NodeState_NODE_STATE_IDLE, f.nodeState(n))
	f.mounted("", 1, "nobody asked")
	require.Equal(t, apiv1.NodeState_NODE_STATE_IDLE, f.nodeState(n))
}
