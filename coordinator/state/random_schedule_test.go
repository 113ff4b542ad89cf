package state

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// autoPoolID is an id for an automatic pool, seldom one that there is.
func (c *chooser) autoPoolID() string { return c.among("auto pool", "auto1", "auto2", "auto3", "p") }

// poolInfo names a pool, or describes one that is to be made.
func (c *chooser) poolInfo(lifetimes int) *apiv1.PoolInfo {
	if !c.chance("auto", 3) {
		return &apiv1.PoolInfo{PoolId: c.poolID()}
	}
	slots, keep := int32(2), c.chance("keep alive", 3)
	spec := &apiv1.PoolSpecification{VmSize: "small", TaskSlotsPerNode: &slots}
	if c.chance("bad packages", 4) {
		spec.ApplicationPackageReferences = []*apiv1.ApplicationPackageReference{{ApplicationId: "no"}}
	}
	return &apiv1.PoolInfo{AutoPoolSpecification: &apiv1.AutoPoolSpecification{
		PoolLifetimeOption: apiv1.PoolLifetimeOption(rapid.IntRange(lifetimes, 2).Draw(c.T, "lifetime")), KeepAlive: &keep, Pool: spec,
	}}
}

func (c *chooser) scheduleID() string { return c.among("schedule", "s", "s", "S", "j2") }

func (c *chooser) times() *apiv1.JobScheduleConfiguration {
	if c.chance("once", 3) {
		return &apiv1.JobScheduleConfiguration{}
	}
	return &apiv1.JobScheduleConfiguration{RecurrenceInterval: durationpb.New(time.Minute)}
}

func (c *chooser) jobSpecification() *apiv1.JobSpecification {
	return &apiv1.JobSpecification{
		PoolInfo:           c.poolInfo(1),
		OnAllTasksComplete: rapid.SampledFrom([]apiv1.AllTasksCompleteMode{1, 2}).Draw(c.T, "complete"),
	}
}

func (c *chooser) scheduleChange() any {
	id := c.scheduleID()
	switch rapid.IntRange(0, 8).Draw(c.T, "schedule change") {
	case 0, 1, 2:
		return &raftlogv1.CreateJobSchedule{
			FirstRun: c.now, Due: c.chance("due", 2), AutoPoolId: c.autoPoolID(),
			Schedule: &apiv1.JobSchedule{Id: id, Schedule: c.times(), JobSpecification: c.jobSpecification()},
		}
	case 3:
		u := &raftlogv1.UpdateJobSchedule{JobScheduleId: id, FirstRun: c.now, Update: &apiv1.JobScheduleUpdateOptions{}}
		if c.chance("times", 2) {
			u.Update.Schedule = c.times()
		}
		if c.chance("specification", 2) {
			u.Update.JobSpecification = c.jobSpecification()
		}
		return u
	case 4:
		return &raftlogv1.DisableJobSchedule{JobScheduleId: id}
	case 5, 6:
		return &raftlogv1.EnableJobSchedule{JobScheduleId: id}
	case 7:
		return &raftlogv1.TerminateJobSchedule{JobScheduleId: id}
	}
	return &raftlogv1.DeleteJobSchedule{JobScheduleId: id}
}

// stepSchedule does what the leader's loop does, now and then with what it saw before.
func (c *chooser) stepSchedule() any {
	s, ok := c.s.JobSchedule("acct", c.scheduleID())
	if !ok || c.chance("other", 8) {
		return &raftlogv1.StepJobSchedule{JobSchedule: rapid.Uint64Range(0, 20).Draw(c.T, "uid"), SeenNextJob: 1, SeenNextRun: c.now, Run: 1}
	}
	if c.chance("advance", 3) {
		return &raftlogv1.AdvanceJobSchedule{JobSchedule: s.Uid, Limit: rapid.Uint32Range(0, 2).Draw(c.T, "limit")}
	}
	later := c.now + rapid.SampledFrom([]int64{0, 60 * tick, 600 * tick}).Draw(c.T, "later")
	due := lifecycle.RecurrenceOf(s.Schedule.Schedule, s.FirstRun).At(later, s.NextRun, s.Active)
	step := &raftlogv1.StepJobSchedule{
		JobSchedule: s.Uid, SeenNextJob: s.NextJob, SeenNextRun: s.NextRun,
		NextRun: due.Next, Run: due.Run, Complete: due.Complete, AutoPoolId: c.autoPoolID(),
	}
	if c.chance("stale", 6) {
		step.SeenNextJob++
	}
	return step
}
