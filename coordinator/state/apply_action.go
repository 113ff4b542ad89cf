package state

import (
	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// actOnNode moves a node towards rebooting, reimaging, deallocating or starting.
func (t *txn) actOnNode(c *raftlogv1.ActOnNode) Result {
	p, n, err := t.nodeOf(c.PoolId, c.NodeId)
	if err == nil {
		err = actionError(n.rec, c.Target)
	}
	if err != nil {
		return refused(err)
	}
	t.editNode(p, n, func(rec *raftlogv1.NodeRecord) {
		t.setState(rec, c.Target)
		kind := raftlogv1.NodeActionKind_NODE_ACTION_KIND_REBOOT
		switch c.Target {
		case apiv1.NodeState_NODE_STATE_REIMAGING:
			kind = raftlogv1.NodeActionKind_NODE_ACTION_KIND_REIMAGE
			fallthrough
		case apiv1.NodeState_NODE_STATE_REBOOTING:
			rec.Action = &raftlogv1.NodeAction{Kind: kind, Number: rec.Action.GetNumber() + 1}
		}
	})
	switch c.Option {
	case raftlogv1.NodeActionOption_NODE_ACTION_OPTION_TASK_COMPLETION:
		t.stopAll(n, unstartedOnly)
	case raftlogv1.NodeActionOption_NODE_ACTION_OPTION_TERMINATE:
		t.stopAll(n, terminateTasks)
	default:
		t.stopAll(n, requeueTasks)
	}
	return Result{}
}

// actionError is why a node can't be moved towards the state now; nil if it can.
func actionError(rec *raftlogv1.NodeRecord, target apiv1.NodeState) *batcherr.Error {
	at := rec.Node.State
	if target == apiv1.NodeState_NODE_STATE_DEALLOCATING && rec.Provider == "" {
		return batcherr.Of(batcherr.CodeOperationNotValidOnNode).With(batcherr.ValueReason, "The machine joined by itself: this service can't stop it.")
	}
	switch {
	case rec.Leaving:
		return batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState, "the node is leaving its pool")
	case target == apiv1.NodeState_NODE_STATE_STARTING:
		if at != apiv1.NodeState_NODE_STATE_DEALLOCATED {
			return batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState, "the node is not deallocated")
		}
		return nil
	}
	switch at {
	case apiv1.NodeState_NODE_STATE_IDLE, apiv1.NodeState_NODE_STATE_START_TASK_FAILED, apiv1.NodeState_NODE_STATE_WAITING_FOR_START_TASK:
		return nil
	case apiv1.NodeState_NODE_STATE_CREATING:
		return batcherr.Of(batcherr.CodeNodeBeingCreated)
	case apiv1.NodeState_NODE_STATE_STARTING:
		return batcherr.Of(batcherr.CodeNodeBeingStarted)
	case apiv1.NodeState_NODE_STATE_REBOOTING:
		return batcherr.Of(batcherr.CodeNodeBeingRebooted)
	case apiv1.NodeState_NODE_STATE_REIMAGING:
		return batcherr.Of(batcherr.CodeNodeBeingReimaged)
	case apiv1.NodeState_NODE_STATE_UNKNOWN:
		return batcherr.Of(batcherr.CodeNodeStateUnusable)
	case apiv1.NodeState_NODE_STATE_UNUSABLE: // a boot may mend it
		return nil
	}
	return batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState, "the node is not idle or running")
}
