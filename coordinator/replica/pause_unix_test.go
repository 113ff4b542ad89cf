//go:build unix

package replica

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPausedLeadersNeverMakeReplicasDiverge stops and resumes whichever process leads, under writers in all of them. With the
// library's shortcut for heartbeats replicas come to differ within some hundred pauses when the log is fast; see transport.
// BATCHYARD_PAUSES sets the number of pauses, BATCHYARD_PAUSE_DIR where the logs lie: a fast place finds more.
func TestPausedLeadersNeverMakeReplicasDiverge(t *testing.T) {
	pauses := 25
	if text := os.Getenv("BATCHYARD_PAUSES"); text != "" {
		var err error
		pauses, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	const heartbeat = 100 * time.Millisecond
	children := pausedCluster(t, heartbeat)
	random := rand.New(rand.NewPCG(1, uint64(pauses)))
	leaders := map[string]bool{}
	began := time.Now()
	var firstTerm, lastTerm uint64
	for range pauses {
		leader, status := leadingChild(t, children)
		if firstTerm == 0 {
			firstTerm = status.Term
		}
		lastTerm = status.Term
		leaders[leader.spec.ID] = true
		leader.signal(syscall.SIGSTOP)
		<-time.After(heartbeat + time.Duration(random.Int64N(int64(3*heartbeat))))
		leader.signal(syscall.SIGCONT)
	}
	acknowledged := settle(t, children)
	rate := float64(len(acknowledged)) / time.Since(began).Seconds()
	t.Logf("%d pauses, terms %d to %d, %d leaders, %d commands acknowledged, %.0f/s", pauses, firstTerm, lastTerm, len(leaders), len(acknowledged), rate)

	require.Greater(t, lastTerm-firstTerm, uint64(pauses/4), "pauses hardly ever changed the leader")
	require.Greater(t, len(leaders), 1, "one replica led all the time")
	require.Greater(t, rate, 50.0, "too few commands to prove anything")
	reads := 0
	for _, c := range children {
		n, err := strconv.Atoi(c.ask("reads"))
		require.NoError(t, err)
		reads += n
	}
	require.Greater(t, reads, 10*pauses, "too few reads to prove anything")
	first := children[0].commands()
	requireContains(t, first, acknowledged)
	for _, c := range children {
		require.True(t, slices.Equal(first, c.commands()), "replicas a and %s hold different commands", c.spec.ID)
		require.Positive(t, c.status().Compared, "replica %s never compared digests", c.spec.ID)
	}
}

// pausedCluster is three child processes, all voters.
func pausedCluster(t *testing.T, heartbeat time.Duration) []*child {
	t.Helper()
	base := os.Getenv("BATCHYARD_PAUSE_DIR")
	if base == "" {
		base = t.TempDir()
	}
	var children []*child
	var dirs, acks []string
	for range 3 {
		dir, err := os.MkdirTemp(base, "replica-")
		require.NoError(t, err)
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		dirs, acks = append(dirs, dir), append(acks, filepath.Join(dir, "acks"))
	}
	for i, dir := range dirs {
		children = append(children, startChild(t, childSpec{
			ID: string(rune('a' + i)), Dir: dir, Addr: freeAddr(t), Writers: 10, Bootstrap: i == 0,
			Pace: time.Millisecond, Heartbeat: heartbeat, Election: heartbeat, Lease: heartbeat - time.Millisecond,
			Acks: acks[i], Witnesses: acks,
		}))
	}
	for _, c := range children[1:] {
		require.Eventually(t, func() bool {
			for _, leader := range children {
				if leader.ask("join "+c.spec.ID+" "+c.spec.Addr) == "ok" {
					return true
				}
			}
			return false
		}, 30*time.Second, 50*time.Millisecond, "%s cannot join", c.spec.ID)
	}
	return children
}

func leadingChild(t *testing.T, children []*child) (leader *child, status Status) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		for _, c := range children {
			if s := c.status(); s.State == "Leader" && s.Term > status.Term {
				leader, status = c, s
			}
		}
		if leader != nil {
			return leader, status
		}
	}
	require.Fail(t, "no leader")
	return nil, Status{}
}

// settle stops the writers, waits until all replicas have applied the same entries, and returns what was acknowledged.
func settle(t *testing.T, children []*child) (acknowledged []string) {
	t.Helper()
	for _, c := range children {
		require.Equal(t, "ok", c.ask("stop"))
	}
	for _, c := range children {
		acknowledged = append(acknowledged, c.acknowledged()...)
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		want, equal := children[0].status(), true
		for _, c := range children[1:] {
			s := c.status()
			equal = equal && s.DigestIndex == want.DigestIndex && s.LastIndex == want.LastIndex && s.CommitIndex == want.LastIndex
		}
		if equal {
			for _, c := range children[1:] {
				require.Equal(t, want.Digest, c.status().Digest, "replicas a and %s differ at index %d", c.spec.ID, want.DigestIndex)
			}
			return acknowledged
		}
		require.True(t, time.Now().Before(deadline), "replicas do not settle")
	}
}
