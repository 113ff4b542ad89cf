//go:build unix

package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/batchyard/batchyard/agent/process"
	"github.com/batchyard/batchyard/agent/session"
	"github.com/batchyard/batchyard/internal/batcherr"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

const (
	modeVariable = "AGENT_TEST_MODE"
	dataVariable = "AGENT_TEST_CONFIG"
	patience     = 30 * time.Second
)

// TestMain lets the test binary be a supervisor and an agent, so that they can be killed.
func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(modeVariable) {
	case "supervisor":
		err = process.Serve(context.Background(), process.ServeConfig{
			StateDir: os.Args[1], Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		})
	case "agent":
		err = beAgent()
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// settings are what an agent in a process of its own is told.
type settings struct{ Data, Root, Coordinator, Token string }

func (s settings) config(logger *slog.Logger) Config {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cfg := Default()
	cfg.DataDir, cfg.NodeRoot, cfg.Coordinators, cfg.JoinToken, cfg.Logger = s.Data, s.Root, []string{s.Coordinator}, s.Token, logger
	cfg.SupervisorCommand = []string{"/usr/bin/env", modeVariable + "=supervisor", exe, SupervisorDir(s.Data)}
	cfg.StopGrace = 2 * time.Second
	return cfg
}

func beAgent() error {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	var s settings
	if err := json.Unmarshal([]byte(os.Getenv(dataVariable)), &s); err != nil {
		return err
	}
	a, err := New(s.config(slog.New(slog.NewTextHandler(os.Stderr, nil))))
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// node is where one agent after the other lives.
type node struct {
	t testing.TB
	settings
	farm *farm
}

func newNode(t testing.TB, f *farm) *node {
	base := t.TempDir()
	n := &node{t: t, farm: f, settings: settings{
		Data: filepath.Join(base, "data"), Root: filepath.Join(base, "root"), Coordinator: f.address, Token: f.secret.Text(),
	}}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, process.ShutdownSupervisor(ctx, process.SupervisorConfig{StateDir: SupervisorDir(n.Data)}))
	})
	return n
}

// run runs an agent in this process; stop ends it and gives its error.
func (n *node) run(change func(*Config)) (stop func() error) {
	n.t.Helper()
	cfg := n.config(slog.New(slog.DiscardHandler))
	if change != nil {
		change(&cfg)
	}
	a, err := New(cfg)
	require.NoError(n.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	ended := false
	stop = func() error {
		if ended {
			return nil
		}
		ended = true
		cancel()
		return <-done
	}
	n.t.Cleanup(func() { require.NoError(n.t, stop()) })
	return stop
}

// spawn runs an agent in a process of its own; kill ends it by SIGKILL.
func (n *node) spawn() (kill func()) {
	n.t.Helper()
	text, err := json.Marshal(n.settings)
	require.NoError(n.t, err)
	exe, err := os.Executable()
	require.NoError(n.t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), modeVariable+"=agent", dataVariable+"="+string(text))
	var log strings.Builder
	cmd.Stderr = &log
	require.NoError(n.t, cmd.Start())
	kill = func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // it was killed
		}
	}
	n.t.Cleanup(func() {
		kill()
		if n.t.Failed() {
			n.t.Logf("agent:\n%s", log.String())
		}
	})
	return kill
}

func (n *node) path(number uint64, name string) string {
	return filepath.Join(n.Root, "workitems", "job", "job-1", taskID(number), name)
}

func (n *node) exists(path string) {
	n.t.Helper()
	require.Eventually(n.t, func() bool { _, err := os.Stat(path); return err == nil }, patience, 2*time.Millisecond)
}

func sh(script string) *apiv1.Task { return &apiv1.Task{CommandLine: "/bin/sh -c '" + script + "'"} }

