package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/batchyard/batchyard/agent/files"
	"github.com/batchyard/batchyard/agent/process"
	"github.com/batchyard/batchyard/agent/session"
	"github.com/batchyard/batchyard/agent/task"
	"github.com/batchyard/batchyard/internal/filelock"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

const (
	lifePause       = time.Second
	shutdownTimeout = 30 * time.Second
	// renewRetry is the pause after a certificate could not be renewed.
	renewRetry = 30 * time.Second
)

// ErrExpired says that the node's certificate ended before it could be renewed: the node has to join anew.
var ErrExpired = errors.New("the node's certificate is over")

// Agent runs the attempts of one node.
type Agent struct {
	cfg     Config
	machine *machine
}

// New checks the configuration; nothing is touched before Run.
func New(cfg Config) (*Agent, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("agent's configuration: %w", err)
	}
	return &Agent{cfg: cfg, machine: newMachine(&cfg)}, nil
}

// Run works until ctx ends, which is no error. It ends by itself when the cluster does not know the node any more
// (session.ErrRemoved), the orphan time is over (session.ErrOrphaned) or the
// certificate is (ErrExpired): its tasks are stopped then.
func (a *Agent) Run(ctx context.Context) error {
	if err := os.MkdirAll(a.cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("making the data directory: %w", err)
	}
	lock, err := filelock.Try(filepath.Join(a.cfg.DataDir, "agent.lock"))
	if err != nil {
		return fmt.Errorf("another agent may use %s: %w", a.cfg.DataDir, err)
	}
	defer lock.Close()
	a.loadBoot()
	for {
		err := a.live(ctx)
		var again *restartError
		if !errors.As(err, &again) {
			return a.leave(ctx, err)
		}
		if err := a.restart(ctx, again.reimage); err != nil {
			a.cfg.Logger.Error("node does not restart", "error", err)
			pause(ctx, lifePause)
		}
	}
}

// live joins, if need be, and works until the end of the node, of ctx or of the boot.
func (a *Agent) live(ctx context.Context) error {
	if a.cfg.TaskUsers {
		openUmask()
	}
	if err := os.MkdirAll(a.cfg.NodeRoot, 0o755); err != nil {
		return fmt.Errorf("making the node's root directory: %w", err)
	}
	if a.cfg.TaskUsers {
		if err := CheckTaskUsers(a.cfg.NodeRoot); err != nil {
			return err
		}
	}
	enrolled, addresses, err := enroll(ctx, &a.cfg, a.machine.facts)
	if err != nil {
		return err
	}
	staging, err := newStaging(&a.cfg)
	if err != nil {
		return err
	}
	defer func() { _ = staging.stager.Close() }()
	containers, err := newContainers(&a.cfg, a.limits)
	if err != nil {
		return err
	}
	defer func() { _ = containers.engine.Close() }()
	l := &life{agent: a, enrolled: enrolled, staging: staging, containers: containers, addresses: addresses}
	return l.repeat(ctx)
}

// leave decides what becomes of the tasks when the agent ends.
func (a *Agent) leave(ctx context.Context, err error) error {
	if !final(err) && !a.cfg.StopTasksOnExit {
		return ended(ctx, err)
	}
	return errors.Join(ended(ctx, err), a.stopAll(ctx))
}

// stopAll ends the tasks with all that belongs to them, and unmounts what was mounted for them.
func (a *Agent) stopAll(ctx context.Context) error {
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout+a.cfg.StopGrace)
	defer cancel()
	if err := process.ShutdownSupervisor(stopCtx, a.supervisorConfig()); err != nil {
		return fmt.Errorf("stopping the tasks: %w", err)
	}
	purgeContainers(stopCtx, &a.cfg)
	return a.unmount()
}

// CleanUp ends what an agent has left on the node that was killed and will not be started again.
func (a *Agent) CleanUp(ctx context.Context) error {
	if _, err := os.Stat(a.cfg.DataDir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	lock, err := filelock.Try(filepath.Join(a.cfg.DataDir, "agent.lock"))
	if err != nil {
		return fmt.Errorf("another agent may use %s: %w", a.cfg.DataDir, err)
	}
	defer lock.Close()
	return a.stopAll(ctx)
}

// final says whether the node has no future, and its tasks none with it.
func final(err error) bool {
	return errors.Is(err, session.ErrRemoved) || errors.Is(err, session.ErrOrphaned) || errors.Is(err, ErrExpired)
}

// ended keeps the end of ctx from being an error.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return nil
	}
	return err
}

func (a *Agent) supervisorConfig() process.SupervisorConfig {
	return process.SupervisorConfig{StateDir: SupervisorDir(a.cfg.DataDir), Command: a.cfg.SupervisorCommand}
}

// limits is a task's share of the node, if tasks are limited.
func (a *Agent) limits(slots, of int32) *agentv1.ProcessLimits {
	if !a.cfg.LimitTasks || slots < 1 || slots >= of {
		return nil
	}
	return &agentv1.ProcessLimits{
		GroupMemoryBytes: uint64(a.machine.memory) * uint64(slots) / uint64(of),
		GroupCpuMillis:   uint64(runtime.NumCPU()) * 1000 * uint64(slots) / uint64(of),
	}
}

