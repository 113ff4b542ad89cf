package task

import (
	"context"
	"errors"
	"path"
	"time"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// effects gathers what one pass of the loop is to do once its journal records are written.
type effects struct {
	handful
	reported []Ref
	reports  []*agentv1.AttemptReport
	clean    []string // directories of tasks
	// cleanJobs are directories of jobs, with all that is in them.
	cleanJobs []string
	workers   []func()
}

// handful is what the supervisor is to do.
type handful struct {
	launches []launch
	kills    []Ref
	forgets  []Ref
}

func (h *handful) empty() bool { return len(h.launches)+len(h.kills)+len(h.forgets) == 0 }

// act notes an action. Nothing happens before flush.
func (r *Runner) act(a *attempt, action Action) {
	switch action {
	case Save:
		r.save(a)
	case Report:
		r.fx.reported = append(r.fx.reported, a.ref)
		r.fx.reports = append(r.fx.reports, a.state.Report(a.ref))
	case StageIn:
		r.stageIn(a)
	case Coordinate:
		r.fx.launches = append(r.fx.launches, r.coordinationOf(a))
	case Launch:
		r.fx.launches = append(r.fx.launches, r.launchOf(a))
	case Kill:
		r.fx.kills = append(r.fx.kills, a.names()...)
		if a.unlaunched {
			a.unlaunched = false
			r.inbox.put(func() { r.observe(a, Unlaunched{At: r.nanos()}) })
		}
	case Cancel:
		r.cancel(a)
	case Upload:
		r.upload(a)
	case Forget:
		r.fx.forgets = append(r.fx.forgets, a.names()...)
		r.discard(a)
	case Retain:
		r.retain(a)
	case Clean:
		if r.book.owners[a.directory] == a {
			r.fx.clean = append(r.fx.clean, a.directory)
		}
	case Drop:
		r.drop(a)
	}
}

// flush carries out what the pass decided, the journal first.
func (r *Runner) flush() {
	if err := r.journal.flush(r.liveRecords); err != nil {
		// The work goes on: what a crash of the agent then loses is reported as lost.
		r.cfg.Logger.Error("journal cannot be written", "error", err)
	}
	fx := r.fx
	r.fx = effects{}
	for _, directory := range fx.clean {
		if err := r.dirs.trash(directory); err != nil {
			r.cfg.Logger.Warn("a task's directory cannot be moved away", "directory", directory, "error", err)
		}
		r.dirs.prune(directory)
	}
	for _, directory := range fx.cleanJobs {
		if err := r.dirs.trashJob(directory); err != nil {
			r.cfg.Logger.Warn("a job's directory cannot be moved away", "directory", directory, "error", err)
		}
	}
	if !fx.empty() {
		r.hands.put(fx.handful)
	}
	r.outbox.put(fx.reported, fx.reports)
	for _, work := range fx.workers {
		r.workers.Go(work)
	}
}

func (r *Runner) retain(a *attempt) {
	delete(r.book.live, a.ref)
	if r.book.owners[a.directory] != a { // a later attempt has the directory
		r.journal.add(droppedRecord(a.ref))
		return
	}
	delete(r.book.owners, a.directory)
	kept := retained{ref: a.ref, until: r.cfg.Now().Unix() + int64(retentionOf(a)/time.Second)}
	r.book.retained.add(a.directory, kept)
	r.journal.add(retainedRecord(a.ref, a.directory, kept.until))
}

func (r *Runner) drop(a *attempt) {
	delete(r.book.live, a.ref)
	if r.book.owners[a.directory] == a {
		delete(r.book.owners, a.directory)
	}
	if a.journaled {
		r.journal.add(droppedRecord(a.ref))
	}
}

// retentionOf is how long the directory is kept; longer times than a century overflow.
func retentionOf(a *attempt) time.Duration {
	const century = 100 * 365 * 24 * time.Hour
	given := a.constraints().GetRetentionTime()
	if given == nil {
		return lifecycle.DefaultRetention
	}
	return min(max(given.AsDuration(), 0), century)
}

func (r *Runner) workOf(a *attempt) Work {
	return Work{
		Ref: a.ref, Root: r.cfg.Place.Root, Directory: a.directory, TaskID: a.assignment.GetTaskId(),
		Job: a.job, Spec: a.own, Store: r.book.store, Place: a.place(), Fetching: a.state.Stage == Fetching, Kind: a.assignment.GetKind(),
	}
}

// stageIn brings everything in, in a goroutine of its own: it holds slots, so there are few.
func (r *Runner) stageIn(a *attempt) {
	work := r.workOf(a)
	contained := r.containedOf(a)
	ctx, cancel := context.WithCancel(r.work)
	a.cancel = cancel
	limit, limited := wallClock(a)
	r.fx.workers = append(r.fx.workers, func() {
		defer cancel()
		if limited {
			var done context.CancelFunc
			ctx, done = context.WithDeadline(ctx, limit)
			defer done()
		}
		variables, err := r.bring(ctx, work, contained)
		if r.work.Err() != nil {
			return // the agent ends; the next one stages again
		}
		failure := failureOf(err, batcherr.CodeUnknown)
		r.inbox.put(func() {
			a.cancel = nil
			if !work.Fetching {
				a.variables = variables
			}
			r.observe(a, Staged{At: r.nanos(), Failure: failure})
		})
	})
}

func (r *Runner) bring(ctx context.Context, work Work, contained *contained) ([]string, error) {
	if work.Kind == agentv1.AssignmentKind_ASSIGNMENT_KIND_PREFETCH {
		return nil, r.prefetch(ctx, work)
	}
	if err := r.checkContained(work.Kind, work.Job, work.Spec); err != nil {
		return nil, err
	}
	made := ""
	if work.Fetching {
		made = path.Join(work.Directory, work.Place)
	}
	var err error
	if work.User, err = r.userFor(work.Kind, work.Job, work.Spec, made); err != nil {
		return nil, err
	}
	if !work.Fetching {
		if err := r.dirs.create(work.Directory, work.Place, work.User); err != nil {
			return nil, directoryError(err)
		}
	}
	variables, err := r.cfg.Stager.In(ctx, work)
	if err != nil || contained == nil {
		return variables, err
	}
	return variables, r.contain(ctx, work, contained, variables)
}

// upload sends outputs away while the lease lasts; without one, or without the spec, it waits.
func (r *Runner) upload(a *attempt) {
	if a.spec == nil || !r.lease.valid(r.cfg.Now()) {
		a.postponed = true
		return
	}
	a.postponed = false
	work := r.workOf(a)
	environment := r.environmentOf(a)
	work.Environment = environment.Variables()
	exitCode := a.state.Outcome.ExitCode
	leased, release := r.lease.context(r.work)
	ctx, cancel := context.WithCancel(leased)
	a.cancel = cancel
	r.fx.workers = append(r.fx.workers, func() {
		defer release()
		defer cancel()
		err := r.cfg.Stager.Out(ctx, work, exitCode)
		if r.work.Err() != nil {
			return // the agent ends; the next one uploads again
		}
		over := err != nil && errors.Is(context.Cause(leased), errLeaseOver)
		r.inbox.put(func() { r.uploaded(a, err, over) })
	})
}

func (r *Runner) uploaded(a *attempt, err error, leaseOver bool) {
	a.cancel = nil
	if leaseOver && !a.state.Stopping {
		a.postponed = true
		return
	}
	r.observe(a, Uploaded{At: r.nanos(), Failure: failureOf(err, batcherr.CodeFileUploadMiscError)})
}

// cancel breaks off what is under way; what only waits is over at once.
func (r *Runner) cancel(a *attempt) {
	if a.cancel != nil {
		a.cancel()
		return
	}
	if !a.postponed {
		return
	}
	a.postponed = false
	r.inbox.put(func() {
		if a.state.Stage == Staging || a.state.Stage == Fetching {
			r.observe(a, Staged{At: r.nanos()})
			return
		}
		r.uploaded(a, context.Canceled, false)
	})
}

func (a *attempt) constraints() *apiv1.TaskConstraints {
	if own := a.assignment.GetConstraints(); own != nil {
		return own
	}
	return a.spec.GetTask().GetConstraints()
}

// wallClock is when the attempt's time is over, if it is limited.
func wallClock(a *attempt) (at time.Time, limited bool) {
	given := a.constraints().GetMaxWallClockTime()
	if given == nil {
		return time.Time{}, false
	}
	limit := given.AsDuration()
	if limit <= 0 || limit > 100*365*24*time.Hour {
		return time.Time{}, false
	}
	return time.Unix(0, a.state.Outcome.Start).Add(limit), true
}

func directoryError(err error) error {
	if diskFull(err) {
		return err
	}
	return batcherr.New(batcherr.KindInternal, batcherr.CodeResourceDirectoryCreateFailed,
		"The task's directory could not be made: %v", err)
}

func factsOf(assignment *agentv1.Assignment, job *agentv1.JobContext, spec *agentv1.TaskSpec) Facts {
	if spec == nil { // unknown: whatever there may be is decided once it is known
		return Facts{HasInputs: true, HasOutputs: true}
	}
	task := spec.GetTask()
	if instance := assignment.GetInstance(); instance != nil {
		primary := instance.GetId() == 0
		return Facts{
			HasInputs: true, Instance: true,
			Fetches: primary && len(task.GetResourceFiles()) > 0, HasOutputs: primary && len(task.GetOutputFiles()) > 0,
		}
	}
	bare := assignment.GetKind() == agentv1.AssignmentKind_ASSIGNMENT_KIND_PREFETCH
	return Facts{
		HasInputs:  bare || task.GetContainerSettings() != nil || len(task.GetResourceFiles())+len(spec.GetPackages())+len(job.GetPackages()) > 0,
		HasOutputs: len(task.GetOutputFiles()) > 0, Bare: bare,
	}
}

func settings(job *agentv1.JobContext, spec *agentv1.TaskSpec) (common, own []*apiv1.EnvironmentSetting) {
	return job.GetEnvironment(), spec.GetTask().GetEnvironmentSettings()
}
