package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// withAndWithoutGroups runs a test with control groups and as on a system that has none.
func withAndWithoutGroups(t *testing.T, test func(t *testing.T, y *yard)) {
	t.Run("groups", func(t *testing.T) { test(t, newYard(t)) })
	if _, err := ownCgroup("pids"); err == nil {
		t.Run("version 1", func(t *testing.T) { test(t, newYardOf(t, oldGroups)) })
	}
	t.Run("no groups", func(t *testing.T) { test(t, newYardOf(t, withoutGroups)) })
}

func TestGracefulStop(t *testing.T) {
	withAndWithoutGroups(t, func(t *testing.T, y *yard) {
		// The child hears it too, and one that is suspended wakes up for it.
		y.start(y.sh("polite", `
			sh -c 'trap "echo child; exit" TERM; echo > ../ready1; while :; do sleep 0.01; done' &
			trap "wait; echo parent; exit 12" TERM; echo > ../ready2; while :; do sleep 0.01; done`))
		pid := int(y.started("polite").GetPid())
		y.wait(filepath.Join(y.dir, "polite", "ready1"))
		y.wait(filepath.Join(y.dir, "polite", "ready2"))
		require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
		require.NoError(t, y.Stop("polite", patience))
		e := y.exited("polite")
		require.Equal(t, stopped, e.GetEnd())
		require.EqualValues(t, 12, e.GetExitCode())
		require.Zero(t, e.GetSignal())
		require.ElementsMatch(t, []string{"child", "parent"}, strings.Fields(y.output("polite", "stdout.txt")))
	})
}

func TestForcedStopReachesTheWholeTree(t *testing.T) {
	withAndWithoutGroups(t, func(t *testing.T, y *yard) {
		pids := filepath.Join(y.dir, "pids")
		other := filepath.Join(y.dir, "others")
		y.start(y.daemon("stubborn", pids), y.daemon("bystander", other))
		tree := append(y.pids(pids, 1), int(y.started("stubborn").GetPid()))
		bystanders := append(y.pids(other, 1), int(y.started("bystander").GetPid()))
		require.NoError(t, y.Stop("stubborn", 50*time.Millisecond))
		e := y.exited("stubborn")
		require.Equal(t, stopped, e.GetEnd())
		require.EqualValues(t, 9, e.GetSignal())
		if !y.groups {
			// Which of two attempts has made a process that has left its session, its parent, its directory and its files is not
			// known: it ends with the last that could have.
			bystanders, tree = append(bystanders, tree[0]), tree[1:]
		}
		for _, pid := range tree {
			require.False(t, alive(pid), "of the tree")
		}
		for _, pid := range bystanders {
			require.True(t, alive(pid), "of another attempt")
		}
		// A long grace is cut short by a second stop.
		require.NoError(t, y.Stop("bystander", time.Hour))
		require.NoError(t, y.Stop("bystander", 0))
		require.EqualValues(t, 9, y.exited("bystander").GetSignal())
		for _, pid := range bystanders {
			require.False(t, alive(pid))
		}
	})
}

func TestWhatIsLeftBehindIsKilledBeforeTheEndIsReported(t *testing.T) {
	withAndWithoutGroups(t, func(t *testing.T, y *yard) {
		// It works elsewhere, in a session of its own, with other output; all that is left is who adopted it.
		pids := filepath.Join(y.dir, "pids")
		e := y.run(y.sh("leaver", fmt.Sprintf("%s=daemon %s %s; until [ -e %s ]; do sleep 0.01; done; exit 3",
			modeVariable, y.cfg.Command[0], pids, pids)))
		require.EqualValues(t, 3, e.GetExitCode())
		require.Equal(t, byItself, e.GetEnd())
		b, err := os.ReadFile(pids)
		require.NoError(t, err)
		for _, text := range strings.Fields(string(b)) {
			pid, err := strconv.Atoi(text)
			require.NoError(t, err)
			require.False(t, alive(pid))
		}
		// Background jobs of a shell.
		e = y.run(y.sh("jobs", "sleep 1000 & echo $! > ../pid; sleep 1000 & exit 0"))
		require.Zero(t, e.GetExitCode())
		pid := y.pids(filepath.Join(y.dir, "jobs", "pid"), 1)[0]
		require.False(t, alive(pid))
	})
}

