package state

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// furnished has something in every state that refuses commands.
func furnished(t *testing.T) *farm {
	f := newFarm(t)
	f.ok(&raftlogv1.PutAccount{Record: &raftlogv1.AccountRecord{Account: &apiv1.Account{Id: "acct"}}, Create: true})
	f.ok(&raftlogv1.PutApplication{Record: &raftlogv1.ApplicationRecord{Application: &apiv1.ApplicationDetail{Id: "app"}}, Create: true})
	for _, id := range []string{"p", "steady", "going"} {
		f.pool(id)
	}
	f.finishResize("steady")
	n := f.node("p", "n")
	f.node("going", "n")
	f.ok(&raftlogv1.DeletePool{PoolId: "going"})
	for _, id := range []string{"open", "disabled", "ending", "ended", "doomed"} {
		f.job(id)
		f.add(id, "active", "held", "good", "bad")
		f.run(n, id, "good", 0)
		f.run(n, id, "bad", 1)
		if id != "disabled" {
			f.assign(n, id, "held")
			f.report(n, id, "held", began())
		}
	}
	f.ok(&raftlogv1.DisableJob{JobId: "disabled"})
	f.ok(&raftlogv1.TerminateJob{JobId: "ending"})
	f.ok(&raftlogv1.TerminateJob{JobId: "ended"})
	f.report(n, "ended", "held", released())
	f.ok(&raftlogv1.DeleteJob{JobId: "doomed"})
	f.job("plain", func(j *apiv1.Job) { j.UsesTaskDependencies = nil })
	f.job("one-way", func(j *apiv1.Job) {
		j.OnAllTasksComplete = apiv1.AllTasksCompleteMode_ALL_TASKS_COMPLETE_MODE_TERMINATE_JOB
	})
	return f
}

func (f *farm) finishResize(pool string) {
	p, ok := f.s.Pool("acct", pool)
	require.True(f.t, ok)
	f.ok(&raftlogv1.FinishResize{PoolId: pool, SeenTransition: timeOf(p.Pool.AllocationStateTransitionTime)})
}

