package process

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const (
	withoutGroups = "supervisor without groups"
	oldGroups     = "supervisor with groups of version 1"
	modeVariable  = "PROCESS_TEST_MODE"
	stateVariable = "PROCESS_TEST_STATE"
	// patience is how long a test waits for what happens in milliseconds.
	patience = 30 * time.Second
	poll     = 2 * time.Millisecond
)

// For endFirstThread: while packages are initialised this is the first thread, and later it need not be.
func init() { runtime.LockOSThread() }

// TestMain lets the test binary be a supervisor, a client and a task.
func TestMain(m *testing.M) {
	if mode := os.Getenv(modeVariable); mode != "" {
		if err := beOther(mode); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	runtime.UnlockOSThread()
	os.Exit(m.Run())
}

func beOther(mode string) error {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	switch mode {
	case "supervisor", withoutGroups, oldGroups:
		log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
		return Serve(ctx, ServeConfig{
			StateDir: os.Getenv(stateVariable), Logger: log, noGroups: mode == withoutGroups, noUnified: mode == oldGroups,
		})
	case "client":
		// Starts what its arguments say, renews a short lease for ever, and says so.
		c, err := Dial(ctx, SocketPath(os.Getenv(stateVariable)))
		if err != nil {
			return err
		}
		go func() {
			for range c.Events() {
			}
		}()
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if err := c.Renew(time.Second, 0); err != nil {
				return err
			}
			if _, err := c.List(ctx); err != nil {
				return err
			}
			if err := os.WriteFile(os.Args[1], []byte("renewed"), 0o600); err != nil {
				return err
			}
		}
	case "headless":
		return endFirstThread()
	case "daemon":
		// A second process in a session of its own, whose parent ends; it goes on as "daemon 2".
		return becomeDaemon("daemon 2")
	case "daemon 2":
		return becomeDaemon("stubborn")
	case "stubborn":
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
		f, err := os.OpenFile(os.Args[1], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(f, os.Getpid())
		if err != nil {
			return err
		}
		for {
			_ = unix.Pause()
		}
	}
	return fmt.Errorf("no mode %q", mode)
}

// endFirstThread ends the thread that /proc shows a process by; the others go on.
func endFirstThread() error {
	go func() {
		for {
			if p, err := readStat(os.Getpid()); err == nil && p.state == 'Z' {
				_ = os.WriteFile(os.Args[1], fmt.Appendln(nil, os.Getpid()), 0o600)
				return
			}
		}
	}()
	_, _, err := unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
	return err
}

func becomeDaemon(next string) error {
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = []string{modeVariable + "=" + next}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd.Start()
}

// yard is a supervisor in a process of its own, and where its tasks work.
type yard struct {
	*Client
	t testing.TB
	// groups says that the system has control groups and the supervisor uses them.
	groups bool
	cfg    SupervisorConfig
	dir    string
	seen   map[string]*agentv1.ProcessStarted
	ended  map[string]*agentv1.ProcessExited
	left   map[string]bool
	fails  map[string]*agentv1.ProcessStartFailed
}

func newYard(t testing.TB) *yard { return newYardOf(t, "supervisor") }

func newYardOf(t testing.TB, mode string) *yard {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	_, err = ownCgroup("")
	if mode == oldGroups {
		_, err = ownCgroup("pids")
	}
	y := &yard{t: t, groups: mode != withoutGroups && err == nil, dir: filepath.Join(dir, "work"), cfg: SupervisorConfig{
		StateDir: state, Command: []string{exe},
		Env: append(os.Environ(), modeVariable+"="+mode, stateVariable+"="+state),
	}}
	require.NoError(t, os.Mkdir(y.dir, 0o700))
	y.connect()
	t.Cleanup(func() {
		_ = y.Client.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, ShutdownSupervisor(ctx, y.cfg))
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(state, logName))
			t.Logf("supervisor:\n%s", log)
		}
	})
	return y
}

// connect makes a new connection and starts the supervisor if it does not live.
func (y *yard) connect() {
	y.t.Helper()
	c, err := EnsureSupervisor(y.t.Context(), y.cfg)
	require.NoError(y.t, err)
	y.Client = c
	y.seen = map[string]*agentv1.ProcessStarted{}
	y.ended = map[string]*agentv1.ProcessExited{}
	y.fails = map[string]*agentv1.ProcessStartFailed{}
	y.left = map[string]bool{}
}

func (y *yard) pid() int {
	pid := readPID(filepath.Join(y.cfg.StateDir, pidName))
	require.NotZero(y.t, pid)
	return pid
}

