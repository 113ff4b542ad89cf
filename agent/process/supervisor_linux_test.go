package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	"github.com/stretchr/testify/require"
)

const (
	byItself = agentv1.ProcessEnd_PROCESS_END_BY_ITSELF
	stopped  = agentv1.ProcessEnd_PROCESS_END_STOPPED
)

func TestExitCodesAndOutput(t *testing.T) {
	y := newYard(t)
	var specs []*agentv1.StartProcess
	for _, code := range []int{0, 1, 2, 42, 127, 255} {
		specs = append(specs, y.sh(fmt.Sprint("code", code), fmt.Sprintf("echo out %d; echo err %d >&2; exit %d", code, code, code)))
	}
	y.start(specs...)
	for _, code := range []int{0, 1, 2, 42, 127, 255} {
		id := fmt.Sprint("code", code)
		e := y.exited(id)
		require.EqualValues(t, code, e.GetExitCode())
		require.Zero(t, e.GetSignal())
		require.Equal(t, byItself, e.GetEnd())
		require.Equal(t, y.started(id).GetPid(), e.GetPid())
		require.LessOrEqual(t, e.GetStartedAt(), e.GetEndedAt())
		require.WithinDuration(t, time.Now(), time.Unix(0, e.GetStartedAt()), patience)
		require.Equal(t, fmt.Sprintf("out %d\n", code), y.output(id, "stdout.txt"))
		require.Equal(t, fmt.Sprintf("err %d\n", code), y.output(id, "stderr.txt"))
	}
}

