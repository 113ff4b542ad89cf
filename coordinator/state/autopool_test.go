package state

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

func autoPool(lifetime apiv1.PoolLifetimeOption, edits ...func(*apiv1.AutoPoolSpecification)) *apiv1.PoolInfo {
	auto := &apiv1.AutoPoolSpecification{
		PoolLifetimeOption: lifetime, KeepAlive: proto.Bool(false),
		Pool: &apiv1.PoolSpecification{VmSize: "small", TaskSlotsPerNode: proto.Int32(2), TargetDedicatedNodes: proto.Int32(1)},
	}
	for _, edit := range edits {
		edit(auto)
	}
	return &apiv1.PoolInfo{AutoPoolSpecification: auto}
}

const (
	forJob      = apiv1.PoolLifetimeOption_POOL_LIFETIME_OPTION_JOB
	forSchedule = apiv1.PoolLifetimeOption_POOL_LIFETIME_OPTION_JOB_SCHEDULE
)

func kept(a *apiv1.AutoPoolSpecification) { a.KeepAlive = proto.Bool(true) }

func (f *farm) autoJob(edits ...func(*apiv1.AutoPoolSpecification)) {
	f.ok(&raftlogv1.CreateJob{AutoPoolId: "auto", Job: &apiv1.Job{Id: "j", PoolInfo: autoPool(forJob, edits...)}})
}

// poolState is a pool's state; unspecified: there is none.
func (f *farm) poolState(id string) apiv1.PoolState {
	p, ok := f.s.Pool("acct", id)
	if !ok {
		return apiv1.PoolState_POOL_STATE_UNSPECIFIED
	}
	return p.Pool.State
}

func TestAutoPoolOfAJob(t *testing.T) {
	for name, end := range map[string]func(*farm){
		"terminated": func(f *farm) { f.ok(&raftlogv1.TerminateJob{JobId: "j"}) },
		"deleted": func(f *farm) {
			f.ok(&raftlogv1.DeleteJob{JobId: "j"})
			f.ok(&raftlogv1.AdvanceJob{Job: f.jobInfo("j").Uid})
		},
		"moved": func(f *farm) {
			f.ok(&raftlogv1.DisableJob{JobId: "j"})
			f.ok(&raftlogv1.UpdateJob{JobId: "j", Update: &apiv1.JobUpdateOptions{PoolInfo: &apiv1.PoolInfo{PoolId: "p"}}})
			require.Equal(f.t, "p", f.jobInfo("j").Job.ExecutionInfo.PoolId)
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, keep := range []bool{false, true} {
				f := newFarm(t)
				f.autoJob(func(a *apiv1.AutoPoolSpecification) { a.KeepAlive = &keep })
				require.Equal(t, "auto", f.jobInfo("j").Job.ExecutionInfo.PoolId)
				p, _ := f.s.Pool("acct", "auto")
				require.Equal(t, []int32{2, 1}, []int32{p.Pool.GetTaskSlotsPerNode(), p.Pool.GetTargetDedicatedNodes()})
				require.Equal(t, resizing, p.Pool.AllocationState)
				f.add("j", "t")
				f.run(f.node("auto", "n1"), "j", "t", 0)
				end(f)
				want := apiv1.PoolState_POOL_STATE_DELETING
				if keep {
					want = apiv1.PoolState_POOL_STATE_ACTIVE
				}
				require.Equal(t, want, f.poolState("auto"))
			}
		})
	}
}

func TestAutoPoolThatUsersHaveReplaced(t *testing.T) {
	f := newFarm(t)
	f.autoJob()
	f.ok(&raftlogv1.DeletePool{PoolId: "auto"})
	p, _ := f.s.Pool("acct", "auto")
	f.ok(&raftlogv1.FinishResize{PoolId: "auto", SeenTransition: timeOf(p.Pool.AllocationStateTransitionTime)})
	require.Zero(t, f.poolState("auto"))
	f.pool("auto")
	f.ok(&raftlogv1.TerminateJob{JobId: "j"})
	require.Equal(t, apiv1.PoolState_POOL_STATE_ACTIVE, f.poolState("auto"), "someone else's pool")
}

func TestAutoPoolThatCannotBeMade(t *testing.T) {
	noPackage := func(a *apiv1.AutoPoolSpecification) {
		a.Pool.ApplicationPackageReferences = []*apiv1.ApplicationPackageReference{{ApplicationId: "blender", Version: "1"}}
	}
	f := newFarm(t)
	f.autoJob(noPackage)
	j := f.jobInfo("j").Job
	require.Equal(t, jobCompleted, j.State)
	require.Equal(t, batcherr.CodeInvalidApplicationPackageReferencesInAutoPool, j.ExecutionInfo.SchedulingError.Code)
	require.Equal(t, apiv1.ErrorSourceCategory_ERROR_SOURCE_CATEGORY_USER_ERROR, j.ExecutionInfo.SchedulingError.Category)
	require.Equal(t, "blender", j.ExecutionInfo.SchedulingError.Details[0].Name)
	require.NotNil(t, j.ExecutionInfo.EndTime)
	require.Empty(t, j.ExecutionInfo.PoolId)
	require.Zero(t, f.poolState("auto"))
	f.refuse(batcherr.CodeJobCompleted, &raftlogv1.AddTasks{JobId: "j"})

	f.pool("taken")
	f.ok(&raftlogv1.CreateJob{AutoPoolId: "taken", Job: &apiv1.Job{Id: "k", PoolInfo: autoPool(forJob)}})
	require.Equal(t, batcherr.CodeInvalidAutoPoolSettings, f.jobInfo("k").Job.ExecutionInfo.SchedulingError.Code)
	require.Equal(t, apiv1.PoolState_POOL_STATE_ACTIVE, f.poolState("taken"))

	f.schedule(func(c *raftlogv1.CreateJobSchedule) {
		c.Schedule.JobSpecification.PoolInfo = autoPool(forSchedule, noPackage)
	})
	require.NotNil(t, f.jobInfo("s:job-1").Job.ExecutionInfo.SchedulingError)
	f.step(time.Hour)
	require.Equal(t, "s:job-2", f.scheduleInfo().RecentJobID, "the schedule tries again at the next time")
}

