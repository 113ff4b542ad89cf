package task

import (
	"context"
	"fmt"
	"time"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

// Open reads what an earlier life of the agent left and asks the supervisor what became of it. Nothing is done before
// Run. A damaged journal does not keep it from opening: what is lost with it is reported as lost, once.
func Open(ctx context.Context, cfg Config) (*Runner, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	dirs, err := openDirectories(cfg.Place.Root, cfg.Users.Root, cfg.Logger)
	if err != nil {
		return nil, err
	}
	found := newImage()
	journal, harm, err := openJournal(cfg.StateDir, found.apply)
	if err != nil {
		dirs.close()
		return nil, err
	}
	r := &Runner{
		cfg: cfg, journal: journal, dirs: dirs, numbers: newNumbers(cfg.StateDir),
		inbox: newMailbox[func()](), hands: newMailbox[handful](),
		book: book{
			live: map[Ref]*attempt{}, owners: map[string]*attempt{}, retained: newRetention(), specs: newSpecs(),
		},
	}
	r.outbox = newOutbox(cfg.Now, r.committed)
	r.book.uncertain = uncertain(harm, found, cfg)
	if harm == damageCorrupt || r.book.uncertain {
		cfg.Logger.Warn("record of attempts is not whole; what is missing is reported as lost",
			"corrupt", harm == damageCorrupt, "missing", harm == damageMissing, "rebooted", found.bootID != cfg.BootID)
	}
	r.restore(found)
	processes, err := cfg.Supervisor.List(ctx)
	if err != nil {
		r.close()
		return nil, fmt.Errorf("asking the supervisor what it runs: %w", err)
	}
	r.meet(processes, found.bootID == cfg.BootID)
	r.found = make(map[Ref]bool, len(r.book.live))
	for ref := range r.book.live {
		r.found[ref] = true
	}
	return r, nil
}

// uncertain says whether attempts may have begun of which the journal does not know.
func uncertain(harm damage, found *image, cfg Config) bool {
	switch harm {
	case damageCorrupt:
		return true
	case damageMissing:
		return !cfg.Fresh
	default:
		return found.bootID != cfg.BootID // the end of the file may not have reached the disk
	}
}

func (r *Runner) restore(found *image) {
	for directory, kept := range found.retained {
		r.book.retained.add(directory, kept)
	}
	for ref, saved := range found.attempts {
		state, ok := stateOf(saved.change, factsOf(saved.assignment, saved.job, saved.spec))
		directory, err := directoryOf(saved.job, saved.assignment)
		own, wrong := ownSpec(saved.assignment, saved.spec)
		if !ok || err != nil || wrong != nil {
			r.cfg.Logger.Warn("record of an attempt makes no sense", "attempt", ref.String())
			r.book.uncertain = true
			continue
		}
		a := &attempt{
			ref: ref, assignment: saved.assignment, job: saved.job, spec: saved.spec, own: own, directory: directory,
			priority: saved.assignment.GetPriority(), slots: slotsOf(saved.assignment), state: state, journaled: true,
			variables: saved.change.GetVariables(),
		}
		r.enter(a)
	}
}

// enter puts an attempt that has begun into the book.
func (r *Runner) enter(a *attempt) {
	r.book.live[a.ref] = a
	if a.state.Stage.HoldsSlots() {
		r.book.used += a.slots
	}
	if a.directory == "" {
		return
	}
	if owner := r.book.owners[a.directory]; owner == nil || owner.state.Outcome.Start < a.state.Outcome.Start {
		r.book.owners[a.directory] = a
	}
}

// meet compares the book with what the supervisor has. The decisions are left to the loop. What the supervisor of the
// same boot does not know was not handed to it, or is still on its way there: it is handed over again, since the
// supervisor never starts an attempt twice.
func (r *Runner) meet(processes []Event, sameBoot bool) {
	listed := make(map[Ref]bool, len(processes))
	for i := range processes {
		listed[processes[i].Ref] = true
		if r.book.live[processes[i].Ref.own()] == nil && !processes[i].Ref.Coordination {
			r.adopt(&processes[i])
		}
	}
	r.inbox.put(func() {
		for i := range processes {
			r.hear(&processes[i])
		}
	})
	for ref, a := range r.book.live {
		if a.state.Coordinated && !listed[ref.coordination()] {
			r.missCoordination(a, sameBoot)
		}
		switch {
		case a.state.Stage != Running || listed[ref]:
		case sameBoot:
			a.unlaunched = true
		default:
			r.inbox.put(func() { r.observe(a, Lost{At: r.nanos()}) })
		}
	}
}

// adopt takes on a command of which no record is left. What it was for comes with the complete set, if it is still wanted.
func (r *Runner) adopt(e *Event) {
	now := r.nanos()
	state := State{Stage: Running, Facts: factsOf(nil, nil, nil), Outcome: Outcome{
		Phase: agentv1.AttemptPhase_ATTEMPT_PHASE_RUNNING, Start: now,
	}}
	r.cfg.Logger.Warn("supervisor has a command of which there is no record", "attempt", e.Ref.String())
	r.enter(&attempt{ref: e.Ref, assignment: &agentv1.Assignment{Ref: e.Ref.Message()}, slots: 1, state: state})
}

// recoverLive goes on with what the journal had, as the first thing that the loop does. Staging, launches and uploads
// wait for a session that still wants them.
func (r *Runner) recoverLive() {
	for _, a := range r.book.live {
		switch {
		case a.state.Stage == Staging || a.state.Stage == Fetching || a.state.Stage == Uploading:
			a.postponed = true
			r.act(a, Report)
		case a.unlaunched && !a.state.Stopping:
			r.act(a, Report)
		case a.unlaunched:
			r.observe(a, Unlaunched{At: r.nanos()})
		default:
			r.observe(a, Resumed{At: r.nanos()})
		}
	}
}