func TestSignalsAndUsage(t *testing.T) {
	y := newYard(t)
	e := y.run(y.sh("killed", "kill -9 $$"))
	require.EqualValues(t, 9, e.GetSignal())
	require.EqualValues(t, 137, e.GetExitCode())
	require.Equal(t, byItself, e.GetEnd())

	e = y.run(y.sh("busy", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"))
	require.Positive(t, e.GetUserNanos()+e.GetSystemNanos())
	require.Greater(t, e.GetMaxRssBytes(), int64(100<<10))
}

func TestOneFileForBothOutputs(t *testing.T) {
	y := newYard(t)
	s := y.sh("both", "echo one; echo two >&2; echo three")
	s.StderrPath = s.StdoutPath
	y.run(s)
	require.Equal(t, "one\ntwo\nthree\n", y.output("both", "stdout.txt"))

	s = y.sh("none", "echo lost; read x || echo no input")
	s.StdoutPath, s.StderrPath = "", ""
	require.Zero(t, y.run(s).GetExitCode())
}

func TestTheProcessGetsWhatItIsGivenAndNothingElse(t *testing.T) {
	y := newYard(t)
	s := y.spec("env", "/usr/bin/env")
	s.Env = []string{"B=2", "A=with = and 'quotes'\nlines", "EMPTY="}
	y.run(s)
	require.Equal(t, strings.Join(s.Env, "\n")+"\n", y.output("env", "stdout.txt"))

	s = y.spec("nothing", "/usr/bin/env")
	s.Env = nil
	y.run(s)
	require.Empty(t, y.output("nothing", "stdout.txt"))

	s = y.spec("args", "printf", "%s|", "a b", "$HOME", "*", "", "it's")
	y.run(s)
	require.Equal(t, "a b|$HOME|*||it's|", y.output("args", "stdout.txt"))

	y.run(y.sh("fds", "ls -l /proc/self/fd | grep -c -- '->'; readlink /proc/$$/fd/0; umask; pwd; cut -d' ' -f6 /proc/$$/stat; echo $$"))
	lines := strings.Split(strings.TrimSpace(y.output("fds", "stdout.txt")), "\n")
	// The fourth is the directory that ls reads.
	require.Equal(t, []string{"4", "/dev/null", "0027", filepath.Join(y.dir, "fds", "wd")}, lines[:4])
	require.Equal(t, lines[5], lines[4], "a session of its own")
}

func TestLimits(t *testing.T) {
	y := newYard(t)
	s := y.sh("limits", "until [ $(ulimit -n) = 77 ]; do :; done; ulimit -n; ulimit -c; ulimit -f")
	s.Limits = &agentv1.ProcessLimits{OpenFiles: 77, NoCore: true, FileSizeBytes: 1 << 20}
	y.run(s)
	require.Equal(t, "77\n0\n2048\n", y.output("limits", "stdout.txt"))
}

func TestStartFailures(t *testing.T) {
	y := newYard(t)
	write := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(y.dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), mode))
		return path
	}
	plain := write("plain", "#!/bin/sh\n", 0o600)
	noFormat := write("noformat", "\x00\x01\x02", 0o700)
	noInterpreter := write("nointerpreter", "#!/no/such/interpreter\n", 0o700)
	for name, c := range map[string]struct {
		change func(s *agentv1.StartProcess)
		want   agentv1.StartFailure
	}{
		"absent":      {func(s *agentv1.StartProcess) { s.Argv[0] = "/no/such/program" }, agentv1.StartFailure_START_FAILURE_PROGRAM_NOT_FOUND},
		"absentPath":  {func(s *agentv1.StartProcess) { s.Argv[0] = "no-such-program" }, agentv1.StartFailure_START_FAILURE_PROGRAM_NOT_FOUND},
		"absentHere":  {func(s *agentv1.StartProcess) { s.Argv[0] = "./program" }, agentv1.StartFailure_START_FAILURE_PROGRAM_NOT_FOUND},
		"builtin":     {func(s *agentv1.StartProcess) { s.Argv[0] = "cd"; s.Env = []string{"PATH=/nowhere"} }, agentv1.StartFailure_START_FAILURE_PROGRAM_NOT_FOUND},
		"forbidden":   {func(s *agentv1.StartProcess) { s.Argv[0] = plain }, agentv1.StartFailure_START_FAILURE_LAUNCH_FAILED},
		"directory":   {func(s *agentv1.StartProcess) { s.Argv[0] = y.dir }, agentv1.StartFailure_START_FAILURE_LAUNCH_FAILED},
		"format":      {func(s *agentv1.StartProcess) { s.Argv[0] = noFormat }, agentv1.StartFailure_START_FAILURE_LAUNCH_FAILED},
		"interpreter": {func(s *agentv1.StartProcess) { s.Argv[0] = noInterpreter }, agentv1.StartFailure_START_FAILURE_LAUNCH_FAILED},
		"long":        {func(s *agentv1.StartProcess) { s.Argv[1] = strings.Repeat("x", 4<<20) }, agentv1.StartFailure_START_FAILURE_LAUNCH_FAILED},
		"nodir":       {func(s *agentv1.StartProcess) { s.Dir += "/gone" }, agentv1.StartFailure_START_FAILURE_DIRECTORY},
		"filedir":     {func(s *agentv1.StartProcess) { s.Dir = plain }, agentv1.StartFailure_START_FAILURE_DIRECTORY},
		"nooutput":    {func(s *agentv1.StartProcess) { s.StdoutPath = "/no/such/dir/stdout.txt" }, agentv1.StartFailure_START_FAILURE_OUTPUT_FILE},
		"diroutput":   {func(s *agentv1.StartProcess) { s.StderrPath = y.dir }, agentv1.StartFailure_START_FAILURE_OUTPUT_FILE},
		"link": {func(s *agentv1.StartProcess) {
			s.StdoutPath = filepath.Join(y.dir, "a link")
			require.NoError(t, os.Symlink(plain, s.StdoutPath))
		}, agentv1.StartFailure_START_FAILURE_OUTPUT_FILE},
		"hardlink": {func(s *agentv1.StartProcess) {
			s.StdoutPath = filepath.Join(y.dir, "a hardlink")
			require.NoError(t, os.Link(noFormat, s.StdoutPath))
		}, agentv1.StartFailure_START_FAILURE_OUTPUT_FILE},
		"pipe": {func(s *agentv1.StartProcess) {
			s.StderrPath = filepath.Join(y.dir, "a pipe")
			require.NoError(t, syscall.Mkfifo(s.StderrPath, 0o600))
		}, agentv1.StartFailure_START_FAILURE_OUTPUT_FILE},
		"empty":    {func(s *agentv1.StartProcess) { s.Argv = nil }, agentv1.StartFailure_START_FAILURE_INVALID},
		"nul":      {func(s *agentv1.StartProcess) { s.Argv[1] = "a\x00b" }, agentv1.StartFailure_START_FAILURE_INVALID},
		"env":      {func(s *agentv1.StartProcess) { s.Env = []string{"novalue"} }, agentv1.StartFailure_START_FAILURE_INVALID},
		"relative": {func(s *agentv1.StartProcess) { s.Dir = "here" }, agentv1.StartFailure_START_FAILURE_INVALID},
	} {
		t.Run(name, func(t *testing.T) {
			s := y.spec(name, "/bin/echo", "hello")
			c := c
			c.change(s)
			f := y.failed(s)
			require.Equal(t, c.want, f.GetKind(), f.GetMessage())
			require.NotEmpty(t, f.GetMessage())
		})
	}
	for _, path := range []string{plain, noInterpreter} {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NotEmpty(t, b, "nothing was emptied through a link")
	}
}

