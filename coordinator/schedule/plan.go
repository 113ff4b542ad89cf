// Package schedule decides which task goes on which node.
package schedule

import (
	"sort"

	"github.com/batchyard/batchyard/coordinator/state"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// maxTasksPerPass bounds what one plan places in a pool.
const maxTasksPerPass = 4096

// Plan places queued tasks of a pool's jobs on its nodes: jobs by priority, jobs of equal priority in turns (turn says whose is first), each job's
// tasks in the order in which they were added; a task that fits nowhere is passed over. When no slot is free, tasks go ahead of free slots as far as ahead
// allows (attempts a node). It returns the plans of the nodes that get something.
func Plan(room state.PoolRoom, ahead map[uint64]int, turn int) []*raftlogv1.NodePlan {
	p := newPlanner(room)
	for _, group := range byPriority(room.Jobs) {
		p.placeGroup(group, turn, p.takeFree)
	}
	p.openAhead(ahead)
	for _, group := range byPriority(room.Jobs) {
		p.placeGroup(group, turn, p.takeAhead)
	}
	return p.result()
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
	for c.run < len(c.job.Runs) && c.job.Runs[c.run].First > c.job.Runs[c.run].Last {
		c.run++
	}
	if c.run == len(c.job.Runs) || c.job.Allowed == 0 {
		return nil
	}
	return &c.job.Runs[c.run]
}

type planner struct {
	nodes []state.NodeRoom
	pack  bool
	// buckets[f] lists the nodes (by index) with f free slots.
	buckets [][]int
	most    int
	ahead   []aheadNode
	plans   map[int]*raftlogv1.NodePlan
	placed  int
}

type aheadNode struct{ node, left int }

func newPlanner(room state.PoolRoom) *planner {
	p := &planner{nodes: room.Nodes, pack: room.Fill == apiv1.NodeFillType_NODE_FILL_TYPE_PACK, plans: map[int]*raftlogv1.NodePlan{}}
	for i, n := range room.Nodes {
		p.put(i, int(n.Slots-n.Used))
	}
	return p
}

func (p *planner) put(node, free int) {
	if free <= 0 {
		return
	}
	for len(p.buckets) <= free {
		p.buckets = append(p.buckets, nil)
	}
	p.buckets[free] = append(p.buckets[free], node)
	p.most = max(p.most, free)
}

// placeGroup places tasks of jobs of equal priority in turns until none fits.
func (p *planner) placeGroup(group []*cursor, turn int, take func(slots int32) (int, bool)) {
	open := make([]*cursor, 0, len(group))
	for i := range group {
		c := group[(i+turn)%len(group)]
		c.run = 0
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
func (p *planner) placeOne(c *cursor, take func(slots int32) (int, bool)) bool {
	for {
		r := c.head()
		if r == nil {
			return false
		}
		node, ok := take(r.Slots)
		if !ok {
			c.run++
			continue
		}
		p.assign(node, c.job.UID, r.First)
		r.First++
		if c.job.Allowed > 0 {
			c.job.Allowed--
		}
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

// takeFree finds a node with free slots: the emptiest, or when packing the fullest in which the task fits.
func (p *planner) takeFree(slots int32) (int, bool) {
	need := int(max(slots, 1))
	for p.most > 0 && len(p.buckets[p.most]) == 0 {
		p.most--
	}
	if need > p.most {
		return 0, false
	}
	free := p.most
	if p.pack {
		for free = need; len(p.buckets[free]) == 0; free++ {
		}
	}
	bucket := p.buckets[free]
	node := bucket[0]
	p.buckets[free] = bucket[1:]
	p.put(node, free-need)
	return node, true
}

// openAhead lists the nodes that may be given tasks ahead of free slots. What they were just given into free slots does not count against it.
func (p *planner) openAhead(ahead map[uint64]int) {
	for i, n := range p.nodes {
		excess := max(0, int(n.Used-n.Slots))
		if left := ahead[n.UID] - excess; left > 0 {
			p.ahead = append(p.ahead, aheadNode{i, left})
		}
	}
}

// takeAhead hands out allowances, the nodes in turns. Only tasks of one slot go ahead: a larger one would block what comes after it.
func (p *planner) takeAhead(slots int32) (int, bool) {
	if slots > 1 || len(p.ahead) == 0 {
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
