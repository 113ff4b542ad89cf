package state

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

const terminateWhenComplete = apiv1.AllTasksCompleteMode_ALL_TASKS_COMPLETE_MODE_TERMINATE_JOB

// schedule creates the job schedule "s" of hourly jobs on the pool "p", the first of which is made at once.
func (f *farm) schedule(edits ...func(*raftlogv1.CreateJobSchedule)) {
	c := &raftlogv1.CreateJobSchedule{FirstRun: f.now + tick, Due: true, AutoPoolId: "auto1", Schedule: &apiv1.JobSchedule{
		Id: "s", Schedule: &apiv1.JobScheduleConfiguration{RecurrenceInterval: durationpb.New(time.Hour)},
		JobSpecification: &apiv1.JobSpecification{
			PoolInfo: &apiv1.PoolInfo{PoolId: "p"}, OnAllTasksComplete: terminateWhenComplete, DisplayName: "made",
			Metadata:       []*apiv1.MetadataItem{{Name: "a", Value: "b"}},
			JobManagerTask: &apiv1.JobManagerTask{Id: "boss", CommandLine: "rule", KillJobOnCompletion: proto.Bool(false)},
		},
	}}
	for _, edit := range edits {
		edit(c)
	}
	f.ok(c)
}

func later(c *raftlogv1.CreateJobSchedule) { c.Due, c.FirstRun = false, c.FirstRun+int64(24*time.Hour) }

func once(c *raftlogv1.CreateJobSchedule) { c.Schedule.Schedule = nil }

func (f *farm) scheduleInfo() JobScheduleInfo {
	s, ok := f.s.JobSchedule("acct", "S")
	require.True(f.t, ok)
	return s
}

// step does what the leader does after some time.
func (f *farm) step(passed time.Duration) {
	s := f.scheduleInfo()
	f.now += int64(passed)
	due := lifecycle.RecurrenceOf(s.Schedule.Schedule, s.FirstRun).At(f.now, s.NextRun, s.Active)
	f.ok(&raftlogv1.StepJobSchedule{
		JobSchedule: s.Uid, SeenNextJob: s.NextJob, SeenNextRun: s.NextRun, Run: due.Run, NextRun: due.Next, Complete: due.Complete,
		AutoPoolId: "auto" + s.RecentJobID[len("s:job-"):] + "x",
	})
}

// finishJob runs a task to the end of its job.
func (f *farm) finishJob(node uint64, job string) {
	f.add(job, "t")
	f.run(node, job, "t", 0)
	if manager := f.jobInfo(job).Job.JobManagerTask; manager != nil {
		f.run(node, job, manager.Id, 0)
	}
	require.Equal(f.t, jobCompleted, f.jobInfo(job).Job.State)
}

func TestScheduleMakesJobs(t *testing.T) {
	f := newFarm(t)
	f.pool("p")
	n := f.node("p", "n1")
	f.schedule()
	s := f.scheduleInfo()
	require.Equal(t, "s:job-1", s.RecentJobID)
	require.True(t, s.Active)
	require.Equal(t, s.FirstRun+int64(time.Hour), s.NextRun)
	j := f.jobInfo("s:job-1").Job
	require.Equal(t, "made", j.DisplayName)
	require.Equal(t, "p", j.ExecutionInfo.PoolId)
	require.Equal(t, "boss", j.JobManagerTask.Id)
	require.Len(t, j.Metadata, 1)

	f.step(90 * time.Minute)
	require.Equal(t, "s:job-1", f.scheduleInfo().RecentJobID, "two jobs at once")
	f.finishJob(n, "s:job-1")
	require.False(t, f.scheduleInfo().Active)
	f.step(0)
	require.Equal(t, "s:job-2", f.scheduleInfo().RecentJobID)
	require.Equal(t, s.FirstRun+int64(2*time.Hour), f.scheduleInfo().NextRun, "the interval is between the times when jobs are due")
	require.Equal(t, s.Schedule.ETag, f.scheduleInfo().Schedule.ETag, "a job changes nothing of the schedule for users")

	// The job's end counts, not what became of its tasks.
	f.ok(&raftlogv1.TerminateJob{JobId: "s:job-2", Reason: "why"})
	f.step(time.Hour)
	f.ok(&raftlogv1.DeleteJob{JobId: "S:JOB-3"})
	require.True(t, f.scheduleInfo().Active, "a job that is being deleted is there")
	f.ok(&raftlogv1.AdvanceJob{Job: f.jobInfo("s:job-3").Uid, Limit: 1})
	require.False(t, f.scheduleInfo().Active)
	f.step(time.Hour)
	require.Equal(t, "s:job-4", f.scheduleInfo().RecentJobID)
}

