package process

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

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
		t.Skip("no control groups with limits: " + failed.GetMessage())
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
