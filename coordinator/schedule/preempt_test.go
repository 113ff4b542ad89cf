package schedule

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/coordinator/state"
)

// victim is task n of job 9 on a node.
func victim(n, node uint64, priority, slots int32) state.Victim {
	return state.Victim{AttemptKey: state.AttemptKey{TaskKey: state.TaskKey{Job: 9, Task: n}, Attempt: 1}, Node: node, Priority: priority, Slots: slots}
}

func stopping(n state.NodeRoom, slots int32) state.NodeRoom {
	n.Stopping = slots
	return n
}

func TestWhatGivesWay(t *testing.T) {
	type jobs = []state.JobQueue
	type nodes = []state.NodeRoom
	type victims = []state.Victim
	for name, c := range map[string]struct {
		nodes     nodes
		jobs      jobs
		victims   victims
		instances bool
		want      []uint64 // tasks of job 9
	}{
		"one slot for one task": {nodes: nodes{node(1, 2, 2)}, jobs: jobs{job(1, 5, 1)}, victims: victims{victim(1, 1, 0, 1), victim(2, 1, 0, 1)}, want: []uint64{1}},
		"as many as it takes": {
			nodes: nodes{node(1, 4, 4)}, jobs: jobs{sized(1, 5, run(1, 1, 3))}, victims: victims{victim(1, 1, 0, 1), victim(2, 1, 0, 1), victim(3, 1, 0, 1), victim(4, 1, 0, 1)},
			want: []uint64{1, 2, 3},
		},
		"not where there is room":    {nodes: nodes{node(1, 2, 1)}, jobs: jobs{job(1, 5, 1)}, victims: victims{victim(1, 1, 0, 1)}},
		"not for an equal priority":  {nodes: nodes{node(1, 1, 1)}, jobs: jobs{job(1, 5, 1)}, victims: victims{victim(1, 1, 5, 1)}},
		"not for a lower one":        {nodes: nodes{node(1, 1, 1)}, jobs: jobs{job(1, 5, 1)}, victims: victims{victim(1, 1, 6, 1)}},
		"not where it is not enough": {nodes: nodes{node(1, 4, 4)}, jobs: jobs{sized(1, 5, run(1, 1, 4))}, victims: victims{victim(1, 1, 0, 3)}},
		"not for what is too large":  {nodes: nodes{node(1, 2, 2)}, jobs: jobs{sized(1, 5, run(1, 1, 3))}, victims: victims{victim(1, 1, 0, 2)}},
		"not beyond the job's limit": {
			nodes: nodes{node(1, 3, 3)}, jobs: jobs{allowed(job(1, 5, 9), 2)}, victims: victims{victim(1, 1, 0, 1), victim(2, 1, 0, 1), victim(3, 1, 0, 1)}, want: []uint64{1, 2},
		},
		"what is being stopped is for someone already": {nodes: nodes{stopping(node(1, 2, 2), 1)}, jobs: jobs{job(1, 5, 1)}, victims: victims{victim(1, 1, 0, 1)}},
		"and for one only": {nodes: nodes{stopping(node(1, 2, 2), 1)}, jobs: jobs{job(1, 5, 2)}, victims: victims{victim(1, 1, 0, 1)}, want: []uint64{1}},
		"the lowest priority first": {
			nodes: nodes{node(1, 1, 1), node(2, 1, 1)}, jobs: jobs{job(1, 5, 1)}, victims: victims{victim(1, 2, -3, 1), victim(2, 1, 2, 1)}, want: []uint64{1},
		},
		"rather little than much": {
			nodes: nodes{node(1, 4, 4), node(2, 4, 4)}, jobs: jobs{job(1, 5, 1)}, victims: victims{victim(1, 1, 0, 4), victim(2, 2, 0, 1)}, want: []uint64{2},
		},
		"what is ahead of the slots goes too": {
			nodes: nodes{node(1, 1, 3)}, jobs: jobs{job(1, 5, 1)}, victims: victims{victim(1, 1, 0, 1), victim(2, 1, 0, 1), victim(3, 1, 0, 1)}, want: []uint64{1, 2, 3},
		},
		"a node that can't be given tasks": {nodes: nodes{node(1, 1, 1)}, jobs: jobs{job(1, 5, 1)}, victims: victims{victim(1, 2, 0, 1)}},
		"a node that is barred": {
			nodes: nodes{node(1, 1, 1)}, jobs: jobs{{UID: 1, Priority: 5, Allowed: -1, Barred: map[uint64]bool{1: true}, Runs: []state.Run{run(1, 1, 1)}}},
			victims: victims{victim(1, 1, 0, 1)},
		},
		"behind what fits nowhere": {
			nodes: nodes{node(1, 1, 1)}, jobs: jobs{sized(1, 5, run(1, 3, 2), run(4, 4, 1))}, victims: victims{victim(1, 1, 0, 1)}, want: []uint64{1},
		},
		"a multi-instance task gives way everywhere": {
			nodes: nodes{node(1, 1, 1), node(2, 1, 1)}, jobs: jobs{job(1, 5, 2)}, victims: victims{victim(1, 1, 0, 1), victim(1, 2, 0, 1)}, want: []uint64{1},
		},
		"all nodes of a multi-instance task": {
			instances: true, nodes: nodes{node(1, 1, 1), node(2, 1, 0), node(3, 1, 1)}, jobs: jobs{sized(1, 5, state.Run{First: 1, Last: 1, Slots: 1, Instances: 2})},
			victims: victims{victim(1, 1, 0, 1), victim(2, 3, 0, 1)}, want: []uint64{1},
		},
		"or none": {
			instances: true, nodes: nodes{node(1, 1, 1), node(2, 1, 1)}, jobs: jobs{sized(1, 5, state.Run{First: 1, Last: 1, Slots: 1, Instances: 2})},
			victims: victims{victim(1, 1, 0, 1)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			room := state.PoolRoom{Nodes: c.nodes, Jobs: c.jobs, Instances: c.instances, Preemptible: true, Lowest: -10}
			p := place(room, nil, 0)
			var got []uint64
			for _, k := range p.victims(room.Jobs, c.victims) {
				got = append(got, k.Task)
			}
			require.Equal(t, c.want, got)
		})
	}
}

