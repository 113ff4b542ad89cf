package schedule

import (
	"slices"

	"github.com/batchyard/batchyard/coordinator/state"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// Multi-instance tasks get all their nodes at once or none. Where too few are free, the first of them has a claim: every node that becomes free is left
// empty for it, and no node is given tasks ahead, so that it starts as soon as any of the nodes have come to the end of what they ran when the claim began,
// as many as it needs. At most one task of a pool has a claim, so that two can't keep half of the nodes each; and only one that has enough nodes in
// the pool, so that no node waits for one that does not exist. Tasks of a higher priority are served before.

// claim is that of a multi-instance task on the nodes that become free.
type claim struct {
	job       *state.JobQueue
	task      uint64
	instances int32
}

// claimOn is the claim on a pool's nodes; nil if there is none.
func claimOn(room state.PoolRoom) *claim {
	p := newPlanner(room)
	if p.instances {
		p.placeFree(room, 0)
	}
	return p.claim
}

// claimant is the first multi-instance task of a job that its pool could run, if nothing of the job comes before it; nil if there is none.
func (p *planner) claimant(c *cursor) *state.Run {
	if !p.instances || c.job.Allowed == 0 {
		return nil
	}
	able := len(p.candidates(c.job))
	for i := c.run; i < len(c.job.Runs); i++ {
		switch r := &c.job.Runs[i]; {
		case c.spent(r):
		case r.Instances > 0 && able >= int(r.Instances):
			return r
		case r.Instances == 0 && r.Slots <= 1: // those that are too large for every node keep nothing else waiting
			return nil
		}
	}
	return nil
}

// candidates are the nodes, by index, that could run an instance of a job's task if they were empty.
func (p *planner) candidates(j *state.JobQueue) []int {
	var out []int
	for i := range p.nodes {
		if !j.Barred[p.nodes[i].UID] {
			out = append(out, i)
		}
	}
	return out
}

// placeInstances places multi-instance tasks of jobs of equal priority, those of jobs made earlier first whoever's turn it is: a claim has to last.
func (p *planner) placeInstances(group []*cursor) {
	for _, c := range group {
		for r := p.claimant(c); r != nil && p.placed < maxTasksPerPass; r = p.claimant(c) {
			nodes := slices.DeleteFunc(p.candidates(c.job), func(node int) bool {
				return p.nodes[node].Held > 0 || p.kept[node] || p.plans[node] != nil
			})
			if len(nodes) < int(r.Instances) {
				p.claim = &claim{c.job, r.First, r.Instances}
				return
			}
			p.assignInstances(c, r, nodes[:r.Instances])
		}
	}
}

func (p *planner) assignInstances(c *cursor, r *state.Run, nodes []int) {
	plan := &raftlogv1.InstancesPlan{Job: c.job.UID, Task: r.First}
	for _, node := range nodes {
		p.keep(node)
		plan.Nodes = append(plan.Nodes, &raftlogv1.InstanceNode{Node: p.nodes[node].UID, Incarnation: p.nodes[node].Incarnation})
	}
	p.several = append(p.several, plan)
	p.placed += len(nodes)
	c.take(r)
}
