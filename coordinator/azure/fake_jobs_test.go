package azure_test

import (
	"context"
	"strings"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"google.golang.org/protobuf/proto"
)

type fakeJobs struct {
	apiv1.UnimplementedJobServiceServer
	*fake
}

func (f fakeJobs) job(id string) (*apiv1.Job, error) {
	if j := f.jobs[strings.ToLower(id)]; j != nil {
		return j, nil
	}
	return nil, batcherr.Of(batcherr.CodeJobNotFound)
}

func (f fakeJobs) CreateJob(_ context.Context, r *apiv1.CreateJobRequest) (*apiv1.Written, error) {
	unlock, err := f.locked()
	defer unlock()
	if err != nil {
		return nil, err
	}
	j := proto.CloneOf(r.GetJob())
	if f.jobs[strings.ToLower(j.GetId())] != nil {
		return nil, batcherr.Of(batcherr.CodeJobExists)
	}
	lifecycle.FillJob(j)
	w := f.written()
	j.ETag, j.LastModified, j.CreationTime, j.StateTransitionTime = w.GetEtag(), w.GetLastModified(), w.GetLastModified(), w.GetLastModified()
	j.State = apiv1.JobState_JOB_STATE_ACTIVE
	j.ExecutionInfo = &apiv1.JobExecutionInfo{StartTime: w.GetLastModified(), PoolId: j.GetPoolInfo().GetPoolId()}
	f.jobs[strings.ToLower(j.GetId())] = j
	return w, nil
}

func (f fakeJobs) GetJob(_ context.Context, r *apiv1.GetJobRequest) (*apiv1.Job, error) {
	unlock, err := f.locked()
	defer unlock()
	if err != nil {
		return nil, err
	}
	j, err := f.job(r.GetJobId())
	if err == nil {
		err = check(r.GetConditions(), j.GetETag(), j.GetLastModified().AsTime(), true)
	}
	return j, err
}

func (f fakeJobs) ListJobs(_ context.Context, r *apiv1.ListJobsRequest) (*apiv1.ListJobsResponse, error) {
	unlock, err := f.locked()
	defer unlock()
	if err != nil {
		return nil, err
	}
	f.lastList = r.GetOptions()
	var jobs []*apiv1.Job
	for _, j := range sorted(f.jobs) {
		if r.GetJobScheduleId() == "" || strings.HasPrefix(j.GetId(), r.GetJobScheduleId()+":") {
			jobs = append(jobs, j)
		}
	}
	jobs, token, err := page(jobs, r.GetOptions())
	return &apiv1.ListJobsResponse{Jobs: jobs, NextPageToken: token}, err
}

func (f fakeJobs) change(id string, c *apiv1.Conditions, apply func(*apiv1.Job)) (*apiv1.Written, error) {
	unlock, err := f.locked()
	defer unlock()
	if err != nil {
		return nil, err
	}
	j, err := f.job(id)
	if err != nil {
		return nil, err
	}
	if err := check(c, j.GetETag(), j.GetLastModified().AsTime(), false); err != nil {
		return nil, err
	}
	apply(j)
	w := f.written()
	j.ETag = w.GetEtag()
	return w, nil
}

func (f fakeJobs) UpdateJob(_ context.Context, r *apiv1.UpdateJobRequest) (*apiv1.Written, error) {
	f.lastUpdateJob = r
	return f.change(r.GetJobId(), r.GetConditions(), func(j *apiv1.Job) {
		if r.GetUpdate().Priority != nil { //nolint:protogetter // presence
			j.Priority = r.GetUpdate().Priority
		}
		if r.GetUpdate().GetConstraints() != nil {
			j.Constraints = lifecycle.JobConstraints(r.GetUpdate().GetConstraints())
		}
	})
}

func (f fakeJobs) ReplaceJob(_ context.Context, r *apiv1.ReplaceJobRequest) (*apiv1.Written, error) {
	return f.change(r.GetJobId(), r.GetConditions(), func(j *apiv1.Job) {
		j.Priority, j.Metadata = r.GetJob().Priority, r.GetJob().GetMetadata() //nolint:protogetter // presence
		j.Constraints = r.GetJob().GetConstraints()
		lifecycle.FillJob(j)
	})
}