func TestPreemptionIsBounded(t *testing.T) {
	room := state.PoolRoom{Preemptible: true, Jobs: []state.JobQueue{job(1, 5, 1000)}}
	var victims []state.Victim
	for i := range uint64(1000) {
		room.Nodes = append(room.Nodes, node(i+1, 1, 1))
		victims = append(victims, victim(i+1, i+1, 0, 1))
	}
	require.Len(t, place(room, nil, 0).victims(room.Jobs, victims), maxPreempted)
}

// What comes free piece by piece for a large task is not given to small ones of a lower priority; other nodes are, and a pool in which nothing gives way.
func TestNodesWhereSomethingIsStoppedAreLeftToWhoWaits(t *testing.T) {
	for _, preemptible := range []bool{true, false} {
		room := state.PoolRoom{
			Preemptible: preemptible, Nodes: []state.NodeRoom{stopping(node(1, 4, 2), 1), node(2, 4, 3)},
			Jobs: []state.JobQueue{sized(1, 5, run(1, 1, 4)), job(2, 0, 9)},
		}
		got := map[uint64]int{}
		plans, _ := Plan(room, map[uint64]int{2: 4}, 0)
		for _, plan := range plans {
			got[plan.Node] = len(plan.Tasks)
		}
		want := map[uint64]int{2: 1}
		if !preemptible {
			want = map[uint64]int{1: 2, 2: 5} // four of them ahead
		}
		require.Equal(t, want, got, "preemptible: %v", preemptible)
	}
}

func TestAffinity(t *testing.T) {
	near := func(id string, n uint64, slots int32) state.Run {
		return state.Run{First: 1, Last: n, Slots: slots, Affinity: id}
	}
	named := func(uid uint64, slots, used int32) state.NodeRoom {
		n := node(uid, slots, used)
		n.ID = fmt.Sprintf("N%d", uid)
		return n
	}
	for name, c := range map[string]struct {
		pack  bool
		nodes []state.NodeRoom
		job   state.JobQueue
		want  map[uint64]int
	}{
		"the node that it asks for":    {nodes: []state.NodeRoom{named(1, 9, 0), named(2, 4, 3)}, job: sized(1, 0, near("n2", 1, 1)), want: map[uint64]int{2: 1}},
		"others where that is full":    {nodes: []state.NodeRoom{named(1, 2, 0), named(2, 4, 3)}, job: sized(1, 0, near("n2", 3, 1)), want: map[uint64]int{2: 1, 1: 2}},
		"others where it is too large": {nodes: []state.NodeRoom{named(1, 2, 0), named(2, 4, 3)}, job: sized(1, 0, near("n2", 1, 2)), want: map[uint64]int{1: 1}},
		"others where there is none":   {nodes: []state.NodeRoom{named(1, 2, 0)}, job: sized(1, 0, near("n7", 2, 1)), want: map[uint64]int{1: 2}},
		"before what has none": {
			nodes: []state.NodeRoom{named(1, 2, 0), named(2, 2, 0)}, job: sized(1, 0, near("n2", 2, 1), run(3, 4, 1)), want: map[uint64]int{2: 2, 1: 2},
		},
		"packed": {
			pack: true, nodes: []state.NodeRoom{named(1, 4, 2), named(2, 4, 0)}, job: sized(1, 0, near("n2", 2, 1), run(3, 6, 1)), want: map[uint64]int{2: 4, 1: 2},
		},
		"barred": {
			nodes: []state.NodeRoom{named(1, 2, 0), named(2, 2, 0)},
			job:   state.JobQueue{UID: 1, Allowed: -1, Barred: map[uint64]bool{2: true}, Runs: []state.Run{near("n2", 1, 1)}}, want: map[uint64]int{1: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			room := state.PoolRoom{Nodes: c.nodes, Jobs: []state.JobQueue{c.job}}
			if c.pack {
				room.Fill = pack
			}
			got := map[uint64]int{}
			plans, _ := Plan(room, nil, 0)
			for _, plan := range plans {
				got[plan.Node] = len(plan.Tasks)
			}
			require.Equal(t, c.want, got)
		})
	}
}
