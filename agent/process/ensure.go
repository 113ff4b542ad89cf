package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/batchyard/batchyard/internal/filelock"
)

// SupervisorConfig says which supervisor an agent uses and how it is started.
type SupervisorConfig struct {
	// StateDir is the supervisor's, an absolute path.
	StateDir string
	// SocketPath as in ServeConfig.
	SocketPath string
	// Command and its arguments run a supervisor with these paths, for example this program's own hidden subcommand.
	Command []string
	// Env is the supervisor's environment; nil: that of this process. Tasks see none of it.
	Env []string
	// StartTimeout bounds the wait for a new supervisor; 0: 15 s.
	StartTimeout time.Duration
}

const (
	logName      = "supervisor.log"
	startTimeout = 15 * time.Second
	connectPause = 2 * time.Millisecond
	// maxLaunches: one that found another alive, which then ended, is no failure.
	maxLaunches = 2
)

// EnsureSupervisor connects to the supervisor that lives, or starts one: in a session of its own, so that what ends the
// agent or its terminal does not reach it, with its messages in supervisor.log of the state directory.
func EnsureSupervisor(ctx context.Context, cfg SupervisorConfig) (*Client, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.StartTimeout)
	defer cancel()
	var ended func() error // of the one that was launched last; nil: none runs
	var failure error
	for launches := 0; ; {
		c, err := Dial(ctx, cfg.SocketPath)
		if err == nil || !absent(err) {
			return c, err
		}
		// While the state directory is held there is one that starts, or one that ends.
		if ended == nil && cfg.unheld() {
			if launches == maxLaunches {
				return nil, fmt.Errorf("start the supervisor: %w", errors.Join(failure, cfg.lastWords()))
			}
			launches++
			// One that we started and that has ended must not stay a zombie.
			reapChild(readPID(filepath.Join(cfg.StateDir, pidName)))
			if ended, err = cfg.launch(); err != nil {
				return nil, err
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the new supervisor: %w", errors.Join(ctx.Err(), err, failure, cfg.lastWords()))
		case <-time.After(connectPause):
		}
		if ended != nil {
			if failure = ended(); failure != nil {
				ended = nil
			}
		}
	}
}

// unheld says whether no supervisor lives, as far as can be told: what stands in the way of the lock stands in its way too.
func (cfg *SupervisorConfig) unheld() bool {
	lock, err := filelock.Try(filepath.Join(cfg.StateDir, lockName))
	if err == nil {
		err = lock.Close()
	}
	return !errors.Is(err, filelock.ErrHeld)
}

// ShutdownSupervisor makes the supervisor that lives stop every attempt and end, and returns when it has; nil if none lives.
func ShutdownSupervisor(ctx context.Context, cfg SupervisorConfig) error {
	if err := cfg.fill(); err != nil {
		return err
	}
	if _, err := os.Stat(cfg.StateDir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for {
		if err := askToEnd(ctx, cfg.SocketPath); err != nil && !absent(err) {
			return err
		}
		pid := readPID(filepath.Join(cfg.StateDir, pidName))
		if cfg.unheld() && reapChild(pid) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the supervisor's end: %w", ctx.Err())
		case <-time.After(connectPause):
		}
	}
}

// askToEnd has the supervisor that serves socketPath shut down, and returns when it has ended the connection.
func askToEnd(ctx context.Context, socketPath string) error {
	c, err := Dial(ctx, socketPath)
	if err != nil {
		return err
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for range c.Events() {
		}
	}()
	err = c.Shutdown(ctx)
	err = errors.Join(err, c.Close())
	<-drained
	return err
}

func (cfg *SupervisorConfig) fill() error {
	if !filepath.IsAbs(cfg.StateDir) {
		return fmt.Errorf("the supervisor's state directory %q is not an absolute path", cfg.StateDir)
	}
	if cfg.SocketPath == "" {
		cfg.SocketPath = SocketPath(cfg.StateDir)
	}
	if cfg.StartTimeout <= 0 {
		cfg.StartTimeout = startTimeout
	}
	return nil
}

// launch starts a supervisor; ended tells an error once it has ended.
func (cfg *SupervisorConfig) launch() (ended func() error, err error) {
	if len(cfg.Command) == 0 {
		return nil, errors.New("start the supervisor: no command is configured")
	}
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("start the supervisor: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(cfg.StateDir, logName), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start the supervisor: %w", err)
	}
	cmd := exec.Command(cfg.Command[0], cfg.Command[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = cfg.Env, log, log, detached()
	err = cmd.Start()
	if closeErr := log.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, fmt.Errorf("start the supervisor: %w", err)
	}
	pid := cmd.Process.Pid
	return func() error { return childEnded(pid) }, cmd.Process.Release()
}

// absent says that no supervisor serves.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, errUngreeted)
}

// lastWords is the end of the supervisor's log as an error; nil if there is none.
func (cfg *SupervisorConfig) lastWords() error {
	b, err := os.ReadFile(filepath.Join(cfg.StateDir, logName))
	if err != nil || len(b) == 0 {
		return nil //nolint:nilerr // a log that can't be read has no last words
	}
	const most = 1024
	return errors.New(strings.TrimSpace(string(b[max(0, len(b)-most):])))
}
