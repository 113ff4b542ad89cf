package schedule

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/coordinator/state"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// situation is of a ready task on a pool with one idle node of two slots, changed by each change.
func situation(changes ...func(*state.Situation)) state.Situation {
	s := state.Situation{
		Task: &apiv1.Task{Id: "t", State: apiv1.TaskState_TASK_STATE_ACTIVE}, Phase: raftlogv1.TaskPhase_TASK_PHASE_QUEUED, Slots: 1, PoolID: "p",
		Job:   state.JobInfo{JobRecord: &raftlogv1.JobRecord{Job: &apiv1.Job{Id: "j", State: apiv1.JobState_JOB_STATE_ACTIVE}}},
		Pool:  &raftlogv1.PoolRecord{Pool: &apiv1.Pool{Id: "p", TaskSlotsPerNode: proto.Int32(2), State: apiv1.PoolState_POOL_STATE_ACTIVE}},
		Nodes: []state.NodeStanding{{UID: 1, ID: "n1", State: apiv1.NodeState_NODE_STATE_IDLE, Scheduling: true, Slots: 2}},
	}
	for _, change := range changes {
		change(&s)
	}
	return s
}

func TestExplain(t *testing.T) {
	const (
		open      = apiv1.WaitReasonKind_WAIT_REASON_KIND_DEPENDENCY_OPEN
		failed    = apiv1.WaitReasonKind_WAIT_REASON_KIND_DEPENDENCY_FAILED
		disabled  = apiv1.WaitReasonKind_WAIT_REASON_KIND_JOB_DISABLED
		over      = apiv1.WaitReasonKind_WAIT_REASON_KIND_JOB_ENDED
		limit     = apiv1.WaitReasonKind_WAIT_REASON_KIND_JOB_LIMIT
		missing   = apiv1.WaitReasonKind_WAIT_REASON_KIND_POOL_MISSING
		deleting  = apiv1.WaitReasonKind_WAIT_REASON_KIND_POOL_DELETING
		empty     = apiv1.WaitReasonKind_WAIT_REASON_KIND_POOL_EMPTY
		unfit     = apiv1.WaitReasonKind_WAIT_REASON_KIND_UNFIT_POOL
		noNode    = apiv1.WaitReasonKind_WAIT_REASON_KIND_NODES_UNAVAILABLE
		noSlot    = apiv1.WaitReasonKind_WAIT_REASON_KIND_NO_FREE_SLOTS
		barred    = apiv1.WaitReasonKind_WAIT_REASON_KIND_NODES_BARRED
		alone     = apiv1.WaitReasonKind_WAIT_REASON_KIND_NODE_ALONE
		kept      = apiv1.WaitReasonKind_WAIT_REASON_KIND_NODES_KEPT
		heldByOne = apiv1.WaitReasonKind_WAIT_REASON_KIND_WITH_NODE
	)
	type change = func(*state.Situation)
	jobState := func(s apiv1.JobState) change { return func(x *state.Situation) { x.Job.Job.State = s } }
	node := func(fn func(*state.NodeStanding)) change { return func(x *state.Situation) { fn(&x.Nodes[0]) } }
	// two is with another node of two slots beside the first.
	two := func(used int32, fn func(*state.Situation)) change {
		return func(x *state.Situation) {
			second := x.Nodes[0]
			second.ID, second.Used = "n2", used
			x.Nodes = append(x.Nodes, second)
			fn(x)
		}
	}
	for name, c := range map[string]struct {
		change change
		kinds  []apiv1.WaitReasonKind
		never  bool
		says   string
	}{
		"nothing keeps it": {func(*state.Situation) {}, nil, false, "about to be given"},
		"running":          {func(x *state.Situation) { x.Phase = raftlogv1.TaskPhase_TASK_PHASE_RUNNING }, nil, false, "is with a node"},
		"completed":        {func(x *state.Situation) { x.Phase = raftlogv1.TaskPhase_TASK_PHASE_COMPLETED }, nil, false, "is completed"},
		"open dependency": {func(x *state.Situation) {
			x.Phase, x.Open, x.OpenCount = raftlogv1.TaskPhase_TASK_PHASE_WAITING, []string{"a", "b"}, 12
		}, []apiv1.WaitReasonKind{open}, false, "a, b, …"},
		"failed dependency": {func(x *state.Situation) {
			x.Phase, x.Failed, x.OpenCount = raftlogv1.TaskPhase_TASK_PHASE_WAITING, []string{"a"}, 1
		}, []apiv1.WaitReasonKind{failed}, true, "failed or can't run: a"},
		"one failed, one open": {func(x *state.Situation) {
			x.Phase, x.Failed, x.Open, x.OpenCount = raftlogv1.TaskPhase_TASK_PHASE_WAITING, []string{"a"}, []string{"b"}, 2
		}, []apiv1.WaitReasonKind{failed, open}, true, "failed or can't run: a"},
		"job disabled":   {jobState(apiv1.JobState_JOB_STATE_DISABLED), []apiv1.WaitReasonKind{disabled}, true, "is disabled"},
		"job terminated": {jobState(apiv1.JobState_JOB_STATE_COMPLETED), []apiv1.WaitReasonKind{over}, true, "is completed"},
		"parallel limit": {func(x *state.Situation) {
			x.Job.Job.MaxParallelTasks, x.Job.Held = proto.Int32(3), 3
		}, []apiv1.WaitReasonKind{limit}, false, "at most 3 tasks"},
		"limit of an array": {func(x *state.Situation) {
			x.Array = &state.ArrayInfo{TaskArrayRecord: &raftlogv1.TaskArrayRecord{Id: "sim", MaxParallel: 2}, Held: 2}
		}, []apiv1.WaitReasonKind{apiv1.WaitReasonKind_WAIT_REASON_KIND_ARRAY_LIMIT}, false, "At most 2 elements of the array sim"},
		"an array with room": {func(x *state.Situation) {
			x.Array = &state.ArrayInfo{TaskArrayRecord: &raftlogv1.TaskArrayRecord{Id: "sim", MaxParallel: 2}, Held: 1}
		}, nil, false, "about to"},
		"what is ahead":    {func(x *state.Situation) { x.AheadInJob = 7 }, nil, false, "7 ready tasks ahead"},
		"below the limit":  {func(x *state.Situation) { x.Job.Job.MaxParallelTasks, x.Job.Held = proto.Int32(3), 2 }, nil, false, "about to"},
		"no pool":          {func(x *state.Situation) { x.Pool = nil }, []apiv1.WaitReasonKind{missing}, true, "pool p does not exist"},
		"pool to be made":  {func(x *state.Situation) { x.Pool, x.PoolID = nil, "" }, []apiv1.WaitReasonKind{missing}, false, "not been made"},
		"pool deleted":     {func(x *state.Situation) { x.Pool.Pool.State = apiv1.PoolState_POOL_STATE_DELETING }, []apiv1.WaitReasonKind{deleting}, true, "being deleted"},
		"too large":        {func(x *state.Situation) { x.Slots = 3 }, []apiv1.WaitReasonKind{unfit}, true, "needs 3 slots"},
		"several nodes":    {func(x *state.Situation) { x.Task.MultiInstanceSettings = &apiv1.MultiInstanceSettings{} }, []apiv1.WaitReasonKind{unfit}, true, "inter-node"},
		"no nodes, no aim": {func(x *state.Situation) { x.Nodes = nil }, []apiv1.WaitReasonKind{empty}, true, "has no nodes"},
		"no nodes yet": {func(x *state.Situation) {
			x.Nodes, x.Pool.Pool.TargetDedicatedNodes = nil, proto.Int32(2)
		}, []apiv1.WaitReasonKind{empty}, false, "has no nodes"},
		"offline":        {node(func(n *state.NodeStanding) { n.State = apiv1.NodeState_NODE_STATE_OFFLINE }), []apiv1.WaitReasonKind{noNode}, false, "1 offline"},
		"not scheduling": {node(func(n *state.NodeStanding) { n.Scheduling = false }), []apiv1.WaitReasonKind{noNode}, false, "1 disabled for scheduling"},
		"leaving":        {node(func(n *state.NodeStanding) { n.Leaving = true }), []apiv1.WaitReasonKind{noNode}, false, "1 leaving"},
		"not connected":  {node(func(n *state.NodeStanding) { n.UID = 9 }), []apiv1.WaitReasonKind{noNode}, false, "1 not connected"},
		"full":           {node(func(n *state.NodeStanding) { n.Used = 2 }), []apiv1.WaitReasonKind{noSlot}, false, "1 free slots"},
		"quarantined":    {node(func(n *state.NodeStanding) { n.Quarantined, n.Scheduling = true, false }), []apiv1.WaitReasonKind{noNode}, false, "1 in quarantine"},
		"quarantined and full": {two(2, func(x *state.Situation) { x.Nodes[0].Quarantined = true }), []apiv1.WaitReasonKind{noSlot}, false,
			"None of the 1 nodes that can run it has 1 free slots; the others are: 1 in quarantine."},
		"barred": {node(func(n *state.NodeStanding) { n.Barred = true }), []apiv1.WaitReasonKind{barred}, true, "preparation task of the job j failed on every node"},
		"barred and offline": {two(0, func(x *state.Situation) {
			x.Nodes[0].Barred, x.Nodes[1].State = true, apiv1.NodeState_NODE_STATE_OFFLINE
		}),
			[]apiv1.WaitReasonKind{barred}, true, "could run it; the others are: 1 offline."},
		"one barred, one full": {two(2, func(x *state.Situation) { x.Nodes[0].Barred = true }), []apiv1.WaitReasonKind{noSlot}, false,
			"the others are: 1 barred by the job's failed preparation task"},
		"one barred, one free":     {two(1, func(x *state.Situation) { x.Nodes[0].Barred = true }), nil, false, "about to"},
		"low priority only":        {func(x *state.Situation) { x.Dedicated = true }, []apiv1.WaitReasonKind{noNode}, false, "can run it: 1 of low priority"},
		"no empty node":            {two(1, func(x *state.Situation) { x.Alone, x.Nodes[0].Used = true, 1 }), []apiv1.WaitReasonKind{alone}, false, "runs alone on its node, and none of the 2"},
		"an empty node":            {two(1, func(x *state.Situation) { x.Alone = true }), nil, false, "about to"},
		"beside what runs alone":   {node(func(n *state.NodeStanding) { n.Used, n.Exclusive = 1, true }), []apiv1.WaitReasonKind{noSlot}, false, "1 free slots"},
		"kept for a manager":       {func(x *state.Situation) { x.Managers = []string{"boss"} }, []apiv1.WaitReasonKind{kept}, false, "manager tasks that run alone on theirs, of the jobs: boss"},
		"more nodes than managers": {two(0, func(x *state.Situation) { x.Managers = []string{"boss"} }), nil, false, "about to"},
		"given":                    {func(x *state.Situation) { x.Holder = "n1" }, []apiv1.WaitReasonKind{heldByOne}, false, "node n1 has it"},
	} {
		t.Run(name, func(t *testing.T) {
			got := Explain(situation(c.change), func(uid uint64) bool { return uid == 1 })
			var kinds []apiv1.WaitReasonKind
			for _, r := range got.Reasons {
				kinds = append(kinds, r.Kind)
				require.NotEmpty(t, r.Message)
				require.NotEmpty(t, r.Remedy)
			}
			require.Equal(t, c.kinds, kinds)
			require.Equal(t, c.never, got.Never)
			require.Contains(t, got.Summary, c.says)
		})
	}
}

func TestExplainTellsWhatGivesWay(t *testing.T) {
	full := situation(func(x *state.Situation) { x.Nodes[0].Used, x.GiveWay = 2, 7 })
	got := Explain(full, func(uint64) bool { return true })
	require.Contains(t, got.Reasons[0].Remedy, "Jobs of a lower priority allow their tasks, 7 with nodes now, to be stopped for it")
}
