package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

// lacking ends a test that needs what the machine has not: that is a fault where everything has to be tested.
func lacking(t *testing.T, format string, args ...any) {
	t.Helper()
	what := fmt.Sprintf(format, args...)
	require.NotEqual(t, "true", os.Getenv("CI"), "the test needs %s", what)
	t.Skip("NOT TESTED: the test needs " + what)
}

// bounded starts an attempt with limits; a machine that cannot set them says so, which is the other half of the promise.
func bounded(t *testing.T, y *yard, spec *agentv1.StartProcess) *agentv1.ProcessExited {
	t.Helper()
	y.start(spec)
	id := spec.GetAttemptId()
	y.until(func() bool { return y.ended[id] != nil || y.fails[id] != nil })
	if failed := y.fails[id]; failed != nil {
		for _, controller := range []string{"memory", "cpu", "pids"} {
			_, err := ownCgroup(controller)
			require.Error(t, err, "limits can be set here: %s", failed.GetMessage())
		}
		require.Contains(t, failed.GetMessage(), "limit")
		lacking(t, "control groups with limits: %s", failed.GetMessage())
	}
	return y.ended[id]
}

func TestATaskStaysInItsMemory(t *testing.T) {
	for _, mode := range []string{"supervisor", oldGroups} {
		y := newYardOf(t, mode)
		greedy := y.sh("greedy", "head -c 200000000 /dev/zero | tail")
		greedy.Limits = &agentv1.ProcessLimits{GroupMemoryBytes: 32 << 20}
		bounded(t, y, greedy)
		modest := y.sh("modest", "head -c 200000000 /dev/zero | tail | wc -c")
		require.Zero(t, y.run(modest).GetExitCode())
		require.Equal(t, "200000000\n", y.output("modest", "stdout.txt"), "no limit of another stays behind")
		require.NotZero(t, y.ended["greedy"].GetExitCode(), "it is killed for its greed")
		require.Empty(t, y.output("greedy", "stdout.txt"))
	}
}

func TestATaskHasItsShareOfProcessorsAndProcesses(t *testing.T) {
	y := newYard(t)
	slow := y.sh("slow", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done")
	slow.Limits = &agentv1.ProcessLimits{GroupCpuMillis: 200}
	e := bounded(t, y, slow)
	require.Zero(t, e.GetExitCode())
	used := time.Duration(e.GetUserNanos() + e.GetSystemNanos())
	require.Greater(t, time.Duration(e.GetEndedAt()-e.GetStartedAt()), 3*used, "a fifth of a processor")

	many := y.sh("many", "for i in 1 2 3 4 5 6 7 8; do sleep 30 & done; wait")
	many.Limits = &agentv1.ProcessLimits{GroupProcesses: 4}
	require.NotZero(t, bounded(t, y, many).GetExitCode())
}

func TestLimitedGroupsLeaveNothing(t *testing.T) {
	y := newYard(t)
	s := y.sh("one", "cat /proc/self/cgroup")
	s.Limits = &agentv1.ProcessLimits{GroupMemoryBytes: 64 << 20, GroupProcesses: 50}
	bounded(t, y, s)
	for line := range strings.Lines(y.output("one", "stdout.txt")) {
		for _, controller := range []string{"memory", "pids"} {
			path, ok := membership(line, controller)
			if !ok {
				continue
			}
			own, err := ownCgroup(controller)
			require.NoError(t, err)
			require.Contains(t, path, "/batchyard-")
			dir := filepath.Join(own, filepath.Base(filepath.Dir(path)), filepath.Base(path))
			require.Eventually(t, func() bool { _, err := os.Stat(dir); return os.IsNotExist(err) }, patience, poll, dir)
		}
	}
}

func TestNoNewPrivileges(t *testing.T) {
	y := newYard(t)
	for _, set := range []bool{true, false} {
		s := y.sh(fmt.Sprint(set), "grep NoNewPrivs /proc/self/status")
		s.NoNewPrivileges = set
		y.run(s)
	}
	require.Equal(t, "NoNewPrivs:\t1\n", y.output("true", "stdout.txt"))
	require.Equal(t, "NoNewPrivs:\t0\n", y.output("false", "stdout.txt"))
}

func TestTheFirstThreadDoesNotEnd(t *testing.T) {
	for range 200 {
		onThread(func() { assert.NotEqual(t, unix.Getpid(), unix.Gettid()) })
	}
}

// A group that holds processes can't pass controllers on: the supervisor's groups are then beside it.
func TestControllersBesideAGroupWithProcesses(t *testing.T) {
	own, err := ownCgroup("")
	if err != nil {
		lacking(t, "control groups of version 2: %v", err)
	}
	text, err := os.ReadFile(filepath.Join(own, "cgroup.controllers"))
	require.NoError(t, err)
	controllers := strings.Fields(string(text))
	top := filepath.Join(own, fmt.Sprintf("batchyard-test-%d", os.Getpid()))
	if err := os.Mkdir(top, 0o755); err != nil || len(controllers) == 0 {
		lacking(t, "control groups of version 2 with controllers (%v), and the right to make them: %v", controllers, err)
	}
	t.Cleanup(func() { removeGroups(top, true) })
	if err := os.WriteFile(filepath.Join(own, "cgroup.subtree_control"), []byte("+"+controllers[0]), 0); err != nil {
		lacking(t, "the right to pass controllers on: %v", err)
	}
	service := filepath.Join(top, "service")
	require.NoError(t, os.Mkdir(service, 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(service, "x"), 0o755))
	sleeper := exec.Command("sleep", "1000")
	require.NoError(t, sleeper.Start())
	t.Cleanup(func() { _ = sleeper.Process.Kill(); _ = sleeper.Wait() })
	require.NoError(t, os.WriteFile(filepath.Join(service, "cgroup.procs"), []byte(strconv.Itoa(sleeper.Process.Pid)), 0))

	l := newLimiters("x")
	l.ensure2(filepath.Join(service, "x"), controllers[:1])
	require.Equal(t, filepath.Join(top, "x"), l.dir)
	require.True(t, l.v2[controllers[0]])
	require.NoError(t, os.Mkdir(filepath.Join(l.dir, "task"), 0o755))
	text, err = os.ReadFile(filepath.Join(l.dir, "task", "cgroup.controllers"))
	require.NoError(t, err)
	require.Contains(t, strings.Fields(string(text)), controllers[0])
	l.close()
	require.NoDirExists(t, filepath.Join(top, "x"))
}