func TestStaleStepsHaveNoEffect(t *testing.T) {
	f := newFarm(t)
	f.schedule(later)
	s := f.scheduleInfo()
	require.Empty(t, s.RecentJobID)
	step := raftlogv1.StepJobSchedule{JobSchedule: s.Uid, SeenNextJob: s.NextJob, SeenNextRun: s.NextRun, Run: s.NextRun, NextRun: s.NextRun + 1}
	do := func(edit func(*raftlogv1.StepJobSchedule)) {
		c := raftlogv1.StepJobSchedule{
			JobSchedule: step.JobSchedule, SeenNextJob: step.SeenNextJob, SeenNextRun: step.SeenNextRun, Run: step.Run, NextRun: step.NextRun,
		}
		edit(&c)
		f.ok(&c)
	}
	do(func(c *raftlogv1.StepJobSchedule) { c.JobSchedule++ })
	do(func(c *raftlogv1.StepJobSchedule) { c.SeenNextJob++ })
	do(func(c *raftlogv1.StepJobSchedule) { c.SeenNextRun++ })
	require.Empty(t, f.scheduleInfo().RecentJobID)
	do(func(*raftlogv1.StepJobSchedule) {})
	do(func(*raftlogv1.StepJobSchedule) {})
	require.Equal(t, "s:job-1", f.scheduleInfo().RecentJobID, "a step that was sent twice is taken once")
	do(func(c *raftlogv1.StepJobSchedule) { c.SeenNextJob, c.SeenNextRun, c.Complete = 2, s.NextRun+1, true })
	require.Equal(t, "s:job-1", f.scheduleInfo().RecentJobID, "a second job while one is active")
	require.Equal(t, scheduleActive, f.scheduleInfo().Schedule.State)
}

func TestScheduleStates(t *testing.T) {
	f := newFarm(t)
	f.schedule()
	state := func() apiv1.JobScheduleState { return f.scheduleInfo().Schedule.State }
	f.ok(&raftlogv1.DisableJobSchedule{JobScheduleId: "s"})
	f.ok(&raftlogv1.DisableJobSchedule{JobScheduleId: "s"})
	require.Equal(t, scheduleDisabled, state())
	require.Equal(t, scheduleActive, f.scheduleInfo().Schedule.PreviousState)
	require.Equal(t, jobActive, f.jobInfo("s:job-1").Job.State, "the job goes on")
	f.ok(&raftlogv1.TerminateJob{JobId: "s:job-1"})
	f.step(2 * time.Hour)
	require.Equal(t, "s:job-1", f.scheduleInfo().RecentJobID, "a disabled schedule makes no jobs")
	f.ok(&raftlogv1.EnableJobSchedule{JobScheduleId: "s"})
	f.step(0)
	require.Equal(t, "s:job-2", f.scheduleInfo().RecentJobID)

	f.refuse(batcherr.CodeConditionNotMet, &raftlogv1.TerminateJobSchedule{JobScheduleId: "s", Conditions: &apiv1.Conditions{IfMatch: "0x1"}})
	f.ok(&raftlogv1.TerminateJobSchedule{JobScheduleId: "s"})
	require.Equal(t, scheduleCompleted, state(), "nothing ran")
	info := f.jobInfo("s:job-2").Job.ExecutionInfo
	require.Equal(t, "TerminateJobSchedule", info.TerminateReason)
	require.NotNil(t, f.scheduleInfo().Schedule.ExecutionInfo.EndTime)
	for _, kind := range []any{
		&raftlogv1.TerminateJobSchedule{JobScheduleId: "s"}, &raftlogv1.EnableJobSchedule{JobScheduleId: "s"},
		&raftlogv1.DisableJobSchedule{JobScheduleId: "s"}, &raftlogv1.UpdateJobSchedule{JobScheduleId: "s", Update: &apiv1.JobScheduleUpdateOptions{}},
	} {
		f.refuse(batcherr.CodeJobScheduleCompleted, kind)
	}
	f.ok(&raftlogv1.DeleteJobSchedule{JobScheduleId: "s"})
	require.Equal(t, scheduleDeleting, state(), "clients look for it")
	f.refuse(batcherr.CodeJobScheduleBeingDeleted, &raftlogv1.DeleteJobSchedule{JobScheduleId: "s"})
	f.refuse(batcherr.CodeJobScheduleBeingDeleted, &raftlogv1.EnableJobSchedule{JobScheduleId: "s"})
	f.refuse(batcherr.CodeJobScheduleNotFound, &raftlogv1.DeleteJobSchedule{JobScheduleId: "t"})
}

func TestTerminatedScheduleWaitsForItsJob(t *testing.T) {
	f := newFarm(t)
	f.pool("p")
	n := f.node("p", "n1")
	f.schedule()
	f.add("s:job-1", "t")
	f.assign(n, "s:job-1", "t")
	f.report(n, "s:job-1", "t", began())
	f.ok(&raftlogv1.TerminateJobSchedule{JobScheduleId: "s"})
	require.Equal(t, scheduleTerminating, f.scheduleInfo().Schedule.State)
	f.refuse(batcherr.CodeJobScheduleBeingTerminated, &raftlogv1.TerminateJobSchedule{JobScheduleId: "s"})
	f.report(n, "s:job-1", "t", released())
	require.Equal(t, scheduleCompleted, f.scheduleInfo().Schedule.State)
}

