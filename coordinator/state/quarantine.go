package state

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// maxStreaks is of how many jobs a node's failures are remembered: those in which something failed last.
const maxStreaks = 8

// tally records how an attempt ended on a node.
func (t *txn) tally(n *node, key TaskKey, succeeded bool) {
	totals := t.nodeTotals(n)
	totals.TasksRun++
	ofJob := func(s *raftlogv1.FailureStreak) bool { return s.Job == key.Job }
	if succeeded {
		totals.TasksSucceeded++
		totals.LastSuccess = t.now
		totals.Streaks = slices.DeleteFunc(totals.Streaks, ofJob)
		return
	}
	streak := &raftlogv1.FailureStreak{Job: key.Job}
	if i := slices.IndexFunc(totals.Streaks, ofJob); i >= 0 {
		streak = totals.Streaks[i]
		totals.Streaks = slices.Delete(totals.Streaks, i, i+1)
	}
	streak.Attempts++
	streak.Last, streak.Task = t.now, key.Task
	totals.Streaks = append(totals.Streaks, streak)
	totals.Streaks = totals.Streaks[max(0, len(totals.Streaks)-maxStreaks):]
}

// quarantineNode takes a node out of service. What runs there may end; what has not begun goes back.
func (t *txn) quarantineNode(c *raftlogv1.QuarantineNode) Result {
	p, n, err := t.nodeOf(c.PoolId, c.NodeId)
	if err != nil {
		return refused(err)
	}
	if n.rec.Incarnation != c.Incarnation || !n.ready() {
		return refused(batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState, "the node has changed, or is out of service"))
	}
	t.editNode(p, n, func(rec *raftlogv1.NodeRecord) {
		rec.Node.SchedulingState = apiv1.SchedulingState_SCHEDULING_STATE_DISABLED
		rec.Quarantine = proto.CloneOf(c.Quarantine)
		rec.Quarantine.Time = t.now
	})
	t.stopAll(n, unstartedOnly)
	return Result{}
}

func (t *txn) recordNodeLogs(c *raftlogv1.RecordNodeLogs) Result {
	p, n, err := t.nodeOf(c.PoolId, c.NodeId)
	if err != nil {
		return refused(err)
	}
	if n.rec.Quarantine == nil || n.rec.Quarantine.Time != c.Since {
		return Result{}
	}
	t.editNode(p, n, func(rec *raftlogv1.NodeRecord) {
		q := rec.Quarantine
		q.LogsDone, q.LogsUrl, q.LogFiles, q.LogsError = true, c.Url, c.Files, c.Error
	})
	return Result{}
}

// absolve begins to count a node's failures anew.
func (t *txn) absolve(n *node) {
	if len(n.totals.Streaks) > 0 {
		t.nodeTotals(n).Streaks = nil
	}
}

// NodeHealth is what tells a node that breaks tasks from one that runs broken tasks.
type NodeHealth struct {
	UID         uint64
	ID          string
	Incarnation uint32
	// Usable: it can be given tasks; Quarantined: it can't because too much failed there.
	Usable, Quarantined bool
	LastSuccess         int64
	Streaks             []JobStreak
}

// JobStreak is a streak of failures of a job's attempts on a node.
type JobStreak struct {
	Job      uint64
	JobID    string
	Attempts int64
	Last     int64
	// Proven: tasks of the job have succeeded, somewhere.
	Proven bool
	// Task is the number of the task that failed last.
	Task uint64
}

// PoolHealth is the health of all nodes of a pool.
type PoolHealth struct {
	Key   PoolKey
	Nodes []NodeHealth
}

// FailingPools returns the pools on whose nodes in service attempts of at least two jobs have failed. It takes time for these nodes and their pools alone, and
// looks once at each other node; it reads nothing from the disk.
func (s *Store) FailingPools() (out []PoolHealth) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	seen := map[PoolKey]bool{}
	for _, uid := range sortedKeys(s.failing()) {
		rec := s.nodes[uid].rec
		key := PoolKey{rec.Account, rec.PoolId}
		p, ok := s.pool(key.Account, key.ID)
		if !ok || seen[key] {
			continue
		}
		seen[key] = true
		health := PoolHealth{Key: key}
		p.nodes.Ascend(func(n *node) bool {
			health.Nodes = append(health.Nodes, s.health(n))
			return true
		})
		out = append(out, health)
	}
	return out
}

func (h *hot) failing() map[uint64]bool {
	out := map[uint64]bool{}
	for uid, n := range h.nodes {
		if len(n.totals.Streaks) > 1 && n.ready() {
			out[uid] = true
		}
	}
	return out
}

func (h *hot) health(n *node) NodeHealth {
	out := NodeHealth{
		UID: n.rec.Uid, ID: n.rec.Node.Id, Incarnation: n.rec.Incarnation, Usable: n.ready(), Quarantined: n.rec.Quarantine != nil,
		LastSuccess: n.totals.LastSuccess,
	}
	for _, streak := range n.totals.Streaks {
		if j := h.jobByUID[streak.Job]; j != nil {
			out.Streaks = append(out.Streaks, JobStreak{
				Job: streak.Job, JobID: j.rec.Job.Id, Attempts: streak.Attempts, Last: streak.Last, Proven: j.counts.Succeeded > 0, Task: streak.Task,
			})
		}
	}
	return out
}

// TaskDirectory is a task's directory below the root of its node; empty where the task is gone.
func (s *Store) TaskDirectory(key TaskKey) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	j := s.jobByUID[key.Job]
	if j == nil {
		return ""
	}
	entry, err := s.entryOf(j, key.Task)
	if err != nil || entry.GetId() == "" {
		return ""
	}
	return lifecycle.TaskDirectory(j.rec.Job.Id, entry.Id)
}

// Quarantined returns the nodes in quarantine whose logs have not been saved.
func (s *Store) Quarantined() (out []*raftlogv1.NodeRecord) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, uid := range sortedKeys(s.nodes) {
		if rec := s.nodes[uid].rec; rec.Quarantine != nil && !rec.Quarantine.LogsDone {
			out = append(out, rec)
		}
	}
	return out
}
