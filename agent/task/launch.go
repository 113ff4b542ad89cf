package task

import (
	"context"
	"fmt"
	"path"
	"time"

	"github.com/batchyard/batchyard/internal/batcherr"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

// launch is a command on its way to the supervisor.
type launch struct {
	ref       Ref
	directory string
	place     string // what the command's files and its working directory are in, relative to directory
	outputs   string // what the names of the files for stdout and stderr begin with
	lingers   bool
	made      bool // the directory is there: files have been staged into it
	line      string
	env       Environment
	limit     time.Time // when its wall-clock time is over
	limited   bool
	kind      agentv1.AssignmentKind
	job       *agentv1.JobContext
	spec      *agentv1.TaskSpec
	slots, of int32
}

func (r *Runner) launchOf(a *attempt) launch {
	limit, limited := wallClock(a)
	return launch{
		ref: a.ref, directory: a.directory, place: a.place(), made: a.state.Facts.HasInputs, line: commandLine(a.assignment, a.own),
		env: r.environmentOf(a), limit: limit, limited: limited,
		kind: a.assignment.GetKind(), job: a.job, spec: a.own, slots: a.slots, of: r.book.slots,
	}
}

func (r *Runner) environmentOf(a *attempt) Environment {
	common, own := settings(a.job, a.own)
	preparation := a.job.GetPreparationId()
	if a.assignment.GetKind() == agentv1.AssignmentKind_ASSIGNMENT_KIND_PREPARATION {
		preparation = ""
	}
	return Environment{
		Place: r.cfg.Place, JobID: a.job.GetJobId(), TaskID: a.assignment.GetTaskId(), JobPreparationID: preparation,
		AuthenticationToken: a.assignment.GetAuthenticationToken(),
		Directory:           absolute(r.cfg.Place.Root, path.Join(a.directory, a.place())), Common: common, Packages: a.variables, Settings: own,
		Element:       a.assignment.GetElement(),
		MultiInstance: multiInstanceOf(a.assignment.GetInstance(), absolute(r.cfg.Place.Root, a.directory)),
	}
}

func commandLine(assignment *agentv1.Assignment, spec *agentv1.TaskSpec) string {
	if line := assignment.GetCommandLine(); line != "" {
		return line
	}
	return spec.GetTask().GetCommandLine()
}

// handle does what concerns the supervisor, one batch after the other. Its failure ends the runner: a new one learns
// from the journal and the supervisor what is true.
func (r *Runner) handle(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.hands.ready:
		}
		var all handful
		for _, h := range r.hands.take() {
			all.launches = append(all.launches, h.launches...)
			all.kills = append(all.kills, h.kills...)
			all.forgets = append(all.forgets, h.forgets...)
		}
		if err := r.handOver(ctx, all); err != nil {
			return err
		}
	}
}

// launchBatch bounds how many commands wait for the directories of others before they start.
const launchBatch = 32

func (r *Runner) handOver(ctx context.Context, all handful) error {
	for len(all.launches) > 0 {
		n := min(launchBatch, len(all.launches))
		if err := r.start(ctx, all.launches[:n]); err != nil {
			return fmt.Errorf("handing commands to the supervisor: %w", err)
		}
		all.launches = all.launches[n:]
	}
	if len(all.kills) > 0 {
		if err := r.cfg.Supervisor.Stop(ctx, all.kills); err != nil {
			return fmt.Errorf("having the supervisor stop commands: %w", err)
		}
	}
	if len(all.forgets) > 0 {
		if err := r.cfg.Supervisor.Forget(ctx, all.forgets); err != nil {
			return fmt.Errorf("having the supervisor forget commands: %w", err)
		}
	}
	return nil
}

func (r *Runner) start(ctx context.Context, launches []launch) error {
	commands := make([]Command, 0, len(launches))
	var failed []Event
	for i := range launches {
		command, err := r.commandOf(&launches[i])
		if err != nil {
			failed = append(failed, Event{Ref: launches[i].ref, Error: err})
			continue
		}
		commands = append(commands, command)
	}
	if len(failed) > 0 {
		r.Observe(failed)
	}
	if len(commands) == 0 {
		return nil
	}
	return r.cfg.Supervisor.Start(ctx, commands)
}

func (r *Runner) commandOf(l *launch) (Command, error) {
	if err := r.checkContained(l.kind, l.job, l.spec); err != nil {
		return Command{}, err
	}
	if l.spec.GetTask().GetContainerSettings() != nil {
		return r.containerCommand(l)
	}
	args, err := r.cfg.Split(l.line)
	if err != nil {
		return Command{}, batcherr.New(batcherr.KindInvalid, batcherr.CodeCommandLaunchFailed, "The command line cannot be split: %v", err)
	}
	if len(args) == 0 {
		return Command{}, batcherr.New(batcherr.KindInvalid, batcherr.CodeCommandLaunchFailed, "The command line is empty")
	}
	user, err := r.room(l)
	if err != nil {
		return Command{}, err
	}
	command := r.baseCommand(l)
	command.Args, command.Env, command.User = args, l.env.Variables(), user
	return command, nil
}

// baseCommand is what commands have in common, whatever they run in.
func (r *Runner) baseCommand(l *launch) Command {
	command := Command{
		Ref: l.ref, Lingers: l.lingers, Slots: l.slots, OfSlots: l.of,
		Dir:    absolute(r.cfg.Place.Root, path.Join(l.directory, l.place, dirWorking)),
		Stdout: absolute(r.cfg.Place.Root, path.Join(l.directory, l.place, l.outputs+StdoutName)),
		Stderr: absolute(r.cfg.Place.Root, path.Join(l.directory, l.place, l.outputs+StderrName)),
	}
	if l.limited {
		command.WallClock = max(l.limit.Sub(r.cfg.Now()), time.Millisecond)
	}
	return command
}

// room makes the task's directory unless staging has, and says whose it is.
func (r *Runner) room(l *launch) (User, error) {
	if l.made {
		return r.userFor(l.kind, l.job, l.spec, path.Join(l.directory, l.place))
	}
	user, err := r.userFor(l.kind, l.job, l.spec, "")
	if err != nil {
		return User{}, err
	}
	if err := r.dirs.create(l.directory, l.place, user); err != nil {
		return User{}, directoryError(err)
	}
	return user, nil
}

// clean deletes what was thrown away, also by an earlier life of the agent.
func (r *Runner) clean(ctx context.Context) error {
	for {
		r.dirs.empty(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.dirs.filled:
		}
	}
}
