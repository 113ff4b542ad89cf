package api

import (
	"context"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/coordinator/state"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

type jobService struct {
	apiv1.UnimplementedJobServiceServer
	*core
}

func (s *jobService) CreateJob(ctx context.Context, req *apiv1.CreateJobRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	job := req.GetJob()
	if job == nil {
		return nil, batcherr.MissingProperty("id")
	}
	clearJob(job)
	if err := checkID("id", job.Id); err != nil {
		return nil, err
	}
	if err := s.checkJob(job, false); err != nil {
		return nil, err
	}
	lifecycle.FillJob(job)
	poolID, err := s.autoPoolID(job.PoolInfo)
	if err != nil {
		return nil, err
	}
	return s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_CreateJob{CreateJob: &raftlogv1.CreateJob{Job: job, AutoPoolId: poolID}}})
}

// clearJob removes from a new job what the service sets.
func clearJob(j *apiv1.Job) {
	j.Url, j.ETag, j.LastModified, j.CreationTime = "", "", nil, nil
	j.State, j.StateTransitionTime, j.PreviousState, j.PreviousStateTransitionTime = 0, nil, 0, nil
	j.ExecutionInfo, j.Stats = nil, nil
}

func (s *jobService) GetJob(ctx context.Context, req *apiv1.GetJobRequest) (*apiv1.Job, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	fields, err := newSelection(req.GetSelect(), (&apiv1.Job{}).ProtoReflect().Descriptor())
	if err != nil {
		return nil, err
	}
	info, err := s.job(ctx, g, req.GetJobId())
	if err != nil {
		return nil, err
	}
	if err := lifecycle.CheckConditions(req.GetConditions(), info.Job.ETag, info.Job.LastModified, true); err != nil {
		return nil, err
	}
	job := s.showJob(info)
	fields.apply(job)
	return job, nil
}

// job reads a job of the caller's account.
func (c *core) job(ctx context.Context, g grant, id string) (state.JobInfo, error) {
	if err := c.Reader.Barrier(ctx); err != nil {
		return state.JobInfo{}, err
	}
	info, ok := c.State.Job(g.Account, id)
	if !ok {
		return state.JobInfo{}, batcherr.Of(batcherr.CodeJobNotFound)
	}
	return info, nil
}

func (c *core) showJob(info state.JobInfo) *apiv1.Job {
	job := proto.CloneOf(info.Job)
	c.rules.blank(job)
	return job
}

func (s *jobService) ListJobs(ctx context.Context, req *apiv1.ListJobsRequest) (*apiv1.ListJobsResponse, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	schedule := req.GetJobScheduleId()
	l, err := newListing(req.GetOptions(), (&apiv1.Job{}).ProtoReflect().Descriptor(), "jobs", g.Account, schedule)
	if err != nil {
		return nil, err
	}
	// Jobs of a schedule are named after it, so that they follow each other.
	prefix := ""
	if schedule == "" {
		err = s.Reader.Barrier(ctx)
	} else {
		_, err = s.jobSchedule(ctx, g, schedule)
		prefix = lifecycle.IDKey(schedule) + ":"
		if l.after == "" {
			l.after = prefix
		}
	}
	if err != nil {
		return nil, err
	}
	jobs, token, err := collect(l, func(after string, limit int) ([]item[*apiv1.Job], error) {
		var out []item[*apiv1.Job]
		for _, info := range s.State.Jobs(g.Account, after, limit) {
			if !strings.HasPrefix(lifecycle.IDKey(info.Job.Id), prefix) {
				break
			}
			out = append(out, item[*apiv1.Job]{info.Job.Id, s.showJob(info)})
		}
		return out, ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	return &apiv1.ListJobsResponse{Jobs: jobs, NextPageToken: token}, nil
}

func (s *jobService) UpdateJob(ctx context.Context, req *apiv1.UpdateJobRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	update := req.GetUpdate()
	if update == nil {
		update = &apiv1.JobUpdateOptions{}
	}
	if err := s.checkJobUpdate(update, req.GetCleared()); err != nil {
		return nil, err
	}
	fillPool(update.PoolInfo)
	return s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_UpdateJob{UpdateJob: &raftlogv1.UpdateJob{
		JobId: req.GetJobId(), Update: update, Conditions: req.GetConditions(), Cleared: req.GetCleared(),
	}}})
}

