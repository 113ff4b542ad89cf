package schedule

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/coordinator/state"
)

func several(first, last uint64, instances int32) state.Run {
	return state.Run{First: first, Last: last, Slots: 1, Instances: instances}
}

func barred(j state.JobQueue, node uint64) state.JobQueue {
	j.Barred = map[uint64]bool{node: true}
	return j
}

func TestPlanOfMultiInstanceTasks(t *testing.T) {
	free := func(uids ...uint64) (out []state.NodeRoom) {
		for _, uid := range uids {
			out = append(out, node(uid, 1, 0))
		}
		return out
	}
	busy := func(nodes []state.NodeRoom, uid uint64) []state.NodeRoom { return append(nodes, node(uid, 1, 1)) }
	type jobs = []state.JobQueue
	type placed = map[uint64][]uint64 // task → nodes; those of job 1 unless it says otherwise
	for name, c := range map[string]struct {
		nodes []state.NodeRoom
		jobs  jobs
		apart bool
		ahead map[uint64]int
		turn  int
		want  placed
		// single are the nodes that get other tasks.
		single []uint64
	}{
		"on as many nodes as it needs": {nodes: free(1, 2, 3), jobs: jobs{sized(1, 0, several(1, 1, 2))}, want: placed{1: {1, 2}}},
		"several at once":              {nodes: free(1, 2, 3, 4, 5), jobs: jobs{sized(1, 0, several(1, 9, 2))}, want: placed{1: {1, 2}, 2: {3, 4}}},
		"not in every pool":            {nodes: free(1, 2), jobs: jobs{sized(1, 0, several(1, 1, 2), run(2, 9, 1))}, apart: true, single: []uint64{1, 2}},
		"before single tasks of its priority": {
			nodes: free(1, 2, 3), jobs: jobs{job(1, 0, 9), sized(2, 0, several(1, 1, 2))}, want: placed{1: {1, 2}}, single: []uint64{3},
		},
		"after those of a higher one": {
			nodes: free(1, 2, 3), jobs: jobs{job(1, 5, 2), sized(2, 0, several(1, 1, 2))}, single: []uint64{1, 2},
		},
		"in its job's order": {
			nodes: free(1, 2, 3), jobs: jobs{sized(1, 0, run(1, 2, 1), several(3, 3, 2), run(4, 9, 1))}, single: []uint64{1, 2, 3},
		},
		"what no node can take does not come first": {
			nodes: free(1, 2, 3), jobs: jobs{sized(1, 0, run(1, 2, 4), several(3, 3, 2), run(4, 9, 1))}, want: placed{3: {1, 2}}, single: []uint64{3},
		},
		"a claim keeps nodes empty": {
			nodes: busy(free(1, 2), 3), jobs: jobs{sized(1, 0, several(1, 1, 3)), job(2, 0, 9)}, ahead: map[uint64]int{3: 9},
		},
		"whoever's turn it is": {
			nodes: busy(free(1, 2), 3), jobs: jobs{sized(1, 0, several(1, 1, 3)), sized(2, 0, several(1, 1, 2))}, turn: 1,
		},
		"a lower priority does not get past a claim": {
			nodes: busy(free(1, 2), 3), jobs: jobs{sized(1, 0, several(1, 1, 3)), sized(2, -1, several(1, 1, 2), run(2, 9, 1))},
		},
		"no claim on nodes that are not there": {
			nodes: busy(free(1, 2), 3), jobs: jobs{sized(1, 0, several(1, 1, 4), several(2, 2, 2), run(3, 9, 1))}, want: placed{2: {1, 2}},
		},
		"nor on barred ones": {
			nodes: busy(free(1, 2), 3), jobs: jobs{barred(sized(1, 0, several(1, 1, 3)), 3), job(2, 0, 9)}, single: []uint64{1, 2},
		},
		"not on barred nodes": {
			nodes: free(1, 2, 3), jobs: jobs{barred(sized(1, 0, several(1, 1, 2)), 1)}, want: placed{1: {2, 3}},
		},
		"no more than the job may": {
			nodes: free(1, 2, 3, 4), jobs: jobs{allowed(sized(1, 0, several(1, 9, 2)), 1)}, want: placed{1: {1, 2}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			plans, several := Plan(state.PoolRoom{Nodes: c.nodes, Jobs: c.jobs, Instances: !c.apart}, c.ahead, c.turn)
			got := placed{}
			for _, plan := range several {
				for _, n := range plan.Nodes {
					require.EqualValues(t, 7, n.Incarnation)
					got[plan.Task] = append(got[plan.Task], n.Node)
				}
			}
			if c.want == nil {
				c.want = placed{}
			}
			require.Equal(t, c.want, got)
			var single []uint64
			for _, plan := range plans {
				single = append(single, plan.Node)
			}
			require.Equal(t, c.single, single)
		})
	}
}
