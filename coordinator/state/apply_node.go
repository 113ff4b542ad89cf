package state

import (
	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

func (t *txn) createNodes(c *raftlogv1.CreateNodes) Result {
	p, ok := t.pool(t.account, c.PoolId)
	if !ok || p.rec.Pool.State == apiv1.PoolState_POOL_STATE_DELETING {
		return refused(batcherr.Of(batcherr.CodePoolNotFound))
	}
	for _, id := range c.NodeIds {
		if _, exists := p.node(id); !exists {
			t.newNode(p, id, c.Provider, c.Dedicated)
		}
	}
	return Result{}
}

func (t *txn) newNode(p *pool, id, provider string, dedicated bool) *node {
	now := at2pb(t.now)
	n := newNode(&raftlogv1.NodeRecord{
		Account: t.account, PoolId: p.rec.Pool.Id, Uid: t.uid(), Incarnation: 1, Provider: provider,
		Slots: p.rec.Pool.GetTaskSlotsPerNode(),
		Node: &apiv1.Node{
			Id: id, State: apiv1.NodeState_NODE_STATE_CREATING, StateTransitionTime: now, AllocationTime: now,
			SchedulingState: apiv1.SchedulingState_SCHEDULING_STATE_ENABLED,
			AffinityId:      affinityID(id), VmSize: p.rec.Pool.VmSize, IsDedicated: &dedicated,
			VirtualMachineInfo: &apiv1.VirtualMachineInfo{ImageReference: p.rec.Pool.GetVirtualMachineConfiguration().GetImageReference()},
		},
	})
	t.nodes[n.rec.Uid] = n
	p.nodes.ReplaceOrInsert(n)
	t.setNode(p, n, n.rec)
	t.events.pool(p)
	return n
}

// nodeOf finds a node by its pool's and its own id.
func (t *txn) nodeOf(poolID, nodeID string) (*pool, *node, *batcherr.Error) {
	p, ok := t.pool(t.account, poolID)
	if !ok {
		return nil, nil, batcherr.Of(batcherr.CodePoolNotFound)
	}
	n, ok := p.node(nodeID)
	if !ok {
		return nil, nil, batcherr.Of(batcherr.CodeNodeNotFound)
	}
	return p, n, nil
}

func (t *txn) editNode(p *pool, n *node, edit func(rec *raftlogv1.NodeRecord)) {
	rec := proto.CloneOf(n.rec)
	edit(rec)
	t.setNode(p, n, rec)
	t.events.pool(p)
}

func (t *txn) setState(rec *raftlogv1.NodeRecord, to apiv1.NodeState) {
	if rec.Node.State != to {
		rec.Node.State, rec.Node.StateTransitionTime = to, at2pb(t.now)
	}
}

func (t *txn) nodeHello(c *raftlogv1.NodeHello) Result {
	p, n, err := t.nodeOf(c.PoolId, c.NodeId)
	if err != nil {
		return refused(err)
	}
	booted := n.rec.BootId != c.Facts.GetBootId() || !hasJoined(n.rec.Node.State)
	if booted {
		t.dropSpecials(n)
		t.rebooted(n, n.rec.Action.GetKind() == raftlogv1.NodeActionKind_NODE_ACTION_KIND_REIMAGE)
	}
	t.editNode(p, n, func(rec *raftlogv1.NodeRecord) {
		rec.Hostname, rec.Os, rec.Cpus, rec.MemoryBytes = c.Facts.GetHostname(), c.Facts.GetOs(), c.Facts.GetCpus(), c.Facts.GetMemoryBytes()
		rec.BootId = c.Facts.GetBootId()
		rec.Node.IpAddress = c.Facts.GetIpAddress()
		if boot := c.Facts.GetBootTime(); boot != nil {
			rec.Node.LastBootTime = boot
		}
		rec.Node.NodeAgentInfo = &apiv1.NodeAgentInfo{Version: c.Facts.GetAgentVersion(), LastUpdateTime: at2pb(t.now)}
		if booted {
			rec.Mounts = mountsOf(p)
		}
		rec.Node.Errors = nodeErrors(rec)
		if booted && rec.Action != nil {
			rec.Action = &raftlogv1.NodeAction{Number: rec.Action.Number}
		}
	})
	unstarted := n.rec.Node.StartTask != nil && n.rec.Start.GetPhase() == 0 && !inFlight(n.rec.Prefetch) && !lacksImages(n.rec)
	dropped := n.rec.Prefetch.GetAttempt() > 0 && n.rec.Prefetch.GetPhase() == 0
	if mayStart(n.rec) && (booted || unstarted || dropped) {
		t.startNode(p, n)
	}
	if !n.rec.Leaving && !stays(n.rec) {
		t.editNode(p, n, func(rec *raftlogv1.NodeRecord) { t.setState(rec, arrivedState(rec)) })
	}
	return Result{Node: n.rec}
}

// hasJoined says whether a node in the state has had an agent.
func hasJoined(s apiv1.NodeState) bool {
	return s != apiv1.NodeState_NODE_STATE_CREATING && s != apiv1.NodeState_NODE_STATE_STARTING
}

// stays says whether the node is on its way to a state in which it has no agent, or a new one.
func stays(rec *raftlogv1.NodeRecord) bool {
	switch rec.Node.State {
	case apiv1.NodeState_NODE_STATE_DEALLOCATING, apiv1.NodeState_NODE_STATE_DEALLOCATED:
		return true
	}
	return rec.Action.GetKind() != 0
}

// nodeLost ends a node's incarnation: nothing that it held counts any more, and it runs elsewhere.
func (t *txn) nodeLost(c *raftlogv1.NodeLost) Result {
	p, n, err := t.nodeOf(c.PoolId, c.NodeId)
	if err != nil || n.rec.Incarnation != c.Incarnation {
		return Result{}
	}
	t.dropHeld(n)
	t.dropSpecials(n)
	t.editNode(p, n, func(rec *raftlogv1.NodeRecord) {
		rec.Incarnation++
		if !rec.Leaving && !stays(rec) {
			t.setState(rec, apiv1.NodeState_NODE_STATE_UNKNOWN)
		}
	})
	return Result{}
}

// dropHeld requeues all that a node holds, since nothing will be heard of it.
func (t *txn) dropHeld(n *node) {
	for _, key := range sortedTasks(n.held) {
		h := n.held[key]
		live := h.live()
		t.releaseHeld(n, key)
		j := t.jobByUID[key.Job]
		if live && j.rec.Job.State != jobDeleting {
			t.requeue(j, key, h, true)
		}
		t.settle(j)
	}
}

// leave begins a node's removal, or hastens one that has begun. What becomes of its tasks is the option's: requeue and terminate stop them, task
// completion waits.
func (t *txn) leave(p *pool, n *node, option apiv1.NodeDeallocationOption) {
	if !n.rec.Leaving {
		t.editNode(p, n, func(rec *raftlogv1.NodeRecord) {
			rec.Leaving = true
			t.setState(rec, apiv1.NodeState_NODE_STATE_LEAVING_POOL)
		})
	}
	switch option {
	case apiv1.NodeDeallocationOption_NODE_DEALLOCATION_OPTION_TASK_COMPLETION,
		apiv1.NodeDeallocationOption_NODE_DEALLOCATION_OPTION_RETAINED_DATA:
		t.stopAll(n, unstartedOnly)
	case apiv1.NodeDeallocationOption_NODE_DEALLOCATION_OPTION_TERMINATE:
		t.stopAll(n, terminateTasks)
	default:
		t.stopAll(n, requeueTasks)
	}
}

// leaveNodes lets the nodes go that a resize has chosen, with the deallocation option of that resize.
func (t *txn) leaveNodes(c *raftlogv1.LeaveNodes) Result {
	p, ok := t.pool(t.account, c.PoolId)
	if !ok {
		return refused(batcherr.Of(batcherr.CodePoolNotFound))
	}
	for _, id := range c.NodeIds {
		if n, ok := p.node(id); ok {
			t.leave(p, n, p.rec.Deallocation)
		}
	}
	return Result{}
}

type stopMode int

const (
	requeueTasks stopMode = iota
	terminateTasks
	unstartedOnly
)

// stopAll stops what a node holds.
func (t *txn) stopAll(n *node, mode stopMode) {
	for _, key := range sortedTasks(n.held) {
		h := n.held[key]
		j := t.jobByUID[key.Job]
		switch {
		case h.Stopping:
		case h.unstarted() || mode == requeueTasks:
			t.stopHeld(j, key)
		case mode == terminateTasks:
			t.endTask(j, key, lifecycle.EndedFailure("The task was ended because its node was taken away"), j.rec.Job.OnTaskFailure)
			t.settle(j)
		}
	}
}

func (t *txn) deleteNode(c *raftlogv1.DeleteNode) Result {
	p, n, err := t.nodeOf(c.PoolId, c.NodeId)
	if err != nil {
		return refused(err)
	}
	t.dropHeld(n)
	t.dropSpecials(n)
	t.leaveSites(n)
	p.nodes.Delete(n)
	delete(t.nodes, n.rec.Uid)
	t.delete(keyNumber(tableNode, n.rec.Uid))
	t.delete(keyNumber(tableNodeStats, n.rec.Uid))
	t.events.node(p, n)
	t.events.pool(p)
	return Result{}
}

func (t *txn) setNodeScheduling(c *raftlogv1.SetNodeScheduling) Result {
	p, n, err := t.nodeOf(c.PoolId, c.NodeId)
	if err != nil {
		return refused(err)
	}
	want := apiv1.SchedulingState_SCHEDULING_STATE_DISABLED
	if c.Enabled {
		want = apiv1.SchedulingState_SCHEDULING_STATE_ENABLED
	}
	if n.rec.Node.SchedulingState == want {
		return refused(batcherr.Of(batcherr.CodeNodeAlreadyInTargetSchedulingState))
	}
	t.editNode(p, n, func(rec *raftlogv1.NodeRecord) { rec.Node.SchedulingState, rec.Quarantine = want, nil })
	if c.Enabled {
		t.absolve(n)
		return Result{}
	}
	switch c.Option {
	case apiv1.NodeDisableSchedulingOption_NODE_DISABLE_SCHEDULING_OPTION_TASK_COMPLETION:
		t.stopAll(n, unstartedOnly)
	case apiv1.NodeDisableSchedulingOption_NODE_DISABLE_SCHEDULING_OPTION_TERMINATE:
		t.stopAll(n, terminateTasks)
	default:
		t.stopAll(n, requeueTasks)
	}
	return Result{}
}

func (t *txn) setNodeState(c *raftlogv1.SetNodeState) Result {
	p, n, err := t.nodeOf(c.PoolId, c.NodeId)
	if err != nil {
		return refused(err)
	}
	t.editNode(p, n, func(rec *raftlogv1.NodeRecord) {
		t.setState(rec, c.State)
		rec.Node.Errors = c.Errors
	})
	return Result{}
}