func (s *jobService) ReplaceJob(ctx context.Context, req *apiv1.ReplaceJobRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	update := replacement(req.GetJob())
	if update.PoolInfo == nil {
		return nil, batcherr.MissingProperty("poolInfo")
	}
	if err := s.checkJobUpdate(update, nil); err != nil {
		return nil, err
	}
	fillPool(update.PoolInfo)
	return s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_UpdateJob{UpdateJob: &raftlogv1.UpdateJob{
		JobId: req.GetJobId(), Update: update, Conditions: req.GetConditions(), Cleared: []string{"metadata"},
	}}})
}

// fillPool completes an automatic pool that a change repeats, so that it can be compared.
func fillPool(info *apiv1.PoolInfo) {
	if auto := info.GetAutoPoolSpecification(); auto != nil && auto.Pool != nil {
		lifecycle.FillPoolInfo(info)
	}
}

// replacement is the change that replaces all that can be changed of a job: what is absent falls back to its default.
func replacement(job *apiv1.Job) *apiv1.JobUpdateOptions {
	if job == nil {
		job = &apiv1.Job{}
	}
	filled := &apiv1.Job{
		Priority: job.Priority, AllowTaskPreemption: job.AllowTaskPreemption, MaxParallelTasks: job.MaxParallelTasks,
		Constraints: job.Constraints, OnAllTasksComplete: job.OnAllTasksComplete,
	}
	lifecycle.FillJob(filled)
	return &apiv1.JobUpdateOptions{
		Priority: filled.Priority, AllowTaskPreemption: filled.AllowTaskPreemption, MaxParallelTasks: filled.MaxParallelTasks,
		Constraints: filled.Constraints, PoolInfo: job.PoolInfo, OnAllTasksComplete: filled.OnAllTasksComplete.Enum(),
		Metadata: job.Metadata,
	}
}

func (s *jobService) DeleteJob(ctx context.Context, req *apiv1.DeleteJobRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	return s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_DeleteJob{DeleteJob: &raftlogv1.DeleteJob{
		JobId: req.GetJobId(), Conditions: req.GetConditions(),
	}}})
}

func (s *jobService) DisableJob(ctx context.Context, req *apiv1.DisableJobRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	options := req.GetOptions()
	if options == nil {
		options = &apiv1.JobDisableOptions{}
	}
	if err := s.rules.check(options, ""); err != nil {
		return nil, err
	}
	return s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_DisableJob{DisableJob: &raftlogv1.DisableJob{
		JobId: req.GetJobId(), Option: options.DisableTasks, Conditions: req.GetConditions(),
	}}})
}

func (s *jobService) EnableJob(ctx context.Context, req *apiv1.EnableJobRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	return s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_EnableJob{EnableJob: &raftlogv1.EnableJob{
		JobId: req.GetJobId(), Conditions: req.GetConditions(),
	}}})
}

// userTerminated is the reason of terminations that give none.
const userTerminated = "UserTerminate"

func (s *jobService) TerminateJob(ctx context.Context, req *apiv1.TerminateJobRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	reason := req.GetOptions().GetTerminateReason()
	if err := checkReason("terminateReason", reason); err != nil {
		return nil, err
	}
	if reason == "" {
		reason = userTerminated
	}
	return s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_TerminateJob{TerminateJob: &raftlogv1.TerminateJob{
		JobId: req.GetJobId(), Reason: reason, Conditions: req.GetConditions(),
	}}})
}

// GetTaskCounts answers from counts that are kept with the job.
func (s *jobService) GetTaskCounts(ctx context.Context, req *apiv1.GetTaskCountsRequest) (*apiv1.TaskCountsResult, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	info, err := s.job(ctx, g, req.GetJobId())
	if err != nil {
		return nil, err
	}
	return showCounts(info.Counts), nil
}

func showCounts(c *raftlogv1.JobCounts) *apiv1.TaskCountsResult {
	return &apiv1.TaskCountsResult{
		TaskCounts: &apiv1.TaskCounts{
			Active: count32(c.GetActive()), Running: count32(c.GetRunning()), Completed: count32(c.GetCompleted()),
			Succeeded: count32(c.GetSucceeded()), Failed: count32(c.GetFailed()),
		},
		TaskSlotCounts: &apiv1.TaskSlotCounts{
			Active: count32(c.GetActiveSlots()), Running: count32(c.GetRunningSlots()), Completed: count32(c.GetCompletedSlots()),
			Succeeded: count32(c.GetSucceededSlots()), Failed: count32(c.GetFailedSlots()),
		},
	}
}

// count32 fits a count into the type that Azure Batch gives it.
func count32(n int64) int32 { return int32(max(0, min(n, 1<<31-1))) }
