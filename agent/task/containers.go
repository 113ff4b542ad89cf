package task

import (
	"context"
	"path"
	"time"

	"github.com/batchyard/batchyard/internal/batcherr"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// A command in a container has the container made while its files are staged, so that what is wrong with image or settings is found before anything runs. What
// the supervisor is given is a small program that starts the container, passes on what it writes, waits for it and stops it. The container itself is the record
// of how it ended: when that program has ended, the agent looks at the container and reports; it removes it once the report is committed.

// Containers makes, judges and removes the containers of commands. Its errors may carry codes (batcherr).
type Containers interface {
	// Pull brings images.
	Pull(ctx context.Context, images []string, registries []*apiv1.ContainerRegistryReference) error
	// Create brings the image and makes the container, in the place of one that was made before and not started.
	Create(ctx context.Context, c *Container) error
	// Command is what runs a container that Create has made, on behalf of the user: program and arguments.
	Command(ref Ref, user User) ([]string, error)
	// Settle says what became of a container whose runner has ended; nothing of it runs then, and it stays until it is removed.
	Settle(ctx context.Context, ref Ref) (Settled, error)
	// Remove removes an attempt's container, if there is one.
	Remove(ctx context.Context, ref Ref) error
	// Clean removes what is left of earlier lives of the agent, but keep.
	Clean(ctx context.Context, keep map[Ref]bool)
}

// Container is a command's container that is to be made.
type Container struct {
	Ref        Ref
	Settings   *apiv1.TaskContainerSettings
	Registries []*apiv1.ContainerRegistryReference // of the pool
	Args       []string                            // none: what the image runs by itself
	Env        []string
	Root       string // absolute, as what follows; Preparation is empty where there is none
	Directory  string
	Work       string
	// Preparation is the directory of the job's preparation task.
	Preparation string
	User        User
	// Slots of all that the node has are the command's share of it.
	Slots, OfSlots int32
}

// Settled is what became of a container.
type Settled struct {
	Info *apiv1.TaskContainerExecutionInfo // nil: there was none
	// Failure says why the command could not be started.
	Failure error
	// Exited: the command ran and ended, with ExitCode.
	Exited   bool
	ExitCode int32
}

// settlePatience is how long an engine that does not answer may keep the end of a command from being reported.
const settlePatience = time.Minute

// contained is what is known of an attempt's container before its files are staged.
type contained struct {
	line      string
	env       Environment
	slots, of int32
}

// containedOf says what an attempt's container needs; nil for one without.
func (r *Runner) containedOf(a *attempt) *contained {
	if a.own.GetTask().GetContainerSettings() == nil {
		return nil
	}
	env := r.environmentOf(a)
	env.Base = nil // what the machine's programs need is not what the image's need
	return &contained{line: commandLine(a.assignment, a.own), env: env, slots: a.slots, of: r.book.slots}
}

// mayBeContained says whether the attempt's command may run in a container: it is not known of one that was found at the supervisor.
func (a *attempt) mayBeContained() bool {
	return a.spec == nil || a.own.GetTask().GetContainerSettings() != nil
}

var errNoContainers = batcherr.New(batcherr.KindInternal, batcherr.CodeContainerMiscError, "The node's agent can't run containers.")

// checkContained refuses what goes with no pool of the kind. Start, preparation and release tasks may run in containers or not.
func (r *Runner) checkContained(kind agentv1.AssignmentKind, job *agentv1.JobContext, spec *agentv1.TaskSpec) error {
	settings, pool := spec.GetTask().GetContainerSettings(), job.GetContainers()
	switch {
	case settings != nil && pool == nil:
		return batcherr.New(batcherr.KindInvalid, batcherr.CodeContainerInvalidSettings,
			"The task has containerSettings, and the pool has no containerConfiguration.")
	case settings == nil && pool != nil && kind == agentv1.AssignmentKind_ASSIGNMENT_KIND_UNSPECIFIED:
		return batcherr.New(batcherr.KindInvalid, batcherr.CodeContainerInvalidSettings,
			"The pool has a containerConfiguration, and the task has no containerSettings.")
	case settings != nil && r.cfg.Containers == nil:
		return errNoContainers
	}
	return nil
}

func (r *Runner) prefetch(ctx context.Context, work Work) error {
	if r.cfg.Containers == nil {
		return errNoContainers
	}
	return r.cfg.Containers.Pull(ctx, work.Spec.GetImages(), work.Job.GetContainers().GetRegistries())
}

// contain makes the container.
func (r *Runner) contain(ctx context.Context, work Work, c *contained, variables []string) error {
	var args []string
	if c.line != "" {
		var err error
		if args, err = r.cfg.Split(c.line); err != nil {
			return batcherr.New(batcherr.KindInvalid, batcherr.CodeCommandLaunchFailed, "The command line cannot be split: %v", err)
		}
	}
	c.env.Packages = variables
	preparation := ""
	if id := c.env.JobPreparationID; id != "" {
		preparation = absolute(work.Root, path.Join(path.Dir(work.Directory), id))
	}
	directory := absolute(work.Root, path.Join(work.Directory, work.Place))
	return r.cfg.Containers.Create(ctx, &Container{
		Ref: work.Ref, Settings: work.Spec.GetTask().GetContainerSettings(), Registries: work.Job.GetContainers().GetRegistries(),
		Args: args, Env: c.env.Variables(), Root: work.Root, Directory: directory, Work: absolute(directory, dirWorking), Preparation: preparation,
		User: work.User, Slots: c.slots, OfSlots: c.of,
	})
}

// containerCommand is what the supervisor is to run for a command in a container: as the agent, since it speaks with the engine, and with nothing of the
// task's environment.
func (r *Runner) containerCommand(l *launch) (Command, error) {
	user, err := r.room(l)
	if err != nil {
		return Command{}, err
	}
	command := r.baseCommand(l)
	command.Args, err = r.cfg.Containers.Command(l.ref, user)
	return command, err
}

// settle hears of the end of a command in a container once nothing of the container runs.
func (r *Runner) settle(a *attempt, exit Exited) {
	if a.settling {
		return
	}
	if r.cfg.Containers == nil || a.state.Stage != Running {
		r.observe(a, exit)
		return
	}
	a.settling = true
	r.fx.workers = append(r.fx.workers, func() {
		ctx, cancel := context.WithTimeout(r.work, settlePatience)
		defer cancel()
		settled, err := r.cfg.Containers.Settle(ctx, a.ref)
		if r.work.Err() != nil {
			return // the agent ends; the next one does it
		}
		if err != nil {
			r.cfg.Logger.Warn("what became of a container can't be found out", "attempt", a.ref.String(), "error", err)
		}
		r.inbox.put(func() {
			a.settling = false
			r.settled(a, exit, settled)
		})
	})
}

func (r *Runner) settled(a *attempt, exit Exited, s Settled) {
	if s.Info != nil {
		exit.Container, exit.Usage = s.Info, Usage{} // of the program that waited
	}
	if s.Exited {
		exit.ExitCode = s.ExitCode
	}
	if s.Failure != nil && exit.Reason == EndedByItself {
		r.observe(a, LaunchFailed{At: exit.At, Failure: launchFailure(s.Failure), Container: s.Info})
		return
	}
	r.observe(a, exit)
}

// discard removes the container of an attempt whose end is committed.
func (r *Runner) discard(a *attempt) {
	if !a.mayBeContained() || r.cfg.Containers == nil {
		return
	}
	ref := a.ref
	r.fx.workers = append(r.fx.workers, func() {
		ctx, cancel := context.WithTimeout(r.work, settlePatience)
		defer cancel()
		if err := r.cfg.Containers.Remove(ctx, ref); err != nil && r.work.Err() == nil {
			r.cfg.Logger.Warn("a container can't be removed", "attempt", ref.String(), "error", err)
		}
	})
}
