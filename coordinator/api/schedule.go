package api

import (
	"context"
	"io"
	"math"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/batchyard/batchyard/coordinator/state"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

type jobScheduleService struct {
	apiv1.UnimplementedJobScheduleServiceServer
	*core
}

func (s *jobScheduleService) CreateJobSchedule(ctx context.Context, req *apiv1.CreateJobScheduleRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	schedule := req.GetJobSchedule()
	if schedule == nil {
		return nil, batcherr.MissingProperty("id")
	}
	clearJobSchedule(schedule)
	if err := s.checkJobSchedule(schedule); err != nil {
		return nil, err
	}
	schedule.JobSpecification = lifecycle.FillJobSpecification(schedule.JobSpecification)
	now := s.Now().UnixNano()
	first := lifecycle.FirstRun(schedule.Schedule, now)
	poolID, err := s.autoPoolID(schedule.JobSpecification.PoolInfo)
	if err != nil {
		return nil, err
	}
	return s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_CreateJobSchedule{CreateJobSchedule: &raftlogv1.CreateJobSchedule{
		Schedule: schedule, FirstRun: first, AutoPoolId: poolID,
		Due: lifecycle.RecurrenceOf(schedule.Schedule, first).At(now, first, false).Run == first,
	}}})
}

// clearJobSchedule removes from a new job schedule what the service sets.
func clearJobSchedule(s *apiv1.JobSchedule) {
	s.Url, s.ETag, s.LastModified, s.CreationTime = "", "", nil, nil
	s.State, s.StateTransitionTime, s.PreviousState, s.PreviousStateTransitionTime = 0, nil, 0, nil
	s.ExecutionInfo, s.Stats = nil, nil
}

// autoPoolID makes an id for the automatic pool that the information describes; empty if it describes none.
func (c *core) autoPoolID(info *apiv1.PoolInfo) (string, error) {
	auto := info.GetAutoPoolSpecification()
	if auto == nil {
		return "", nil
	}
	var b [16]byte
	if _, err := io.ReadFull(c.Rand, b[:]); err != nil {
		return "", batcherr.Internal(err)
	}
	return lifecycle.AutoPoolID(auto.AutoPoolIdPrefix, b), nil
}

func (s *jobScheduleService) GetJobSchedule(ctx context.Context, req *apiv1.GetJobScheduleRequest) (*apiv1.JobSchedule, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	fields, err := newSelection(req.GetSelect(), (&apiv1.JobSchedule{}).ProtoReflect().Descriptor())
	if err != nil {
		return nil, err
	}
	info, err := s.jobSchedule(ctx, g, req.GetJobScheduleId())
	if err != nil {
		return nil, err
	}
	if err := lifecycle.CheckConditions(req.GetConditions(), info.Schedule.ETag, info.Schedule.LastModified, true); err != nil {
		return nil, err
	}
	schedule := s.showJobSchedule(info)
	fields.apply(schedule)
	return schedule, nil
}

// jobSchedule reads a job schedule of the caller's account.
func (c *core) jobSchedule(ctx context.Context, g grant, id string) (state.JobScheduleInfo, error) {
	if err := c.Reader.Barrier(ctx); err != nil {
		return state.JobScheduleInfo{}, err
	}
	info, ok := c.State.JobSchedule(g.Account, id)
	if !ok {
		return state.JobScheduleInfo{}, batcherr.Of(batcherr.CodeJobScheduleNotFound)
	}
	return info, nil
}

func (c *core) showJobSchedule(info state.JobScheduleInfo) *apiv1.JobSchedule {
	schedule := proto.CloneOf(info.Schedule)
	if schedule.ExecutionInfo == nil {
		schedule.ExecutionInfo = &apiv1.JobScheduleExecutionInfo{}
	}
	end := lifecycle.RecurrenceOf(schedule.Schedule, info.FirstRun).End
	if next := info.NextRun; next != 0 && next != math.MaxInt64 && (end == 0 || next <= end) {
		schedule.ExecutionInfo.NextRunTime = timestamppb.New(time.Unix(0, next))
	}
	if info.RecentJobID != "" {
		schedule.ExecutionInfo.RecentJob = &apiv1.RecentBatchJob{Id: info.RecentJobID}
	}
	c.rules.blank(schedule)
	return schedule
}

