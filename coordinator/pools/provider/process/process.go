// Package process makes nodes that are local agent processes, one process a node.
package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/batchyard/batchyard/coordinator/pools"
	"github.com/batchyard/batchyard/internal/mountinfo"
	"github.com/batchyard/batchyard/internal/pidfile"
)

// Config says where nodes live and how their agents are started.
type Config struct {
	// Dir holds one directory a node.
	Dir string
	// Command is the agent's argv, without the options that this provider adds.
	Command []string
	// Coordinator is the gRPC address that agents call first.
	Coordinator string
	Logger      *slog.Logger
}

const (
	// restartDelay keeps an agent that dies at once from being started over and over.
	restartDelay = 2 * time.Second
	// stopGrace is longer than an agent takes to see the start of its supervisor through and to stop it again: one that is killed before
	// leaves a supervisor behind that nobody knows of.
	stopGrace = 75 * time.Second
)

// Provider keeps one agent process a node. Agents outlive a killed parent and are taken over by the next.
type Provider struct {
	cfg Config

	mu     sync.Mutex
	closed bool
	nodes  map[uint64]*agentProcess
	// removals are those under way.
	removals sync.WaitGroup
}

type agentProcess struct {
	process pidfile.Process
	started time.Time
}

// New makes a provider; it starts nothing.
func New(cfg Config) *Provider { return &Provider{cfg: cfg, nodes: map[uint64]*agentProcess{}} }

// Name is what node records say.
func (p *Provider) Name() string { return "process" }

func (p *Provider) dir(m pools.Machine) string {
	return filepath.Join(p.cfg.Dir, "node-"+strconv.FormatUint(m.UID, 10))
}

const (
	pidName = "agent.pid"
	logName = "agent.log"
)

// Ensure starts the node's agent unless it runs.
func (p *Provider) Ensure(ctx context.Context, m pools.Machine, token func(context.Context) (string, error)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	a := p.nodes[m.UID]
	if a == nil {
		survivor, err := pidfile.Read(filepath.Join(p.dir(m), pidName))
		if err != nil {
			return err
		}
		a = &agentProcess{process: survivor}
		p.nodes[m.UID] = a
	}
	if a.process.Alive() || time.Since(a.started) < restartDelay {
		return nil
	}
	a.started = time.Now()
	process, err := p.start(ctx, m, token)
	if err != nil {
		return err
	}
	a.process = process
	return nil
}

func (p *Provider) start(ctx context.Context, m pools.Machine, token func(context.Context) (string, error)) (pidfile.Process, error) {
	dir := p.dir(m)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return pidfile.Process{}, err
	}
	args := append(p.command(dir), "--coordinator", p.cfg.Coordinator,
		"--stop-tasks-on-exit", "--orphan-timeout", "10m", "--log-file", filepath.Join(dir, logName))
	if _, err := os.Stat(filepath.Join(dir, "state", "node.pem")); errors.Is(err, os.ErrNotExist) {
		text, err := token(ctx)
		if err != nil {
			return pidfile.Process{}, fmt.Errorf("make join token: %w", err)
		}
		// A token in argv could be read by any user.
		file := filepath.Join(dir, "join-token")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return pidfile.Process{}, err
		}
		args = append(args, "--join-token-file", file)
	}
	return p.spawn(dir, args)
}

// command is that of the agent of the node in a directory.
func (p *Provider) command(dir string) []string {
	return append(slices.Clone(p.cfg.Command), "--data-dir", filepath.Join(dir, "state"), "--node-root", filepath.Join(dir, "root"))
}

func (p *Provider) spawn(dir string, args []string) (pidfile.Process, error) {
	log, err := os.OpenFile(filepath.Join(dir, logName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return pidfile.Process{}, err
	}
	defer log.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = pidfile.Apart()
	if err := cmd.Start(); err != nil {
		return pidfile.Process{}, err
	}
	// Reaped as soon as it ends; nothing waits for this but the process table.
	go func() { _ = cmd.Wait() }()
	process, err := pidfile.Of(cmd.Process.Pid)
	if err != nil {
		return pidfile.Process{}, errors.Join(err, cmd.Process.Kill())
	}
	return process, process.Write(filepath.Join(dir, pidName))
}

// Stop stops the node's agent, and its tasks with it. What it had stays.
func (p *Provider) Stop(_ context.Context, m pools.Machine) error {
	p.mu.Lock()
	delete(p.nodes, m.UID)
	p.mu.Unlock()
	process, err := pidfile.Read(filepath.Join(p.dir(m), pidName))
	if err != nil {
		return err
	}
	return p.end(process, p.dir(m))
}

// end stops an agent, and ends what one has left that was killed and could not.
func (p *Provider) end(process pidfile.Process, dir string) error {
	alive, begun := process.Alive(), time.Now()
	if err := process.Stop(stopGrace); err != nil {
		return err
	}
	if alive && time.Since(begun) < stopGrace {
		return nil
	}
	if _, err := os.Stat(filepath.Join(dir, "state")); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	// Seen through even when the coordinator is to end: it takes no longer than an agent that stops.
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	args := append(p.command(dir), "--clean-up")
	if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("end what the agent has left in %s: %w: %s", dir, err, out)
	}
	return nil
}

// Remove stops the node's agent and deletes all that it had.
func (p *Provider) Remove(_ context.Context, m pools.Machine) error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return errClosed
	}
	a := p.nodes[m.UID]
	delete(p.nodes, m.UID)
	p.removals.Add(1)
	p.mu.Unlock()
	defer p.removals.Done()
	dir := p.dir(m)
	process, err := pidfile.Read(filepath.Join(dir, pidName))
	if err != nil {
		return err
	}
	if a != nil && a.process.PID != 0 {
		process = a.process
	}
	if err := p.end(process, dir); err != nil {
		return err
	}
	if err := detach(dir); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// detach takes away what an agent that was killed has left mounted: what is in there is not the node's to delete.
func detach(dir string) error {
	resolved, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for range 2 { // then nothing is left, or nothing is deleted
		list, err := mountinfo.List()
		if err != nil {
			return err
		}
		left := mountinfo.Under(list, resolved)
		if len(left) == 0 {
			return nil
		}
		for _, m := range left {
			if err := mountinfo.Unmount(m.Point, true); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("something is still mounted below %s", dir)
}

var errClosed = errors.New("the provider is closed")

// Close stops all agents, and with them their tasks; the nodes stay and go on when they are started again.
func (p *Provider) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	errs := make(chan error, len(p.nodes))
	for _, a := range p.nodes {
		go func() { errs <- a.process.Stop(stopGrace) }()
	}
	var all error
	for range p.nodes {
		all = errors.Join(all, <-errs)
	}
	p.removals.Wait()
	return all
}
