package api

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/coordinator/state"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

type poolService struct {
	apiv1.UnimplementedPoolServiceServer
	*core
}

func (s *poolService) CreatePool(ctx context.Context, req *apiv1.CreatePoolRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	pool := req.GetPool()
	if pool == nil {
		return nil, batcherr.MissingProperty("id")
	}
	clearPool(pool)
	if err := checkID("id", pool.Id); err != nil {
		return nil, err
	}
	if err := s.checkPool(pool); err != nil {
		return nil, err
	}
	if err := s.packagesExist(ctx, g, pool.ApplicationPackageReferences); err != nil {
		return nil, err
	}
	lifecycle.FillPool(pool)
	return s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_CreatePool{CreatePool: &raftlogv1.CreatePool{Pool: pool}}})
}

// clearPool removes from a new pool what the service sets.
func clearPool(p *apiv1.Pool) {
	p.Url, p.ETag, p.LastModified, p.CreationTime = "", "", nil, nil
	p.State, p.StateTransitionTime = 0, nil
	p.AllocationState, p.AllocationStateTransitionTime, p.ResizeErrors = 0, nil, nil
	p.CurrentDedicatedNodes, p.CurrentLowPriorityNodes = 0, 0
	p.AutoScaleRun, p.Stats, p.Identity = nil, nil, nil
}

func (s *poolService) GetPool(ctx context.Context, req *apiv1.GetPoolRequest) (*apiv1.Pool, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	fields, err := newSelection(req.GetSelect(), (&apiv1.Pool{}).ProtoReflect().Descriptor())
	if err != nil {
		return nil, err
	}
	info, err := s.pool(ctx, g, req.GetPoolId())
	if err != nil {
		return nil, err
	}
	if err := lifecycle.CheckConditions(req.GetConditions(), info.Pool.ETag, info.Pool.LastModified, true); err != nil {
		return nil, err
	}
	pool := s.showPool(info)
	fields.apply(pool)
	return pool, nil
}

// pool reads a pool of the caller's account.
func (c *core) pool(ctx context.Context, g grant, id string) (state.PoolInfo, error) {
	if err := c.Reader.Barrier(ctx); err != nil {
		return state.PoolInfo{}, err
	}
	info, ok := c.State.Pool(g.Account, id)
	if !ok {
		return state.PoolInfo{}, batcherr.Of(batcherr.CodePoolNotFound)
	}
	return info, nil
}

// showPool is the pool as users see it: with its counts and without secrets.
func (c *core) showPool(info state.PoolInfo) *apiv1.Pool {
	pool := proto.CloneOf(info.Pool)
	pool.CurrentDedicatedNodes, pool.CurrentLowPriorityNodes = info.Dedicated, info.LowPriority
	if info.Quarantined > 0 {
		pool.QuarantinedNodes = &info.Quarantined
	}
	c.rules.blank(pool)
	return pool
}

func (s *poolService) ListPools(ctx context.Context, req *apiv1.ListPoolsRequest) (*apiv1.ListPoolsResponse, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	l, err := newListing(req.GetOptions(), (&apiv1.Pool{}).ProtoReflect().Descriptor(), "pools", g.Account)
	if err != nil {
		return nil, err
	}
	if err := s.Reader.Barrier(ctx); err != nil {
		return nil, err
	}
	pools, token, err := collect(l, func(after string, limit int) ([]item[*apiv1.Pool], error) {
		var out []item[*apiv1.Pool]
		for _, info := range s.State.Pools(g.Account, after, limit) {
			out = append(out, item[*apiv1.Pool]{info.Pool.Id, s.showPool(info)})
		}
		return out, ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	return &apiv1.ListPoolsResponse{Pools: pools, NextPageToken: token}, nil
}

func (s *poolService) UpdatePool(ctx context.Context, req *apiv1.UpdatePoolRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	update := req.GetUpdate()
	if update == nil {
		update = &apiv1.PoolUpdateOptions{}
	}
	cleared := req.GetCleared()
	if t := update.StartTask; t != nil && proto.Size(t) == 0 { // Azure Batch's way of removing it
		update.StartTask, cleared = nil, append(cleared, "startTask")
	}
	if err := s.checkPoolUpdate(update, cleared); err != nil {
		return nil, err
	}
	lifecycle.FillStartTask(update.StartTask)
	if err := s.packagesExist(ctx, g, update.ApplicationPackageReferences); err != nil {
		return nil, err
	}
	return s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_UpdatePool{UpdatePool: &raftlogv1.UpdatePool{
		PoolId: req.GetPoolId(), Update: update, Conditions: req.GetConditions(), Cleared: cleared,
	}}})
}

func (s *poolService) ReplacePoolProperties(ctx context.Context, req *apiv1.ReplacePoolPropertiesRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	properties := req.GetProperties()
	if properties == nil {
		properties = &apiv1.PoolReplaceOptions{}
	}
	if err := s.rules.check(properties, ""); err != nil {
		return nil, err
	}
	update := &apiv1.PoolUpdateOptions{
		StartTask: properties.StartTask, ApplicationPackageReferences: properties.ApplicationPackageReferences, Metadata: properties.Metadata,
	}
	if err := s.checkPoolUpdate(update, nil); err != nil {
		return nil, err
	}
	lifecycle.FillStartTask(update.StartTask)
	if err := s.packagesExist(ctx, g, update.ApplicationPackageReferences); err != nil {
		return nil, err
	}
	return s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_UpdatePool{UpdatePool: &raftlogv1.UpdatePool{
		PoolId: req.GetPoolId(), Update: update, Cleared: []string{"startTask", "applicationPackageReferences", "metadata"},
	}}})
}

func (s *poolService) DeletePool(ctx context.Context, req *apiv1.DeletePoolRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	return s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_DeletePool{DeletePool: &raftlogv1.DeletePool{
		PoolId: req.GetPoolId(), Conditions: req.GetConditions(),
	}}})
}

func (s *poolService) ResizePool(ctx context.Context, req *apiv1.ResizePoolRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	options := req.GetOptions()
	if options == nil {
		options = &apiv1.PoolResizeOptions{}
	}
	if err := s.checkResize(options); err != nil {
		return nil, err
	}
	return s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_ResizePool{ResizePool: &raftlogv1.ResizePool{
		PoolId: req.GetPoolId(), Options: options, Conditions: req.GetConditions(),
	}}})
}

func (s *poolService) StopPoolResize(ctx context.Context, req *apiv1.StopPoolResizeRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	return s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_StopPoolResize{StopPoolResize: &raftlogv1.StopPoolResize{
		PoolId: req.GetPoolId(), Conditions: req.GetConditions(),
	}}})
}

func (s *poolService) RemoveNodes(ctx context.Context, req *apiv1.RemoveNodesRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	options := req.GetOptions()
	if options == nil {
		options = &apiv1.NodeRemoveOptions{}
	}
	if err := s.checkRemoval(options); err != nil {
		return nil, err
	}
	return s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_RemoveNodes{RemoveNodes: &raftlogv1.RemoveNodes{
		PoolId: req.GetPoolId(), Options: options, Conditions: req.GetConditions(),
	}}})
}
