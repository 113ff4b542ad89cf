package schedule

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/coordinator/state"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

const (
	spread = apiv1.NodeFillType_NODE_FILL_TYPE_SPREAD
	pack   = apiv1.NodeFillType_NODE_FILL_TYPE_PACK
)

func node(uid uint64, slots, used int32) state.NodeRoom {
	return state.NodeRoom{UID: uid, Incarnation: 7, Slots: slots, Used: used, Held: int(used)}
}

// job has tasks 1..n of one slot each.
func job(uid uint64, priority int32, n uint64) state.JobQueue {
	return sized(uid, priority, run(1, n, 1))
}

func sized(uid uint64, priority int32, runs ...state.Run) state.JobQueue {
	return state.JobQueue{UID: uid, Priority: priority, Allowed: -1, Runs: runs}
}

func run(first, last uint64, slots int32) state.Run {
	return state.Run{First: first, Last: last, Slots: slots}
}

func allowed(j state.JobQueue, n int) state.JobQueue {
	j.Allowed = n
	return j
}

// element is a run of elements of the array 1; limited says how many more of them may be with nodes.
func element(first, last uint64) state.Run {
	r := run(first, last, 1)
	r.Array = 1
	return r
}

func limited(j state.JobQueue, n int) state.JobQueue {
	j.ArrayRoom = map[uint64]int{1: n}
	return j
}