func TestAProcessWhoseFirstThreadHasEndedIsKilled(t *testing.T) {
	withAndWithoutGroups(t, func(t *testing.T, y *yard) {
		pids := filepath.Join(y.dir, "pids")
		script := fmt.Sprintf("%s=headless setsid %s %s & until [ -s %s ]; do sleep 0.01; done",
			modeVariable, y.cfg.Command[0], pids, pids)
		require.Zero(t, y.run(y.sh("headless", script)).GetExitCode())
		pid := y.pids(pids, 1)[0]
		// Not left to run unseen: it is gone as soon as it is reaped.
		require.Eventually(t, func() bool {
			_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
			return os.IsNotExist(err)
		}, patience, poll)
	})
}

func TestAForkStormIsKilled(t *testing.T) {
	withAndWithoutGroups(t, func(t *testing.T, y *yard) {
		y.start(y.sh("storm", `
			trap '' TERM
			echo > ../ready
			while :; do (trap '' TERM; sleep 0.2; sleep 1000) & sleep 0.005; done`), y.sh("calm", "sleep 1000"))
		calm := int(y.started("calm").GetPid())
		y.wait(filepath.Join(y.dir, "storm", "ready"))
		root := int(y.started("storm").GetPid())
		require.Eventually(t, func() bool { return len(inSession(t, root)) > 30 }, patience, poll)
		require.NoError(t, y.Stop("storm", 20*time.Millisecond))
		require.EqualValues(t, 9, y.exited("storm").GetSignal())
		require.Empty(t, inSession(t, root))
		require.True(t, alive(calm))
	})
}

