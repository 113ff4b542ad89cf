package schedule

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/batchyard/batchyard/coordinator/state"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// Tasks of jobs that allow preemption give way to tasks of jobs of a higher priority that fit nowhere. The slots of what is stopped count as taken until
// its node says that it is gone; until then they are promised to who it was stopped for, so that no more is stopped than is needed.

const (
	// preemptEvery is how often the running tasks of a pool are looked at for what gives way.
	preemptEvery = 200 * time.Millisecond
	// maxPreempted is how many attempts are stopped at a time, maxWanting for how many tasks, maxVictims among how many.
	maxPreempted = 100
	maxWanting   = 256
	maxVictims   = 4096
)

// wants says whether one of the jobs has tasks left that could run on some node if it were empty.
func (p *planner) wants(group []*cursor) bool {
	return slices.ContainsFunc(group, func(c *cursor) bool {
		return c.job.Allowed != 0 && slices.ContainsFunc(c.job.Runs, func(r state.Run) bool { return !c.spent(&r) && r.Slots <= p.largest })
	})
}

// reserve leaves nodes on which something is being stopped to those who are waiting now: it may be for them, and come free piece by piece.
func (p *planner) reserve() {
	if p.reserved != nil {
		return
	}
	p.reserved = map[int]int{}
	for i, n := range p.nodes {
		if n.Stopping > 0 && p.free[i] > 0 {
			p.reserved[i] = p.free[i]
			p.free[i] = 0
		}
	}
}

// preempt stops what gives way to tasks that the plan found no room for.
func (l *Loop) preempt(ctx context.Context, room state.PoolRoom, p *planner, now time.Time) error {
	if !room.Preemptible {
		return nil
	}
	groups := byPriority(room.Jobs)
	first := slices.IndexFunc(groups, p.wants)
	if first < 0 || !room.Preempts(groups[first][0].job.Priority) {
		return nil
	}
	l.watched[room.Key] = true // what is stopped may not be enough, or fit another than it was stopped for
	if now.Sub(l.preempted[room.Key]) < preemptEvery {
		return nil
	}
	l.preempted[room.Key] = now
	chosen := p.victims(room.Jobs, l.State.Victims(room.Key, groups[first][0].job.Priority, maxVictims))
	if len(chosen) == 0 {
		return nil
	}
	refs := make([]*agentv1.AttemptRef, len(chosen))
	for i, k := range chosen {
		refs[i] = k.Ref()
	}
	l.Logger.Info("stopping tasks for tasks of higher priority", "account", room.Key.Account, "pool", room.Key.ID, "tasks", len(refs))
	cmd := &raftlogv1.Command{Now: now.UnixNano(), Kind: &raftlogv1.Command_PreemptTasks{PreemptTasks: &raftlogv1.PreemptTasks{Attempts: refs}}}
	_, err := l.Proposer.Propose(ctx, cmd)
	return err
}

// preemption chooses attempts to stop.
type preemption struct {
	*planner
	// room is what each node has, or will have when what is being stopped is gone.
	room []int
	// on lists what could be stopped on each node, the first to be stopped first; places are the nodes of each.
	on     map[int][]state.Victim
	places map[state.TaskKey][]int
	chosen []state.AttemptKey
	gone   map[state.TaskKey]bool
}

// victims chooses what to stop for the tasks left in the jobs' queues, the highest priority first.
func (p *planner) victims(jobs []state.JobQueue, candidates []state.Victim) []state.AttemptKey {
	x := &preemption{planner: p, room: slices.Clone(p.free), on: map[int][]state.Victim{}, places: map[state.TaskKey][]int{}, gone: map[state.TaskKey]bool{}}
	index := map[uint64]int{}
	for i, n := range p.nodes {
		index[n.UID] = i
		x.room[i] += int(n.Stopping) + p.reserved[i]
	}
	for _, v := range candidates {
		i, ok := index[v.Node]
		if !ok {
			continue
		}
		x.places[v.TaskKey] = append(x.places[v.TaskKey], i)
		if !p.kept[i] {
			x.on[i] = append(x.on[i], v)
		}
	}
	wanting := maxWanting
	for _, group := range byPriority(jobs) {
		for _, c := range group {
			wanting = x.serve(c, wanting)
		}
	}
	return x.chosen
}

// serve finds room for the job's tasks, at most as many as are given; it returns how many others may still be looked at.
func (x *preemption) serve(c *cursor, wanting int) int {
	for ; wanting > 0 && len(x.chosen) < maxPreempted; wanting-- {
		r := c.head()
		if r == nil {
			return wanting
		}
		if !x.makeRoom(c.job, r) {
			c.run++ // others of the run have no room either
			continue
		}
		c.take(r)
	}
	return wanting
}

// makeRoom promises room to a task, and stops what is in its way; false where that can't be.
func (x *preemption) makeRoom(j *state.JobQueue, r *state.Run) bool {
	need := int(max(r.Slots, 1))
	switch {
	case r.Instances > 0:
		return x.makeNodes(j, r)
	case r.Exclusive:
		return false // it has a claim on a node already
	}
	for i := range x.nodes {
		if x.room[i] >= need && !x.kept[i] && x.allowed(i, j, r) {
			x.room[i] -= need
			return true
		}
	}
	best, least := -1, int64(math.MaxInt64)
	for i := range x.on {
		if cost, ok := x.cost(i, need, j.Priority); ok && x.allowed(i, j, r) && (cost < least || cost == least && i < best) {
			best, least = i, cost
		}
	}
	if best < 0 {
		return false
	}
	x.clear(best, need, j.Priority)
	x.room[best] -= need
	return true
}

// cost is what it takes to have so much room on a node: the highest priority of what has to go weighs more than how much it is. false where there is not
// enough.
func (x *preemption) cost(node, need int, below int32) (int64, bool) {
	room, slots, highest := x.room[node], int64(0), int32(math.MinInt32)
	for _, v := range x.on[node] {
		if room >= need {
			break
		}
		if v.Priority >= below || x.gone[v.TaskKey] {
			continue
		}
		room += int(v.Slots)
		slots += int64(v.Slots)
		highest = max(highest, v.Priority)
	}
	return int64(highest)<<32 + slots, room >= need
}

// clear stops what is in the way on a node.
func (x *preemption) clear(node, need int, below int32) {
	for _, v := range x.on[node] {
		if x.room[node] >= need {
			return
		}
		if v.Priority >= below || x.gone[v.TaskKey] {
			continue
		}
		x.gone[v.TaskKey] = true
		x.chosen = append(x.chosen, v.AttemptKey)
		for _, place := range x.places[v.TaskKey] {
			x.room[place] += int(v.Slots) // of a multi-instance task, everywhere
		}
	}
}

// makeNodes empties as many nodes as a multi-instance task needs.
func (x *preemption) makeNodes(j *state.JobQueue, r *state.Run) bool {
	if !x.instances {
		return false
	}
	var empty, others []int
	for _, i := range x.candidates(j) {
		whole := int(x.nodes[i].Slots)
		if x.kept[i] {
			continue
		}
		if x.room[i] >= whole {
			empty = append(empty, i)
		} else if _, ok := x.cost(i, whole, j.Priority); ok {
			others = append(others, i)
		}
	}
	if len(empty)+len(others) < int(r.Instances) {
		return false
	}
	for _, i := range slices.Concat(empty, others)[:r.Instances] {
		x.clear(i, int(x.nodes[i].Slots), j.Priority)
		x.room[i] = 0
	}
	return true
}