// spec runs argv in a directory of its own.
func (y *yard) spec(id string, argv ...string) *agentv1.StartProcess {
	dir := filepath.Join(y.dir, id)
	require.NoError(y.t, os.MkdirAll(filepath.Join(dir, "wd"), 0o700))
	return &agentv1.StartProcess{
		AttemptId: id, Argv: argv, Dir: filepath.Join(dir, "wd"), Env: []string{"PATH=/usr/bin:/bin"},
		StdoutPath: filepath.Join(dir, "stdout.txt"), StderrPath: filepath.Join(dir, "stderr.txt"),
		GraceNanos: int64(patience),
	}
}

func (y *yard) sh(id, script string) *agentv1.StartProcess {
	return y.spec(id, "/bin/sh", "-c", script)
}

// mode is a task that this binary plays.
func (y *yard) mode(id, mode, argument string) *agentv1.StartProcess {
	s := y.spec(id, y.cfg.Command[0], argument)
	s.Env = append(s.Env, modeVariable+"="+mode)
	return s
}

// daemon is a task that makes a process which leaves its session and its parent and ignores every polite signal, and then
// ignores them itself.
func (y *yard) daemon(id, pids string) *agentv1.StartProcess {
	script := fmt.Sprintf("trap '' TERM; %s=daemon %s %s; while :; do sleep 1; done", modeVariable, y.cfg.Command[0], pids)
	s := y.sh(id, script)
	s.GraceNanos = int64(100 * time.Millisecond)
	return s
}

func (y *yard) output(id, name string) string {
	b, err := os.ReadFile(filepath.Join(y.dir, id, name))
	require.NoError(y.t, err)
	return string(b)
}

// until reads events until done says so.
func (y *yard) until(done func() bool) {
	y.t.Helper()
	deadline := time.After(patience)
	for !done() {
		select {
		case events, ok := <-y.Events():
			if !ok {
				require.NoError(y.t, y.Err())
			}
			for _, e := range events {
				switch e := e.GetEvent().(type) {
				case *agentv1.SupervisorEvent_Started:
					y.seen[e.Started.GetAttemptId()] = e.Started
				case *agentv1.SupervisorEvent_Exited:
					y.ended[e.Exited.GetAttemptId()] = e.Exited
				case *agentv1.SupervisorEvent_Lingers:
					y.left[e.Lingers.GetAttemptId()] = true
				case *agentv1.SupervisorEvent_StartFailed:
					y.fails[e.StartFailed.GetAttemptId()] = e.StartFailed
				}
			}
		case <-deadline:
			require.FailNow(y.t, "nothing happens")
		}
	}
}

func (y *yard) start(specs ...*agentv1.StartProcess) {
	y.t.Helper()
	require.NoError(y.t, y.Start(specs...))
}

func (y *yard) started(id string) *agentv1.ProcessStarted {
	y.t.Helper()
	y.until(func() bool { return y.seen[id] != nil })
	return y.seen[id]
}

func (y *yard) exited(id string) *agentv1.ProcessExited {
	y.t.Helper()
	y.until(func() bool { return y.ended[id] != nil })
	return y.ended[id]
}

func (y *yard) run(spec *agentv1.StartProcess) *agentv1.ProcessExited {
	y.t.Helper()
	y.start(spec)
	return y.exited(spec.GetAttemptId())
}

func (y *yard) failed(spec *agentv1.StartProcess) *agentv1.ProcessStartFailed {
	y.t.Helper()
	y.start(spec)
	y.until(func() bool { return y.fails[spec.GetAttemptId()] != nil })
	return y.fails[spec.GetAttemptId()]
}

// pids waits until n processes have written themselves into a file.
func (y *yard) pids(path string, n int) []int {
	y.t.Helper()
	var pids []int
	require.Eventually(y.t, func() bool {
		b, _ := os.ReadFile(path)
		pids = nil
		for _, line := range strings.Split(string(b), "\n") {
			var pid int
			if _, err := fmt.Sscanf(line, "%d", &pid); err == nil {
				pids = append(pids, pid)
			}
		}
		return len(pids) >= n && strings.HasSuffix(string(b), "\n")
	}, patience, poll)
	return pids
}

func (y *yard) wait(path string) {
	y.t.Helper()
	require.Eventually(y.t, func() bool {
		_, err := os.Stat(path)
		return err == nil
	}, patience, poll)
}

func alive(pid int) bool {
	p, err := readStat(pid)
	return err == nil && !p.dead()
}