func (f fakeJobs) DeleteJob(_ context.Context, r *apiv1.DeleteJobRequest) (*apiv1.Written, error) {
	return f.change(r.GetJobId(), r.GetConditions(), func(j *apiv1.Job) { delete(f.jobs, strings.ToLower(j.GetId())) })
}

func (f fakeJobs) DisableJob(_ context.Context, r *apiv1.DisableJobRequest) (*apiv1.Written, error) {
	return f.change(r.GetJobId(), r.GetConditions(), func(j *apiv1.Job) { j.State = apiv1.JobState_JOB_STATE_DISABLED })
}

func (f fakeJobs) EnableJob(_ context.Context, r *apiv1.EnableJobRequest) (*apiv1.Written, error) {
	return f.change(r.GetJobId(), r.GetConditions(), func(j *apiv1.Job) { j.State = apiv1.JobState_JOB_STATE_ACTIVE })
}

func (f fakeJobs) TerminateJob(_ context.Context, r *apiv1.TerminateJobRequest) (*apiv1.Written, error) {
	f.lastTerminate = r
	return f.change(r.GetJobId(), r.GetConditions(), func(j *apiv1.Job) { j.State = apiv1.JobState_JOB_STATE_COMPLETED })
}

func (f fakeJobs) GetTaskCounts(_ context.Context, r *apiv1.GetTaskCountsRequest) (*apiv1.TaskCountsResult, error) {
	unlock, _ := f.locked()
	defer unlock()
	if _, err := f.job(r.GetJobId()); err != nil {
		return nil, err
	}
	n := int32(len(f.tasks[strings.ToLower(r.GetJobId())]))
	return &apiv1.TaskCountsResult{TaskCounts: &apiv1.TaskCounts{Active: n}, TaskSlotCounts: &apiv1.TaskSlotCounts{Active: n}}, nil
}

type fakeTasks struct {
	apiv1.UnimplementedTaskServiceServer
	*fake
}

func (f fakeTasks) task(job, id string) (*apiv1.Task, int, error) {
	if _, err := (fakeJobs{fake: f.fake}).job(job); err != nil {
		return nil, 0, err
	}
	for i, t := range f.tasks[strings.ToLower(job)] {
		if strings.EqualFold(t.GetId(), id) {
			return t, i, nil
		}
	}
	return nil, 0, batcherr.Of(batcherr.CodeTaskNotFound)
}

func (f fakeTasks) AddTasks(_ context.Context, r *apiv1.AddTasksRequest) (*apiv1.AddTasksResponse, error) {
	unlock, err := f.locked()
	defer unlock()
	if err != nil {
		return nil, err
	}
	job, err := (fakeJobs{fake: f.fake}).job(r.GetJobId())
	if err != nil {
		return nil, err
	}
	out := &apiv1.AddTasksResponse{}
	for _, given := range r.GetTasks() {
		result := &apiv1.TaskAddResult{TaskId: given.GetId(), Status: apiv1.TaskAddStatus_TASK_ADD_STATUS_SUCCESS}
		out.Results = append(out.Results, result)
		if _, _, err := f.task(r.GetJobId(), given.GetId()); err == nil {
			result.Status = apiv1.TaskAddStatus_TASK_ADD_STATUS_CLIENT_ERROR
			result.Error = &apiv1.Error{Code: batcherr.CodeTaskExists, Message: "The specified task already exists."}
			continue
		}
		t := proto.CloneOf(given)
		lifecycle.FillTask(t, job)
		w := f.written()
		t.ETag, t.LastModified, t.CreationTime, t.StateTransitionTime = w.GetEtag(), w.GetLastModified(), w.GetLastModified(), w.GetLastModified()
		t.State, t.ExecutionInfo = apiv1.TaskState_TASK_STATE_ACTIVE, &apiv1.TaskExecutionInfo{}
		if f.runs && f.pools[strings.ToLower(job.GetPoolInfo().GetPoolId())] != nil {
			t.State = apiv1.TaskState_TASK_STATE_COMPLETED
			t.ExecutionInfo = &apiv1.TaskExecutionInfo{ExitCode: proto.Int32(0), Result: apiv1.TaskExecutionResult_TASK_EXECUTION_RESULT_SUCCESS}
		}
		result.Etag, result.LastModified = w.GetEtag(), w.GetLastModified()
		key := strings.ToLower(r.GetJobId())
		f.tasks[key] = append(f.tasks[key], t)
	}
	return out, nil
}

