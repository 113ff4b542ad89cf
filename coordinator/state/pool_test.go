package state

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

func (f *farm) poolInfo(id string) PoolInfo {
	p, ok := f.s.Pool("acct", id)
	require.True(f.t, ok)
	return p
}

func (f *farm) nodeInfo(uid uint64) NodeInfo {
	n, ok := f.s.NodeByUID(uid)
	require.True(f.t, ok)
	return n
}

func target(n int32) *apiv1.PoolResizeOptions {
	return &apiv1.PoolResizeOptions{TargetDedicatedNodes: &n}
}

func TestResizePool(t *testing.T) {
	f := newFarm(t)
	f.pool("p")
	require.Equal(t, resizing, f.poolInfo("p").Pool.AllocationState)
	require.Equal(t, f.now+int64(lifecycle.DefaultResizeTime), f.poolInfo("p").ResizeDeadline)
	f.ok(&raftlogv1.FinishResize{PoolId: "p", SeenTransition: 5})
	require.Equal(t, resizing, f.poolInfo("p").Pool.AllocationState, "a decision about another resize")
	f.finishResize("p")
	require.Equal(t, steady, f.poolInfo("p").Pool.AllocationState)

	options := target(3)
	options.ResizeTimeout = durationpb.New(math.MaxInt64)
	f.ok(&raftlogv1.ResizePool{PoolId: "p", Options: options})
	p := f.poolInfo("p")
	require.EqualValues(t, 3, p.Pool.GetTargetDedicatedNodes())
	require.EqualValues(t, math.MaxInt64, p.ResizeDeadline)
	f.ok(&raftlogv1.StopPoolResize{PoolId: "p"})
	require.Equal(t, stopping, f.poolInfo("p").Pool.AllocationState)
	f.refuse(batcherr.CodePoolBeingResized, &raftlogv1.ResizePool{PoolId: "p", Options: target(1)})
	f.ok(&raftlogv1.FinishResize{
		PoolId: "p", SeenTransition: timeOf(f.poolInfo("p").Pool.AllocationStateTransitionTime), Errors: []*apiv1.ResizeError{{Code: "ResizeStopped"}},
	})
	require.Equal(t, "ResizeStopped", f.poolInfo("p").Pool.ResizeErrors[0].Code)
	f.ok(&raftlogv1.ResizePool{PoolId: "p", Options: target(1)})
	require.Empty(t, f.poolInfo("p").Pool.ResizeErrors)
}

// A leader whose clock is behind makes many changes at one time: a decision about the first is not one about the next.
func TestTransitionsAreToldApart(t *testing.T) {
	f := newFarm(t)
	f.pool("p")
	seen := timeOf(f.poolInfo("p").Pool.AllocationStateTransitionTime)
	f.now -= 1000 * tick
	f.ok(&raftlogv1.StopPoolResize{PoolId: "p"})
	f.ok(&raftlogv1.FinishResize{PoolId: "p", SeenTransition: seen})
	require.Equal(t, stopping, f.poolInfo("p").Pool.AllocationState)
}

func TestUpdatePool(t *testing.T) {
	f := newFarm(t)
	f.pool("p", func(p *apiv1.Pool) { p.StartTask = &apiv1.StartTask{CommandLine: "x"} })
	f.ok(&raftlogv1.UpdatePool{PoolId: "P", Update: &apiv1.PoolUpdateOptions{
		DisplayName: proto.String("name"), VmSize: proto.String("big"), TaskSlotsPerNode: proto.Int32(2), Metadata: []*apiv1.MetadataItem{{Name: "a"}},
		EnableInterNodeCommunication: proto.Bool(true),
	}})
	p := f.poolInfo("p").Pool
	require.Equal(t, []string{"name", "big", "x"}, []string{p.DisplayName, p.VmSize, p.StartTask.CommandLine})
	n := f.node("p", "n")
	require.EqualValues(t, 2, f.nodeInfo(n).Slots)
	f.ok(&raftlogv1.UpdatePool{PoolId: "p", Update: &apiv1.PoolUpdateOptions{StartTask: &apiv1.StartTask{}}, Cleared: []string{"metadata"}})
	p = f.poolInfo("p").Pool
	require.Nil(t, p.StartTask)
	require.Empty(t, p.Metadata)
	f.ok(&raftlogv1.UpdatePool{PoolId: "p", Update: &apiv1.PoolUpdateOptions{StartTask: &apiv1.StartTask{CommandLine: "y"}}})
	f.ok(&raftlogv1.UpdatePool{PoolId: "p", Update: &apiv1.PoolUpdateOptions{}, Cleared: []string{"startTask"}})
	require.Nil(t, f.poolInfo("p").Pool.StartTask)
}

