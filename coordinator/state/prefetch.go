package state

import (
	"slices"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// A node of a pool with container images brings them before anything else runs on it. One that can't is unusable until it is booted again.

// imagesOf are the images that are to be on every node of a pool.
func imagesOf(p *apiv1.Pool) []string {
	return p.GetVirtualMachineConfiguration().GetContainerConfiguration().GetContainerImageNames()
}

func lacksImages(rec *raftlogv1.NodeRecord) bool {
	return rec.Prefetch.GetPhase() == specialCompleted && !rec.Prefetch.GetSucceeded()
}

// prefetched decides about a node once its images are there, or can't be had.
func (t *txn) prefetched(n *node) {
	p, _ := t.pool(n.rec.Account, n.rec.PoolId)
	if !lacksImages(n.rec) {
		t.beginStart(n)
	}
	t.editNode(p, n, func(rec *raftlogv1.NodeRecord) {
		rec.Node.Errors = nodeErrors(rec)
		if rec.Node.State == apiv1.NodeState_NODE_STATE_WAITING_FOR_START_TASK {
			t.setState(rec, arrivedState(rec))
		}
	})
}

// nodeErrors say why a node is unusable.
func nodeErrors(rec *raftlogv1.NodeRecord) []*apiv1.NodeError {
	out := rec.Mounts.GetErrors()
	if !lacksImages(rec) {
		return out
	}
	failure := rec.Prefetch.GetFailure()
	return append(slices.Clip(out), &apiv1.NodeError{
		Code: batcherr.CodeContainerImagesFailed, Message: "The container images of the pool can't be brought to the node",
		ErrorDetails: []*apiv1.NameValuePair{{Name: failure.GetCode(), Value: failure.GetMessage()}},
	})
}
