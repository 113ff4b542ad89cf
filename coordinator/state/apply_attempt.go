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
	if j == nil || j.rec.Job.State != apiv1.JobState_JOB_STATE_ACTIVE || n.held[key] != nil || j.barred(n.rec.Uid) {
		return
	}
	r, ok := j.queue.find(key.Task)
	if !ok || r.Instances > 0 || !n.fits(r) || j.waits(r) {
		return
	}
	exec := t.nextAttempt(j, key, r, n)
	h := &held{exec: exec, spec: r.Spec}
	h.Attempt, h.Slots, h.Exclusive = exec.Attempt, r.Slots, r.Exclusive
	if h.Waiting = t.prepare(j, n); h.Waiting {
		t.move(j, key.Task, exec, preparing, h.Slots)
	} else {
		t.setPhase(exec, assigned) // still active for users: no count changes
	}
	t.link(n, key, h)
	t.putProto(keyHeld(n.rec.Uid, key), &h.NodeTask)
	if !h.Waiting {
		t.events.assigned(n, AttemptKey{key, exec.Attempt})
	}
}

// nextAttempt takes a queued task out of the queue and begins its next attempt.
func (t *txn) nextAttempt(j *job, key TaskKey, r Run, n *node) *raftlogv1.TaskExecution {
	t.dequeue(j, key.Task)
	if r.Fresh {
		t.execs[key] = &execution{rec: &raftlogv1.TaskExecution{Phase: queued}, changed: true}
	}
	exec := t.change(key)
	// An attempt that another node is still stopping is not the newest any more.
	for _, uid := range j.held[key] {
		t.nodes[uid].held[key].exec = nil
	}
	exec.Attempt++
	exec.Node = n.rec.Uid
	return exec
}

// fits says whether a task of the run may go beside what the node holds.
func (n *node) fits(r Run) bool {
	return n.exclusive == 0 && (!r.Exclusive || len(n.held) == 0) && (!r.Dedicated || n.rec.Node.GetIsDedicated())
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
		if key.special() {
			t.reportSpecial(n, key, r)
		} else if h := n.held[key]; h != nil && h.Attempt == r.Ref.GetAttempt() {
			t.report(n, key, h, r)
		}
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
	switch r.Phase {
	case agentv1.AttemptPhase_ATTEMPT_PHASE_RUNNING:
		t.started(key, h, r)
		return
	case agentv1.AttemptPhase_ATTEMPT_PHASE_READY:
		t.instanceReady(n, key, h, r)
		return
	}
	if h.Instance != nil {
		t.subtaskOver(key, h, r)
	}
	// The task's own state decides: what was completed or queued again meanwhile stays so.
	live := h.live()
	t.releaseHeld(n, key)
	j := t.jobByUID[key.Job]
	if !live || j.rec.Job.State == jobDeleting {
		return
	}
	switch r.Phase {
	case agentv1.AttemptPhase_ATTEMPT_PHASE_ENDED:
		if h.Instance.GetId() > 0 && r.GetExitCode() == 0 && r.Failure == nil {
			t.requeue(j, key, h, true) // a subtask ends with its task, or by failing: nobody knows what this is
			return
		}
		t.ended(n, j, key, h, r)
	case agentv1.AttemptPhase_ATTEMPT_PHASE_RETURNED:
		t.requeue(j, key, h, false)
	default: // lost, or stopped in order to run again
		t.requeue(j, key, h, true)
	}
}

func (t *txn) started(key TaskKey, h *held, r *agentv1.AttemptReport) {
	if h.Instance != nil && h.live() {
		t.subtaskStarted(key, h, r)
	}
	if !h.unstarted() {
		return
	}
	exec := t.change(key)
	exec.StartTime = t.clampTime(r.StartTime)
	t.move(t.jobByUID[key.Job], key.Task, exec, running, h.Slots)
}

// clampTime keeps a node's clock from putting an event into the future.
func (t *txn) clampTime(nanos int64) int64 {
	if nanos <= 0 || nanos > t.now {
		return t.now
	}
	return nanos
}

func (t *txn) ended(n *node, j *job, key TaskKey, h *held, r *agentv1.AttemptReport) {
	exec := t.change(key)
	number := t.heldSpec(j, key, h)
	spec := t.spec(j, number)
	exec.StartTime, exec.EndTime = t.clampTime(r.StartTime), t.clampTime(r.EndTime)
	exec.EndTime = max(exec.EndTime, exec.StartTime)
	exec.UserCpu, exec.KernelCpu, exec.Container = r.UserCpu, r.KernelCpu, r.Container
	constraints := spec.Constraints
	if exec.Constraints != nil {
		constraints = exec.Constraints
	}
	out := lifecycle.Decide(lifecycle.AttemptEnd{Stage: r.FailureStage, ExitCode: r.ExitCode, Failure: r.Failure, Retries: exec.RetryCount},
		constraints, spec.ExitConditions, j.rec.Job.OnTaskFailure)
	if h.Instance != nil {
		t.stopHeld(j, key) // the end of one is the end of all
	}
	t.tally(n, key, out.Succeeded)
	if out.Retry {
		exec.RetryCount++
		exec.LastRetryTime = t.now
		exec.StartTime, exec.EndTime = 0, 0
		t.move(j, key.Task, exec, queued, h.Slots)
		t.enqueue(j, key, number)
		return
	}
	exec.ExitCode = r.ExitCode
	t.finish(j, key, exec, h.Slots, out)
}

