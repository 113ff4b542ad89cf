package state

import (
	"sort"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/lifecycle"
	"github.com/batchyard/batchyard/internal/sweep"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// NodeRoom is what scheduling sees of a node.
type NodeRoom struct {
	UID         uint64
	Incarnation uint32
	ID          string
	Slots       int32
	// Slots of everything that it holds, and how many attempts; both count also what is being stopped.
	Used int32
	Held int
	// Slots of what is being stopped.
	Stopping int32
	// Exclusive: it holds a task that wants it for itself.
	Exclusive, Dedicated bool
}

// JobQueue is what scheduling sees of a job that has tasks ready to run.
type JobQueue struct {
	UID      uint64
	ID       string
	Priority int32
	// How many more of its tasks may be with nodes; -1: no limit.
	Allowed int
	Queued  uint64
	// Nodes that may not be given its tasks.
	Barred map[uint64]bool
	// The first runs of its queue, of each size of task.
	Runs []Run
	// How many more elements of arrays may be with nodes, by the array's number; others have no limit.
	ArrayRoom map[uint64]int
}

// PoolRoom is what scheduling sees of a pool.
type PoolRoom struct {
	Key  PoolKey
	Fill apiv1.NodeFillType
	// Instances: multi-instance tasks can run in it.
	Instances bool
	// Preemptible: jobs hold slots that give way to those of a higher priority than Lowest.
	Preemptible bool
	Lowest      int32
	Nodes       []NodeRoom
	Jobs        []JobQueue
}

// Preempts says whether something in the pool gives way to jobs of the priority.
func (r *PoolRoom) Preempts(priority int32) bool { return r.Preemptible && priority > r.Lowest }

// Room returns the nodes of a pool that can be given tasks and the jobs that have tasks for them, with at most maxTasks tasks (in at most
// maxTasks runs) a job.
func (s *Store) Room(key PoolKey, maxTasks int) (PoolRoom, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, ok := s.pool(key.Account, key.ID)
	if !ok {
		return PoolRoom{}, false
	}
	return p.room(maxTasks), true
}

func (p *pool) room(maxTasks int) PoolRoom {
	room := PoolRoom{Key: PoolKey{p.rec.Account, p.rec.Pool.Id}, Fill: p.rec.Pool.GetTaskSchedulingPolicy().GetNodeFillType(), Instances: p.runsInstances()}
	for _, j := range p.jobs {
		if j.queue.count > 0 && j.rec.Job.State == jobActive {
			room.Jobs = append(room.Jobs, jobQueue(j, maxTasks))
		}
		if priority := j.rec.Job.GetPriority(); j.preemptible() && (!room.Preemptible || priority < room.Lowest) {
			room.Preemptible, room.Lowest = true, priority
		}
	}
	sort.Slice(room.Jobs, func(a, b int) bool { return room.Jobs[a].UID < room.Jobs[b].UID })
	p.nodes.Ascend(func(n *node) bool {
		if n.ready() {
			room.Nodes = append(room.Nodes, NodeRoom{
				UID: n.rec.Uid, Incarnation: n.rec.Incarnation, ID: n.rec.Node.Id, Slots: n.rec.Slots, Used: n.used, Held: len(n.held), Stopping: n.stopping,
				Exclusive: n.exclusive > 0, Dedicated: n.rec.Node.GetIsDedicated(),
			})
		}
		return true
	})
	return room
}

func jobQueue(j *job, maxTasks int) JobQueue {
	q := JobQueue{UID: j.rec.Uid, ID: j.rec.Job.Id, Priority: j.rec.Job.GetPriority(), Allowed: -1, Queued: j.queue.count}
	if limit := j.rec.Job.GetMaxParallelTasks(); limit > 0 {
		q.Allowed = max(0, int(limit)-len(j.held))
	}
	for uid := range j.sites {
		if j.barred(uid) {
			if q.Barred == nil {
				q.Barred = map[uint64]bool{}
			}
			q.Barred[uid] = true
		}
	}
	q.Runs, q.ArrayRoom = j.firstRuns(maxTasks)
	return q
}

// firstRuns are the first runs of the queue with at most maxTasks tasks of a size: those of one size must not hide those of another behind them, which
// may fit where they are too large. Nor do elements hide others of an array that has all it may have with nodes.
func (j *job) firstRuns(maxTasks int) (runs []Run, arrayRoom map[uint64]int) {
	type size struct{ slots, instances int32 }
	tasks := map[size]uint64{}
	scanned, from := 0, uint64(0)
	for more := true; more; {
		more = false
		j.queue.runs.AscendGreaterOrEqual(Run{First: from}, func(r Run) bool {
			scanned++
			of, fit := size{r.Slots, r.Instances}, r.Last-r.First+1
			if a := j.arrays.of(r.First); a != nil && a.room() >= 0 {
				if arrayRoom == nil {
					arrayRoom = map[uint64]int{}
				}
				arrayRoom[r.Array] = a.room()
				if fit = min(fit, uint64(a.room())); fit == 0 {
					from, more = a.rec.FirstTask+a.rec.Size, true
					return false
				}
			}
			if tasks[of] < uint64(maxTasks) {
				runs = append(runs, r)
				tasks[of] += fit
			}
			return scanned < maxTasks
		})
		more = more && scanned < maxTasks
	}
	return runs, arrayRoom
}

// PoolKeys names all pools.
func (s *Store) PoolKeys() []PoolKey {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]PoolKey, 0, s.pools.Len())
	s.pools.Ascend(func(p *pool) bool {
		out = append(out, PoolKey{p.rec.Account, p.rec.Pool.Id})
		return true
	})
	return out
}