func inSession(t *testing.T, session int) []int {
	all, err := processes()
	require.NoError(t, err)
	var pids []int
	for pid, p := range all {
		if p.session == session && !p.dead() {
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestAKilledSupervisorsTasksAreEndedAndLost(t *testing.T) {
	withAndWithoutGroups(t, func(t *testing.T, y *yard) {
		pids := filepath.Join(y.dir, "pids")
		y.run(y.sh("ended", "exit 8"))
		y.run(y.sh("acknowledged", "exit 9"))
		require.NoError(t, y.Ack("acknowledged"))
		y.start(y.sh("lost", "sleep 1000 & sleep 1000"), y.daemon("daemon", pids))
		strays := y.pids(pids, 1)
		for _, id := range []string{"lost", "daemon"} {
			pid := int(y.started(id).GetPid())
			strays = append(strays, inSession(t, pid)...)
		}
		// A stranger in the same directory is none of theirs.
		stranger := exec.Command("sleep", "1000")
		stranger.Dir = filepath.Join(y.dir, "lost", "wd")
		require.NoError(t, stranger.Start())
		_, err := y.List(t.Context())
		require.NoError(t, err)

		dead := y.pid()
		require.NoError(t, syscall.Kill(dead, syscall.SIGKILL))
		for range y.Events() {
		}
		require.ErrorIs(t, y.Err(), ErrClosed)
		require.NoError(t, y.Close())
		require.True(t, alive(int(y.started("daemon").GetPid())), "tasks outlive a killed supervisor")
		// The killed one may still be closing its socket.
		y.connect()
		require.NotEqual(t, dead, y.pid())
		for i, pid := range strays {
			if i == 0 && !y.groups {
				// Without a group nothing tells whose a process is that has left its session, its directory and its files.
				require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
				continue
			}
			require.False(t, alive(pid), "stray %d", i)
		}
		require.True(t, alive(stranger.Process.Pid))
		require.NoError(t, stranger.Process.Kill())
		require.Error(t, stranger.Wait())

		l, err := y.List(t.Context())
		require.NoError(t, err)
		got := map[string]*agentv1.ProcessExited{}
		for _, h := range l.GetProcesses() {
			got[h.GetAttemptId()] = h.GetExited()
		}
		require.Len(t, got, 3)
		require.EqualValues(t, 8, got["ended"].GetExitCode())
		require.Equal(t, agentv1.ProcessEnd_PROCESS_END_LOST, got["lost"].GetEnd())
		require.Equal(t, agentv1.ProcessEnd_PROCESS_END_LOST, got["daemon"].GetEnd())
		require.EqualValues(t, -1, got["lost"].GetExitCode())
		require.Positive(t, got["lost"].GetStartedAt())
		// A lost attempt is not started again.
		require.Equal(t, agentv1.ProcessEnd_PROCESS_END_LOST, y.run(y.sh("lost", "true")).GetEnd())
	})
}

func TestAProcessThatHasGotThePidIsNotSignalled(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	require.NoError(t, cmd.Start())
	p, err := readStat(cmd.Process.Pid)
	require.NoError(t, err)
	older := p
	older.start--
	require.ErrorIs(t, older.signal(unix.SIGKILL), unix.ESRCH)
	require.ErrorIs(t, older.signalByPID(unix.SIGKILL), unix.ESRCH)
	require.True(t, alive(p.pid))

	// Neither is one with the pid of a recorded attempt that was created at another time.
	at := p.start * tick
	record := func(from, to int64) []stray {
		return []stray{{started: &agentv1.ProcessStarted{Pid: int32(p.pid), CreatedFrom: from, CreatedTo: to}}}
	}
	require.True(t, belongs(p, record(at, at)))
	require.False(t, belongs(p, record(at-5*tick, at-2*tick)))
	require.False(t, belongs(p, record(at+2*tick, at+5*tick)))

	require.NoError(t, p.signal(unix.SIGKILL))
	require.Error(t, cmd.Wait())
	require.ErrorIs(t, p.signal(unix.SIGKILL), unix.ESRCH)
}

func TestParseStat(t *testing.T) {
	p, err := parseStat([]byte("123 (a) b) (c) S 7 8 9 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 4 0 987654 1 2 3"))
	require.NoError(t, err)
	require.Equal(t, procStat{pid: 123, ppid: 7, session: 9, state: 'S', threads: 4, start: 987654}, p)
	for _, bad := range []string{"", "1", "1 (x", "1 (x) S", ")(", "x (y) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19"} {
		_, err := parseStat([]byte(bad))
		require.ErrorIs(t, err, errStat, bad)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("123 (a) b) (c) S 7 8 9 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 987654 1 2 3"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if _, err := parseStat(line); err != nil {
			require.ErrorIs(t, err, errStat)
		}
	})
}

func TestFindCgroup(t *testing.T) {
	const mounts = "25 30 0:23 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n" +
		"26 30 0:24 /slice /sys/fs/cgroup/unified rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
	for membership, want := range map[string]string{
		"1:cpu:/x\n0::/slice/unit\n": "/sys/fs/cgroup/unified/unit",
		"0::/slice\n":                "/sys/fs/cgroup/unified",
	} {
		got, err := findCgroup(membership, mounts, "")
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, membership := range []string{"", "1:cpu:/\n", "0::/slices\n", "0::/other\n"} {
		_, err := findCgroup(membership, mounts, "")
		require.Error(t, err, membership)
	}
	got, err := findCgroup("3:cpu,cpuacct:/x\n0::/\n", "25 30 0:23 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n", "cpu")
	require.NoError(t, err)
	require.Equal(t, "/sys/fs/cgroup/cpu/x", got)
	_, err = findCgroup("3:cpuacct:/x\n", mounts, "cpu")
	require.Error(t, err)
}
