package replica

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestKilledProcessLosesNothingAcknowledged kills a replica without warning while it commits and takes snapshots, again and
// again. Every other time its state, which nobody syncs, is gone as well.
func TestKilledProcessLosesNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	spec := childSpec{
		ID: "a", Dir: dir, Addr: freeAddr(t), Writers: 16, Bootstrap: true, Acks: filepath.Join(dir, "acks"), SnapshotEntries: 50,
		Heartbeat: 300 * time.Millisecond, Election: 300 * time.Millisecond, Lease: 200 * time.Millisecond,
	}
	const rounds, each = 8, 1000
	known := 0
	var snapshot uint64
	for round := range rounds {
		c := startChild(t, spec)
		require.Eventually(t, func() bool { return len(c.acknowledged()) > known+each }, 30*time.Second, time.Millisecond, "round %d", round)
		snapshot = c.status().Snapshot
		c.kill()
		known = len(c.acknowledged())
		if round%2 == 1 {
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "state")))
		}
	}
	require.Positive(t, snapshot, "no snapshot was taken")
	c := startChild(t, spec)
	require.Equal(t, "ok", c.ask("stop"))
	require.Eventually(t, func() bool { return c.ask("barrier") == "ok" }, 20*time.Second, 5*time.Millisecond)
	have := c.commands()
	requireContains(t, have, c.acknowledged())
	seen := map[string]bool{}
	for _, command := range have {
		require.False(t, seen[command], "command %s was applied twice", command)
		seen[command] = true
	}
	t.Logf("%d acknowledged, %d applied, snapshot at %d", len(c.acknowledged()), len(have), snapshot)
}