func TestAnAttemptIsStartedOnce(t *testing.T) {
	y := newYard(t)
	s := y.sh("once", "echo run >> ../runs; until [ -e ../go ]; do sleep 0.01; done; exit 7")
	y.start(s, s)
	first := y.started("once")
	y.start(s)
	require.NoError(t, os.WriteFile(filepath.Join(y.dir, "once", "go"), nil, 0o600))
	require.EqualValues(t, 7, y.exited("once").GetExitCode())

	// Also after its end, until it is acknowledged.
	delete(y.ended, "once")
	require.Equal(t, first.GetPid(), y.run(s).GetPid())
	require.Equal(t, "run\n", y.output("once", "runs"))
	require.NoError(t, y.Ack("once"))
	l, err := y.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, l.GetProcesses())
}

func TestUnacknowledgedEndsAreKept(t *testing.T) {
	y := newYard(t)
	y.run(y.sh("done", "exit 3"))
	bad := y.sh("bad", "")
	bad.Argv[0] = "/no/such/program"
	y.failed(bad)
	y.start(y.sh("lasting", "sleep 60"))
	y.started("lasting")
	require.NoError(t, y.Close())
	y.connect()
	l, err := y.List(t.Context())
	require.NoError(t, err)
	got := map[string]*agentv1.HeldProcess{}
	for _, h := range l.GetProcesses() {
		got[h.GetAttemptId()] = h
	}
	require.Len(t, got, 3)
	require.EqualValues(t, 3, got["done"].GetExited().GetExitCode())
	require.Equal(t, agentv1.StartFailure_START_FAILURE_PROGRAM_NOT_FOUND, got["bad"].GetStartFailed().GetKind())
	require.True(t, alive(int(got["lasting"].GetStarted().GetPid())))
	require.Nil(t, got["lasting"].GetExited())

	// What runs cannot be forgotten.
	require.NoError(t, y.Ack("done", "bad", "lasting", "unknown"))
	l, err = y.List(t.Context())
	require.NoError(t, err)
	require.Len(t, l.GetProcesses(), 1)
	require.NoError(t, y.Stop("lasting", 0))
	require.Equal(t, stopped, y.exited("lasting").GetEnd())
}

func TestTheClientIsKilledWhileTasksRun(t *testing.T) {
	y := newYard(t)
	beat := filepath.Join(y.dir, "beat")
	client := exec.Command(y.cfg.Command[0], beat)
	client.Env = append(os.Environ(), modeVariable+"=client", stateVariable+"="+y.cfg.StateDir)
	require.NoError(t, client.Start())
	y.wait(beat)
	y.start(y.sh("survivor", "until [ -e ../go ]; do sleep 0.01; done; echo done; exit 5"))
	pid := y.started("survivor").GetPid()
	require.NoError(t, y.Renew(0, 0))
	require.NoError(t, y.Close())
	require.NoError(t, client.Process.Kill())
	require.Error(t, client.Wait())

	require.NoError(t, os.WriteFile(filepath.Join(y.dir, "survivor", "go"), nil, 0o600))
	require.Eventually(t, func() bool { return !alive(int(pid)) }, patience, poll)
	y.connect()
	// Asking again, as an agent does that does not know whether it has asked, tells the end.
	e := y.run(y.sh("survivor", "exit 6"))
	require.EqualValues(t, 5, e.GetExitCode())
	require.Equal(t, pid, e.GetPid())
	require.Equal(t, "done\n", y.output("survivor", "stdout.txt"))
}

