package state

import (
	"sort"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// assignTasks gives queued tasks to nodes. Parts of the plan that no longer hold are passed over.
func (t *txn) assignTasks(c *raftlogv1.AssignTasks) Result {
	for _, plan := range c.Nodes {
		n := t.nodes[plan.Node]
		if n == nil || n.rec.Incarnation != plan.Incarnation || !n.ready() {
			continue
		}
		for _, task := range plan.Tasks {
			t.assign(n, TaskKey{task.Job, task.Task})
		}
	}
	return Result{}
}

func (t *txn) assign(n *node, key TaskKey) {
	j := t.jobByUID[key.Job]
	if j == nil || j.rec.Job.State != apiv1.JobState_JOB_STATE_ACTIVE || n.held[key] != nil {
		return
	}
	r, ok := t.dequeue(j, key.Task)
	if !ok {
		return
	}
	if r.Fresh {
		t.execs[key] = &execution{rec: &raftlogv1.TaskExecution{Phase: queued}, changed: true}
	}
	exec := t.change(key)
	exec.Attempt++
	exec.Node = n.rec.Uid
	exec.RequeueOnRelease = false
	t.moveSlots(j, exec, assigned, 0) // still active for users: no count changes
	h := &held{exec: exec}
	h.Attempt, h.Slots = exec.Attempt, t.spec(j, r.Spec).GetRequiredSlots()
	t.link(n, key, h)
	t.putProto(keyHeld(n.rec.Uid, key), &h.NodeTask)
	t.events.assigned(n, AttemptKey{key, exec.Attempt})
}

// reportAttempts takes in what a node said. Reports of another incarnation, or of attempts that the node does not hold, have no effect.
func (t *txn) reportAttempts(c *raftlogv1.ReportAttempts) Result {
	n := t.nodes[c.Node]
	if n == nil || n.rec.Incarnation != c.Incarnation {
		return refused(batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState, "the node's session has ended"))
	}
	touched := map[uint64]*job{}
	for _, r := range c.Reports {
		key := TaskKey{r.Ref.GetJob(), r.Ref.GetTask()}
		h := n.held[key]
		if h == nil || h.Attempt != r.Ref.GetAttempt() {
			continue
		}
		t.report(n, key, h, r)
		if j := t.jobByUID[key.Job]; j != nil {
			touched[key.Job] = j
		}
	}
	for _, uid := range sortedKeys(touched) {
		t.settle(touched[uid])
	}
	return Result{}
}

func (t *txn) report(n *node, key TaskKey, h *held, r *agentv1.AttemptReport) {
	if r.Phase == agentv1.AttemptPhase_ATTEMPT_PHASE_RUNNING {
		t.started(key, h, r)
		return
	}
	// The task's own state decides: what was completed meanwhile stays so.
	live := h.exec != nil && h.exec.Phase != completed
	t.releaseHeld(n, key)
	j := t.jobByUID[key.Job]
	if !live || j == nil {
		return
	}
	switch r.Phase {
	case agentv1.AttemptPhase_ATTEMPT_PHASE_ENDED:
		t.ended(n, j, key, r)
	case agentv1.AttemptPhase_ATTEMPT_PHASE_RETURNED:
		t.requeue(j, key, false)
	default: // lost, or stopped in order to run again
		t.requeue(j, key, true)
	}
}

func (t *txn) started(key TaskKey, h *held, r *agentv1.AttemptReport) {
	if h.exec == nil || h.exec.Phase != assigned {
		return
	}
	exec := t.change(key)
	exec.StartTime = t.clampTime(r.StartTime)
	t.move(t.jobByUID[key.Job], key, exec, running)
}

// clampTime keeps a node's clock from putting an event into the future.
func (t *txn) clampTime(nanos int64) int64 {
	if nanos <= 0 || nanos > t.now {
		return t.now
	}
	return nanos
}

func (t *txn) ended(n *node, j *job, key TaskKey, r *agentv1.AttemptReport) {
	exec := t.change(key)
	entrySpec := t.taskSpec(j, key, exec)
	exec.StartTime, exec.EndTime = t.clampTime(r.StartTime), t.clampTime(r.EndTime)
	exec.EndTime = max(exec.EndTime, exec.StartTime)
	exec.UserCpu, exec.KernelCpu = r.UserCpu, r.KernelCpu
	constraints := entrySpec.Constraints
	if exec.Constraints != nil {
		constraints = exec.Constraints
	}
	out := lifecycle.Decide(lifecycle.AttemptEnd{Stage: r.FailureStage, ExitCode: r.ExitCode, Failure: r.Failure, Retries: exec.RetryCount},
		constraints, entrySpec.ExitConditions, j.rec.Job.OnTaskFailure)
	totals := t.nodeTotals(n)
	totals.TasksRun++
	if out.Succeeded {
		totals.TasksSucceeded++
	}
	if out.Retry {
		exec.RetryCount++
		exec.LastRetryTime = t.now
		t.move(j, key, exec, queued)
		t.enqueue(j, key, t.entry(key).Spec, false)
		return
	}
	exec.ExitCode = r.ExitCode
	t.finish(j, key, exec, out)
}

// taskSpec finds a task's specification without reading its entry where the job has only one.
func (t *txn) taskSpec(j *job, key TaskKey, _ *raftlogv1.TaskExecution) *apiv1.Task {
	if j.rec.NextSpec == 1 {
		return t.spec(j, 1)
	}
	return t.spec(j, t.entry(key).Spec)
}

