package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/batchyard/batchyard/internal/filelock"
)

// ErrAlreadyServed says that a supervisor that lives holds the state directory.
var ErrAlreadyServed = errors.New("another supervisor holds the state directory")

// ServeConfig says where a supervisor works.
type ServeConfig struct {
	// SocketPath is where agents connect; its directory is made, and belongs to this user alone. Empty: in StateDir.
	SocketPath string
	// StateDir holds the lock, the journal and the pid file.
	StateDir string
	// ShutdownGrace bounds each attempt's grace when the supervisor shuts down; 0 leaves the attempts' own.
	ShutdownGrace time.Duration
	Logger        *slog.Logger

	// noGroups makes the supervisor do without control groups, as on systems that have none.
	noGroups bool
	// noUnified makes it do without those of version 2.
	noUnified bool
}

func (c *ServeConfig) fill() error {
	if !filepath.IsAbs(c.StateDir) {
		return fmt.Errorf("the supervisor's state directory %q is not an absolute path", c.StateDir)
	}
	if c.SocketPath == "" {
		c.SocketPath = SocketPath(c.StateDir)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// SocketPath is where the supervisor of a state directory listens unless told otherwise.
func SocketPath(stateDir string) string {
	return filepath.Join(stateDir, "run", "supervisor.sock")
}

const (
	lockName = "supervisor.lock"
	pidName  = "supervisor.pid"
)

// Serve runs a supervisor until ctx ends or a client shuts it down; then it stops every attempt and returns. It takes the
// whole process: its umask, its children, also those that it did not start, and what it would pass on to them. What a
// predecessor left in the state directory's journal is killed first and reported as lost.
// The error is ErrAlreadyServed while another one lives.
func Serve(ctx context.Context, cfg ServeConfig) (err error) {
	if err := cfg.fill(); err != nil {
		return err
	}
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return fmt.Errorf("make the supervisor's state directory: %w", err)
	}
	lock, err := filelock.Try(filepath.Join(cfg.StateDir, lockName))
	if errors.Is(err, filelock.ErrHeld) {
		return ErrAlreadyServed
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	s, err := newSupervisor(ctx, cfg)
	if err != nil {
		return err
	}
	if err := writePID(filepath.Join(cfg.StateDir, pidName)); err != nil {
		return errors.Join(err, s.close())
	}
	listener, err := listen(cfg.SocketPath)
	if err != nil {
		return errors.Join(err, s.close())
	}
	s.log.Info("supervisor is ready", "pid", os.Getpid(), "socket", cfg.SocketPath, "held", len(s.attempts))
	return s.run(ctx, listener)
}

// run owns every goroutine of the supervisor.
func (s *supervisor) run(ctx context.Context, listener net.Listener) error {
	work, endWork := context.WithCancel(context.Background())
	defer endWork()
	reaped := make(chan struct{})
	go func() {
		defer close(reaped)
		s.machine.reap(work, s.onExit)
	}()
	for range spawners {
		s.background.Go(s.spawn)
	}
	s.background.Go(func() { s.watch(work) })
	s.background.Go(func() { s.pump(work) })
	s.background.Go(func() { s.accept(listener) })

	select {
	case <-ctx.Done():
	case <-s.shutdownAsked:
	}
	s.log.Info("supervisor is shutting down")
	s.drain()
	endWork()
	err := listener.Close()
	s.endSpawners()
	s.closeConns()
	s.background.Wait()
	select {
	case <-reaped:
	case <-time.After(reapPatience):
		// A child that cannot die, for example one in an uninterruptible sleep, must not keep the supervisor.
		s.log.Warn("a process that does not die is left behind")
	}
	return errors.Join(err, s.close())
}

const (
	// spawners is how many goroutines start processes: while one waits for its child to be created, which only one can at
	// a time, the other opens files.
	spawners     = 2
	reapPatience = 2 * time.Second
)