// HeldTask is an attempt that a node holds, with all that the node needs to run it. Command line and spec are those of a live attempt.
type HeldTask struct {
	AttemptKey
	Account, JobID, TaskID, CommandLine string
	Spec                                uint32
	Slots, Priority                     int32
	Stopping                            bool
	Constraints                         *apiv1.TaskConstraints
	// Live: the attempt is its task's newest and the task is not completed.
	Live bool
	Kind agentv1.AssignmentKind
	// Instance is its place in a multi-instance task; nil for others.
	Instance *agentv1.Instance
	// Token: the task has asked for a token of its job.
	Token bool
	// Element is what an element of an array has for itself; nil for others.
	Element *sweep.Element
}

// Held returns everything that a node holds, in the order of jobs and tasks.
func (s *Store) Held(uid uint64) ([]HeldTask, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := s.nodes[uid]
	if n == nil {
		return nil, nil
	}
	keys := make([]AttemptKey, 0, len(n.held)+len(n.sites)+1)
	for _, key := range sortedTasks(n.held) {
		keys = append(keys, AttemptKey{key, n.held[key].Attempt})
	}
	return s.heldTasks(n, append(keys, s.specials(n)...))
}

// HeldTasks returns those of the attempts that the node still holds.
func (s *Store) HeldTasks(uid uint64, keys []AttemptKey) ([]HeldTask, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := s.nodes[uid]
	if n == nil {
		return nil, nil
	}
	return s.heldTasks(n, keys)
}

func (s *Store) heldTasks(n *node, keys []AttemptKey) ([]HeldTask, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{tableEntry}, UpperBound: []byte{tableEntry + 1}})
	if err != nil {
		return nil, err
	}
	defer it.Close()
	out := make([]HeldTask, 0, len(keys))
	for _, key := range keys {
		if key.special() {
			out = s.specialHeld(out, n, key)
			continue
		}
		h := n.held[key.TaskKey]
		j := s.jobByUID[key.Job]
		if h == nil || h.Attempt != key.Attempt || h.Waiting && !h.Stopping {
			continue
		}
		task := HeldTask{AttemptKey: key, Stopping: h.Stopping, Slots: h.Slots, Account: n.rec.Account}
		if h.exec != nil && j != nil {
			task.Live = h.live()
			task.Constraints = h.exec.Constraints
			task.JobID, task.Priority = j.rec.Job.Id, j.rec.Job.GetPriority()
			task.Instance = s.place(key.TaskKey, h)
			if err := s.fillEntry(it, j, &task); err != nil {
				return nil, err
			}
			if spec, err := s.specOf(j, task.Spec); err == nil {
				task.Token = spec.AuthenticationTokenSettings != nil
			}
		}
		out = append(out, task)
	}
	return out, nil
}