// heldSpec is the number of the specification of a task that a node holds.
func (t *txn) heldSpec(j *job, key TaskKey, h *held) uint32 {
	if h.spec == 0 {
		h.spec = t.specNumber(j, key)
	}
	return h.spec
}

// specNumber finds the number of a task's specification, without reading its entry where the job has only one.
func (t *txn) specNumber(j *job, key TaskKey) uint32 {
	if j.rec.NextSpec == 1 {
		return 1
	}
	return t.entry(key).Spec
}

// finish completes a task with its outcome, tells its dependents, and acts on the job where the exit conditions say so.
func (t *txn) finish(j *job, key TaskKey, exec *raftlogv1.TaskExecution, slots int32, out lifecycle.Outcome) {
	exec.Succeeded, exec.Failure, exec.Satisfied = out.Succeeded, out.Failure, out.Satisfied
	array, before := j.standing(key.Task)
	t.move(j, key.Task, exec, completed, slots)
	if !out.Succeeded {
		t.countFailure(j, key.Task, exec)
		t.put(keyTask(tableFailed, key.Job, key.Task), nil)
	}
	if j.rec.Job.GetUsesTaskDependencies() {
		if id := t.entry(key).Id; out.Satisfied {
			t.release(j, id)
		} else {
			t.spread(j, id, true)
		}
		t.tell(j, array, before)
	}
	if manager := j.rec.Job.JobManagerTask; manager != nil && key.Task == managerTask && unlessFalse(manager.KillJobOnCompletion) {
		t.startTermination(j, "JMComplete")
	}
	switch out.JobAction {
	case apiv1.JobActionKind_JOB_ACTION_KIND_TERMINATE:
		t.startTermination(j, "TaskFailed")
	case apiv1.JobActionKind_JOB_ACTION_KIND_DISABLE:
		if j.rec.Job.State == jobActive {
			t.startDisabling(j, apiv1.DisableJobOption_DISABLE_JOB_OPTION_REQUEUE)
		}
	}
}

// requeue puts a task that was with a node back into the queue.
func (t *txn) requeue(j *job, key TaskKey, h *held, counted bool) {
	exec := t.change(key)
	if counted && exec.Phase == running {
		exec.RequeueCount++
		exec.LastRequeueTime = t.now
	}
	if h.Instance != nil {
		t.stopHeld(j, key)
	}
	exec.StartTime = 0
	t.move(j, key.Task, exec, queued, h.Slots)
	t.enqueue(j, key, t.heldSpec(j, key, h))
}

// stopHeld asks the nodes that hold a task to stop it. What is live then is queued again when its node has released it.
func (t *txn) stopHeld(j *job, key TaskKey) {
	for _, uid := range j.held[key] {
		n := t.nodes[uid]
		h := n.held[key]
		if h.Stopping {
			continue
		}
		h.Stopping = true
		n.stopping += h.Slots
		t.putProto(keyHeld(uid, key), &h.NodeTask)
		t.events.stopping(n, AttemptKey{key, h.Attempt})
	}
}

// releaseHeld records that a node no longer holds an attempt.
func (t *txn) releaseHeld(n *node, key TaskKey) {
	h := n.held[key]
	if h.live() {
		t.exec(key) // while it need not be read from disk
	}
	if h.Instance != nil {
		t.subtaskOver(key, h, nil)
	}
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
		if h := n.held[key]; h != nil && h.Attempt == ref.Attempt && h.unstarted() {
			t.events.retracting(n, AttemptKey{key, h.Attempt})
		}
	}
	return Result{}
}

// move changes a task's phase, and the job's counts with it.
func (t *txn) move(j *job, task uint64, exec *raftlogv1.TaskExecution, to raftlogv1.TaskPhase, slots int32) {
	t.count(j, task, exec, -1, -int64(slots))
	t.setPhase(exec, to)
	t.count(j, task, exec, 1, int64(slots))
}

// setPhase changes a task's phase. Users see fewer states than there are phases: times are kept of what they see.
func (t *txn) setPhase(exec *raftlogv1.TaskExecution, to raftlogv1.TaskPhase) {
	if from := exec.Phase; taskState(from) != taskState(to) {
		exec.PreviousPhase, exec.PreviousStateTime = from, exec.StateTime
		exec.StateTime = t.now
	}
	exec.Phase = to
}

// count enters a task into the counts of its job and its array, or takes it out.
func (t *txn) count(j *job, task uint64, exec *raftlogv1.TaskExecution, n, slots int64) {
	count(t.counts(j), exec, n, slots)
	if a := j.arrays.of(task); a != nil {
		c := t.arrayCounts(j, a)
		count(c, exec, n, slots)
		if exec.Phase == completed && exec.Satisfied {
			c.Satisfied += n
		}
		if exec.Phase == queued && a.rec.WaitingFor > 0 {
			t.counts(j).Waiting += n
			if a.rec.Blocked {
				t.counts(j).Blocked += n
			}
		}
	}
}

func count(c *raftlogv1.JobCounts, exec *raftlogv1.TaskExecution, n, slots int64) {
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
