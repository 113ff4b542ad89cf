package task

import (
	"context"
	"path"
	"time"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

// Held names every attempt that has begun and is not acknowledged.
func (r *Runner) Held(ctx context.Context) ([]*agentv1.AttemptRef, error) {
	var out []*agentv1.AttemptRef
	err := r.do(ctx, func() {
		for _, a := range r.book.live {
			if a.state.Begun() {
				out = append(out, a.ref.Message())
			}
		}
	})
	return out, err
}

// Ended is closed when the attempt has ended; at once for one that is not known.
func (r *Runner) Ended(ctx context.Context, m *agentv1.AttemptRef) (<-chan struct{}, error) {
	out := make(chan struct{})
	err := r.do(ctx, func() {
		a := r.book.live[RefOf(m)]
		switch {
		case a == nil || a.state.Stage >= Ended:
			close(out)
		case a.ended == nil:
			a.ended = out
		default:
			out = a.ended
		}
	})
	return out, err
}

// Configure takes what a new session says of the node.
func (r *Runner) Configure(ctx context.Context, w *agentv1.Welcome) error {
	return r.do(ctx, func() {
		r.book.slots = max(w.GetTaskSlots(), 1)
		r.book.store = w.GetStore()
		r.book.specs.begin()
		r.book.confirmed = false
		if w.GetAccountUrl() != "" {
			r.cfg.Place.AccountURL = w.GetAccountUrl()
		}
		if w.GetAccountId() != "" {
			r.cfg.Place.AccountID = w.GetAccountId()
		}
	})
}

// Renew extends the node's right to run attempts, here and at the supervisor.
func (r *Runner) Renew(ctx context.Context, until time.Time) error {
	r.lease.renew(until)
	r.inbox.put(r.resume)
	return r.cfg.Supervisor.Renew(ctx, until)
}

// Assign takes over a complete set or an increment. After ErrUnknownSpec nothing of the increment was taken.
func (r *Runner) Assign(ctx context.Context, m *agentv1.Assignments) error {
	var failed error
	err := r.do(ctx, func() { failed = r.assign(m) })
	if err != nil {
		return err
	}
	return failed
}

func (r *Runner) assign(m *agentv1.Assignments) error {
	r.book.specs.learn(m)
	for _, assignment := range m.GetAdd() {
		if !r.known(assignment) && !m.GetComplete() {
			return ErrUnknownSpec
		}
	}
	var listed map[Ref]bool
	if m.GetComplete() {
		listed = make(map[Ref]bool, len(m.GetAdd()))
	}
	for _, assignment := range m.GetAdd() {
		ref := RefOf(assignment.GetRef())
		if listed != nil {
			listed[ref] = true
		}
		r.add(ref, assignment)
	}
	if m.GetComplete() {
		r.withdraw(listed)
		r.book.uncertain, r.book.confirmed = false, true
		r.resume()
	}
	for _, removal := range m.GetRemove() {
		r.remove(removal)
	}
	return nil
}

func (r *Runner) known(assignment *agentv1.Assignment) bool {
	job := assignment.GetRef().GetJob()
	return r.book.specs.jobs[job] != nil && r.book.specs.specs[specKey{job, assignment.GetSpec()}] != nil
}

// add takes an attempt on, unless it has been here before.
func (r *Runner) add(ref Ref, assignment *agentv1.Assignment) {
	job := r.book.specs.jobs[ref.Job]
	spec := r.book.specs.specs[specKey{ref.Job, assignment.GetSpec()}]
	directory, err := directoryOf(job, assignment)
	own, wrong := ownSpec(assignment, spec)
	if a := r.book.live[ref]; a != nil {
		if a.spec == nil && spec != nil && err == nil && wrong == nil {
			a.own = own
			r.complement(a, assignment, job, spec, directory)
		}
		if assignment.GetInstance().GetProceed() {
			r.observe(a, Proceed{})
		}
		return
	}
	if !r.known(assignment) { // in a complete set, where another session would not help
		r.cfg.Logger.Error("coordinator names an attempt without its job or spec", "attempt", ref.String())
		r.answer(ref, agentv1.AttemptPhase_ATTEMPT_PHASE_LOST)
		return
	}
	a := &attempt{
		ref: ref, assignment: assignment, job: job, spec: spec, own: own, directory: directory,
		priority: assignment.GetPriority(), slots: slotsOf(assignment), state: State{Facts: factsOf(assignment, job, spec)},
	}
	r.book.live[ref] = a
	kept, again := r.book.retained.get(directory)
	switch {
	case err != nil:
		r.refuse(a, directoryError(err))
	case wrong != nil:
		r.refuse(a, wrong)
	case again && kept.ref == ref, r.book.uncertain:
		// It has run, or may have: a second run of the same attempt is what nobody expects.
		r.observe(a, Lost{At: r.nanos()})
	default:
		r.book.queue.push(a)
	}
}

// refuse begins an attempt for the record only: it can't be run.
func (r *Runner) refuse(a *attempt, why error) {
	a.state.Facts.HasInputs = true
	a.state, _ = Step(a.state, Admitted{At: r.nanos()})
	a.state, _ = Step(a.state, Staged{At: r.nanos(), Failure: failureOf(why, "")})
	r.act(a, Report)
}

// complement gives an attempt that was found at the supervisor what the lost record had said.
func (r *Runner) complement(a *attempt, assignment *agentv1.Assignment, job *agentv1.JobContext, spec *agentv1.TaskSpec, directory string) {
	if a.state.Stage.HoldsSlots() {
		r.book.used -= a.slots
	}
	a.assignment, a.job, a.spec, a.directory = assignment, job, spec, directory
	a.priority, a.slots = assignment.GetPriority(), slotsOf(assignment)
	a.state.Facts = factsOf(assignment, job, spec)
	if a.state.Stage.HoldsSlots() {
		r.book.used += a.slots
	}
	if r.book.owners[directory] == nil {
		r.book.owners[directory] = a
	}
	a.journaled = false
	r.save(a)
}

// withdraw stops what the complete set does not have.
func (r *Runner) withdraw(listed map[Ref]bool) {
	for ref, a := range r.book.live {
		if !listed[ref] {
			r.observe(a, StopAsked{At: r.nanos()})
		}
	}
}

// resume goes on with staging, launches and uploads that waited for a session or a lease.
func (r *Runner) resume() {
	if !r.book.confirmed || !r.lease.valid(r.cfg.Now()) {
		return
	}
	for _, a := range r.book.live {
		if a.unlaunched {
			a.unlaunched = false
			r.observe(a, Unlaunched{At: r.nanos()})
		}
		if !a.postponed || a.spec == nil {
			continue
		}
		a.postponed = false
		if a.state.Stage == Uploading && !a.state.Facts.HasOutputs {
			r.observe(a, Uploaded{At: r.nanos()})
			continue
		}
		r.observe(a, Resumed{At: r.nanos()})
	}
}

func (r *Runner) remove(m *agentv1.Removal) {
	ref := RefOf(m.GetRef())
	a := r.book.live[ref]
	switch m.GetKind() {
	case agentv1.RemovalKind_REMOVAL_KIND_STOP:
		if a == nil {
			r.answer(ref, agentv1.AttemptPhase_ATTEMPT_PHASE_RELEASED)
			return
		}
		r.observe(a, StopAsked{At: r.nanos()})
	case agentv1.RemovalKind_REMOVAL_KIND_RETRACT:
		if a == nil {
			r.answer(ref, agentv1.AttemptPhase_ATTEMPT_PHASE_RETURNED)
			return
		}
		r.observe(a, Retracted{})
	case agentv1.RemovalKind_REMOVAL_KIND_CLEAN:
		if m.GetTaskId() == "" {
			r.cleanJob(ref.Job, m.GetJobId())
			return
		}
		if a == nil {
			r.cleanUnknown(ref, m)
			return
		}
		r.observe(a, CleanAsked{At: r.nanos()})
	}
}

// answer speaks for an attempt of which there is no record: nothing of it runs here.
func (r *Runner) answer(ref Ref, phase agentv1.AttemptPhase) {
	r.fx.reported = append(r.fx.reported, ref)
	r.fx.reports = append(r.fx.reports, &agentv1.AttemptReport{Ref: ref.Message(), Phase: phase})
}

// cleanUnknown deletes the directory of an attempt that is only retained, or forgotten, unless it has become another's.
func (r *Runner) cleanUnknown(ref Ref, m *agentv1.Removal) {
	directory, err := Directory(m.GetJobId(), m.GetTaskId())
	if err != nil {
		r.cfg.Logger.Warn("coordinator asks to delete what is no task's directory", "error", err)
		return
	}
	if r.book.owners[directory] != nil {
		return
	}
	if kept, ok := r.book.retained.get(directory); ok {
		later := kept.ref.Job != ref.Job || kept.ref.Attempt > ref.Attempt
		if later {
			return
		}
		r.release(directory)
	}
	r.fx.clean = append(r.fx.clean, directory)
}

// cleanJob deletes everything of a job that is no more. A later job of the same id keeps what is its own.
func (r *Runner) cleanJob(job uint64, jobID string) {
	directory, err := jobDirectory(jobID)
	if err != nil {
		r.cfg.Logger.Warn("coordinator asks to delete what is no job's directory", "error", err)
		return
	}
	shared := false
	for ref, a := range r.book.live {
		if ref.Job == job {
			r.observe(a, CleanAsked{At: r.nanos()})
		}
		shared = shared || path.Dir(a.directory) == directory
	}
	var old []string
	for task, kept := range r.book.retained.jobs[directory] {
		if kept.ref.Job > job {
			shared = true
			continue
		}
		old = append(old, task)
	}
	for _, task := range old {
		r.release(task)
	}
	if shared { // those that live clean their directories up themselves
		r.fx.clean = append(r.fx.clean, old...)
		return
	}
	r.fx.cleanJobs = append(r.fx.cleanJobs, directory)
}

// committed hears from the outbox which final reports are acknowledged.
func (r *Runner) committed(refs []Ref) {
	r.inbox.put(func() {
		for _, ref := range refs {
			if a := r.book.live[ref]; a != nil {
				r.observe(a, Committed{})
			}
		}
	})
}
