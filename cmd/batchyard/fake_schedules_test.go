package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func (f *farm) CreateJobSchedule(_ context.Context, req *apiv1.CreateJobScheduleRequest) (*apiv1.Written, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(req)
	schedule := proto.CloneOf(req.GetJobSchedule())
	if f.schedules[schedule.GetId()] != nil {
		return nil, batcherr.Of(batcherr.CodeJobScheduleExists)
	}
	job := lifecycle.JobOf(proto.CloneOf(schedule.GetJobSpecification()))
	job.Id, job.State = schedule.GetId()+":job-1", apiv1.JobState_JOB_STATE_ACTIVE
	f.jobs[job.Id] = job
	schedule.State, schedule.ETag = apiv1.JobScheduleState_JOB_SCHEDULE_STATE_ACTIVE, "0x1"
	schedule.ExecutionInfo = &apiv1.JobScheduleExecutionInfo{RecentJob: &apiv1.RecentBatchJob{Id: job.Id}}
	f.schedules[schedule.GetId()] = schedule
	return &apiv1.Written{}, nil
}

func (f *farm) GetJobSchedule(_ context.Context, req *apiv1.GetJobScheduleRequest) (*apiv1.JobSchedule, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if schedule := f.schedules[req.GetJobScheduleId()]; schedule != nil {
		return proto.CloneOf(schedule), nil
	}
	return nil, batcherr.Of(batcherr.CodeJobScheduleNotFound)
}

func (f *farm) ListJobSchedules(_ context.Context, req *apiv1.ListJobSchedulesRequest) (*apiv1.ListJobSchedulesResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	items, next := pageOf(f, sorted(f.schedules), req.GetOptions())
	return &apiv1.ListJobSchedulesResponse{JobSchedules: items, NextPageToken: next}, nil
}

func (f *farm) UpdateJobSchedule(_ context.Context, req *apiv1.UpdateJobScheduleRequest) (*apiv1.Written, error) {
	return f.changeSchedule(req, req.GetJobScheduleId(), 0)
}

func (f *farm) DisableJobSchedule(_ context.Context, req *apiv1.DisableJobScheduleRequest) (*apiv1.Written, error) {
	return f.changeSchedule(req, req.GetJobScheduleId(), apiv1.JobScheduleState_JOB_SCHEDULE_STATE_DISABLED)
}

func (f *farm) EnableJobSchedule(_ context.Context, req *apiv1.EnableJobScheduleRequest) (*apiv1.Written, error) {
	return f.changeSchedule(req, req.GetJobScheduleId(), apiv1.JobScheduleState_JOB_SCHEDULE_STATE_ACTIVE)
}

func (f *farm) TerminateJobSchedule(_ context.Context, req *apiv1.TerminateJobScheduleRequest) (*apiv1.Written, error) {
	return f.changeSchedule(req, req.GetJobScheduleId(), apiv1.JobScheduleState_JOB_SCHEDULE_STATE_COMPLETED)
}

func (f *farm) DeleteJobSchedule(_ context.Context, req *apiv1.DeleteJobScheduleRequest) (*apiv1.Written, error) {
	w, err := f.changeSchedule(req, req.GetJobScheduleId(), 0)
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.schedules, req.GetJobScheduleId())
	return w, err
}

func (f *farm) changeSchedule(req proto.Message, id string, state apiv1.JobScheduleState) (*apiv1.Written, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(req)
	schedule := f.schedules[id]
	if schedule == nil {
		return nil, batcherr.Of(batcherr.CodeJobScheduleNotFound)
	}
	if state != 0 {
		schedule.State = state
	}
	return &apiv1.Written{}, nil
}

func TestScheduleCommands(t *testing.T) {
	l := newLab(t)
	l.ok("job", "create", "other", "--pool", "demo")
	require.Equal(t, "job schedule nightly created\n", l.ok("schedule", "create", "nightly", "--every", "24h", "--start-window", "PT1H",
		"--not-before", "2030-01-31T12:00:00Z", "--not-after", "2031-01-31T12:00:00+01:00",
		"--pool", "demo", "--priority", "7", "-e", "A=b", "--terminate-when-complete"))
	equalProto(t, &apiv1.JobSchedule{
		Id: "nightly",
		Schedule: &apiv1.JobScheduleConfiguration{
			RecurrenceInterval: durationpb.New(24 * time.Hour), StartWindow: durationpb.New(time.Hour),
			DoNotRunUntil: timestamppb.New(time.Date(2030, 1, 31, 12, 0, 0, 0, time.UTC)), DoNotRunAfter: timestamppb.New(time.Date(2031, 1, 31, 11, 0, 0, 0, time.UTC)),
		},
		JobSpecification: &apiv1.JobSpecification{
			PoolInfo: &apiv1.PoolInfo{PoolId: "demo"}, Priority: proto.Int32(7), Constraints: &apiv1.JobConstraints{},
			CommonEnvironmentSettings: []*apiv1.EnvironmentSetting{{Name: "A", Value: "b"}},
			OnAllTasksComplete:        apiv1.AllTasksCompleteMode_ALL_TASKS_COMPLETE_MODE_TERMINATE_JOB,
		},
	}, last[*apiv1.CreateJobScheduleRequest](l.farm).GetJobSchedule())
	require.Contains(t, l.fails(batcherr.ExitInvalid, "schedule", "create", "x"), "needs a pool")
	require.Contains(t, l.fails(batcherr.ExitInvalid, "schedule", "create", "x", "--pool", "p", "--not-before", "soon"), "expected a time")
	require.Contains(t, l.ok("schedule", "list"), "nightly  active  24h0m0s")
	require.Contains(t, l.ok("schedule", "show", "nightly"), "Recent job        nightly:job-1\n")
	require.Equal(t, "nightly:job-1\n", l.ok("schedule", "jobs", "nightly", "-q"))

	path := l.file("schedule.yaml", l.ok("schedule", "show", "nightly", "-o", "yaml"))
	l.ok("schedule", "create", "copy", "--file", path, "--every", "2h")
	made := last[*apiv1.CreateJobScheduleRequest](l.farm).GetJobSchedule()
	require.Equal(t, 2*time.Hour, made.GetSchedule().GetRecurrenceInterval().AsDuration())
	require.EqualValues(t, 7, made.GetJobSpecification().GetPriority())

	l.ok("schedule", "update", "nightly", "--every", "12h")
	update := last[*apiv1.UpdateJobScheduleRequest](l.farm)
	require.Equal(t, "0x1", update.GetConditions().GetIfMatch())
	require.Equal(t, time.Hour, update.GetUpdate().GetSchedule().GetStartWindow().AsDuration(), "what is not given stays")
	require.Nil(t, update.GetUpdate().GetJobSpecification())
	require.Contains(t, l.fails(batcherr.ExitInvalid, "schedule", "update", "nightly"), "nothing to change")

	l.ok("schedule", "disable", "nightly")
	require.Contains(t, l.ok("schedule", "list"), "nightly  disabled")
	l.ok("schedule", "enable", "nightly", "copy")
	l.ok("schedule", "terminate", "nightly")
	require.Contains(t, l.ok("schedule", "list"), "nightly  completed")
	l.ok("schedule", "delete", "nightly")
	require.Contains(t, l.fails(batcherr.ExitNotFound, "schedule", "show", "nightly"), "(JobScheduleNotFound)")
}