func TestTheLeaseEndsWhenTheClientIsPaused(t *testing.T) {
	y := newYard(t)
	beat := filepath.Join(y.dir, "beat")
	client := exec.CommandContext(t.Context(), y.cfg.Command[0], beat)
	client.Env = append(os.Environ(), modeVariable+"=client", stateVariable+"="+y.cfg.StateDir)
	require.NoError(t, client.Start())
	y.wait(beat)
	pids := filepath.Join(y.dir, "pids")
	y.start(y.daemon("leased", pids), y.mode("stays", "stubborn", pids), y.sh("plain", "trap '' TERM; sleep 60"))
	running := y.pids(pids, 2)
	running = append(running, int(y.started("stays").GetPid()), int(y.started("plain").GetPid()))
	// Renewed all the time, the lease lasts.
	for range 3 {
		require.NoError(t, os.Remove(beat))
		y.wait(beat)
	}
	require.True(t, alive(running[1]))
	require.NoError(t, client.Process.Signal(syscall.SIGSTOP))
	for _, id := range []string{"stays", "plain", "leased"} {
		e := y.exited(id)
		require.Equal(t, agentv1.ProcessEnd_PROCESS_END_LEASE, e.GetEnd())
		require.EqualValues(t, 9, e.GetSignal())
	}
	for _, pid := range running {
		require.Eventually(t, func() bool { return !alive(pid) }, patience, poll)
	}
	l, err := y.List(t.Context())
	require.NoError(t, err)
	require.Negative(t, l.GetLeaseNanos())
	require.Equal(t, agentv1.StartFailure_START_FAILURE_LEASE_OVER, y.failed(y.sh("late", "true")).GetKind())
	require.NoError(t, y.Renew(time.Hour, 0))
	require.Zero(t, y.run(y.sh("late", "true")).GetExitCode())
	l, err = y.List(t.Context())
	require.NoError(t, err)
	require.Greater(t, l.GetLeaseNanos(), int64(time.Minute))
	require.NoError(t, client.Process.Signal(syscall.SIGCONT))
	require.NoError(t, client.Process.Kill())
	require.Error(t, client.Wait())
}

func TestTheWallClockLimit(t *testing.T) {
	y := newYard(t)
	s := y.sh("slow", "trap 'echo asked; exit 9' TERM; while :; do sleep 0.01; done")
	s.MaxWallClockNanos = int64(200 * time.Millisecond)
	e := y.run(s)
	require.Equal(t, agentv1.ProcessEnd_PROCESS_END_WALL_CLOCK, e.GetEnd())
	require.EqualValues(t, 9, e.GetExitCode())
	require.GreaterOrEqual(t, e.GetEndedAt()-e.GetStartedAt(), s.GetMaxWallClockNanos())
	require.Equal(t, "asked\n", y.output("slow", "stdout.txt"))

	s = y.sh("fast", "exit 4")
	s.MaxWallClockNanos = int64(time.Hour)
	e = y.run(s)
	require.Equal(t, byItself, e.GetEnd())
	require.EqualValues(t, 4, e.GetExitCode())
}

func TestShutdownStopsEverything(t *testing.T) {
	y := newYard(t)
	pids := filepath.Join(y.dir, "pids")
	y.start(y.sh("polite", "trap 'exit 11' TERM; echo ready > ../ready; while :; do sleep 0.01; done"), y.daemon("daemon", pids))
	y.wait(filepath.Join(y.dir, "polite", "ready"))
	daemon := y.pids(pids, 1)[0]
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	asked := make(chan error, 1)
	go func() { asked <- y.Shutdown(ctx) }()
	e := y.exited("polite")
	require.Equal(t, agentv1.ProcessEnd_PROCESS_END_SHUTDOWN, e.GetEnd())
	require.EqualValues(t, 11, e.GetExitCode())
	for range y.Events() {
	}
	require.NoError(t, <-asked)
	require.ErrorIs(t, y.Err(), ErrClosed)
	require.ErrorIs(t, y.Start(y.sh("later", "true")), ErrClosed)
	require.False(t, alive(daemon))
	require.NoError(t, y.Close())
	require.NoError(t, ShutdownSupervisor(ctx, y.cfg))

	// What was not acknowledged is there in the next supervisor.
	y.connect()
	require.EqualValues(t, 11, y.run(y.sh("polite", "true")).GetExitCode())
}
