package state

import (
	"math"

	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/lifecycle"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// Task numbers of what a node runs beside tasks: the start task of its pool (of job 0), and of each job the preparation and the release task.
const (
	firstSpecial    = 1 << 63
	startTask       = firstSpecial
	preparationTask = firstSpecial + 1
	releaseTask     = firstSpecial + 2
	prefetchTask    = firstSpecial + 3 // of job 0: brings the pool's container images, before the start task
)

// Spec numbers of the same.
const (
	StartSpec       = math.MaxUint32
	PreparationSpec = math.MaxUint32 - 1
	ReleaseSpec     = math.MaxUint32 - 2
	PrefetchSpec    = math.MaxUint32 - 3
)

// Short names of the phases.
const (
	specialPending   = raftlogv1.SpecialPhase_SPECIAL_PHASE_PENDING
	specialRunning   = raftlogv1.SpecialPhase_SPECIAL_PHASE_RUNNING
	specialCompleted = raftlogv1.SpecialPhase_SPECIAL_PHASE_COMPLETED
)

func (k TaskKey) special() bool { return k.Task >= firstSpecial }

// inFlight says whether the node has it, or is to have it.
func inFlight(e *raftlogv1.SpecialExecution) bool {
	return e.GetPhase() == specialPending || e.GetPhase() == specialRunning
}

// unlessFalse is the value of an option that is on unless it is given as off.
func unlessFalse(option *bool) bool { return option == nil || *option }

// specialExecution is how the special task fares on the node; nil if it never was there. Not to be changed.
func (h *hot) specialExecution(n *node, key TaskKey) *raftlogv1.SpecialExecution {
	if key.Job == 0 {
		if key.Task == prefetchTask {
			return n.rec.Prefetch
		}
		return n.rec.Start
	}
	j := h.jobByUID[key.Job]
	if j == nil {
		return nil
	}
	switch site := j.sites[n.rec.Uid]; key.Task {
	case preparationTask:
		return site.GetPreparation()
	case releaseTask:
		return site.GetRelease()
	}
	return nil
}

func (t *txn) setSpecial(n *node, key TaskKey, e *raftlogv1.SpecialExecution) {
	if key.Job == 0 {
		p, _ := t.pool(n.rec.Account, n.rec.PoolId)
		t.editNode(p, n, func(rec *raftlogv1.NodeRecord) {
			if key.Task == prefetchTask {
				rec.Prefetch = e
				return // what follows from its end is prefetched's to say
			}
			rec.Start = e
			if e.Phase == specialCompleted && rec.Node.State == apiv1.NodeState_NODE_STATE_WAITING_FOR_START_TASK {
				t.setState(rec, arrivedState(rec))
			}
		})
		return
	}
	j := t.jobByUID[key.Job]
	site := proto.CloneOf(j.sites[n.rec.Uid])
	if key.Task == preparationTask {
		site.Preparation = e
	} else {
		site.Release = e
	}
	t.putSite(j, n.rec.Uid, site)
}

// arrivedState is the state of a node whose agent is there, as its mounts, its images and its start task say.
func arrivedState(rec *raftlogv1.NodeRecord) apiv1.NodeState {
	if s := mountedState(rec); s != apiv1.NodeState_NODE_STATE_UNSPECIFIED {
		return s
	}
	switch {
	case inFlight(rec.Prefetch):
		return apiv1.NodeState_NODE_STATE_WAITING_FOR_START_TASK
	case lacksImages(rec):
		return apiv1.NodeState_NODE_STATE_UNUSABLE
	case rec.Node.StartTask == nil, !unlessFalse(rec.Node.StartTask.WaitForSuccess), rec.Start.GetSucceeded():
		return apiv1.NodeState_NODE_STATE_IDLE
	case inFlight(rec.Start):
		return apiv1.NodeState_NODE_STATE_WAITING_FOR_START_TASK
	}
	return apiv1.NodeState_NODE_STATE_START_TASK_FAILED
}

// give hands a special task to its node, as an attempt that is newer than all before.
func (t *txn) give(n *node, key TaskKey, e *raftlogv1.SpecialExecution) {
	e.Attempt++
	e.Phase, e.StartTime, e.EndTime = specialPending, t.now, 0
	t.setSpecial(n, key, e)
	t.events.assigned(n, AttemptKey{key, e.Attempt})
}

func (t *txn) reportSpecial(n *node, key TaskKey, r *agentv1.AttemptReport) {
	e := t.specialExecution(n, key)
	if !inFlight(e) || e.Attempt != r.Ref.GetAttempt() {
		return
	}
	e = proto.CloneOf(e)
	switch r.Phase {
	case agentv1.AttemptPhase_ATTEMPT_PHASE_RUNNING:
		if e.Phase == specialPending {
			e.Phase, e.StartTime = specialRunning, t.clampTime(r.StartTime)
			t.setSpecial(n, key, e)
		}
	case agentv1.AttemptPhase_ATTEMPT_PHASE_ENDED:
		t.specialEnded(n, key, e, r)
	case agentv1.AttemptPhase_ATTEMPT_PHASE_RELEASED:
		t.completeSpecial(n, key, e, lifecycle.EndedFailure("The task was ended because its job has ended"))
	default:
		if e.Stopping || key.Task == releaseTask {
			t.completeSpecial(n, key, e, lifecycle.NodeLostFailure())
			return
		}
		t.give(n, key, e)
	}
}

func (t *txn) specialEnded(n *node, key TaskKey, e *raftlogv1.SpecialExecution, r *agentv1.AttemptReport) {
	end := lifecycle.AttemptEnd{Stage: r.FailureStage, ExitCode: r.ExitCode, Failure: r.Failure, Retries: e.RetryCount}
	out := lifecycle.Decide(end, t.specialConstraints(n, key), nil, apiv1.TaskFailureMode_TASK_FAILURE_MODE_NO_ACTION)
	if out.Retry && !e.Stopping {
		e.RetryCount++
		e.LastRetryTime = t.now
		t.give(n, key, e)
		return
	}
	if out.Retry {
		out.Failure = lifecycle.ExitCodeFailure()
	}
	e.StartTime, e.ExitCode, e.Container = t.clampTime(r.StartTime), r.ExitCode, r.Container
	e.EndTime = t.clampTime(r.EndTime)
	t.completeSpecial(n, key, e, out.Failure)
}

func (t *txn) specialConstraints(n *node, key TaskKey) *apiv1.TaskConstraints {
	switch key.Task {
	case startTask:
		return &apiv1.TaskConstraints{MaxTaskRetryCount: n.rec.Node.GetStartTask().MaxTaskRetryCount}
	case preparationTask:
		return t.jobByUID[key.Job].rec.Job.JobPreparationTask.GetConstraints()
	}
	return nil
}

// completeSpecial ends a special task on a node; a nil failure is success.
func (t *txn) completeSpecial(n *node, key TaskKey, e *raftlogv1.SpecialExecution, failure *apiv1.TaskFailureInfo) {
	if e.EndTime == 0 {
		e.EndTime = t.now
	}
	e.EndTime = max(e.EndTime, e.StartTime)
	e.Phase, e.Stopping, e.Succeeded, e.Failure = specialCompleted, false, failure == nil, failure
	t.setSpecial(n, key, e)
	switch key.Task {
	case preparationTask:
		t.prepared(t.jobByUID[key.Job], n, failure == nil)
	case prefetchTask:
		t.prefetched(n)
	}
}

// startNode has a node that has booted bring the pool's container images and run its start task, where it has them, as they are now.
func (t *txn) startNode(p *pool, n *node) {
	images := imagesOf(p.rec.Pool)
	if len(images) == 0 && p.rec.Pool.StartTask == nil && n.rec.Prefetch == nil && n.rec.Node.StartTask == nil {
		return
	}
	t.editNode(p, n, func(rec *raftlogv1.NodeRecord) {
		rec.Node.StartTask = proto.CloneOf(p.rec.Pool.StartTask)
		rec.Start = &raftlogv1.SpecialExecution{Attempt: rec.Start.GetAttempt()}
		rec.Prefetch = &raftlogv1.SpecialExecution{Attempt: rec.Prefetch.GetAttempt()}
		if len(images) == 0 && rec.Prefetch.Attempt == 0 {
			rec.Prefetch = nil
		}
	})
	if len(images) > 0 {
		t.give(n, TaskKey{Task: prefetchTask}, &raftlogv1.SpecialExecution{Attempt: n.rec.Prefetch.Attempt})
		return
	}
	t.beginStart(n)
}

// beginStart gives a node its start task, if it has one.
func (t *txn) beginStart(n *node) {
	if n.rec.Node.StartTask != nil {
		t.give(n, TaskKey{Task: startTask}, &raftlogv1.SpecialExecution{Attempt: n.rec.Start.GetAttempt()})
	}
}

// specials lists what is with the node, or is to be, in the order of jobs.
func (h *hot) specials(n *node) []AttemptKey {
	var keys []TaskKey
	if n.rec.Prefetch != nil {
		keys = append(keys, TaskKey{Task: prefetchTask})
	}
	if n.rec.Start != nil {
		keys = append(keys, TaskKey{Task: startTask})
	}
	for _, uid := range sortedKeys(n.sites) {
		keys = append(keys, TaskKey{uid, preparationTask}, TaskKey{uid, releaseTask})
	}
	var out []AttemptKey
	for _, key := range keys {
		if e := h.specialExecution(n, key); inFlight(e) {
			out = append(out, AttemptKey{key, e.Attempt})
		}
	}
	return out
}

// dropSpecials ends what is with a node of which nothing more will be heard. What is the pool's is as if it had never been there.
func (t *txn) dropSpecials(n *node) {
	for _, key := range t.specials(n) {
		e := proto.CloneOf(t.specialExecution(n, key.TaskKey))
		if key.Job == 0 {
			t.setSpecial(n, key.TaskKey, &raftlogv1.SpecialExecution{Attempt: e.Attempt})
			continue
		}
		t.completeSpecial(n, key.TaskKey, e, lifecycle.NodeLostFailure())
		if key.Task == preparationTask {
			t.editSite(t.jobByUID[key.Job], n.rec.Uid, func(site *raftlogv1.JobNode) { site.Stale = true })
		}
		t.settle(t.jobByUID[key.Job])
	}
}

// specialHeld adds a special task to what a node is told to hold, if it still is to hold it.
func (s *Store) specialHeld(out []HeldTask, n *node, key AttemptKey) []HeldTask {
	e := s.specialExecution(n, key.TaskKey)
	if !inFlight(e) || e.Attempt != key.Attempt {
		return out
	}
	task := HeldTask{AttemptKey: key, Account: n.rec.Account, Stopping: e.Stopping, Live: true, Priority: math.MaxInt32}
	switch j := s.jobByUID[key.Job]; key.Task {
	case prefetchTask:
		task.Kind, task.Spec = agentv1.AssignmentKind_ASSIGNMENT_KIND_PREFETCH, PrefetchSpec
	case startTask:
		task.Kind, task.Spec = agentv1.AssignmentKind_ASSIGNMENT_KIND_START, StartSpec
	case preparationTask:
		task.Kind, task.Spec = agentv1.AssignmentKind_ASSIGNMENT_KIND_PREPARATION, PreparationSpec
		task.JobID, task.TaskID = j.rec.Job.Id, j.rec.Job.JobPreparationTask.GetId()
	case releaseTask:
		task.Kind, task.Spec = agentv1.AssignmentKind_ASSIGNMENT_KIND_RELEASE, ReleaseSpec
		task.JobID, task.TaskID = j.rec.Job.Id, j.rec.Job.JobReleaseTask.GetId()
	}
	return append(out, task)
}