// finish completes a task with its outcome, tells its dependents, and acts on the job where the exit conditions say so.
func (t *txn) finish(j *job, key TaskKey, exec *raftlogv1.TaskExecution, out lifecycle.Outcome) {
	exec.Succeeded, exec.Failure, exec.Satisfied = out.Succeeded, out.Failure, out.Satisfied
	t.move(j, key, exec, completed)
	if j.rec.Job.GetUsesTaskDependencies() {
		t.release(j, key.Task, out.Satisfied)
	}
	switch out.JobAction {
	case apiv1.JobActionKind_JOB_ACTION_KIND_TERMINATE:
		t.startTermination(j, "TaskFailed")
	case apiv1.JobActionKind_JOB_ACTION_KIND_DISABLE:
		t.startDisabling(j, apiv1.DisableJobOption_DISABLE_JOB_OPTION_REQUEUE)
	}
}

// requeue puts a task that was with a node back into the queue.
func (t *txn) requeue(j *job, key TaskKey, counted bool) {
	exec := t.change(key)
	exec.RequeueOnRelease = false
	if counted && exec.Phase != assigned {
		exec.RequeueCount++
		exec.LastRequeueTime = t.now
	}
	exec.StartTime = 0
	t.move(j, key, exec, queued)
	t.enqueue(j, key, t.entry(key).Spec, false)
}

// stopHeld asks the nodes that hold a task to stop it.
func (t *txn) stopHeld(j *job, key TaskKey, requeueAfter bool) {
	for _, uid := range j.held[key] {
		n := t.nodes[uid]
		h := n.held[key]
		if h.Stopping {
			continue
		}
		if requeueAfter && h.exec != nil {
			t.change(key).RequeueOnRelease = true
		}
		h.Stopping = true
		t.putProto(keyHeld(uid, key), &h.NodeTask)
		t.events.stopping(n, AttemptKey{key, h.Attempt})
	}
}

// releaseHeld records that a node no longer holds an attempt.
func (t *txn) releaseHeld(n *node, key TaskKey) {
	t.unlink(n, key)
	t.delete(keyHeld(n.rec.Uid, key))
	t.events.released(n)
}

// retractTasks asks a node for tasks back that have not started; the node decides, since it may have started them meanwhile.
func (t *txn) retractTasks(c *raftlogv1.RetractTasks) Result {
	n := t.nodes[c.Node]
	if n == nil {
		return Result{}
	}
	for _, ref := range c.Attempts {
		key := TaskKey{ref.Job, ref.Task}
		if h := n.held[key]; h != nil && h.Attempt == ref.Attempt && h.exec != nil && h.exec.Phase == assigned {
			t.events.retracting(n, AttemptKey{key, h.Attempt})
		}
	}
	return Result{}
}

// move changes a task's phase, and the job's counts with it.
func (t *txn) move(j *job, key TaskKey, exec *raftlogv1.TaskExecution, to raftlogv1.TaskPhase) {
	t.moveSlots(j, exec, to, int64(t.taskSpec(j, key, exec).GetRequiredSlots()))
}

func (t *txn) moveSlots(j *job, exec *raftlogv1.TaskExecution, to raftlogv1.TaskPhase, slots int64) {
	from := exec.Phase
	if slots != 0 {
		t.countOut(j, exec, slots)
	}
	exec.PreviousPhase, exec.PreviousStateTime = from, exec.StateTime
	exec.Phase, exec.StateTime = to, t.now
	if slots != 0 {
		t.countIn(j, exec, slots)
	}
}

func (t *txn) countIn(j *job, exec *raftlogv1.TaskExecution, slots int64) {
	t.count(t.counts(j), exec, 1, slots)
}

func (t *txn) countOut(j *job, exec *raftlogv1.TaskExecution, slots int64) {
	t.count(t.counts(j), exec, -1, -slots)
}

func (t *txn) count(c *raftlogv1.JobCounts, exec *raftlogv1.TaskExecution, n, slots int64) {
	switch exec.Phase {
	case preparing, running:
		c.Running += n
		c.RunningSlots += slots
	case completed:
		c.Completed += n
		c.CompletedSlots += slots
		if exec.Succeeded {
			c.Succeeded += n
			c.SucceededSlots += slots
		} else {
			c.Failed += n
			c.FailedSlots += slots
		}
	case waiting:
		c.Waiting += n
		fallthrough
	default:
		c.Active += n
		c.ActiveSlots += slots
	}
}

// AttemptKey names an attempt.
type AttemptKey struct {
	TaskKey
	Attempt uint32
}

// Ref is the attempt's name on the wire.
func (k AttemptKey) Ref() *agentv1.AttemptRef {
	return &agentv1.AttemptRef{Job: k.Job, Task: k.Task, Attempt: k.Attempt}
}

func sortedKeys[V any](m map[uint64]V) []uint64 {
	keys := make([]uint64, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(a, b int) bool { return keys[a] < keys[b] })
	return keys
}

func sortedTasks[V any](m map[TaskKey]V) []TaskKey {
	keys := make([]TaskKey, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(a, b int) bool {
		if keys[a].Job != keys[b].Job {
			return keys[a].Job < keys[b].Job
		}
		return keys[a].Task < keys[b].Task
	})
	return keys
}
