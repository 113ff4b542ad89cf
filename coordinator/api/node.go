package api

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/coordinator/state"
	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

type nodeService struct {
	apiv1.UnimplementedNodeServiceServer
	*core
}

func (s *nodeService) GetNode(ctx context.Context, req *apiv1.GetNodeRequest) (*apiv1.Node, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	fields, err := newSelection(req.GetSelect(), (&apiv1.Node{}).ProtoReflect().Descriptor())
	if err != nil {
		return nil, err
	}
	info, err := s.node(ctx, g, req.GetPoolId(), req.GetNodeId())
	if err != nil {
		return nil, err
	}
	node := s.showNode(info)
	fields.apply(node)
	return node, nil
}

// node reads a node of a pool of the caller's account.
func (c *core) node(ctx context.Context, g grant, poolID, nodeID string) (state.NodeInfo, error) {
	if _, err := c.pool(ctx, g, poolID); err != nil {
		return state.NodeInfo{}, err
	}
	info, ok := c.State.Node(g.Account, poolID, nodeID)
	if !ok {
		return state.NodeInfo{}, batcherr.Of(batcherr.CodeNodeNotFound)
	}
	return info, nil
}

// showNode is the node as users see it.
func (c *core) showNode(info state.NodeInfo) *apiv1.Node {
	node := proto.CloneOf(info.Node)
	node.State = shownNodeState(info)
	node.TotalTasksRun = int32(info.Totals.GetTasksRun())
	node.TotalTasksSucceeded = proto.Int32(int32(info.Totals.GetTasksSucceeded()))
	node.RunningTasksCount = proto.Int32(int32(info.Running))
	node.RunningTaskSlotsCount = proto.Int32(info.RunningSlots)
	node.StartTaskInfo = showStart(info.NodeRecord)
	if info.Quarantine != nil {
		node.Errors = append(node.Errors, showQuarantine(info.Quarantine))
	}
	c.rules.blank(node)
	return node
}

// shownNodeState tells apart, in Azure Batch's words, what the record calls idle: with tasks running, and out of service with none.
func shownNodeState(info state.NodeInfo) apiv1.NodeState {
	switch {
	case info.Node.State != apiv1.NodeState_NODE_STATE_IDLE:
		return info.Node.State
	case info.Running > 0:
		return apiv1.NodeState_NODE_STATE_RUNNING
	case info.Node.SchedulingState == apiv1.SchedulingState_SCHEDULING_STATE_DISABLED:
		return apiv1.NodeState_NODE_STATE_OFFLINE
	}
	return apiv1.NodeState_NODE_STATE_IDLE
}

func (s *nodeService) ListNodes(ctx context.Context, req *apiv1.ListNodesRequest) (*apiv1.ListNodesResponse, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	pool, err := s.pool(ctx, g, req.GetPoolId())
	if err != nil {
		return nil, err
	}
	l, err := newListing(req.GetOptions(), (&apiv1.Node{}).ProtoReflect().Descriptor(), "nodes", g.Account, pool.Pool.Id)
	if err != nil {
		return nil, err
	}
	nodes, token, err := collect(l, func(after string, limit int) ([]item[*apiv1.Node], error) {
		infos, ok := s.State.Nodes(g.Account, req.GetPoolId(), after, limit)
		if !ok {
			return nil, batcherr.Of(batcherr.CodePoolNotFound)
		}
		var out []item[*apiv1.Node]
		for _, info := range infos {
			out = append(out, item[*apiv1.Node]{info.Node.Id, s.showNode(info)})
		}
		return out, ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	return &apiv1.ListNodesResponse{Nodes: nodes, NextPageToken: token}, nil
}

func (s *nodeService) DisableNodeScheduling(ctx context.Context, req *apiv1.DisableNodeSchedulingRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	option := apiv1.NodeDisableSchedulingOption_NODE_DISABLE_SCHEDULING_OPTION_REQUEUE
	if o := req.GetOptions(); o != nil {
		if err := s.rules.check(o, ""); err != nil {
			return nil, err
		}
		if o.NodeDisableSchedulingOption != 0 {
			option = o.NodeDisableSchedulingOption
		}
	}
	return s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_SetNodeScheduling{SetNodeScheduling: &raftlogv1.SetNodeScheduling{
		PoolId: req.GetPoolId(), NodeId: req.GetNodeId(), Option: option,
	}}})
}

func (s *nodeService) EnableNodeScheduling(ctx context.Context, req *apiv1.EnableNodeSchedulingRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	return s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_SetNodeScheduling{SetNodeScheduling: &raftlogv1.SetNodeScheduling{
		PoolId: req.GetPoolId(), NodeId: req.GetNodeId(), Enabled: true,
	}}})
}
