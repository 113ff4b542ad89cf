package reconcile

import (
	"context"
	"math"
	"time"

	"github.com/batchyard/batchyard/coordinator/state"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// nodes gives up nodes that have not been heard of for longer than their lease. A new leader gives every node a lease's time first.
func (l *Loops) nodes(ctx context.Context) error {
	begun := l.Now()
	return every(ctx, min(time.Second, l.Lease/4), nil, func() error {
		for _, key := range l.State.PoolKeys() {
			nodes, _ := l.State.Nodes(key.Account, key.ID, "", math.MaxInt)
			for _, n := range nodes {
				if !l.lost(n, begun) {
					continue
				}
				l.Logger.Warn("node is lost: its tasks run elsewhere", "pool", n.PoolId, "node", n.NodeRecord.Node.Id, "held", n.Held)
				if err := l.giveUp(ctx, n); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// lost says whether a node is to be given up: one that had begun to work, or still holds tasks.
func (l *Loops) lost(n state.NodeInfo, begun time.Time) bool {
	switch n.NodeRecord.Node.State {
	case apiv1.NodeState_NODE_STATE_CREATING, apiv1.NodeState_NODE_STATE_STARTING:
		return false
	case apiv1.NodeState_NODE_STATE_UNKNOWN, apiv1.NodeState_NODE_STATE_LEAVING_POOL, apiv1.NodeState_NODE_STATE_REBOOTING,
		apiv1.NodeState_NODE_STATE_REIMAGING, apiv1.NodeState_NODE_STATE_DEALLOCATING, apiv1.NodeState_NODE_STATE_DEALLOCATED:
		if n.Held == 0 {
			return false
		}
	}
	seen, ok := l.Liveness.LastSeen(n.Uid)
	if !ok || seen.Before(begun) {
		seen = begun
	}
	return l.Now().Sub(seen) > l.Lease+l.Grace
}

func (l *Loops) giveUp(ctx context.Context, n state.NodeInfo) error {
	_, err := l.Proposer.Propose(ctx, &raftlogv1.Command{
		Now: l.Now().UnixNano(), Account: n.Account,
		Kind: &raftlogv1.Command_NodeLost{NodeLost: &raftlogv1.NodeLost{PoolId: n.PoolId, NodeId: n.NodeRecord.Node.Id, Incarnation: n.Incarnation}},
	})
	return err
}
