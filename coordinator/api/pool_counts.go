package api

import (
	"context"

	"github.com/batchyard/batchyard/coordinator/state"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// ListPoolNodeCounts counts the nodes of each pool by the state in which users see them.
func (s *poolService) ListPoolNodeCounts(ctx context.Context, req *apiv1.ListPoolNodeCountsRequest) (*apiv1.ListPoolNodeCountsResponse, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	l, err := newListing(req.GetOptions(), (&apiv1.PoolNodeCounts{}).ProtoReflect().Descriptor(), "nodecounts", g.Account)
	if err != nil {
		return nil, err
	}
	if err := s.Reader.Barrier(ctx); err != nil {
		return nil, err
	}
	counts, token, err := collect(l, func(after string, limit int) ([]item[*apiv1.PoolNodeCounts], error) {
		var out []item[*apiv1.PoolNodeCounts]
		for _, info := range s.State.Pools(g.Account, after, limit) {
			out = append(out, item[*apiv1.PoolNodeCounts]{info.Pool.Id, s.countNodes(g.Account, info.Pool.Id)})
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		}
		return out, nil
	})
	if err != nil {
		return nil, err
	}
	return &apiv1.ListPoolNodeCountsResponse{Counts: counts, NextPageToken: token}, nil
}

func (c *core) countNodes(account, poolID string) *apiv1.PoolNodeCounts {
	out := &apiv1.PoolNodeCounts{PoolId: poolID, Dedicated: &apiv1.NodeCounts{}, LowPriority: &apiv1.NodeCounts{}}
	for after := ""; ; {
		nodes, _ := c.State.Nodes(account, poolID, after, maxPage)
		for _, n := range nodes {
			if n.Node.GetIsDedicated() {
				countNode(out.Dedicated, n)
			} else {
				countNode(out.LowPriority, n)
			}
		}
		if len(nodes) < maxPage {
			return out
		}
		after = nodes[len(nodes)-1].Node.Id
	}
}

func countNode(c *apiv1.NodeCounts, n state.NodeInfo) {
	c.Total++
	switch shownNodeState(n) {
	case apiv1.NodeState_NODE_STATE_IDLE:
		c.Idle++
	case apiv1.NodeState_NODE_STATE_REBOOTING:
		c.Rebooting++
	case apiv1.NodeState_NODE_STATE_REIMAGING:
		c.Reimaging++
	case apiv1.NodeState_NODE_STATE_RUNNING:
		c.Running++
	case apiv1.NodeState_NODE_STATE_UNUSABLE:
		c.Unusable++
	case apiv1.NodeState_NODE_STATE_CREATING:
		c.Creating++
	case apiv1.NodeState_NODE_STATE_STARTING:
		c.Starting++
	case apiv1.NodeState_NODE_STATE_WAITING_FOR_START_TASK:
		c.WaitingForStartTask++
	case apiv1.NodeState_NODE_STATE_START_TASK_FAILED:
		c.StartTaskFailed++
	case apiv1.NodeState_NODE_STATE_UNKNOWN:
		c.Unknown++
	case apiv1.NodeState_NODE_STATE_LEAVING_POOL:
		c.LeavingPool++
	case apiv1.NodeState_NODE_STATE_OFFLINE:
		c.Offline++
	case apiv1.NodeState_NODE_STATE_PREEMPTED:
		c.Preempted++
	case apiv1.NodeState_NODE_STATE_UPGRADING_OS:
		c.UpgradingOs++
	case apiv1.NodeState_NODE_STATE_DEALLOCATED:
		c.Deallocated++
	case apiv1.NodeState_NODE_STATE_DEALLOCATING:
		c.Deallocating++
	}
}
