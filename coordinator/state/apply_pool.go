package state

import (
	"math"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

const (
	steady   = apiv1.AllocationState_ALLOCATION_STATE_STEADY
	resizing = apiv1.AllocationState_ALLOCATION_STATE_RESIZING
	stopping = apiv1.AllocationState_ALLOCATION_STATE_STOPPING
)

func (t *txn) createPool(c *raftlogv1.CreatePool) Result {
	if _, exists := t.pool(t.account, c.Pool.Id); exists {
		return refused(batcherr.Of(batcherr.CodePoolExists))
	}
	spec := proto.CloneOf(c.Pool)
	etag, now := t.stamp(nil)
	spec.ETag, spec.LastModified, spec.CreationTime = etag, now, now
	spec.State, spec.StateTransitionTime = apiv1.PoolState_POOL_STATE_ACTIVE, now
	rec := &raftlogv1.PoolRecord{Pool: spec, Account: t.account, Uid: t.uid()}
	if spec.GetEnableAutoScale() {
		rec.AutoScaleDue = t.now
	}
	t.startResize(rec)
	p := newPool(rec)
	t.pools.ReplaceOrInsert(p)
	// Jobs may name a pool before it exists.
	t.jobs.AscendGreaterOrEqual(&job{key: t.account + "\x00"}, func(j *job) bool {
		if j.rec.Account != t.account {
			return false
		}
		if lifecycle.IDKey(j.poolID()) == lifecycle.IDKey(spec.Id) {
			p.jobs[j.rec.Uid] = j
		}
		return true
	})
	t.setPool(p, rec)
	return written(etag, now)
}

// startResize sets the pool to resizing, with the deadline that its timeout gives.
func (t *txn) startResize(rec *raftlogv1.PoolRecord) {
	timeout := lifecycle.DefaultResizeTime
	if rec.Pool.ResizeTimeout != nil {
		timeout = rec.Pool.ResizeTimeout.AsDuration()
	}
	rec.ResizeDeadline = t.now + min(int64(timeout), math.MaxInt64-t.now)
	rec.Pool.ResizeErrors = nil
	t.setAllocation(rec, resizing)
}

// setAllocation changes the allocation state at a time of its own: by it FinishResize tells one resize from another.
func (t *txn) setAllocation(rec *raftlogv1.PoolRecord, to apiv1.AllocationState) {
	at := max(t.now, timeOf(rec.Pool.AllocationStateTransitionTime)+1)
	rec.Pool.AllocationState, rec.Pool.AllocationStateTransitionTime = to, at2pb(at)
}

// changeablePool finds a pool that is not being deleted and that the conditions allow to change.
func (t *txn) changeablePool(id string, c *apiv1.Conditions) (*pool, *batcherr.Error) {
	p, ok := t.pool(t.account, id)
	if !ok {
		return nil, batcherr.Of(batcherr.CodePoolNotFound)
	}
	if err := lifecycle.CheckConditions(c, p.rec.Pool.ETag, p.rec.Pool.LastModified, false); err != nil {
		return nil, err
	}
	if p.rec.Pool.State == apiv1.PoolState_POOL_STATE_DELETING {
		return nil, batcherr.Of(batcherr.CodePoolBeingDeleted)
	}
	return p, nil
}

func (t *txn) editPool(p *pool, edit func(rec *raftlogv1.PoolRecord)) Result {
	rec := proto.CloneOf(p.rec)
	edit(rec)
	rec.Pool.ETag, rec.Pool.LastModified = t.stamp(rec.Pool.LastModified)
	t.setPool(p, rec)
	return written(rec.Pool.ETag, rec.Pool.LastModified)
}

func (t *txn) updatePool(c *raftlogv1.UpdatePool) Result {
	p, err := t.changeablePool(c.PoolId, c.Conditions)
	if err != nil {
		return refused(err)
	}
	if onlyEmptyPool(c.Update, c.Cleared) && p.nodes.Len() > 0 {
		return refused(batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState,
			"only startTask, applicationPackageReferences and metadata of a pool that has nodes can be changed"))
	}
	return t.editPool(p, func(rec *raftlogv1.PoolRecord) { mergePool(rec.Pool, c.Update, c.Cleared) })
}

