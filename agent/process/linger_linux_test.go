package process

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

// leftBehind starts a command that leaves a process behind, and returns that once the supervisor says that it lingers.
func (y *yard) leftBehind(id string, edits ...func(*agentv1.StartProcess)) (pid int) {
	y.t.Helper()
	s := y.sh(id, "sleep 1000 & echo $! > ../pid; exit 0")
	s.Lingers, s.GraceNanos = true, int64(time.Second)
	for _, edit := range edits {
		edit(s)
	}
	y.start(s)
	y.until(func() bool { return y.left[id] })
	pid = y.pids(y.dir+"/"+id+"/pid", 1)[0]
	require.True(y.t, alive(pid))
	return pid
}

func TestWhatLingersGoesOnUntilItIsStopped(t *testing.T) {
	for _, mode := range []string{"supervisor", "without groups"} {
		t.Run(mode, func(t *testing.T) {
			y := newYard(t)
			if mode != "supervisor" {
				y = newYardOf(t, withoutGroups)
			}
			pid := y.leftBehind("a")
			require.Zero(t, y.run(y.sh("beside", "true")).GetExitCode(), "another attempt ends beside it")
			require.True(t, alive(pid))

			// A new agent learns of it.
			require.NoError(t, y.Close())
			y.connect()
			list, err := y.List(t.Context())
			require.NoError(t, err)
			found := false
			for _, held := range list.GetProcesses() {
				found = found || held.GetAttemptId() == "a" && held.GetLingers() != nil && held.GetExited() == nil
			}
			require.True(t, found)
			require.NoError(t, y.Stop("a", time.Second))
			e := y.exited("a")
			require.Equal(t, stopped, e.GetEnd())
			require.Zero(t, e.GetExitCode())
			require.False(t, alive(pid))
		})
	}
}

func TestWhatLingersEnds(t *testing.T) {
	y := newYard(t)
	failing := y.sh("fails", "sleep 1000 & echo $! > ../pid; exit 3")
	failing.Lingers = true
	require.EqualValues(t, 3, y.run(failing).GetExitCode(), "only what has succeeded lingers")
	require.False(t, alive(y.pids(y.dir+"/fails/pid", 1)[0]))

	pid := y.leftBehind("limited", func(s *agentv1.StartProcess) { s.MaxWallClockNanos = int64(2 * time.Second) })
	require.Equal(t, agentv1.ProcessEnd_PROCESS_END_WALL_CLOCK, y.exited("limited").GetEnd())
	require.False(t, alive(pid))

	stubborn := func(s *agentv1.StartProcess) {
		s.Argv[2] = "(trap '' TERM; while :; do sleep 0.1; done) & echo $! > ../pid; exit 0"
	}
	pid = y.leftBehind("stubborn", stubborn)
	require.NoError(t, y.Stop("stubborn", 50*time.Millisecond))
	y.exited("stubborn")
	require.False(t, alive(pid))

	pid = y.leftBehind("leased")
	require.NoError(t, y.Renew(100*time.Millisecond, 0))
	require.Equal(t, agentv1.ProcessEnd_PROCESS_END_LEASE, y.exited("leased").GetEnd())
	require.False(t, alive(pid))
}
