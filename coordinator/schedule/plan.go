// Package schedule decides which task goes on which node.
package schedule

import (
	"slices"
	"sort"

	"github.com/batchyard/batchyard/coordinator/state"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// maxTasksPerPass bounds what one plan places in a pool.
const maxTasksPerPass = 4096

// Plan places queued tasks of a pool's jobs on its nodes: jobs by priority, jobs of equal priority in turns (turn says whose is first), each job's
// tasks in the order in which they were added; a task that fits nowhere is passed over. When no slot is free, tasks go ahead of free slots as far as ahead
// allows (attempts a node). It returns the plans of the nodes that get something, and those of multi-instance tasks, which come before others of their
// priority.
func Plan(room state.PoolRoom, ahead map[uint64]int, turn int) ([]*raftlogv1.NodePlan, []*raftlogv1.InstancesPlan) {
	p := place(room, ahead, turn)
	return p.result(), p.several
}

// place makes the plan. What it has not placed is left in the room's queues.
func place(room state.PoolRoom, ahead map[uint64]int, turn int) *planner {
	p := newPlanner(room)
	if p.placeFree(room, turn); p.claim != nil {
		return p
	}
	p.openAhead(ahead)
	for _, group := range byPriority(room.Jobs) {
		if p.placeGroup(group, turn, p.takeAhead); room.Preempts(group[0].job.Priority) && p.wants(group) {
			break // what gives way must not go before
		}
	}
	return p
}

// placeFree places what has room, down to a priority at which a multi-instance task has a claim.
func (p *planner) placeFree(room state.PoolRoom, turn int) {
	for _, group := range byPriority(room.Jobs) {
		if p.placeInstances(group); p.claim != nil {
			return
		}
		p.placeGroup(group, turn, p.takeFree)
		if room.Preempts(group[0].job.Priority) && p.wants(group) {
			p.reserve()
		}
	}
}

// byPriority splits jobs into groups of equal priority, the highest first.
func byPriority(jobs []state.JobQueue) [][]*cursor {
	sorted := make([]*cursor, len(jobs))
	for i := range jobs {
		sorted[i] = &cursor{job: &jobs[i]}
	}
	sort.SliceStable(sorted, func(a, b int) bool { return sorted[a].job.Priority > sorted[b].job.Priority })
	var groups [][]*cursor
	for i, c := range sorted {
		if i == 0 || c.job.Priority != sorted[i-1].job.Priority {
			groups = append(groups, nil)
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], c)
	}
	return groups
}

// cursor walks through the queued runs of one job. What it hands out is cut off the runs, so that a later walk goes on behind it.
type cursor struct {
	job *state.JobQueue
	run int
}

// head is the run to place next; nil when nothing is left.
func (c *cursor) head() *state.Run {
	for c.run < len(c.job.Runs) && c.spent(&c.job.Runs[c.run]) {
		c.run++
	}
	if c.run == len(c.job.Runs) || c.job.Allowed == 0 {
		return nil
	}
	return &c.job.Runs[c.run]
}

// spent says whether nothing of the run may be placed: all of it has been, or its array has as many with nodes as it may have.
func (c *cursor) spent(r *state.Run) bool {
	if r.First > r.Last {
		return true
	}
	room, limited := c.job.ArrayRoom[r.Array]
	return limited && room == 0
}

// take counts the run's next task as placed.
func (c *cursor) take(r *state.Run) {
	r.First++
	if c.job.Allowed > 0 {
		c.job.Allowed--
	}
	if c.job.ArrayRoom[r.Array] > 0 {
		c.job.ArrayRoom[r.Array]--
	}
}