func (s *jobScheduleService) ListJobSchedules(ctx context.Context, req *apiv1.ListJobSchedulesRequest) (*apiv1.ListJobSchedulesResponse, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	l, err := newListing(req.GetOptions(), (&apiv1.JobSchedule{}).ProtoReflect().Descriptor(), "jobschedules", g.Account)
	if err != nil {
		return nil, err
	}
	if err := s.Reader.Barrier(ctx); err != nil {
		return nil, err
	}
	schedules, token, err := collect(l, func(after string, limit int) ([]item[*apiv1.JobSchedule], error) {
		var out []item[*apiv1.JobSchedule]
		for _, info := range s.State.JobSchedules(g.Account, after, limit) {
			out = append(out, item[*apiv1.JobSchedule]{info.Schedule.Id, s.showJobSchedule(info)})
		}
		return out, ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	return &apiv1.ListJobSchedulesResponse{JobSchedules: schedules, NextPageToken: token}, nil
}

func (s *jobScheduleService) UpdateJobSchedule(ctx context.Context, req *apiv1.UpdateJobScheduleRequest) (*apiv1.Written, error) {
	update := req.GetUpdate()
	if update == nil {
		update = &apiv1.JobScheduleUpdateOptions{}
	}
	if err := checkCleared(req.GetCleared(), "metadata"); err != nil {
		return nil, err
	}
	return s.change(ctx, &raftlogv1.UpdateJobSchedule{
		JobScheduleId: req.GetJobScheduleId(), Update: update, Conditions: req.GetConditions(), Cleared: req.GetCleared(),
	})
}

func (s *jobScheduleService) ReplaceJobSchedule(ctx context.Context, req *apiv1.ReplaceJobScheduleRequest) (*apiv1.Written, error) {
	schedule := req.GetJobSchedule()
	if schedule.GetJobSpecification() == nil {
		return nil, batcherr.MissingProperty("jobSpecification")
	}
	return s.change(ctx, &raftlogv1.UpdateJobSchedule{
		JobScheduleId: req.GetJobScheduleId(), Conditions: req.GetConditions(), Cleared: []string{"schedule", "metadata"},
		Update: &apiv1.JobScheduleUpdateOptions{
			Schedule: schedule.Schedule, JobSpecification: schedule.JobSpecification, Metadata: schedule.Metadata,
		},
	})
}

// change checks and completes a change, and has it applied.
func (s *jobScheduleService) change(ctx context.Context, cmd *raftlogv1.UpdateJobSchedule) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	u := cmd.Update
	if err := s.rules.check(u, ""); err != nil {
		return nil, err
	}
	if err := s.checkJobScheduleParts(u.Schedule, u.JobSpecification, u.Metadata); err != nil {
		return nil, err
	}
	if u.JobSpecification != nil {
		u.JobSpecification = lifecycle.FillJobSpecification(u.JobSpecification)
	}
	cmd.FirstRun = lifecycle.FirstRun(u.Schedule, s.Now().UnixNano())
	return s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_UpdateJobSchedule{UpdateJobSchedule: cmd}})
}

func (s *jobScheduleService) DeleteJobSchedule(ctx context.Context, req *apiv1.DeleteJobScheduleRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	return s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_DeleteJobSchedule{DeleteJobSchedule: &raftlogv1.DeleteJobSchedule{
		JobScheduleId: req.GetJobScheduleId(), Conditions: req.GetConditions(),
	}}})
}

func (s *jobScheduleService) DisableJobSchedule(ctx context.Context, req *apiv1.DisableJobScheduleRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	return s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_DisableJobSchedule{DisableJobSchedule: &raftlogv1.DisableJobSchedule{
		JobScheduleId: req.GetJobScheduleId(), Conditions: req.GetConditions(),
	}}})
}

func (s *jobScheduleService) EnableJobSchedule(ctx context.Context, req *apiv1.EnableJobScheduleRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	return s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_EnableJobSchedule{EnableJobSchedule: &raftlogv1.EnableJobSchedule{
		JobScheduleId: req.GetJobScheduleId(), Conditions: req.GetConditions(),
	}}})
}

func (s *jobScheduleService) TerminateJobSchedule(ctx context.Context, req *apiv1.TerminateJobScheduleRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	return s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_TerminateJobSchedule{TerminateJobSchedule: &raftlogv1.TerminateJobSchedule{
		JobScheduleId: req.GetJobScheduleId(), Conditions: req.GetConditions(),
	}}})
}
