package state

import (
	"slices"
	"strconv"

	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// Situation is everything that decides about when a task runs, read at one moment.
type Situation struct {
	Task  *apiv1.Task
	Phase raftlogv1.TaskPhase
	Slots int32
	Job   JobInfo
	// Pool is nil where the pool that the job names does not exist.
	Pool   *raftlogv1.PoolRecord
	PoolID string
	Nodes  []NodeStanding
	// Instances is on how many nodes at once it runs; 0: it is no multi-instance task. Number is that of the task in its job.
	Instances int32
	Number    uint64
	// Room is what scheduling sees of the pool, where multi-instance tasks can run in it.
	Room PoolRoom
	// Array is the array that it is an element of; nil: it is none.
	Array *ArrayInfo
	// Alone: it wants a node for itself. Dedicated: no low-priority node.
	Alone, Dedicated bool
	// Managers are the ids of the other jobs of the same or a higher priority whose manager tasks wait for a node for themselves.
	Managers []string
	// GiveWay is how many tasks of jobs of a lower priority could be stopped for it.
	GiveWay int
	// Holder is the id of the node that was given the task and has not started it.
	Holder string
	// Open are the first of the tasks that it depends on and that are not completed, or not there; Failed those that will not satisfy it as things are.
	Open, Failed []string
	// OpenCount is how many dependencies are open, ids and numbers of ranges alike.
	OpenCount int64
	// Ready tasks of the same job that come before it, and of jobs on the same pool that have a higher priority.
	AheadInJob, AheadInPool uint64
}

// NodeStanding is whether a node could take a task.
type NodeStanding struct {
	UID         uint64
	ID          string
	State       apiv1.NodeState
	Scheduling  bool
	Leaving     bool
	Slots, Used int32
	// Problem is what the node itself says of why it can't be used.
	Problem string
	// Quarantined: too much failed there. Barred: the job's preparation task did. Exclusive: what it holds runs alone there.
	Quarantined, Barred, Exclusive, Dedicated bool
}

// maxRoomTasks bounds the tasks of each job in a situation's room.
const maxRoomTasks = 1000

// maxOpenShown is how many open dependencies of a task are named.
const maxOpenShown = 10

// Situation reads what decides about a task. found is false where the job or the task is not there.
func (s *Store) Situation(account, jobID, taskID string) (out Situation, found bool, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	info, _, found, err := s.task(account, jobID, taskID)
	if err != nil || !found {
		return Situation{}, false, err
	}
	j := s.jobByUID[info.Key.Job]
	exec, err := s.readExecution(info.Key)
	if err != nil {
		return Situation{}, false, err
	}
	out = Situation{Task: info.Task, Phase: queued, Slots: slotsOf(info.Task), Job: j.info(), PoolID: j.poolID()}
	if a := j.arrays.of(info.Key.Task); a != nil {
		array := a.info()
		out.Array = &array
	}
	out.Instances, out.Number = instancesOf(info.Task), info.Key.Task
	if exec != nil {
		out.Phase, out.OpenCount = exec.Phase, int64(exec.WaitingFor)
		if n := s.nodes[exec.Node]; n != nil && exec.Phase == assigned {
			out.Holder = n.rec.Node.Id
		}
	}
	if a := j.arrays.of(info.Key.Task); a != nil && out.Phase == queued && a.rec.WaitingFor > 0 {
		out.Phase, out.OpenCount = waiting, int64(a.rec.WaitingFor)
	}
	if out.Phase == waiting {
		if err := s.openDependencies(j, info, &out); err != nil {
			return Situation{}, false, err
		}
	}
	s.surroundings(j, info.Key, &out)
	return out, true, nil
}

// surroundings fills in the pool, its nodes, and what is ahead of the task in the queues.
func (s *Store) surroundings(j *job, key TaskKey, out *Situation) {
	j.queue.runs.Ascend(func(r Run) bool {
		if r.First >= key.Task {
			return false
		}
		if !j.waits(r) {
			out.AheadInJob += min(r.Last, key.Task-1) - r.First + 1
		}
		return true
	})
	p, ok := s.pool(j.rec.Account, j.poolID())
	if !ok {
		return
	}
	out.Pool = p.rec
	if p.runsInstances() {
		out.Room = p.room(maxRoomTasks)
	}
	if r, ok := j.queue.find(key.Task); ok {
		out.Alone, out.Dedicated = r.Exclusive, r.Dedicated
	}
	for _, uid := range sortedKeys(p.jobs) {
		other := p.jobs[uid]
		out.competitor(j, other)
		if other.rec.Job.State == jobActive && other.rec.Job.GetPriority() > j.rec.Job.GetPriority() {
			ready, _ := other.ready()
			out.AheadInPool += ready
		}
	}
	p.nodes.Ascend(func(n *node) bool {
		out.Nodes = append(out.Nodes, NodeStanding{
			UID: n.rec.Uid, ID: n.rec.Node.Id, State: n.rec.Node.State, Leaving: n.rec.Leaving, Slots: n.rec.Slots, Used: n.used,
			Scheduling:  n.rec.Node.SchedulingState == apiv1.SchedulingState_SCHEDULING_STATE_ENABLED,
			Quarantined: n.rec.Quarantine != nil, Barred: j.barred(n.rec.Uid), Exclusive: n.exclusive > 0, Dedicated: n.rec.Node.GetIsDedicated(),
			Problem: problemOf(n.rec.Node),
		})
		return true
	})
}

func problemOf(n *apiv1.Node) string {
	if len(n.Errors) == 0 {
		return ""
	}
	return n.Errors[0].Message
}

// competitor takes in what another job of the pool means for a task of the job.
func (out *Situation) competitor(j, other *job) {
	if other == j || other.rec.Job.State != jobActive {
		return
	}
	if other.rec.Job.GetPriority() < j.rec.Job.GetPriority() {
		if other.preemptible() {
			out.GiveWay += len(other.held)
		}
		return
	}
	if r, ok := other.queue.find(managerTask); ok && r.Exclusive && len(out.Managers) < maxOpenShown {
		out.Managers = append(out.Managers, other.rec.Job.Id)
	}
}

// openDependencies names the first dependencies that are open.
func (s *Store) openDependencies(j *job, info TaskInfo, out *Situation) error {
	task := info.Key.Task
	if a := j.arrays.of(task); a != nil {
		task = a.rec.FirstTask // under which the array waits
	}
	for _, id := range info.Task.DependsOn.GetTaskIds() {
		if !j.deps.waits(lifecycle.IDKey(id), task) {
			continue
		}
		failed, err := s.failedDependency(j, id)
		if err != nil {
			return err
		}
		switch {
		case failed && len(out.Failed) < maxOpenShown:
			out.Failed = append(out.Failed, id)
		case !failed && len(out.Open) < maxOpenShown:
			out.Open = append(out.Open, id)
		}
	}
	for _, r := range j.deps.ranges[task] {
		s.openNumbers(j, r, out)
	}
	return nil
}

func (s *Store) failedDependency(j *job, id string) (bool, error) {
	if a := j.arrays.byID[lifecycle.IDKey(id)]; a != nil {
		return a.standing().hopeless, nil
	}
	number, found, err := s.number(j, id)
	if err != nil || !found {
		return false, err
	}
	exec, err := s.readExecution(TaskKey{j.rec.Uid, number})
	if err != nil || exec == nil {
		return false, err
	}
	return exec.Phase == completed && !exec.Satisfied || exec.Phase == waiting && exec.Blocked, nil
}

// openNumbers names the first numbers of a range that are not satisfied.
func (s *Store) openNumbers(j *job, r *apiv1.TaskIdRange, out *Situation) {
	for number := range j.deps.done.missing(r.Start, r.End) {
		if len(out.Open) == maxOpenShown {
			return
		}
		id := strconv.Itoa(int(number))
		if j.deps.hopeless[number] == 0 {
			out.Open = append(out.Open, id)
		} else if len(out.Failed) < maxOpenShown && !slices.Contains(out.Failed, id) {
			out.Failed = append(out.Failed, id)
		}
	}
}