type planner struct {
	nodes []state.NodeRoom
	pack  bool
	// free is how many slots each node has left, less than 0 where it holds more than it has slots for.
	free []int
	// buckets[f] lists the nodes (by index) with f free slots, and some that had.
	buckets [][]int
	most    int
	// largest is how many slots the largest node has.
	largest int32
	// reserved is what the nodes have free that have to be left to tasks for which something is being stopped there.
	reserved map[int]int
	// ids finds nodes by their ids, once one was asked for.
	ids   map[string]int
	ahead []aheadNode
	// kept are the nodes that get nothing more: they are, or are to become, one task's alone.
	kept   map[int]bool
	plans  map[int]*raftlogv1.NodePlan
	placed int
	// instances: multi-instance tasks can run here; several are the plans of those that start; claim is the one that waits for nodes to become free.
	instances bool
	several   []*raftlogv1.InstancesPlan
	claim     *claim
}

type aheadNode struct{ node, left int }

func newPlanner(room state.PoolRoom) *planner {
	p := &planner{nodes: room.Nodes, pack: room.Fill == apiv1.NodeFillType_NODE_FILL_TYPE_PACK, plans: map[int]*raftlogv1.NodePlan{}, kept: map[int]bool{}}
	p.instances, p.free = room.Instances, make([]int, len(room.Nodes))
	for i, n := range room.Nodes {
		p.largest = max(p.largest, n.Slots)
		if n.Exclusive {
			p.kept[i] = true
			continue
		}
		p.put(i, int(n.Slots-n.Used))
	}
	return p
}

func (p *planner) put(node, free int) {
	p.free[node] = free
	if free <= 0 {
		return
	}
	for len(p.buckets) <= free {
		p.buckets = append(p.buckets, nil)
	}
	p.buckets[free] = append(p.buckets[free], node)
	p.most = max(p.most, free)
}

// keep gives the node nothing more.
func (p *planner) keep(node int) {
	p.kept[node] = true
	p.free[node] = 0
}

// some says whether a node has so many free slots. It takes those off the front of the bucket that had.
func (p *planner) some(free int) bool {
	bucket := p.buckets[free]
	for len(bucket) > 0 && p.free[bucket[0]] != free {
		bucket = bucket[1:]
	}
	p.buckets[free] = bucket
	return len(bucket) > 0
}

// placeGroup places tasks of jobs of equal priority in turns until none fits.
func (p *planner) placeGroup(group []*cursor, turn int, take taker) {
	open := make([]*cursor, 0, len(group))
	for i := range group {
		c := group[(i+turn)%len(group)]
		c.run = 0
		// A task that wants a node for itself would never see one empty if others were served first.
		if r := c.head(); r != nil && r.Exclusive {
			p.placeOne(c, take)
		}
		open = append(open, c)
	}
	for len(open) > 0 && p.placed < maxTasksPerPass {
		rest := open[:0]
		for _, c := range open {
			if p.placed < maxTasksPerPass && p.placeOne(c, take) {
				rest = append(rest, c)
			}
		}
		open = rest
	}
}

// placeOne places the job's next task that fits; false when none does.
func (p *planner) placeOne(c *cursor, take taker) bool {
	for {
		r := c.head()
		if r == nil {
			return false
		}
		node, ok := take(c.job, r)
		if !ok {
			c.run++
			continue
		}
		p.assign(node, c.job.UID, r.First)
		c.take(r)
		return true
	}
}

func (p *planner) assign(node int, job, task uint64) {
	plan := p.plans[node]
	if plan == nil {
		plan = &raftlogv1.NodePlan{Node: p.nodes[node].UID, Incarnation: p.nodes[node].Incarnation}
		p.plans[node] = plan
	}
	plan.Tasks = append(plan.Tasks, &raftlogv1.PlannedTask{Job: job, Task: task})
	p.placed++
}

// taker finds a node for the next task of a run.
type taker func(j *state.JobQueue, r *state.Run) (node int, ok bool)