func TestNodesLeave(t *testing.T) {
	for _, c := range []struct {
		option  apiv1.NodeDeallocationOption
		stopped int
		running apiv1.TaskState
	}{
		{apiv1.NodeDeallocationOption_NODE_DEALLOCATION_OPTION_UNSPECIFIED, 2, runs},
		{apiv1.NodeDeallocationOption_NODE_DEALLOCATION_OPTION_REQUEUE, 2, runs},
		{apiv1.NodeDeallocationOption_NODE_DEALLOCATION_OPTION_TERMINATE, 2, done},
		{apiv1.NodeDeallocationOption_NODE_DEALLOCATION_OPTION_TASK_COMPLETION, 1, runs},
	} {
		f, n1, _, _ := yard(t)
		threeStages(f, n1)
		f.finishResize("p")
		f.ok(&raftlogv1.ResizePool{PoolId: "p", Options: target(2)})
		f.finishResize("p")
		w := f.s.Watch()
		f.ok(&raftlogv1.RemoveNodes{PoolId: "p", Options: &apiv1.NodeRemoveOptions{NodeList: []string{"N1", "n1"}, NodeDeallocationOption: c.option}})
		require.Len(t, w.Take().Nodes[n1].Stopping, c.stopped)
		w.Close()
		n := f.nodeInfo(n1)
		require.True(t, n.Leaving)
		require.Equal(t, apiv1.NodeState_NODE_STATE_LEAVING_POOL, n.NodeRecord.Node.State)
		require.EqualValues(t, 1, f.poolInfo("p").Pool.GetTargetDedicatedNodes())
		require.Equal(t, c.running, f.state("j", "a"))
		f.ok(&raftlogv1.NodeHello{PoolId: "p", NodeId: "n1"})
		require.Equal(t, apiv1.NodeState_NODE_STATE_LEAVING_POOL, f.nodeInfo(n1).NodeRecord.Node.State)
		f.assign(n1, "j", "c")
		require.True(t, f.queued("j", "c"))

		f.finishResize("p") // in time or not: a second removal hastens the first, and counts once
		f.ok(&raftlogv1.RemoveNodes{PoolId: "p", Options: &apiv1.NodeRemoveOptions{NodeList: []string{"n1"}}})
		require.EqualValues(t, 1, f.poolInfo("p").Pool.GetTargetDedicatedNodes())
		for _, h := range f.s.nodes[n1].held {
			require.True(t, h.Stopping)
		}
		f.report(n1, "j", "a", released())
		f.report(n1, "j", "b", released())
		f.ok(&raftlogv1.DeleteNode{PoolId: "p", NodeId: "n1"})
		_, found := f.s.NodeByUID(n1)
		require.False(t, found)
	}
}

func TestDeletePool(t *testing.T) {
	f, n1, n2, _ := yard(t)
	threeStages(f, n1)
	f.finishResize("p")
	f.ok(&raftlogv1.RemoveNodes{PoolId: "p", Options: &apiv1.NodeRemoveOptions{
		NodeList: []string{"n1"}, NodeDeallocationOption: apiv1.NodeDeallocationOption_NODE_DEALLOCATION_OPTION_TASK_COMPLETION,
	}})
	f.ok(&raftlogv1.DeletePool{PoolId: "p"})
	p := f.poolInfo("p").Pool
	require.Equal(t, apiv1.PoolState_POOL_STATE_DELETING, p.State)
	require.True(t, f.nodeInfo(n2).Leaving)
	f.report(n1, "j", "a", released())
	f.report(n1, "j", "b", released())
	require.True(t, f.queued("j", "a"), "a deleted pool does not wait for its tasks")
	f.finishResize("p")
	f.poolInfo("p")
	f.ok(&raftlogv1.DeleteNode{PoolId: "p", NodeId: "n1"})
	f.ok(&raftlogv1.DeleteNode{PoolId: "p", NodeId: "n2"})
	f.finishResize("p")
	_, found := f.s.Pool("acct", "p")
	require.False(t, found)
	f.pool("p")
	f.run(f.node("p", "n1"), "j", "a", 0)
	require.Equal(t, done, f.state("j", "a"), "jobs go on in the next pool of the name")
}

