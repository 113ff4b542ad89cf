package state

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

func (c *chooser) quarantine() any {
	pool, node := c.poolID(), c.nodeID()
	if c.chance("logs", 2) {
		return &raftlogv1.RecordNodeLogs{PoolId: pool, NodeId: node, Since: c.now, Url: "s3://b/x"}
	}
	return &raftlogv1.QuarantineNode{PoolId: pool, NodeId: node, Incarnation: c.incarnation(), Quarantine: &raftlogv1.Quarantine{Reason: "why"}}
}

func (f *farm) streaks(node uint64) map[uint64]int64 {
	out := map[uint64]int64{}
	for _, s := range f.s.nodes[node].totals.Streaks {
		out[s.Job] = s.Attempts
	}
	return out
}

func TestFailuresInARowAreCounted(t *testing.T) {
	f, n1, n2, j := yard(t)
	k := f.job("k")
	f.addSpec("j", taskSpec(withRetries(1)), "a")
	f.add("j", "b", "c", "d")
	f.add("k", "a")
	f.run(n1, "j", "a", 1) // and is tried again
	f.run(n1, "j", "b", 1)
	f.run(n2, "j", "a", 1)
	f.run(n1, "k", "a", 1)
	require.Equal(t, map[uint64]int64{j: 2, k: 1}, f.streaks(n1))
	require.Equal(t, map[uint64]int64{j: 1}, f.streaks(n2))

	pools := f.s.FailingPools()
	require.Len(t, pools, 1)
	require.Equal(t, PoolKey{"acct", "p"}, pools[0].Key)
	require.Len(t, pools[0].Nodes, 2)
	one := pools[0].Nodes[0]
	require.True(t, one.Usable)
	require.Len(t, one.Streaks, 2)
	require.Equal(t, JobStreak{Job: j, JobID: "j", Attempts: 2, Last: one.Streaks[0].Last, Task: 2}, one.Streaks[0])
	require.Equal(t, "workitems/j/job-1/b", f.s.TaskDirectory(TaskKey{j, 2}))
	require.Empty(t, f.s.TaskDirectory(TaskKey{j, 77}))

	f.run(n2, "j", "c", 0)
	require.Equal(t, map[uint64]int64{j: 2, k: 1}, f.streaks(n1), "what succeeds elsewhere ends nothing here")
	require.Empty(t, f.streaks(n2))
	require.True(t, f.s.FailingPools()[0].Nodes[0].Streaks[0].Proven)
	f.run(n1, "j", "d", 0)
	require.Equal(t, map[uint64]int64{k: 1}, f.streaks(n1))
	require.Empty(t, f.s.FailingPools(), "failures of one job alone")
}

func TestStreaksOfFewJobsAreKept(t *testing.T) {
	f, n1, _, _ := yard(t)
	for i := range maxStreaks + 3 {
		id := "more-" + string(rune('a'+i))
		f.job(id)
		f.add(id, "t")
		f.run(n1, id, "t", 1)
	}
	require.Len(t, f.streaks(n1), maxStreaks)
}

func TestQuarantine(t *testing.T) {
	f, n1, _, _ := yard(t)
	f.add("j", "runs", "waits", "bad")
	f.run(n1, "j", "bad", 1)
	f.assign(n1, "j", "runs", "waits")
	f.report(n1, "j", "runs", began())
	isolate := &raftlogv1.QuarantineNode{PoolId: "p", NodeId: "n1", Incarnation: 1, Quarantine: &raftlogv1.Quarantine{Reason: "why", Time: 7}}
	stale := proto.CloneOf(isolate)
	stale.Incarnation = 9
	f.refuse(batcherr.CodeOperationInvalidForCurrentState, stale)
	f.ok(isolate)
	info, _ := f.s.NodeByUID(n1)
	require.Equal(t, apiv1.SchedulingState_SCHEDULING_STATE_DISABLED, info.Node.SchedulingState)
	require.Equal(t, f.now, info.Quarantine.Time)
	require.Equal(t, runs, f.state("j", "runs"), "what runs may end")
	f.report(n1, "j", "waits", released())
	require.True(t, f.queued("j", "waits"))
	pool, _ := f.s.Pool("acct", "p")
	require.EqualValues(t, 1, pool.Quarantined)
	f.refuse(batcherr.CodeOperationInvalidForCurrentState, isolate)

	require.Len(t, f.s.Quarantined(), 1)
	f.ok(&raftlogv1.RecordNodeLogs{PoolId: "p", NodeId: "n1", Since: info.Quarantine.Time - 1, Url: "s3://b/old"})
	require.Len(t, f.s.Quarantined(), 1, "of an earlier quarantine")
	f.ok(&raftlogv1.RecordNodeLogs{PoolId: "p", NodeId: "n1", Since: info.Quarantine.Time, Url: "s3://b/x", Files: 3})
	require.Empty(t, f.s.Quarantined())
	info, _ = f.s.NodeByUID(n1)
	require.Equal(t, "s3://b/x", info.Quarantine.LogsUrl)

	f.ok(&raftlogv1.SetNodeScheduling{PoolId: "p", NodeId: "n1", Enabled: true})
	info, _ = f.s.NodeByUID(n1)
	require.Nil(t, info.Quarantine)
	require.Empty(t, f.streaks(n1), "the counting begins anew")
}