func TestPlan(t *testing.T) {
	type jobs = []state.JobQueue
	type nodes = []state.NodeRoom
	for name, c := range map[string]struct {
		fill  apiv1.NodeFillType
		nodes nodes
		jobs  jobs
		ahead map[uint64]int
		turn  int
		// want is "job.task" in the order of each node's plan.
		want map[uint64][]string
	}{
		"nothing to place":             {nodes: nodes{node(1, 2, 0)}, want: map[uint64][]string{}},
		"nowhere to place":             {jobs: jobs{job(1, 0, 3)}, want: map[uint64][]string{}},
		"in the order of addition":     {nodes: nodes{node(1, 3, 0)}, jobs: jobs{job(1, 0, 9)}, want: map[uint64][]string{1: {"1.1", "1.2", "1.3"}}},
		"no more than there are slots": {nodes: nodes{node(1, 4, 3)}, jobs: jobs{job(1, 0, 9)}, want: map[uint64][]string{1: {"1.1"}}},
		"a full node gets nothing":     {nodes: nodes{node(1, 2, 2), node(2, 2, 5)}, jobs: jobs{job(1, 0, 9)}, want: map[uint64][]string{}},
		"spread takes the emptiest": {
			fill: spread, nodes: nodes{node(1, 4, 3), node(2, 4, 1)}, jobs: jobs{job(1, 0, 3)}, want: map[uint64][]string{2: {"1.1", "1.2"}, 1: {"1.3"}},
		},
		"pack takes the fullest": {
			fill: pack, nodes: nodes{node(1, 4, 0), node(2, 4, 2)}, jobs: jobs{job(1, 0, 3)}, want: map[uint64][]string{2: {"1.1", "1.2"}, 1: {"1.3"}},
		},
		"pack takes the fullest in which it fits": {
			fill: pack, nodes: nodes{node(1, 4, 3), node(2, 4, 1), node(3, 8, 0)}, jobs: jobs{sized(1, 0, run(1, 1, 3))}, want: map[uint64][]string{2: {"1.1"}},
		},
		"the higher priority first": {
			nodes: nodes{node(1, 3, 0)}, jobs: jobs{job(1, -5, 2), job(2, 5, 2)}, want: map[uint64][]string{1: {"2.1", "2.2", "1.1"}},
		},
		"equal priorities in turns": {
			nodes: nodes{node(1, 4, 0)}, jobs: jobs{job(1, 0, 9), job(2, 0, 9)}, want: map[uint64][]string{1: {"1.1", "2.1", "1.2", "2.2"}},
		},
		"the turn says whose is first": {
			nodes: nodes{node(1, 1, 0)}, jobs: jobs{job(1, 0, 9), job(2, 0, 9)}, turn: 1, want: map[uint64][]string{1: {"2.1"}},
		},
		"what fits nowhere is passed over": {
			nodes: nodes{node(1, 2, 0)}, jobs: jobs{sized(1, 0, run(1, 2, 4), run(3, 9, 1))}, want: map[uint64][]string{1: {"1.3", "1.4"}},
		},
		"a task takes its slots": {
			nodes: nodes{node(1, 5, 0)}, jobs: jobs{sized(1, 0, run(1, 9, 2))}, want: map[uint64][]string{1: {"1.1", "1.2"}},
		},
		"no slots counts as one": {nodes: nodes{node(1, 1, 0)}, jobs: jobs{sized(1, 0, run(1, 9, 0))}, want: map[uint64][]string{1: {"1.1"}}},
		"no more than the job may": {
			nodes: nodes{node(1, 9, 0)}, jobs: jobs{allowed(job(1, 0, 9), 2), allowed(job(2, 0, 9), 0)}, want: map[uint64][]string{1: {"1.1", "1.2"}},
		},
		"no more of an array than may run at once": {
			nodes: nodes{node(1, 9, 0)}, jobs: jobs{limited(sized(1, 0, element(1, 4), element(6, 7), run(8, 8, 1)), 2)}, ahead: map[uint64]int{1: 9},
			want: map[uint64][]string{1: {"1.1", "1.2", "1.8"}},
		},
		"ahead of free slots, in turns": {
			nodes: nodes{node(1, 1, 1), node(2, 1, 1)}, jobs: jobs{job(1, 0, 9)}, ahead: map[uint64]int{1: 2, 2: 1},
			want: map[uint64][]string{1: {"1.1", "1.3"}, 2: {"1.2"}},
		},
		"what is ahead already counts": {
			nodes: nodes{node(1, 2, 4)}, jobs: jobs{job(1, 0, 9)}, ahead: map[uint64]int{1: 3}, want: map[uint64][]string{1: {"1.1"}},
		},
		"free slots come before": {
			nodes: nodes{node(1, 1, 1), node(2, 1, 0)}, jobs: jobs{job(1, 0, 2)}, ahead: map[uint64]int{1: 5}, want: map[uint64][]string{2: {"1.1"}, 1: {"1.2"}},
		},
		"only small tasks go ahead": {
			nodes: nodes{node(1, 4, 4)}, jobs: jobs{sized(1, 0, run(1, 3, 2), run(4, 4, 1))}, ahead: map[uint64]int{1: 9}, want: map[uint64][]string{1: {"1.4"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := map[uint64][]string{}
			plans, several := Plan(state.PoolRoom{Fill: c.fill, Nodes: c.nodes, Jobs: c.jobs}, c.ahead, c.turn)
			require.Empty(t, several)
			for _, plan := range plans {
				require.EqualValues(t, 7, plan.Incarnation)
				for _, task := range plan.Tasks {
					got[plan.Node] = append(got[plan.Node], fmt.Sprintf("%d.%d", task.Job, task.Task))
				}
			}
			require.Equal(t, c.want, got)
		})
	}
}

func TestAPlanIsBounded(t *testing.T) {
	plans, _ := Plan(state.PoolRoom{Nodes: []state.NodeRoom{node(1, 3*maxTasksPerPass, 0)}, Jobs: []state.JobQueue{job(1, 0, 3*maxTasksPerPass)}}, nil, 0)
	require.Len(t, plans, 1)
	require.Len(t, plans[0].Tasks, maxTasksPerPass)
}

func TestPace(t *testing.T) {
	now := time.Unix(1000, 0)
	p := newPace()
	look := func(after time.Duration, held int) int {
		now = now.Add(after)
		return p.observe([]state.NodeRoom{{UID: 1, Slots: 2, Held: held}}, now)[1]
	}
	require.Zero(t, look(0, 2), "nothing is known yet")
	// A node that finishes one task a second is given nothing ahead.
	for range 5 {
		p.gave(1, 1)
		require.Zero(t, look(time.Second, 2))
	}
	// One that finishes a thousand a second is given what lasts it a few round trips.
	ahead := 0
	for range 20 {
		p.gave(1, 100)
		ahead = look(100*time.Millisecond, 2)
	}
	require.InDelta(t, 100, ahead, 5)
	// However fast, there is an end to it.
	for range 20 {
		p.gave(1, 100_000)
		ahead = look(100*time.Millisecond, 2)
	}
	require.Equal(t, maxAhead, ahead)
	require.False(t, p.stuck(state.NodeRoom{UID: 1, Slots: 2, Used: 3}, now), "it has just finished some")
	require.True(t, p.stuck(state.NodeRoom{UID: 1, Slots: 2, Used: 3}, now.Add(stuckAfter)))
	require.False(t, p.stuck(state.NodeRoom{UID: 1, Slots: 2, Used: 2}, now.Add(time.Hour)), "it holds nothing ahead")
	require.False(t, p.stuck(state.NodeRoom{UID: 2, Slots: 2, Used: 3}, now), "nothing is known of it")
}