func TestRefusedCommands(t *testing.T) {
	f := furnished(t)
	stale := &apiv1.Conditions{IfMatch: "0x0"}
	noAction := apiv1.AllTasksCompleteMode_ALL_TASKS_COMPLETE_MODE_NO_ACTION
	elsewhere := &apiv1.PoolInfo{PoolId: "steady"}
	jobs := map[string]string{
		"none": batcherr.CodeJobNotFound, "ending": batcherr.CodeJobBeingTerminated,
		"ended": batcherr.CodeJobCompleted, "doomed": batcherr.CodeJobBeingDeleted,
	}
	for id, code := range jobs {
		f.refuse(code, &raftlogv1.UpdateJob{JobId: id, Update: &apiv1.JobUpdateOptions{}})
		f.refuse(code, &raftlogv1.DisableJob{JobId: id})
		f.refuse(code, &raftlogv1.EnableJob{JobId: id})
		f.refuse(code, &raftlogv1.TerminateJob{JobId: id})
		f.refuse(code, &raftlogv1.AddTasks{JobId: id, Specs: [][]byte{taskSpec()}, Tasks: []*raftlogv1.NewTask{{Id: "t"}}})
		f.refuse(code, &raftlogv1.ReactivateTask{JobId: id, TaskId: "bad"})
	}
	for _, id := range []string{"none", "doomed"} {
		f.refuse(jobs[id], &raftlogv1.DeleteJob{JobId: id})
		f.refuse(jobs[id], &raftlogv1.DeleteTask{JobId: id, TaskId: "bad"})
		f.refuse(jobs[id], &raftlogv1.TerminateTask{JobId: id, TaskId: "active"})
		f.refuse(jobs[id], &raftlogv1.UpdateTask{JobId: id, TaskId: "active"})
	}
	for _, c := range []struct {
		code string
		kind any
	}{
		{batcherr.CodeInvalidInput, &raftlogv1.CreatePool{}},
		{batcherr.CodePoolExists, &raftlogv1.CreatePool{Pool: &apiv1.Pool{Id: "P"}}},
		{batcherr.CodePoolNotFound, &raftlogv1.UpdatePool{PoolId: "none", Update: &apiv1.PoolUpdateOptions{}}},
		{batcherr.CodeConditionNotMet, &raftlogv1.UpdatePool{PoolId: "p", Update: &apiv1.PoolUpdateOptions{}, Conditions: stale}},
		{batcherr.CodePoolBeingDeleted, &raftlogv1.UpdatePool{PoolId: "going", Update: &apiv1.PoolUpdateOptions{}}},
		{batcherr.CodeOperationInvalidForCurrentState, &raftlogv1.UpdatePool{PoolId: "p", Update: &apiv1.PoolUpdateOptions{VmSize: proto.String("big")}}},
		{batcherr.CodeOperationInvalidForCurrentState, &raftlogv1.UpdatePool{PoolId: "p", Update: &apiv1.PoolUpdateOptions{}, Cleared: []string{"userAccounts"}}},
		{batcherr.CodePoolNotFound, &raftlogv1.DeletePool{PoolId: "none"}},
		{batcherr.CodePoolBeingDeleted, &raftlogv1.DeletePool{PoolId: "going"}},
		{batcherr.CodeConditionNotMet, &raftlogv1.DeletePool{PoolId: "p", Conditions: stale}},
		{batcherr.CodePoolBeingResized, &raftlogv1.ResizePool{PoolId: "p", Options: &apiv1.PoolResizeOptions{}}},
		{batcherr.CodePoolBeingDeleted, &raftlogv1.ResizePool{PoolId: "going", Options: &apiv1.PoolResizeOptions{}}},
		{batcherr.CodePoolNotFound, &raftlogv1.StopPoolResize{PoolId: "none"}},
		{batcherr.CodeOperationInvalidForCurrentState, &raftlogv1.StopPoolResize{PoolId: "steady"}},
		{batcherr.CodePoolBeingResized, &raftlogv1.RemoveNodes{PoolId: "p", Options: &apiv1.NodeRemoveOptions{NodeList: []string{"n"}}}},
		{batcherr.CodeNodeNotFound, &raftlogv1.RemoveNodes{PoolId: "steady", Options: &apiv1.NodeRemoveOptions{NodeList: []string{"n"}}}},
		{batcherr.CodePoolNotFound, &raftlogv1.CreateNodes{PoolId: "none", NodeIds: []string{"n"}}},
		{batcherr.CodePoolNotFound, &raftlogv1.CreateNodes{PoolId: "going", NodeIds: []string{"x"}}},
		{batcherr.CodePoolNotFound, &raftlogv1.LeaveNodes{PoolId: "none"}},
		{batcherr.CodePoolNotFound, &raftlogv1.NodeHello{PoolId: "none", NodeId: "n"}},
		{batcherr.CodeNodeNotFound, &raftlogv1.NodeHello{PoolId: "p", NodeId: "none"}},
		{batcherr.CodeNodeNotFound, &raftlogv1.DeleteNode{PoolId: "p", NodeId: "none"}},
		{batcherr.CodeNodeNotFound, &raftlogv1.SetNodeState{PoolId: "p", NodeId: "none"}},
		{batcherr.CodeNodeAlreadyInTargetSchedulingState, &raftlogv1.SetNodeScheduling{PoolId: "p", NodeId: "n", Enabled: true}},
		{batcherr.CodeJobExists, &raftlogv1.CreateJob{Job: &apiv1.Job{Id: "OPEN"}}},
		{batcherr.CodeInvalidInput, &raftlogv1.CreateJob{}},
		{batcherr.CodeConditionNotMet, &raftlogv1.TerminateJob{JobId: "open", Conditions: stale}},
		{batcherr.CodeOperationInvalidForCurrentState, &raftlogv1.UpdateJob{JobId: "open", Update: &apiv1.JobUpdateOptions{PoolInfo: elsewhere}}},
		{batcherr.CodeInvalidPropertyValue, &raftlogv1.UpdateJob{JobId: "one-way", Update: &apiv1.JobUpdateOptions{OnAllTasksComplete: &noAction}}},
		{batcherr.CodeTaskNotFound, &raftlogv1.DeleteTask{JobId: "open", TaskId: "none"}},
		{batcherr.CodeConditionNotMet, &raftlogv1.DeleteTask{JobId: "open", TaskId: "active", Conditions: stale}},
		{batcherr.CodeTaskNotFound, &raftlogv1.TerminateTask{JobId: "open", TaskId: "none"}},
		{batcherr.CodeTaskCompleted, &raftlogv1.TerminateTask{JobId: "open", TaskId: "good"}},
		{batcherr.CodeTaskCompleted, &raftlogv1.UpdateTask{JobId: "open", TaskId: "bad"}},
		{batcherr.CodeConditionNotMet, &raftlogv1.UpdateTask{JobId: "open", TaskId: "active", Conditions: stale}},
		{batcherr.CodeTaskNotCompleted, &raftlogv1.ReactivateTask{JobId: "open", TaskId: "held"}},
		{batcherr.CodeTaskSucceeded, &raftlogv1.ReactivateTask{JobId: "open", TaskId: "good"}},
		{batcherr.CodeAccountExists, &raftlogv1.PutAccount{Record: &raftlogv1.AccountRecord{Account: &apiv1.Account{Id: "acct"}}, Create: true}},
		{batcherr.CodeAccountNotFound, &raftlogv1.PutAccount{Record: &raftlogv1.AccountRecord{Account: &apiv1.Account{Id: "other"}}}},
		{batcherr.CodeOperationInvalidForCurrentState, &raftlogv1.DeleteAccount{}},
		{batcherr.CodeResourceAlreadyExists, &raftlogv1.PutApplication{Record: &raftlogv1.ApplicationRecord{Application: &apiv1.ApplicationDetail{Id: "APP"}}, Create: true}},
		{batcherr.CodeApplicationNotFound, &raftlogv1.DeleteApplication{ApplicationId: "none"}},
		{batcherr.CodeAuthenticationFailed, &raftlogv1.UseJoinToken{Id: "none"}},
		{batcherr.CodeOperationInvalidForCurrentState, &raftlogv1.ReportAttempts{Node: 999}},
	} {
		f.refuse(c.code, c.kind)
	}
}

