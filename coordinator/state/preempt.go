package state

import (
	"cmp"
	"slices"

	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// preemptible says whether nodes hold something of the job that gives way to jobs of a higher priority.
func (j *job) preemptible() bool {
	return len(j.held) > 0 && j.rec.Job.State == jobActive && j.rec.Job.GetAllowTaskPreemption()
}

// givesWay says whether the task may be stopped for tasks of jobs of a higher priority. A manager task is not: all that its job is to do depends on it.
func (j *job) givesWay(key TaskKey) bool {
	return j.preemptible() && (key.Task != managerTask || j.rec.Job.JobManagerTask == nil)
}

// preemptTasks stops attempts that give way. Their tasks are queued again when their nodes have released them.
func (t *txn) preemptTasks(c *raftlogv1.PreemptTasks) Result {
	for _, ref := range c.Attempts {
		key := TaskKey{ref.Job, ref.Task}
		j := t.jobByUID[key.Job]
		if j == nil || !j.givesWay(key) {
			continue
		}
		for _, uid := range j.held[key] {
			if h := t.nodes[uid].held[key]; h.Attempt == ref.Attempt && h.live() {
				t.stopHeld(j, key)
				break
			}
		}
	}
	return Result{}
}

// Victim is an attempt that gives way to tasks of a higher priority, on one of the nodes that hold it.
type Victim struct {
	AttemptKey
	Node     uint64
	Priority int32
	Slots    int32
	// Started is when it began, Unix nanoseconds; 0: it has not begun.
	Started int64
}

// Victims returns what gives way in a pool to jobs of a higher priority than that of all of them: those of the lowest priority first, and of these what has not
// begun and what began last. Of at most limit attempts, so that what is asked for often stays small.
func (s *Store) Victims(key PoolKey, below int32, limit int) (out []Victim) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, ok := s.pool(key.Account, key.ID)
	if !ok {
		return nil
	}
	var jobs []*job
	for _, j := range p.jobs {
		if j.preemptible() && j.rec.Job.GetPriority() < below {
			jobs = append(jobs, j)
		}
	}
	slices.SortFunc(jobs, func(a, b *job) int {
		return cmp.Or(cmp.Compare(a.rec.Job.GetPriority(), b.rec.Job.GetPriority()), cmp.Compare(a.rec.Uid, b.rec.Uid))
	})
	for _, j := range jobs {
		for task, nodes := range j.held {
			if len(out) >= limit {
				break
			}
			for _, uid := range nodes {
				n := s.nodes[uid]
				if h := n.held[task]; h.live() && !h.Stopping && j.givesWay(task) && n.rec.PoolId == p.rec.Pool.Id {
					out = append(out, Victim{AttemptKey{task, h.Attempt}, uid, j.rec.Job.GetPriority(), h.Slots, h.exec.StartTime})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b Victim) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), compareStarts(a.Started, b.Started),
			cmp.Compare(a.Job, b.Job), cmp.Compare(b.Task, a.Task), cmp.Compare(a.Node, b.Node))
	})
	return out
}

// compareStarts puts what has not begun first, then what began last.
func compareStarts(a, b int64) int {
	if a == 0 || b == 0 {
		return cmp.Compare(min(a, 1), min(b, 1))
	}
	return cmp.Compare(b, a)
}