// supervisorStart is how long a supervisor may take to answer.
const supervisorStart = 30 * time.Second

// life is what the agent has while it is enrolled.
type life struct {
	agent    *Agent
	enrolled *enrolment
	staging  *staging
	// containers makes those of tasks.
	containers *containers
	addresses  []string
}

// repeat lives until the end is final. A supervisor that is lost is started anew, and what it held is reported.
func (l *life) repeat(ctx context.Context) error {
	for {
		err := l.once(ctx)
		var again *restartError
		if ctx.Err() != nil || final(err) || errors.As(err, &again) {
			return err
		}
		l.agent.cfg.Logger.Error("agent begins again", "error", err)
		l.enrolled.fresh = false
		pause(ctx, lifePause)
	}
}

func (l *life) once(ctx context.Context) error {
	cfg := &l.agent.cfg
	// A start is seen through even when the agent is to end meanwhile: a supervisor that nobody knows of could not be stopped.
	starting, cancel := context.WithTimeout(context.WithoutCancel(ctx), supervisorStart)
	defer cancel()
	client, err := process.EnsureSupervisor(starting, l.agent.supervisorConfig())
	if err != nil {
		return err
	}
	supervised := newSupervisor(client, cfg.StopGrace, l.agent.limits)
	defer supervised.close()
	runner, err := task.Open(ctx, l.taskConfig(supervised))
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	restart := make(chan *restartError, 1)
	mounts := newMounting(newMounter(cfg))
	keeper := l.keeper(runner, mounts, restart)
	group.Go(func() error {
		select {
		case again := <-restart:
			return again
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	group.Go(func() error { return runner.Run(ctx) })
	group.Go(func() error { return mounts.run(ctx) })
	group.Go(func() error { return keeper.Run(ctx, l.addresses) })
	group.Go(func() error { return l.renew(ctx, keeper) })
	return group.Wait()
}

func (l *life) taskConfig(supervised *supervisor) task.Config {
	cfg := &l.agent.cfg
	who := l.enrolled.identity()
	return task.Config{
		StateDir: cfg.DataDir,
		Place: task.Place{
			Root: cfg.NodeRoot, AccountID: who.Account, PoolID: who.Pool, NodeID: who.Name, Dedicated: true,
			Base: task.BaseEnvironment(),
		},
		BootID: l.agent.machine.bootID(), Fresh: l.enrolled.fresh,
		Users:      task.Users{Root: os.Geteuid() == 0, Auto: cfg.TaskUsers, Admin: cfg.AdminTasks},
		Supervisor: supervised, Stager: l.staging, Containers: l.containers, Split: process.SplitCommandLine, Logger: cfg.Logger, Now: cfg.Now,
	}
}

func (l *life) keeper(runner *task.Runner, mounts *mounting, restart chan<- *restartError) *session.Keeper {
	cfg := &l.agent.cfg
	orders := &orders{cfg: cfg, staging: l.staging}
	return &session.Keeper{
		Config: session.Config{
			Tasks: configured{runner, l.staging, mounts}, Reports: runner.Outbox(), Mounts: mounts, Logger: cfg.Logger, Heartbeat: cfg.Heartbeat,
			Facts: l.agent.machine.facts, Load: l.agent.machine.load,
			Serve: func(ctx context.Context, req *agentv1.FileRequest, send func(*agentv1.TransferChunk) error, done <-chan struct{}) error {
				return files.Serve(ctx, cfg.NodeRoot, req, send, done)
			},
			Follow: orders.follow,
			Restart: func(order *agentv1.RestartNode) {
				select {
				case restart <- &restartError{reimage: order.GetReimage()}:
				default: // it was told before
				}
			},
		},
		Dial:   l.enrolled.dial,
		Orphan: cfg.OrphanTimeout,
		Learned: func(addresses []string) {
			l.addresses = addresses
			if err := l.enrolled.learn(addresses); err != nil {
				cfg.Logger.Warn("coordinator addresses cannot be kept", "error", err)
			}
		},
	}
}

// renew gets a new certificate at half of the old one's life, and goes on over connections that use it.
func (l *life) renew(ctx context.Context, keeper *session.Keeper) error {
	cfg := &l.agent.cfg
	for {
		pause(ctx, max(l.enrolled.credentials.Load().RenewAt().Sub(cfg.Now()), 0))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !l.enrolled.credentials.Load().Certificate.Leaf.NotAfter.After(cfg.Now()) {
			return ErrExpired
		}
		err := errors.New("there is no session to renew it in")
		if conn := keeper.Conn(); conn != nil {
			err = l.enrolled.renew(ctx, conn)
		}
		if err != nil {
			cfg.Logger.Warn("certificate is not renewed yet", "error", err)
			pause(ctx, l.renewPause())
			continue
		}
		cfg.Logger.Info("certificate renewed", "until", l.enrolled.credentials.Load().Certificate.Leaf.NotAfter)
		keeper.Reconnect()
	}
}

// renewPause leaves time for several tries before the certificate ends, however short its life.
func (l *life) renewPause() time.Duration {
	left := l.enrolled.credentials.Load().Certificate.Leaf.NotAfter.Sub(l.agent.cfg.Now())
	return min(max(left/10, time.Second), renewRetry)
}