func (f fakeTasks) GetTask(_ context.Context, r *apiv1.GetTaskRequest) (*apiv1.Task, error) {
	unlock, err := f.locked()
	defer unlock()
	if err != nil {
		return nil, err
	}
	t, _, err := f.task(r.GetJobId(), r.GetTaskId())
	if err == nil {
		err = check(r.GetConditions(), t.GetETag(), t.GetLastModified().AsTime(), true)
	}
	return t, err
}

func (f fakeTasks) ListTasks(_ context.Context, r *apiv1.ListTasksRequest) (*apiv1.ListTasksResponse, error) {
	unlock, err := f.locked()
	defer unlock()
	if err != nil {
		return nil, err
	}
	if _, err := (fakeJobs{fake: f.fake}).job(r.GetJobId()); err != nil {
		return nil, err
	}
	f.lastList = r.GetOptions()
	tasks, token, err := page(f.tasks[strings.ToLower(r.GetJobId())], r.GetOptions())
	return &apiv1.ListTasksResponse{Tasks: tasks, NextPageToken: token}, err
}

func (f fakeTasks) change(job, id string, c *apiv1.Conditions, apply func(*apiv1.Task, int) error) (*apiv1.Written, error) {
	unlock, err := f.locked()
	defer unlock()
	if err != nil {
		return nil, err
	}
	t, i, err := f.task(job, id)
	if err != nil {
		return nil, err
	}
	if err := check(c, t.GetETag(), t.GetLastModified().AsTime(), false); err != nil {
		return nil, err
	}
	if err := apply(t, i); err != nil {
		return nil, err
	}
	return f.written(), nil
}

func (f fakeTasks) UpdateTask(_ context.Context, r *apiv1.UpdateTaskRequest) (*apiv1.Written, error) {
	return f.change(r.GetJobId(), r.GetTaskId(), r.GetConditions(), func(t *apiv1.Task, _ int) error {
		t.Constraints = lifecycle.TaskConstraints(r.GetConstraints(), nil)
		return nil
	})
}

func (f fakeTasks) DeleteTask(_ context.Context, r *apiv1.DeleteTaskRequest) (*apiv1.Empty, error) {
	_, err := f.change(r.GetJobId(), r.GetTaskId(), r.GetConditions(), func(_ *apiv1.Task, i int) error {
		key := strings.ToLower(r.GetJobId())
		f.tasks[key] = append(f.tasks[key][:i:i], f.tasks[key][i+1:]...)
		return nil
	})
	return &apiv1.Empty{}, err
}

func (f fakeTasks) TerminateTask(_ context.Context, r *apiv1.TerminateTaskRequest) (*apiv1.Written, error) {
	return f.change(r.GetJobId(), r.GetTaskId(), r.GetConditions(), func(t *apiv1.Task, _ int) error {
		if t.GetState() == apiv1.TaskState_TASK_STATE_COMPLETED {
			return batcherr.Of(batcherr.CodeTaskCompleted)
		}
		t.State = apiv1.TaskState_TASK_STATE_COMPLETED
		return nil
	})
}

func (f fakeTasks) ReactivateTask(_ context.Context, r *apiv1.ReactivateTaskRequest) (*apiv1.Written, error) {
	return f.change(r.GetJobId(), r.GetTaskId(), r.GetConditions(), func(t *apiv1.Task, _ int) error {
		t.State = apiv1.TaskState_TASK_STATE_ACTIVE
		return nil
	})
}

func (f fakeTasks) ListSubtasks(_ context.Context, r *apiv1.ListSubtasksRequest) (*apiv1.ListSubtasksResponse, error) {
	unlock, _ := f.locked()
	defer unlock()
	task, _, err := f.task(r.GetJobId(), r.GetTaskId())
	if err != nil || task.GetId() != "multi" {
		return &apiv1.ListSubtasksResponse{}, err
	}
	return &apiv1.ListSubtasksResponse{Subtasks: []*apiv1.Subtask{{
		Id: proto.Int32(1), State: apiv1.SubtaskState_SUBTASK_STATE_COMPLETED, ExitCode: proto.Int32(0),
		NodeInfo: &apiv1.NodeInfo{PoolId: "p", NodeId: "n1", TaskRootDirectory: "workitems/j/job-1/t"},
	}}}, nil
}