func TestNodeScheduling(t *testing.T) {
	for _, c := range []struct {
		option  apiv1.NodeDisableSchedulingOption
		stopped int
		running apiv1.TaskState
	}{
		{apiv1.NodeDisableSchedulingOption_NODE_DISABLE_SCHEDULING_OPTION_REQUEUE, 2, runs},
		{apiv1.NodeDisableSchedulingOption_NODE_DISABLE_SCHEDULING_OPTION_TERMINATE, 2, done},
		{apiv1.NodeDisableSchedulingOption_NODE_DISABLE_SCHEDULING_OPTION_TASK_COMPLETION, 1, runs},
	} {
		f, n1, _, _ := yard(t)
		threeStages(f, n1)
		f.ok(&raftlogv1.SetNodeScheduling{PoolId: "p", NodeId: "n1", Option: c.option})
		stopped := 0
		for _, h := range f.s.nodes[n1].held {
			if h.Stopping {
				stopped++
			}
		}
		require.Equal(t, c.stopped, stopped)
		require.Equal(t, c.running, f.state("j", "a"))
		room, _ := f.s.Room(PoolKey{"acct", "p"}, 10)
		require.Len(t, room.Nodes, 1)
		f.ok(&raftlogv1.SetNodeScheduling{PoolId: "p", NodeId: "n1", Enabled: true})
		room, _ = f.s.Room(PoolKey{"acct", "p"}, 10)
		require.Len(t, room.Nodes, 2)
	}
}

func token(id string, edit func(*raftlogv1.JoinTokenRecord)) *raftlogv1.PutJoinToken {
	rec := &raftlogv1.JoinTokenRecord{
		Id: id, Account: "acct", Kind: apiv1.JoinTokenKind_JOIN_TOKEN_KIND_NODE, PoolId: "p", ExpiryTime: start + 1000*tick, UsesLeft: 1,
	}
	edit(rec)
	return &raftlogv1.PutJoinToken{Record: rec}
}

func TestJoinTokens(t *testing.T) {
	f := newFarm(t)
	f.pool("p")
	plain := func(*raftlogv1.JoinTokenRecord) {}
	f.ok(token("once", plain))
	n := f.ok(&raftlogv1.UseJoinToken{Id: "once", NewNodeId: "n1"}).Node
	require.Equal(t, []string{"p", "n1", ""}, []string{n.PoolId, n.Node.Id, n.Provider})
	require.Equal(t, apiv1.NodeState_NODE_STATE_STARTING, n.Node.State)
	f.refuse(batcherr.CodeAuthenticationFailed, &raftlogv1.UseJoinToken{Id: "once", NewNodeId: "n2"})

	f.ok(token("expired", func(r *raftlogv1.JoinTokenRecord) { r.ExpiryTime = f.now + 2*tick }))
	f.refuse(batcherr.CodeAuthenticationFailed, &raftlogv1.UseJoinToken{Id: "expired", NewNodeId: "n2"})

	f.ok(token("elsewhere", func(r *raftlogv1.JoinTokenRecord) { r.PoolId = "none" }))
	f.refuse(batcherr.CodePoolNotFound, &raftlogv1.UseJoinToken{Id: "elsewhere", NewNodeId: "n2"})

	f.ok(token("bound", func(r *raftlogv1.JoinTokenRecord) { r.NodeId = "n3" }))
	f.refuse(batcherr.CodeNodeNotFound, &raftlogv1.UseJoinToken{Id: "bound", NewNodeId: "n2"})
	made := f.node("p", "n3")
	require.Equal(t, made, f.ok(&raftlogv1.UseJoinToken{Id: "bound", NewNodeId: "n2"}).Node.Uid, "a refused use is no use")

	f.ok(token("member", func(r *raftlogv1.JoinTokenRecord) {
		r.Kind, r.UsesLeft = apiv1.JoinTokenKind_JOIN_TOKEN_KIND_COORDINATOR, 2
	}))
	require.Nil(t, f.ok(&raftlogv1.UseJoinToken{Id: "member"}).Node)
	f.ok(&raftlogv1.DeletePool{PoolId: "p"})
	f.ok(token("late", plain))
	f.refuse(batcherr.CodePoolBeingDeleted, &raftlogv1.UseJoinToken{Id: "late", NewNodeId: "n9"})
	f.now += 2 * 24 * 3600 * tick
	f.ok(token("new", func(r *raftlogv1.JoinTokenRecord) { r.ExpiryTime = math.MaxInt64 }))
	_, found := f.s.JoinToken("late")
	require.False(t, found, "the dead go when a new one comes")
}