// takeFree finds a node with free slots: the emptiest, or when packing the fullest in which the task fits.
func (p *planner) takeFree(j *state.JobQueue, r *state.Run) (int, bool) {
	need := int(max(r.Slots, 1))
	if r.Instances > 0 {
		return 0, false
	}
	if r.Affinity != "" {
		if node, ok := p.takeNear(j, r, need); ok {
			return node, true
		}
	}
	if r.Exclusive {
		return p.takeWhole(j, r, need)
	}
	if r.Dedicated || len(j.Barred) > 0 {
		return p.takeChosen(j, r, need)
	}
	for p.most > 0 && !p.some(p.most) {
		p.most--
	}
	if need > p.most {
		return 0, false
	}
	free := p.most
	if p.pack {
		for free = need; !p.some(free); free++ {
		}
	}
	bucket := p.buckets[free]
	node := bucket[0]
	p.buckets[free] = bucket[1:]
	p.put(node, free-need)
	return node, true
}

// takeNear takes the node that the tasks of the run are best run on, if they can run there now.
func (p *planner) takeNear(j *state.JobQueue, r *state.Run, need int) (int, bool) {
	if p.ids == nil {
		p.ids = make(map[string]int, len(p.nodes))
		for i, n := range p.nodes {
			p.ids[lifecycle.IDKey(n.ID)] = i
		}
	}
	node, ok := p.ids[r.Affinity]
	if !ok || r.Exclusive || p.free[node] < need || !p.allowed(node, j, r) {
		return 0, false
	}
	p.put(node, p.free[node]-need) // and leave it in the bucket where it was
	return node, true
}

// allowed says whether the node is one that the task may run on, whatever else is there.
func (p *planner) allowed(node int, j *state.JobQueue, r *state.Run) bool {
	n := p.nodes[node]
	return !j.Barred[n.UID] && (!r.Dedicated || n.Dedicated)
}

// takeChosen is takeFree for a task that may not run on every node.
func (p *planner) takeChosen(j *state.JobQueue, r *state.Run, need int) (int, bool) {
	first, last, step := p.most, need-1, -1
	if p.pack {
		first, last, step = need, p.most+1, 1
	}
	for free := first; free != last && free >= need && free <= p.most; free += step {
		for i, node := range p.buckets[free] {
			if p.free[node] == free && p.allowed(node, j, r) {
				p.buckets[free] = slices.Delete(p.buckets[free], i, i+1)
				p.put(node, free-need)
				return node, true
			}
		}
	}
	return 0, false
}

// takeWhole finds a node on which nothing is. Where there is none, the one with the most free slots gets nothing more until it is empty.
func (p *planner) takeWhole(j *state.JobQueue, r *state.Run, need int) (int, bool) {
	for free := p.most; free > 0; free-- {
		for i, node := range p.buckets[free] {
			n := p.nodes[node]
			if p.free[node] != free || !p.allowed(node, j, r) || int(n.Slots) < need {
				continue
			}
			p.buckets[free] = slices.Delete(p.buckets[free], i, i+1)
			p.keep(node)
			return node, n.Held == 0 && p.plans[node] == nil
		}
	}
	return 0, false
}

// openAhead lists the nodes that may be given tasks ahead of free slots. What they were just given into free slots does not count against it.
func (p *planner) openAhead(ahead map[uint64]int) {
	for i, n := range p.nodes {
		excess := max(0, int(n.Used-n.Slots))
		if left := ahead[n.UID] - excess; left > 0 && !p.kept[i] {
			p.ahead = append(p.ahead, aheadNode{i, left})
		}
	}
}

// takeAhead hands out allowances, the nodes in turns. Only tasks of one slot go ahead: a larger one would block what comes after it.
func (p *planner) takeAhead(j *state.JobQueue, r *state.Run) (int, bool) {
	if r.Slots > 1 || r.Instances > 0 || r.Exclusive || r.Dedicated || len(j.Barred) > 0 || len(p.ahead) == 0 {
		return 0, false
	}
	first := p.ahead[0]
	p.ahead = p.ahead[1:]
	if first.left--; first.left > 0 {
		p.ahead = append(p.ahead, first)
	}
	return first.node, true
}

func (p *planner) result() []*raftlogv1.NodePlan {
	out := make([]*raftlogv1.NodePlan, 0, len(p.plans))
	for i := range p.nodes {
		if plan := p.plans[i]; plan != nil {
			out = append(out, plan)
		}
	}
	return out
}