func TestAutoPoolChanges(t *testing.T) {
	f := newFarm(t)
	f.autoJob()
	change := func(info *apiv1.PoolInfo) any {
		return &raftlogv1.UpdateJob{JobId: "j", Update: &apiv1.JobUpdateOptions{PoolInfo: info}}
	}
	bigger := func(a *apiv1.AutoPoolSpecification) { a.Pool.TargetDedicatedNodes = proto.Int32(9) }
	f.refuse(batcherr.CodeInvalidPropertyValue, change(autoPool(forJob, bigger)))
	f.refuse(batcherr.CodeInvalidPropertyValue, change(autoPool(forSchedule, kept)))
	f.refuse(batcherr.CodeOperationInvalidForCurrentState, change(&apiv1.PoolInfo{PoolId: "p"}))
	f.ok(change(autoPool(forJob)))
	f.ok(change(autoPool(forJob, kept, func(a *apiv1.AutoPoolSpecification) { a.Pool = nil })))
	require.True(t, f.jobInfo("j").Job.PoolInfo.AutoPoolSpecification.GetKeepAlive())
	require.NotNil(t, f.jobInfo("j").Job.PoolInfo.AutoPoolSpecification.Pool)
	f.ok(&raftlogv1.TerminateJob{JobId: "j"})
	require.Equal(t, apiv1.PoolState_POOL_STATE_ACTIVE, f.poolState("auto"))

	f.job("plain")
	f.refuse(batcherr.CodeInvalidPropertyValue, &raftlogv1.UpdateJob{JobId: "plain", Update: &apiv1.JobUpdateOptions{PoolInfo: autoPool(forJob)}})
}

func TestAutoPoolsOfASchedule(t *testing.T) {
	f := newFarm(t)
	f.schedule(func(c *raftlogv1.CreateJobSchedule) { c.Schedule.JobSpecification.PoolInfo = autoPool(forJob) })
	f.ok(&raftlogv1.TerminateJob{JobId: "s:job-1"})
	f.step(time.Hour)
	require.Equal(t, "auto1x", f.jobInfo("s:job-2").Job.ExecutionInfo.PoolId, "each job has its own")
	require.Equal(t, apiv1.PoolState_POOL_STATE_DELETING, f.poolState("auto1"))

	for name, end := range map[string]func(*farm){
		"terminated": func(f *farm) { f.ok(&raftlogv1.TerminateJobSchedule{JobScheduleId: "s"}) },
		"deleted": func(f *farm) {
			f.ok(&raftlogv1.DeleteJobSchedule{JobScheduleId: "s"})
			for range 2 {
				f.ok(&raftlogv1.AdvanceJobSchedule{JobSchedule: f.scheduleInfo().Uid, Limit: 9})
				for _, id := range []string{"s:job-1", "s:job-2"} {
					if j, ok := f.s.Job("acct", id); ok {
						f.ok(&raftlogv1.AdvanceJob{Job: j.Uid})
					}
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFarm(t)
			f.schedule(func(c *raftlogv1.CreateJobSchedule) { c.Schedule.JobSpecification.PoolInfo = autoPool(forSchedule) })
			f.ok(&raftlogv1.TerminateJob{JobId: "s:job-1"})
			require.Equal(t, apiv1.PoolState_POOL_STATE_ACTIVE, f.poolState("auto1"))
			f.step(time.Hour)
			require.Equal(t, "auto1", f.jobInfo("s:job-2").Job.ExecutionInfo.PoolId, "all jobs share it")
			end(f)
			require.Equal(t, apiv1.PoolState_POOL_STATE_DELETING, f.poolState("auto1"))
		})
	}
}

func TestSchedulePoolThatIsGone(t *testing.T) {
	f := newFarm(t)
	f.schedule(func(c *raftlogv1.CreateJobSchedule) {
		c.Schedule.JobSpecification.PoolInfo = autoPool(forSchedule, kept)
	})
	f.ok(&raftlogv1.TerminateJob{JobId: "s:job-1"})
	f.ok(&raftlogv1.DeletePool{PoolId: "auto1"})
	f.step(time.Hour)
	require.Equal(t, "auto1x", f.jobInfo("s:job-2").Job.ExecutionInfo.PoolId)
	f.ok(&raftlogv1.TerminateJobSchedule{JobScheduleId: "s"})
	require.Equal(t, apiv1.PoolState_POOL_STATE_ACTIVE, f.poolState("auto1x"), "it is kept")
}