func TestRefusedBytesChangeNothing(t *testing.T) {
	f := newFarm(t)
	f.pool("p")
	before := dump(f.s)
	for _, raw := range [][]byte{{0xff}, nil, marshal(t, &raftlogv1.Command{Now: 1})} {
		f.index++
		out, _ := f.s.Apply(f.index, [][]byte{raw})
		require.Equal(t, batcherr.CodeInvalidInput, out[0].(Result).Err.Code)
	}
	require.Equal(t, before, dump(f.s))
	out, _ := f.s.Apply(f.index, [][]byte{{}, {}})
	require.Equal(t, []any{nil, nil}, out, "an entry that was applied already answers nothing")
}

func TestTasksRefusedOneByOne(t *testing.T) {
	f := newFarm(t)
	f.pool("p")
	f.job("j", func(j *apiv1.Job) { j.UsesTaskDependencies = nil })
	f.add("j", "old")
	results := f.ok(&raftlogv1.AddTasks{JobId: "j", Specs: [][]byte{taskSpec(), {0xff}}, Tasks: []*raftlogv1.NewTask{
		{Id: "OLD"}, {Id: "new"}, {Id: "New"}, {Id: "x", Spec: 2}, {Id: "y", Spec: 1}, {Id: "z", DependsOn: after("new")}, {Id: "last"},
	}}).Tasks
	var codes []string
	for _, r := range results {
		codes = append(codes, r.GetError().GetCode())
	}
	require.Equal(t, []string{
		batcherr.CodeTaskExists, "", batcherr.CodeTaskExists, batcherr.CodeInvalidInput, batcherr.CodeInvalidInput,
		batcherr.CodeTaskDependenciesNotSpecifiedOnJob, "",
	}, codes)
	require.EqualValues(t, 3, f.jobInfo("j").Queued)
	require.Equal(t, "New", results[2].TaskId)
}
