package state

import (
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// What these calls return is shared and must not be changed: records are replaced, never edited.

// PoolInfo is a pool with what is counted rather than stored.
type PoolInfo struct {
	*raftlogv1.PoolRecord
	Dedicated, LowPriority int32
	// Nodes that are out of service because too much failed on them.
	Quarantined int32
}

// NodeInfo is a node with what is counted rather than stored.
type NodeInfo struct {
	*raftlogv1.NodeRecord
	Totals *raftlogv1.NodeTotals
	// Tasks that run, and attempts that it holds altogether (also those ahead of a free slot, and those being stopped).
	Running, Held int
	// Slots of the tasks that run.
	RunningSlots int32
}

// JobInfo is a job with its counts.
type JobInfo struct {
	*raftlogv1.JobRecord
	Counts *raftlogv1.JobCounts
	// Attempts that nodes hold.
	Held int
	// Tasks that are ready to run.
	Queued uint64
	// Releasing: tasks have dependents that have not been told yet what has become of them, see AdvanceReleases.
	Releasing bool
}

// Account returns an account's record.
func (s *Store) Account(id string) (*raftlogv1.AccountRecord, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	rec, ok := s.accounts[id]
	return rec, ok
}

// Accounts returns all accounts, in no order.
func (s *Store) Accounts() []*raftlogv1.AccountRecord {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]*raftlogv1.AccountRecord, 0, len(s.accounts))
	for _, rec := range s.accounts {
		out = append(out, rec)
	}
	return out
}

// JoinToken returns a join token's record.
func (s *Store) JoinToken(id string) (*raftlogv1.JoinTokenRecord, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	rec, ok := s.tokens[id]
	return rec, ok
}

// Members returns the coordinators, in no order.
func (s *Store) Members() []*apiv1.Member {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]*apiv1.Member, 0, len(s.members))
	for _, rec := range s.members {
		out = append(out, rec.Member)
	}
	return out
}

// Pool returns a pool.
func (s *Store) Pool(account, id string) (PoolInfo, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, ok := s.pool(account, id)
	if !ok {
		return PoolInfo{}, false
	}
	return p.info(), true
}

func (p *pool) info() PoolInfo {
	out := PoolInfo{PoolRecord: p.rec}
	p.nodes.Ascend(func(n *node) bool {
		if n.rec.Node.GetIsDedicated() {
			out.Dedicated++
		} else {
			out.LowPriority++
		}
		if n.rec.Quarantine != nil {
			out.Quarantined++
		}
		return true
	})
	return out
}

// Pools returns up to limit pools of an account in the order of their ids, those after the id given. An empty account means all accounts.
func (s *Store) Pools(account, after string, limit int) []PoolInfo {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []PoolInfo
	start := ""
	if account != "" {
		start = scopedKey(account, after)
	}
	s.pools.AscendGreaterOrEqual(&pool{key: start}, func(p *pool) bool {
		if account != "" && p.rec.Account != account || len(out) == limit {
			return false
		}
		if after == "" || p.key != start {
			out = append(out, p.info())
		}
		return true
	})
	return out
}

// Node returns a node of a pool.
func (s *Store) Node(account, poolID, id string) (NodeInfo, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, ok := s.pool(account, poolID)
	if !ok {
		return NodeInfo{}, false
	}
	n, ok := p.node(id)
	if !ok {
		return NodeInfo{}, false
	}
	return n.info(), true
}

// NodeByUID returns a node.
func (s *Store) NodeByUID(uid uint64) (NodeInfo, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n, ok := s.nodes[uid]
	if !ok {
		return NodeInfo{}, false
	}
	return n.info(), true
}

func (n *node) info() NodeInfo {
	out := NodeInfo{NodeRecord: n.rec, Totals: n.totals, Held: len(n.held)}
	for _, h := range n.held {
		if h.exec != nil && (h.exec.Phase == running || h.exec.Phase == preparing) {
			out.Running++
			out.RunningSlots += h.Slots
		}
	}
	return out
}

