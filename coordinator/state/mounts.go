package state

import (
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// mountsOf is what a node that has booted has of its pool's mounts: nothing yet, and nil where the pool has none.
func mountsOf(p *pool) *raftlogv1.NodeMounts {
	if len(p.rec.Pool.MountConfiguration) == 0 {
		return nil
	}
	return &raftlogv1.NodeMounts{Phase: raftlogv1.MountPhase_MOUNT_PHASE_PENDING}
}

// mayStart says whether a node's start task is not held back by mounts.
func mayStart(rec *raftlogv1.NodeRecord) bool { return rec.Mounts == nil || rec.Mounts.Begun }

// nodeMounted takes in how a node's mounts fare. What it says of another boot or incarnation has no effect.
func (t *txn) nodeMounted(c *raftlogv1.NodeMounted) {
	p, n, err := t.nodeOf(c.PoolId, c.NodeId)
	if err != nil || n.rec.Incarnation != c.Incarnation || n.rec.BootId != c.BootId || n.rec.Mounts == nil {
		return
	}
	held := !mayStart(n.rec)
	t.editNode(p, n, func(rec *raftlogv1.NodeRecord) {
		rec.Mounts = &raftlogv1.NodeMounts{Phase: raftlogv1.MountPhase_MOUNT_PHASE_DONE, Begun: true}
		if len(c.Errors) > 0 {
			rec.Mounts = &raftlogv1.NodeMounts{Phase: raftlogv1.MountPhase_MOUNT_PHASE_FAILED, Begun: !held, Errors: c.Errors}
		}
		rec.Node.Errors = nodeErrors(rec)
	})
	if held && mayStart(n.rec) {
		t.startNode(p, n)
	}
	if !n.rec.Leaving && !stays(n.rec) {
		t.editNode(p, n, func(rec *raftlogv1.NodeRecord) { t.setState(rec, arrivedState(rec)) })
	}
}

// mountedState is the state that mounts give a node whose agent is there; unspecified if they are as they should be.
func mountedState(rec *raftlogv1.NodeRecord) apiv1.NodeState {
	switch rec.Mounts.GetPhase() {
	case raftlogv1.MountPhase_MOUNT_PHASE_PENDING:
		return apiv1.NodeState_NODE_STATE_STARTING
	case raftlogv1.MountPhase_MOUNT_PHASE_FAILED:
		return apiv1.NodeState_NODE_STATE_UNUSABLE
	}
	return apiv1.NodeState_NODE_STATE_UNSPECIFIED
}