// fillEntry fills in the unchanging part of a task.
func (s *Store) fillEntry(it *pebble.Iterator, j *job, task *HeldTask) (err error) {
	if a := j.arrays.of(task.Task); a != nil {
		entry := a.entry(task.Task)
		task.TaskID, task.Spec = entry.Id, entry.Spec
		task.Element, err = s.elementOf(j, task.Task)
		return err
	}
	return readEntry(it, task)
}

func readEntry(it *pebble.Iterator, task *HeldTask) error {
	key := keyTask(tableEntry, task.Job, task.Task)
	if !it.SeekGE(key) || string(it.Key()) != string(key) {
		return it.Error() // deleted meanwhile
	}
	entry := &raftlogv1.TaskEntry{}
	if err := proto.Unmarshal(it.Value(), entry); err != nil {
		return err
	}
	task.TaskID, task.CommandLine, task.Spec = entry.Id, entry.CommandLine, entry.Spec
	return nil
}

// Spec returns a specification that tasks of a job share.
func (s *Store) Spec(jobUID uint64, number uint32) (*apiv1.Task, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	j := s.jobByUID[jobUID]
	if j == nil {
		return nil, nil
	}
	switch number {
	case PreparationSpec:
		return lifecycle.PreparationTask(j.rec.Job), nil
	case ReleaseSpec:
		return lifecycle.ReleaseTask(j.rec.Job), nil
	}
	return s.specOf(j, number)
}

// Application returns an application of an account; nil if there is none.
func (s *Store) Application(account, id string) (*raftlogv1.ApplicationRecord, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b, err := s.read(keyApp(account, id))
	if err != nil || b == nil {
		return nil, err
	}
	rec := &raftlogv1.ApplicationRecord{}
	return rec, proto.Unmarshal(b, rec)
}

// Applications returns all applications of an account in the order of their ids.
func (s *Store) Applications(account string) ([]*raftlogv1.ApplicationRecord, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []*raftlogv1.ApplicationRecord
	err := s.scan(append(keyName(tableApp, account), 0), func(_, value []byte) error {
		rec := &raftlogv1.ApplicationRecord{}
		out = append(out, rec)
		return proto.Unmarshal(value, rec)
	})
	return out, err
}

// Unstarted returns up to limit attempts that a node holds and has not started, those last that were added last.
func (s *Store) Unstarted(uid uint64, limit int) []AttemptKey {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := s.nodes[uid]
	if n == nil {
		return nil
	}
	var out []AttemptKey
	for _, key := range sortedTasks(n.held) {
		if h := n.held[key]; !h.Stopping && h.unstarted() {
			out = append(out, AttemptKey{key, h.Attempt})
		}
	}
	return out[max(0, len(out)-limit):]
}

// CanAdvance says whether AdvanceJob would change anything: something held that is not being stopped, or nothing held at all.
func (s *Store) CanAdvance(jobUID uint64) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	j := s.jobByUID[jobUID]
	if j == nil {
		return false
	}
	if j.rec.Job.State != jobDisabling && len(j.held) == 0 {
		return j.canWindUp()
	}
	waits := j.rec.Job.State == jobDisabling && j.rec.DisableOption == apiv1.DisableJobOption_DISABLE_JOB_OPTION_WAIT
	for key, nodes := range j.held {
		for _, uid := range nodes {
			h := s.nodes[uid].held[key]
			if !h.Stopping && (!waits || h.unstarted()) {
				return true
			}
		}
	}
	return len(j.held) == 0
}
