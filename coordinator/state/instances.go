package state

import (
	"encoding/binary"

	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/lifecycle"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// A multi-instance task is held by several nodes under the same attempt, one instance each. All get it in one command, and all lose it together: what
// any of them reports decides about the task, and the others are stopped. They have a NodeTask each like any other attempt; subtasks, which are the
// instances beside the primary, also have a record of how they fare.

// Short names of the states of subtasks.
const (
	subtaskPreparing = apiv1.SubtaskState_SUBTASK_STATE_PREPARING
	subtaskRunning   = apiv1.SubtaskState_SUBTASK_STATE_RUNNING
	subtaskCompleted = apiv1.SubtaskState_SUBTASK_STATE_COMPLETED
)

// instancesOf is how many instances a task with the specification has; 0: it is no multi-instance task.
func instancesOf(spec *apiv1.Task) int32 {
	if spec.GetMultiInstanceSettings() == nil {
		return 0
	}
	return max(1, spec.MultiInstanceSettings.GetNumberOfInstances())
}

// runsInstances says whether multi-instance tasks can run in the pool.
func (p *pool) runsInstances() bool {
	return p.rec.Pool.GetEnableInterNodeCommunication() && max(1, p.rec.Pool.GetTaskSlotsPerNode()) == 1
}

// assignInstances gives multi-instance tasks to their nodes. A plan that does not hold in every part is passed over as a whole.
func (t *txn) assignInstances(c *raftlogv1.AssignInstances) Result {
	for _, plan := range c.Tasks {
		key := TaskKey{plan.Job, plan.Task}
		j := t.jobByUID[key.Job]
		if j == nil || j.rec.Job.State != jobActive {
			continue
		}
		r, ok := j.queue.find(key.Task)
		if !ok || r.Instances == 0 || int(r.Instances) != len(plan.Nodes) || j.waits(r) {
			continue
		}
		if nodes := t.instanceNodes(j, plan.Nodes); nodes != nil {
			t.assignAll(j, key, r, nodes)
		}
	}
	return Result{}
}

// instanceNodes finds the nodes of a plan; nil if one of them can't take an instance of the job's task.
func (t *txn) instanceNodes(j *job, plan []*raftlogv1.InstanceNode) []*node {
	p, ok := t.pool(j.rec.Account, j.poolID())
	if !ok || !p.runsInstances() {
		return nil
	}
	nodes := make([]*node, len(plan))
	seen := make(map[uint64]bool, len(plan))
	for i, at := range plan {
		n := t.nodes[at.Node]
		if n == nil || n.rec.Incarnation != at.Incarnation || !n.ready() || len(n.held) > 0 || seen[at.Node] || j.barred(at.Node) {
			return nil
		}
		nodes[i], seen[at.Node] = n, true
	}
	return nodes
}

func (t *txn) assignAll(j *job, key TaskKey, r Run, nodes []*node) {
	exec := t.nextAttempt(j, key, r, nodes[0])
	waits := false
	for i, n := range nodes {
		h := &held{exec: exec, spec: r.Spec}
		h.Attempt, h.Slots = exec.Attempt, r.Slots
		h.Instance = &raftlogv1.InstancePlace{Id: uint32(i), Of: uint32(len(nodes))}
		h.Waiting = t.prepare(j, n)
		waits = waits || h.Waiting
		t.link(n, key, h)
		t.putProto(keyHeld(n.rec.Uid, key), &h.NodeTask)
		if i > 0 {
			t.putProto(keySubtask(key, h.Instance.Id), &raftlogv1.SubtaskRecord{
				Attempt: h.Attempt, Node: n.rec.Uid, PoolId: n.rec.PoolId, NodeId: n.rec.Node.Id, AffinityId: n.rec.Node.AffinityId,
				State: subtaskPreparing, StateTime: t.now,
			})
		}
		if !h.Waiting {
			t.events.assigned(n, AttemptKey{key, h.Attempt})
		}
	}
	if waits {
		t.move(j, key.Task, exec, preparing, r.Slots)
	} else {
		t.setPhase(exec, assigned)
	}
}

// instanceReady takes in that an instance's coordination command has succeeded. The last one lets the primary proceed.
func (t *txn) instanceReady(n *node, key TaskKey, h *held, r *agentv1.AttemptReport) {
	if h.Instance == nil || !h.live() {
		return
	}
	t.started(key, h, r)
	if h.Instance.Ready {
		return
	}
	h.Instance.Ready = true
	t.putProto(keyHeld(n.rec.Uid, key), &h.NodeTask)
	if t.allReady(key, h.Attempt) {
		t.events.assigned(t.nodes[h.exec.Node], AttemptKey{key, h.Attempt})
	}
}

// allReady says whether the coordination command has succeeded in all instances of an attempt.
func (h *hot) allReady(key TaskKey, attempt uint32) bool {
	missing := uint32(1)
	for i, place := range h.instances(key, attempt) {
		if i == 0 {
			missing = place.held.Instance.Of
		}
		if place.held.Instance.Ready {
			missing--
		}
	}
	return missing == 0
}

type instance struct {
	node *node
	held *held
}

// instances are those of an attempt that nodes hold, in no order.
func (h *hot) instances(key TaskKey, attempt uint32) []instance {
	var out []instance
	for _, uid := range h.jobByUID[key.Job].held[key] {
		if one := h.nodes[uid].held[key]; one.Attempt == attempt && one.Instance != nil {
			out = append(out, instance{h.nodes[uid], one})
		}
	}
	return out
}

// place is an instance as its node is told of it.
func (h *hot) place(key TaskKey, of *held) *agentv1.Instance {
	if of.Instance == nil {
		return nil
	}
	out := &agentv1.Instance{
		Id: of.Instance.Id, Peers: make([]*agentv1.InstancePeer, of.Instance.Of), Proceed: of.Instance.Id == 0 && h.allReady(key, of.Attempt),
	}
	for i := range out.Peers {
		out.Peers[i] = &agentv1.InstancePeer{}
	}
	for _, other := range h.instances(key, of.Attempt) {
		out.Peers[other.held.Instance.Id] = &agentv1.InstancePeer{IpAddress: other.node.rec.Node.IpAddress, Cpus: other.node.rec.Cpus}
	}
	return out
}

// subtask is the record of an instance in the attempt that is held; nil for a primary, and where the task is gone or has a newer attempt.
func (t *txn) subtask(key TaskKey, h *held) *raftlogv1.SubtaskRecord {
	if h.Instance.GetId() == 0 {
		return nil
	}
	b := t.get(keySubtask(key, h.Instance.Id))
	if b == nil {
		return nil
	}
	rec := &raftlogv1.SubtaskRecord{}
	t.decode(b, rec)
	if rec.Attempt != h.Attempt {
		return nil
	}
	return rec
}

func (t *txn) setSubtask(key TaskKey, id uint32, rec *raftlogv1.SubtaskRecord, to apiv1.SubtaskState) {
	rec.PreviousState, rec.PreviousStateTime = rec.State, rec.StateTime
	rec.State, rec.StateTime = to, t.now
	t.putProto(keySubtask(key, id), rec)
}

func (t *txn) subtaskStarted(key TaskKey, h *held, r *agentv1.AttemptReport) {
	if rec := t.subtask(key, h); rec != nil && rec.State == subtaskPreparing {
		rec.StartTime = t.clampTime(r.StartTime)
		t.setSubtask(key, h.Instance.Id, rec, subtaskRunning)
	}
}

// subtaskOver completes the record of an instance that its node holds no longer; r is what the node has said, if it has.
func (t *txn) subtaskOver(key TaskKey, h *held, r *agentv1.AttemptReport) {
	rec := t.subtask(key, h)
	if rec == nil || rec.State == subtaskCompleted {
		return
	}
	rec.EndTime = t.now
	switch zero := int32(0); {
	case r.GetPhase() == agentv1.AttemptPhase_ATTEMPT_PHASE_ENDED:
		rec.ExitCode, rec.Failure, rec.EndTime = r.ExitCode, r.Failure, t.clampTime(r.EndTime)
		if rec.Failure == nil && r.GetExitCode() != 0 {
			rec.Failure = lifecycle.ExitCodeFailure()
		}
		if rec.StartTime == 0 {
			rec.StartTime = t.clampTime(r.StartTime)
		}
	case h.Instance.Ready:
		rec.ExitCode = &zero
	default:
		rec.Failure = lifecycle.EndedFailure("The subtask was ended with its task")
	}
	rec.EndTime = max(rec.EndTime, rec.StartTime)
	t.setSubtask(key, h.Instance.Id, rec, subtaskCompleted)
}

// dropSubtasks deletes the records of a task that is being deleted, and has the nodes delete its directories.
func (t *txn) dropSubtasks(key TaskKey, count int32, jobID, taskID string) {
	for id := uint32(1); id < uint32(count); id++ {
		b := t.get(keySubtask(key, id))
		if b == nil {
			return
		}
		rec := &raftlogv1.SubtaskRecord{}
		t.decode(b, rec)
		t.events.clean(t.nodes[rec.Node], key, rec.Attempt, jobID, taskID)
		t.delete(keySubtask(key, id))
	}
}

// Subtask is an instance of a multi-instance task beside its primary, in the newest attempt.
type Subtask struct {
	*raftlogv1.SubtaskRecord
	ID uint32
}

// Subtasks returns the subtasks of a task in the order of their ids; none for a task that has not been assigned or is no multi-instance task.
func (s *Store) Subtasks(key TaskKey) (out []Subtask, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	err = s.scan(keyTask(tableSubtask, key.Job, key.Task), func(rest, value []byte) error {
		rec := &raftlogv1.SubtaskRecord{}
		out = append(out, Subtask{rec, binary.BigEndian.Uint32(rest)})
		return proto.Unmarshal(value, rec)
	})
	return out, err
}
