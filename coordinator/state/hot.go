package state

import (
	"github.com/google/btree"

	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// hot is the part of the state that is also held in plain maps: pools, nodes, jobs, queues and what nodes hold. Records are never changed in place
// but replaced, so that a reader may keep one.
type hot struct {
	accounts map[string]*raftlogv1.AccountRecord
	tokens   map[string]*raftlogv1.JoinTokenRecord
	members  map[string]*raftlogv1.MemberRecord
	pools    *btree.BTreeG[*pool] // by account and id
	jobs     *btree.BTreeG[*job]  // by account and id
	jobByUID map[uint64]*job
	nodes    map[uint64]*node

	schedules     *btree.BTreeG[*jobSchedule] // by account and id
	scheduleByUID map[uint64]*jobSchedule
}

type pool struct {
	key   string // account, 0, lower-case id
	rec   *raftlogv1.PoolRecord
	nodes *btree.BTreeG[*node] // by id
	// Jobs that name this pool, also before it exists.
	jobs map[uint64]*job
}

type node struct {
	key    string // lower-case id
	rec    *raftlogv1.NodeRecord
	totals *raftlogv1.NodeTotals
	held   map[TaskKey]*held
	used   int32 // slots of what it holds
	// stopping are slots of what it holds and is to stop.
	stopping int32
	// exclusive is how many of what it holds want the node for themselves.
	exclusive int
	// sites are the jobs with a preparation task that have been here and are not over.
	sites map[uint64]bool
}

// held is an attempt on a node. exec is the task's execution while the attempt is the task's newest; else, and when the task is deleted, nil.
type held struct {
	raftlogv1.NodeTask
	exec *raftlogv1.TaskExecution
	spec uint32 // 0: not known, see the task's entry
}

// live says whether what becomes of the attempt decides about its task.
func (h *held) live() bool {
	if h.exec == nil {
		return false
	}
	switch h.exec.Phase {
	case assigned, preparing, running:
		return true
	}
	return false
}

// unstarted says whether the attempt is live and has not begun.
func (h *held) unstarted() bool {
	return h.exec != nil && (h.exec.Phase == assigned || h.exec.Phase == preparing)
}

type job struct {
	key    string // account, 0, lower-case id
	rec    *raftlogv1.JobRecord
	counts *raftlogv1.JobCounts
	// failures count its failed tasks by what went wrong.
	failures failures
	queue    *queue
	// held maps the job's tasks that nodes hold to the nodes; a task may be held twice while an old attempt is being stopped.
	held  map[TaskKey][]uint64
	specs map[uint32]*apiv1.Task
	// sites are the nodes on which the job has been, by their numbers, where it has a preparation task; forgotten when the job is completed.
	sites map[uint64]*raftlogv1.JobNode
	// What is with nodes of them, and where release tasks are still to run.
	preparing, releasing, unreleased int
	// lastID is the last of the ids that tasks of the job ever had: a later one is new, and need not be looked for.
	lastID string
	deps   dependencies
	arrays arrays
}

type jobSchedule struct {
	key string // account, 0, lower-case id
	rec *raftlogv1.JobScheduleRecord
}

func newHot() hot {
	return hot{
		accounts: map[string]*raftlogv1.AccountRecord{},
		tokens:   map[string]*raftlogv1.JoinTokenRecord{},
		members:  map[string]*raftlogv1.MemberRecord{},
		pools:    btree.NewG(16, func(a, b *pool) bool { return a.key < b.key }),
		jobs:     btree.NewG(32, func(a, b *job) bool { return a.key < b.key }),
		jobByUID: map[uint64]*job{},
		nodes:    map[uint64]*node{},

		schedules:     btree.NewG(16, func(a, b *jobSchedule) bool { return a.key < b.key }),
		scheduleByUID: map[uint64]*jobSchedule{},
	}
}

func newPool(rec *raftlogv1.PoolRecord) *pool {
	return &pool{
		key:   scopedKey(rec.Account, rec.Pool.Id),
		rec:   rec,
		nodes: btree.NewG(16, func(a, b *node) bool { return a.key < b.key }),
		jobs:  map[uint64]*job{},
	}
}

func newNode(rec *raftlogv1.NodeRecord) *node {
	return &node{key: lifecycle.IDKey(rec.Node.Id), rec: rec, totals: &raftlogv1.NodeTotals{}, held: map[TaskKey]*held{}, sites: map[uint64]bool{}}
}

func newJobSchedule(rec *raftlogv1.JobScheduleRecord) *jobSchedule {
	return &jobSchedule{key: scopedKey(rec.Account, rec.Schedule.Id), rec: rec}
}

func newJob(rec *raftlogv1.JobRecord) *job {
	return &job{
		key:    scopedKey(rec.Account, rec.Job.Id),
		rec:    rec,
		counts: &raftlogv1.JobCounts{},
		queue:  newQueue(),
		held:   map[TaskKey][]uint64{},
		specs:  map[uint32]*apiv1.Task{},
		sites:  map[uint64]*raftlogv1.JobNode{},
		deps:   newDependencies(),
		arrays: newArrays(),
	}
}

func scopedKey(account, id string) string { return account + "\x00" + lifecycle.IDKey(id) }

func (h *hot) pool(account, id string) (*pool, bool) {
	return h.pools.Get(&pool{key: scopedKey(account, id)})
}

func (h *hot) job(account, id string) (*job, bool) {
	return h.jobs.Get(&job{key: scopedKey(account, id)})
}

func (h *hot) jobSchedule(account, id string) (*jobSchedule, bool) {
	return h.schedules.Get(&jobSchedule{key: scopedKey(account, id)})
}

func (p *pool) node(id string) (*node, bool) { return p.nodes.Get(&node{key: lifecycle.IDKey(id)}) }

// poolID is the pool that the job's tasks run on; empty while an automatic pool has not been made.
func (j *job) poolID() string {
	if id := j.rec.Job.GetExecutionInfo().GetPoolId(); id != "" {
		return id
	}
	return j.rec.Job.GetPoolInfo().GetPoolId()
}

// ready says whether the node can be given tasks.
func (n *node) ready() bool {
	return !n.rec.Leaving && n.rec.Node.State == apiv1.NodeState_NODE_STATE_IDLE &&
		n.rec.Node.SchedulingState == apiv1.SchedulingState_SCHEDULING_STATE_ENABLED
}