// onlyEmptyPool says whether an update names properties that Azure Batch changes only while the pool has no nodes.
func onlyEmptyPool(u *apiv1.PoolUpdateOptions, cleared []string) bool {
	rest := proto.CloneOf(u)
	rest.StartTask, rest.ApplicationPackageReferences, rest.Metadata = nil, nil, nil
	return proto.Size(rest) > 0 || slices.ContainsFunc(cleared, func(name string) bool {
		return name != "startTask" && name != "applicationPackageReferences" && name != "metadata"
	})
}

func mergePool(p *apiv1.Pool, u *apiv1.PoolUpdateOptions, cleared []string) {
	if u.DisplayName != nil {
		p.DisplayName = *u.DisplayName
	}
	if u.VmSize != nil {
		p.VmSize = *u.VmSize
	}
	if u.EnableInterNodeCommunication != nil {
		p.EnableInterNodeCommunication = u.EnableInterNodeCommunication
	}
	if u.TaskSlotsPerNode != nil {
		p.TaskSlotsPerNode = u.TaskSlotsPerNode
	}
	// startTask: a present but empty object removes it, as does its name in cleared.
	replace(&p.StartTask, u.StartTask, slices.Contains(cleared, "startTask"))
	if p.StartTask != nil && proto.Size(p.StartTask) == 0 {
		p.StartTask = nil
	}
	replace(&p.VirtualMachineConfiguration, u.VirtualMachineConfiguration, false)
	replace(&p.TaskSchedulingPolicy, u.TaskSchedulingPolicy, false)
	replace(&p.NetworkConfiguration, u.NetworkConfiguration, false)
	replace(&p.UpgradePolicy, u.UpgradePolicy, false)
	replaceList(&p.ApplicationPackageReferences, u.ApplicationPackageReferences, slices.Contains(cleared, "applicationPackageReferences"))
	replaceList(&p.Metadata, u.Metadata, slices.Contains(cleared, "metadata"))
	replaceList(&p.UserAccounts, u.UserAccounts, slices.Contains(cleared, "userAccounts"))
	replaceList(&p.MountConfiguration, u.MountConfiguration, slices.Contains(cleared, "mountConfiguration"))
}

func replace[T any](field **T, value *T, clear bool) {
	if value != nil || clear {
		*field = value
	}
}

func replaceList[T any](field *[]T, value []T, clear bool) {
	if len(value) > 0 || clear {
		*field = value
	}
}

func (t *txn) deletePool(c *raftlogv1.DeletePool) Result {
	p, err := t.changeablePool(c.PoolId, c.Conditions)
	if err != nil {
		return refused(err)
	}
	return t.startPoolDeletion(p)
}

// startPoolDeletion begins to delete a pool: its nodes leave, and when all have left it is gone.
func (t *txn) startPoolDeletion(p *pool) Result {
	result := t.editPool(p, func(rec *raftlogv1.PoolRecord) {
		rec.Pool.State, rec.Pool.StateTransitionTime = apiv1.PoolState_POOL_STATE_DELETING, at2pb(t.now)
		zero := int32(0)
		rec.Pool.TargetDedicatedNodes, rec.Pool.TargetLowPriorityNodes = &zero, &zero
		rec.Pool.EnableAutoScale, rec.AutoScaleDue = nil, 0
		t.startResize(rec)
	})
	for _, n := range p.sortedNodes() {
		t.leave(p, n, apiv1.NodeDeallocationOption_NODE_DEALLOCATION_OPTION_REQUEUE)
	}
	return result
}

func (p *pool) sortedNodes() []*node {
	out := make([]*node, 0, p.nodes.Len())
	p.nodes.Ascend(func(n *node) bool {
		out = append(out, n)
		return true
	})
	return out
}