// Nodes returns up to limit nodes of a pool in the order of their ids, those after the id given.
func (s *Store) Nodes(account, poolID, after string, limit int) ([]NodeInfo, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, ok := s.pool(account, poolID)
	if !ok {
		return nil, false
	}
	var out []NodeInfo
	start := lifecycle.IDKey(after)
	p.nodes.AscendGreaterOrEqual(&node{key: start}, func(n *node) bool {
		if len(out) == limit {
			return false
		}
		if after == "" || n.key != start {
			out = append(out, n.info())
		}
		return true
	})
	return out, true
}

// Job returns a job.
func (s *Store) Job(account, id string) (JobInfo, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	j, ok := s.job(account, id)
	if !ok {
		return JobInfo{}, false
	}
	return j.info(), true
}

// JobByUID returns a job.
func (s *Store) JobByUID(uid uint64) (JobInfo, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	j, ok := s.jobByUID[uid]
	if !ok {
		return JobInfo{}, false
	}
	return j.info(), true
}

func (j *job) info() JobInfo {
	queued, _ := j.ready()
	return JobInfo{JobRecord: j.rec, Counts: j.counts, Held: len(j.held), Queued: queued, Releasing: len(j.deps.releases)+len(j.deps.news) > 0}
}

// JobScheduleInfo is a job schedule with what its jobs tell.
type JobScheduleInfo struct {
	*raftlogv1.JobScheduleRecord
	// Id of the newest job; empty: there was none.
	RecentJobID string
	// There is a job that is not completed.
	Active bool
}

// JobSchedule returns a job schedule.
func (s *Store) JobSchedule(account, id string) (JobScheduleInfo, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	schedule, ok := s.jobSchedule(account, id)
	if !ok {
		return JobScheduleInfo{}, false
	}
	return s.scheduleInfo(schedule), true
}

// JobScheduleByUID returns a job schedule.
func (s *Store) JobScheduleByUID(uid uint64) (JobScheduleInfo, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	schedule, ok := s.scheduleByUID[uid]
	if !ok {
		return JobScheduleInfo{}, false
	}
	return s.scheduleInfo(schedule), true
}

func (h *hot) scheduleInfo(s *jobSchedule) JobScheduleInfo {
	info := JobScheduleInfo{JobScheduleRecord: s.rec, Active: h.activeJob(s) != nil}
	if s.rec.NextJob > 1 {
		info.RecentJobID = scheduledID(s.rec.Schedule.Id, s.rec.NextJob-1)
	}
	return info
}

// JobSchedules returns up to limit job schedules of an account in the order of their ids, those after the id given. An empty account means all accounts.
func (s *Store) JobSchedules(account, after string, limit int) []JobScheduleInfo {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []JobScheduleInfo
	start := ""
	if account != "" {
		start = scopedKey(account, after)
	}
	s.schedules.AscendGreaterOrEqual(&jobSchedule{key: start}, func(schedule *jobSchedule) bool {
		if account != "" && schedule.rec.Account != account || len(out) == limit {
			return false
		}
		if after == "" || schedule.key != start {
			out = append(out, s.scheduleInfo(schedule))
		}
		return true
	})
	return out
}

// CanAdvanceJobSchedule says whether AdvanceJobSchedule would change anything: a job that does not go yet, or no job at all.
func (s *Store) CanAdvanceJobSchedule(uid uint64) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	schedule := s.scheduleByUID[uid]
	if schedule == nil || schedule.rec.Schedule.State != scheduleDeleting {
		return false
	}
	jobs, some := s.jobsToDelete(schedule, 1)
	return len(jobs) > 0 || !some
}

// Jobs returns up to limit jobs of an account in the order of their ids, those after the id given. An empty account means all accounts.
func (s *Store) Jobs(account, after string, limit int) []JobInfo {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []JobInfo
	start := ""
	if account != "" {
		start = scopedKey(account, after)
	}
	s.jobs.AscendGreaterOrEqual(&job{key: start}, func(j *job) bool {
		if account != "" && j.rec.Account != account || len(out) == limit {
			return false
		}
		if after == "" || j.key != start {
			out = append(out, j.info())
		}
		return true
	})
	return out
}