// A node that leaves and joins again, as its agent was started anew, goes on leaving.
func TestJoiningDoesNotKeepANode(t *testing.T) {
	f := newFarm(t)
	f.pool("p")
	n := f.node("p", "n")
	f.ok(&raftlogv1.LeaveNodes{PoolId: "p", NodeIds: []string{"n", "none"}})
	f.ok(token("t", func(r *raftlogv1.JoinTokenRecord) { r.NodeId = "n" }))
	f.ok(&raftlogv1.UseJoinToken{Id: "t"})
	require.Equal(t, apiv1.NodeState_NODE_STATE_LEAVING_POOL, f.nodeInfo(n).NodeRecord.Node.State)
}

func TestAccountsAndApplications(t *testing.T) {
	f := newFarm(t)
	put := func(create bool) any {
		return &raftlogv1.PutAccount{Record: &raftlogv1.AccountRecord{Account: &apiv1.Account{Id: "acct"}}, Create: create}
	}
	app := &raftlogv1.PutApplication{Record: &raftlogv1.ApplicationRecord{Application: &apiv1.ApplicationDetail{Id: "App"}}, Create: true}
	f.ok(put(true))
	f.ok(put(false))
	f.ok(app)
	list, err := f.s.Applications("acct")
	require.NoError(t, err)
	require.Len(t, list, 1)
	// All in one entry: what the account had is gone, what comes after its deletion is not.
	for _, r := range f.do(&raftlogv1.DeleteApplication{ApplicationId: "APP"}, app, &raftlogv1.DeleteAccount{}, put(true), app) {
		require.Nil(t, r.Err)
	}
	for _, r := range f.do(&raftlogv1.DeleteAccount{}, put(true)) {
		require.Nil(t, r.Err)
	}
	list, err = f.s.Applications("acct")
	require.NoError(t, err)
	require.Empty(t, list)
	got, err := f.s.Application("acct", "app")
	require.NoError(t, err)
	require.Nil(t, got)
	_, found := f.s.Account("acct")
	require.True(t, found)
	require.Len(t, f.s.Accounts(), 1)
	f.ok(&raftlogv1.PutMember{Record: &raftlogv1.MemberRecord{Member: &apiv1.Member{Id: "m"}}})
	require.Len(t, f.s.Members(), 1)
	f.ok(&raftlogv1.DeleteMember{Id: "m"})
	require.Empty(t, f.s.Members())
}

func TestListsGoByPages(t *testing.T) {
	f := newFarm(t)
	for i := range 5 {
		f.pool(fmt.Sprintf("Pool%d", i))
		f.ok(&raftlogv1.CreateJob{Job: &apiv1.Job{Id: fmt.Sprintf("Job%d", i)}})
		f.ok(&raftlogv1.CreateNodes{PoolId: "pool0", NodeIds: []string{fmt.Sprintf("Node%d", i)}, Dedicated: i > 1})
	}
	var pools, jobs, nodes []string
	for _, p := range f.s.Pools("acct", "POOL1", 2) {
		pools = append(pools, p.Pool.Id)
	}
	for _, j := range f.s.Jobs("acct", "job1", 2) {
		jobs = append(jobs, j.Job.Id)
	}
	page, _ := f.s.Nodes("acct", "pool0", "node2", 9)
	for _, n := range page {
		nodes = append(nodes, n.NodeRecord.Node.Id)
	}
	require.Equal(t, []string{"Pool2", "Pool3"}, pools)
	require.Equal(t, []string{"Job2", "Job3"}, jobs)
	require.Equal(t, []string{"Node3", "Node4"}, nodes)
	require.Empty(t, f.s.Pools("acc", "", 9))
	require.Len(t, f.s.Jobs("", "", 9), 5)
	require.Len(t, f.s.PoolKeys(), 5)
	p := f.poolInfo("pool0")
	require.Equal(t, []int32{3, 2}, []int32{p.Dedicated, p.LowPriority})
}