func TestDeletedScheduleTakesItsJobs(t *testing.T) {
	f := newFarm(t)
	f.schedule()
	for range 3 {
		f.ok(&raftlogv1.TerminateJob{JobId: f.scheduleInfo().RecentJobID})
		f.step(time.Hour)
	}
	f.job("s-other")
	f.ok(&raftlogv1.DeleteJobSchedule{JobScheduleId: "s"})
	s := f.scheduleInfo()
	advance := &raftlogv1.AdvanceJobSchedule{JobSchedule: s.Uid, Limit: 3}
	require.True(t, f.s.CanAdvanceJobSchedule(s.Uid))
	f.ok(advance)
	f.ok(advance)
	require.False(t, f.s.CanAdvanceJobSchedule(s.Uid), "all its jobs go")
	for _, id := range []string{"s:job-1", "s:job-2", "s:job-3", "s:job-4"} {
		require.Equal(t, jobDeleting, f.jobInfo(id).Job.State)
		f.ok(&raftlogv1.AdvanceJob{Job: f.jobInfo(id).Uid, Limit: 1})
	}
	require.True(t, f.s.CanAdvanceJobSchedule(s.Uid))
	f.ok(advance)
	_, ok := f.s.JobSchedule("acct", "s")
	require.False(t, ok)
	f.jobInfo("s-other")
	f.schedule()
	require.Equal(t, "s:job-1", f.scheduleInfo().RecentJobID)
}

func TestScheduleCompletesByItself(t *testing.T) {
	f := newFarm(t)
	f.schedule(once)
	f.step(time.Hour)
	require.Equal(t, scheduleActive, f.scheduleInfo().Schedule.State)
	f.ok(&raftlogv1.TerminateJob{JobId: "s:job-1"})
	f.step(0)
	require.Equal(t, scheduleCompleted, f.scheduleInfo().Schedule.State)
	require.Equal(t, "s:job-1", f.scheduleInfo().RecentJobID)
}

func TestScheduleIDs(t *testing.T) {
	f := newFarm(t)
	f.job("J")
	f.schedule()
	f.refuse(batcherr.CodeJobScheduleExists, &raftlogv1.CreateJobSchedule{Schedule: &apiv1.JobSchedule{Id: "S"}})
	f.refuse(batcherr.CodeJobWithSameIdExists, &raftlogv1.CreateJobSchedule{Schedule: &apiv1.JobSchedule{Id: "j"}})
	f.refuse(batcherr.CodeJobScheduleWithSameIdExists, &raftlogv1.CreateJob{Job: &apiv1.Job{Id: "S", PoolInfo: &apiv1.PoolInfo{PoolId: "p"}}})
	f.ok(&raftlogv1.PutAccount{Create: true, Record: &raftlogv1.AccountRecord{Account: &apiv1.Account{Id: "acct"}}})
	f.ok(&raftlogv1.DeleteJob{JobId: "j"})
	f.ok(&raftlogv1.AdvanceJob{Job: f.jobInfo("j").Uid})
	f.refuse(batcherr.CodeOperationInvalidForCurrentState, &raftlogv1.DeleteAccount{})
}

func TestScheduleUpdates(t *testing.T) {
	f := newFarm(t)
	f.schedule()
	s := f.scheduleInfo()
	f.ok(&raftlogv1.UpdateJobSchedule{JobScheduleId: "s", FirstRun: f.now, Update: &apiv1.JobScheduleUpdateOptions{
		Schedule:         &apiv1.JobScheduleConfiguration{RecurrenceInterval: durationpb.New(2 * time.Hour)},
		JobSpecification: &apiv1.JobSpecification{PoolInfo: &apiv1.PoolInfo{PoolId: "q"}},
	}})
	require.Equal(t, "p", f.jobInfo("s:job-1").Job.ExecutionInfo.PoolId, "for later jobs only")
	require.NotEqual(t, s.Schedule.ETag, f.scheduleInfo().Schedule.ETag)
	require.Equal(t, s.FirstRun+int64(2*time.Hour), f.scheduleInfo().NextRun)
	f.ok(&raftlogv1.TerminateJob{JobId: "s:job-1"})
	f.step(90 * time.Minute)
	require.Equal(t, "s:job-1", f.scheduleInfo().RecentJobID)
	f.step(30 * time.Minute)
	require.Equal(t, "q", f.jobInfo("s:job-2").Job.ExecutionInfo.PoolId)

	f.ok(&raftlogv1.UpdateJobSchedule{JobScheduleId: "s", Cleared: []string{"schedule", "metadata"}, Update: &apiv1.JobScheduleUpdateOptions{}})
	require.Zero(t, f.scheduleInfo().NextRun, "one job was all, and it was made")
	f.ok(&raftlogv1.TerminateJob{JobId: "s:job-2"})
	f.step(0)
	require.Equal(t, scheduleCompleted, f.scheduleInfo().Schedule.State)
}