func (t *txn) resizePool(c *raftlogv1.ResizePool) Result {
	p, err := t.changeablePool(c.PoolId, c.Conditions)
	if err != nil {
		return refused(err)
	}
	if p.rec.Pool.GetEnableAutoScale() {
		return refused(batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState, "the pool scales by a formula: disable automatic scaling first"))
	}
	if p.rec.Pool.AllocationState != steady {
		return refused(batcherr.Of(batcherr.CodePoolBeingResized))
	}
	return t.editPool(p, func(rec *raftlogv1.PoolRecord) {
		if c.Options.TargetDedicatedNodes != nil {
			rec.Pool.TargetDedicatedNodes = c.Options.TargetDedicatedNodes
		}
		if c.Options.TargetLowPriorityNodes != nil {
			rec.Pool.TargetLowPriorityNodes = c.Options.TargetLowPriorityNodes
		}
		rec.Pool.ResizeTimeout = c.Options.ResizeTimeout
		if rec.Pool.ResizeTimeout == nil {
			rec.Pool.ResizeTimeout = durationpb.New(lifecycle.DefaultResizeTime)
		}
		rec.Deallocation = c.Options.NodeDeallocationOption
		t.startResize(rec)
	})
}

func (t *txn) stopPoolResize(c *raftlogv1.StopPoolResize) Result {
	p, err := t.changeablePool(c.PoolId, c.Conditions)
	if err != nil {
		return refused(err)
	}
	if p.rec.Pool.AllocationState != resizing {
		return refused(batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState, "the pool is not being resized"))
	}
	return t.editPool(p, func(rec *raftlogv1.PoolRecord) { t.setAllocation(rec, stopping) })
}

func (t *txn) removeNodes(c *raftlogv1.RemoveNodes) Result {
	p, err := t.changeablePool(c.PoolId, c.Conditions)
	if err != nil {
		return refused(err)
	}
	if p.rec.Pool.AllocationState != steady {
		return refused(batcherr.Of(batcherr.CodePoolBeingResized))
	}
	var nodes []*node
	for _, id := range c.Options.NodeList {
		n, ok := p.node(id)
		if !ok {
			return refused(batcherr.NotFound(batcherr.CodeNodeNotFound, "the pool has no node %q", id))
		}
		if !slices.Contains(nodes, n) {
			nodes = append(nodes, n)
		}
	}
	result := t.editPool(p, func(rec *raftlogv1.PoolRecord) {
		dedicated, spot := rec.Pool.GetTargetDedicatedNodes(), rec.Pool.GetTargetLowPriorityNodes()
		for _, n := range nodes {
			switch {
			case n.rec.Leaving: // its place is given up already
			case n.rec.Node.GetIsDedicated():
				dedicated = max(0, dedicated-1)
			default:
				spot = max(0, spot-1)
			}
		}
		rec.Pool.TargetDedicatedNodes, rec.Pool.TargetLowPriorityNodes = &dedicated, &spot
		rec.Pool.ResizeTimeout = c.Options.ResizeTimeout
		rec.Deallocation = c.Options.NodeDeallocationOption
		t.startResize(rec)
	})
	for _, n := range nodes {
		t.leave(p, n, c.Options.NodeDeallocationOption)
	}
	return result
}

// finishResize makes a pool steady with the errors of its resize, or removes it when it is deleting and empty.
func (t *txn) finishResize(c *raftlogv1.FinishResize) Result {
	p, ok := t.pool(t.account, c.PoolId)
	if !ok || timeOf(p.rec.Pool.AllocationStateTransitionTime) != c.SeenTransition || p.rec.Pool.AllocationState == steady {
		return Result{}
	}
	if p.rec.Pool.State == apiv1.PoolState_POOL_STATE_DELETING {
		if p.nodes.Len() == 0 {
			t.pools.Delete(p)
			t.delete(keyNumber(tablePool, p.rec.Uid))
			t.events.pool(p)
		}
		return Result{}
	}
	rec := proto.CloneOf(p.rec)
	rec.Pool.ResizeErrors = c.Errors
	t.setAllocation(rec, steady)
	t.setPool(p, rec)
	return Result{}
}