func TestTasksFromJoiningToFiles(t *testing.T) {
	f := newFarm(t)
	n := newNode(t, f)
	t.Setenv("AGENT_SECRET_CANARY", "canary")
	stop := n.run(func(cfg *Config) { cfg.StopTasksOnExit = true })
	env := f.add(1, sh("env; exit 3"))
	require.Equal(t, int32(3), f.ended(env).GetExitCode())
	text := f.read(env, "stdout.txt", false)
	for _, want := range []string{
		"AZ_BATCH_TASK_ID=task1", "AZ_BATCH_JOB_ID=job", "AZ_BATCH_POOL_ID=pool", "AZ_BATCH_NODE_ID=node1",
		"AZ_BATCH_ACCOUNT_NAME=acme", "AZ_BATCH_ACCOUNT_URL=https://acme.example",
		"AZ_BATCH_TASK_WORKING_DIR=" + n.path(1, "wd"), "PWD=" + n.path(1, "wd"),
	} {
		require.Contains(t, text, want)
	}
	require.NotContains(t, text, "canary")

	missing := f.add(2, &apiv1.Task{CommandLine: "no-such-program-anywhere"})
	require.Equal(t, batcherr.CodeCommandProgramNotFound, f.ended(missing).GetFailure().GetCode())
	limited := sh("sleep 600")
	limited.Constraints = &apiv1.TaskConstraints{MaxWallClockTime: durationpb.New(50 * time.Millisecond)}
	over := f.ended(f.add(3, limited))
	require.Equal(t, batcherr.CodeTaskEnded, over.GetFailure().GetCode())
	require.NotZero(t, over.GetExitCode())

	follow := f.add(4, sh("echo one; while [ ! -e go ]; do sleep 0.01; done; echo two"))
	n.exists(n.path(4, "stdout.txt"))
	go func() { _ = os.WriteFile(n.path(4, "wd/go"), nil, 0o600) }()
	require.Equal(t, "one\ntwo", f.read(follow, "stdout.txt", true))
	f.ended(follow)

	stubborn := f.add(5, sh("trap : TERM; touch up; while :; do sleep 0.05; done"))
	n.exists(n.path(5, "wd/up"))
	f.remove(stubborn, agentv1.RemovalKind_REMOVAL_KIND_STOP)
	f.phase(stubborn, agentv1.AttemptPhase_ATTEMPT_PHASE_RELEASED)
	f.remove(stubborn, agentv1.RemovalKind_REMOVAL_KIND_CLEAN)
	require.Eventually(t, func() bool { _, err := os.Stat(n.path(5, "")); return os.IsNotExist(err) }, patience, 5*time.Millisecond)

	f.add(6, sh("touch up; sleep 600"))
	n.exists(n.path(6, "wd/up"))
	require.NoError(t, stop())
	_, err := process.Dial(t.Context(), process.SocketPath(SupervisorDir(n.Data)))
	require.Error(t, err, "the supervisor has ended with the agent")
	info, err := os.Stat(filepath.Join(n.Data, credentialsName))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

// TestKilledAgent kills the agent while tasks run, end, and wait. Each command runs once and its exit code arrives.
func TestKilledAgent(t *testing.T) {
	f := newFarm(t)
	n := newNode(t, f)
	kill := n.spawn()
	const count = "echo x >> ../runs; touch up; while [ ! -e ../../go%d ]; do sleep 0.01; done; exit %d"
	early := f.add(1, sh(fmt.Sprintf(count, 1, 41)))
	late := f.add(2, sh(fmt.Sprintf(count, 2, 42)))
	n.exists(n.path(1, "wd/up"))
	n.exists(n.path(2, "wd/up"))
	kill()
	jobDir := filepath.Dir(n.path(1, ""))
	require.NoError(t, os.WriteFile(filepath.Join(jobDir, "go1"), nil, 0o600)) // it ends while no agent lives
	for range 5 {
		n.spawn()()
	}
	waits := f.add(3, sh("exit 43"))
	n.spawn()
	require.Equal(t, int32(41), f.ended(early).GetExitCode())
	require.Equal(t, int32(43), f.ended(waits).GetExitCode())
	require.NoError(t, os.WriteFile(filepath.Join(jobDir, "go2"), nil, 0o600))
	require.Equal(t, int32(42), f.ended(late).GetExitCode())
	for _, number := range []uint64{1, 2} {
		runs, err := os.ReadFile(n.path(number, "runs"))
		require.NoError(t, err)
		require.Equal(t, "x\n", string(runs))
	}
	require.Equal(t, 1, f.count(&f.joined), "the certificate was kept")
}

// TestKilledAgentUnderLoad kills the agent at whatever it does, again and again: no command is lost or runs twice.
func TestKilledAgentUnderLoad(t *testing.T) {
	f := newFarm(t)
	n := newNode(t, f)
	const tasks = 200
	script := sh("echo x >> $AZ_BATCH_NODE_SHARED_DIR/$AZ_BATCH_TASK_ID; sleep 0.02")
	for number := range uint64(tasks) {
		f.add(number, script)
	}
	done := func() (out int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, report := range f.reports {
			if report.GetPhase() == agentv1.AttemptPhase_ATTEMPT_PHASE_ENDED {
				out++
			}
		}
		return out
	}
	lives := 0
	for before := done(); before < tasks; lives++ {
		kill := n.spawn()
		require.Eventually(t, func() bool { return done() >= min(before+10, tasks) }, patience, time.Millisecond)
		kill()
		before = done()
	}
	require.Greater(t, lives, 3)
	for number := range uint64(tasks) {
		runs, err := os.ReadFile(filepath.Join(n.Root, "shared", taskID(number)))
		require.NoError(t, err)
		require.Equal(t, "x\n", string(runs), taskID(number))
	}
}

func TestTasksGoOnWhileTheAgentIsExchanged(t *testing.T) {
	f := newFarm(t)
	n := newNode(t, f)
	stop := n.run(nil)
	ref := f.add(1, sh("touch up; while [ ! -e go ]; do sleep 0.01; done; exit 7"))
	n.exists(n.path(1, "wd/up"))
	require.NoError(t, stop())
	n.run(nil)
	require.NoError(t, os.WriteFile(n.path(1, "wd/go"), nil, 0o600))
	require.Equal(t, int32(7), f.ended(ref).GetExitCode())
}

func TestKilledSupervisor(t *testing.T) {
	f := newFarm(t)
	n := newNode(t, f)
	n.run(nil)
	ref := f.add(1, sh("touch up; sleep 600"))
	n.exists(n.path(1, "wd/up"))
	text, err := os.ReadFile(filepath.Join(SupervisorDir(n.Data), "supervisor.pid"))
	require.NoError(t, err)
	var pid int
	_, err = fmt.Sscan(string(text), &pid)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	f.phase(ref, agentv1.AttemptPhase_ATTEMPT_PHASE_LOST)
	require.Equal(t, int32(0), f.ended(f.add(2, sh("exit 0"))).GetExitCode())
}

func TestTheCertificateIsRenewed(t *testing.T) {
	f := newFarm(t)
	f.life = 4 * time.Second
	n := newNode(t, f)
	n.run(nil)
	require.Eventually(t, func() bool { return f.count(&f.renewed) == 1 && f.count(&f.sessions) >= 2 }, patience, 10*time.Millisecond)
	require.Equal(t, int32(5), f.ended(f.add(1, sh("exit 5"))).GetExitCode())
}

func TestARemovedNodeEnds(t *testing.T) {
	f := newFarm(t)
	f.removed = true
	n := newNode(t, f)
	a, err := New(n.config(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	require.ErrorIs(t, a.Run(t.Context()), session.ErrRemoved)
}

func TestJoiningIsRefused(t *testing.T) {
	f := newFarm(t)
	other := newFarm(t)
	for name, token := range map[string]string{
		"unknown secret":            strings.Replace(f.secret.Text(), ".AAAA", ".BAAA", 1),
		"other cluster":             other.secret.Text(),
		"no token":                  "",
		"no token at all, but text": "byj1.x",
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, f)
			n.Token = token
			a, err := New(n.config(slog.New(slog.DiscardHandler)))
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			err = a.Run(ctx)
			if name == "other cluster" { // a coordinator of the right cluster may come to that address yet
				require.NoError(t, err)
				require.NoFileExists(t, filepath.Join(n.Data, credentialsName))
				return
			}
			require.Error(t, err)
		})
	}
	require.Zero(t, f.count(&f.joined))
}

func TestConfigIsChecked(t *testing.T) {
	cfg := Default()
	require.Error(t, cfg.Validate())
	cfg.DataDir, cfg.NodeRoot, cfg.SupervisorCommand = "/d", "/r", []string{"x"}
	require.NoError(t, cfg.Validate())
	for name, spoil := range map[string]func(*Config){
		"relative":  func(c *Config) { c.DataDir = "d" },
		"root":      func(c *Config) { c.NodeRoot = "" },
		"same":      func(c *Config) { c.NodeRoot = "/d/" },
		"address":   func(c *Config) { c.Coordinators = []string{"host"} },
		"negative":  func(c *Config) { c.OrphanTimeout = -1 },
		"no logger": func(c *Config) { c.Logger = nil },
	} {
		bad := cfg
		spoil(&bad)
		require.Error(t, bad.Validate(), name)
	}
}

func TestTwoAgentsDoNotShareADirectory(t *testing.T) {
	f := newFarm(t)
	n := newNode(t, f)
	n.run(nil)
	f.ended(f.add(1, sh("exit 0")))
	a, err := New(n.config(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	require.ErrorContains(t, a.Run(t.Context()), "another agent")
}
