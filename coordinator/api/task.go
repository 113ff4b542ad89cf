package api

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/coordinator/api/filter"
	"github.com/batchyard/batchyard/coordinator/state"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

type taskService struct {
	apiv1.UnimplementedTaskServiceServer
	*core
}

func (s *taskService) GetTask(ctx context.Context, req *apiv1.GetTaskRequest) (*apiv1.Task, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	fields, err := newSelection(req.GetSelect(), (&apiv1.Task{}).ProtoReflect().Descriptor())
	if err != nil {
		return nil, err
	}
	info, err := s.task(ctx, g, req.GetJobId(), req.GetTaskId())
	if err != nil {
		return nil, err
	}
	task := info.Task
	if err := lifecycle.CheckConditions(req.GetConditions(), task.ETag, task.LastModified, true); err != nil {
		return nil, err
	}
	if explains(req.GetExpand()) {
		if err := s.explain(g, req.GetJobId(), task); err != nil {
			return nil, err
		}
	}
	s.rules.blank(task)
	fields.apply(task)
	return task, nil
}

// task reads a task of a job of the caller's account.
func (c *core) task(ctx context.Context, g grant, jobID, taskID string) (state.TaskInfo, error) {
	if err := c.Reader.Barrier(ctx); err != nil {
		return state.TaskInfo{}, err
	}
	return c.readTask(g, jobID, taskID)
}

func (c *core) readTask(g grant, jobID, taskID string) (state.TaskInfo, error) {
	info, jobFound, found, err := c.State.Task(g.Account, jobID, taskID)
	switch {
	case err != nil:
		return state.TaskInfo{}, internal(err)
	case !jobFound:
		return state.TaskInfo{}, batcherr.Of(batcherr.CodeJobNotFound)
	case !found:
		return state.TaskInfo{}, batcherr.Of(batcherr.CodeTaskNotFound)
	}
	return info, nil
}

func (s *taskService) ListTasks(ctx context.Context, req *apiv1.ListTasksRequest) (*apiv1.ListTasksResponse, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	job, err := s.job(ctx, g, req.GetJobId())
	if err != nil {
		return nil, err
	}
	// The job's number keeps the tokens of a job from those of a later one with its id.
	l, err := newListing(req.GetOptions(), (&apiv1.Task{}).ProtoReflect().Descriptor(), "tasks", strconv.FormatUint(job.Uid, 10), req.GetArrayId(), fmt.Sprint(req.FirstIndex != nil, req.GetFirstIndex(), req.LastIndex != nil, req.GetLastIndex()))
	if err != nil {
		return nil, err
	}
	if l.after != "" && len(l.after) != 8 {
		return nil, batcherr.InvalidQuery(querySkipToken, req.GetOptions().GetPageToken(), "The token is not of this list and filter.")
	}
	if ids := namedIDs(l.filter); ids != nil {
		return s.pickTasks(g, job.Job.Id, l, ids)
	}
	span, err := s.elements(job.Uid, req.GetArrayId(), req.FirstIndex, req.LastIndex)
	if err != nil {
		return nil, err
	}
	span.Failed = l.filter.Pins().Failed
	tasks, token, err := collect(l, func(after string, limit int) ([]item[*apiv1.Task], error) {
		return s.tasksAfter(ctx, job.Uid, span, after, limit)
	})
	if err != nil {
		return nil, err
	}
	if explains(req.GetOptions().GetExpand()) {
		for _, task := range tasks {
			if err := s.explain(g, job.Job.Id, task); err != nil {
				return nil, err
			}
		}
	}
	return &apiv1.ListTasksResponse{Tasks: tasks, NextPageToken: token}, nil
}

// maxNamedIDs is how many ids a filter may name to be answered without going through the list.
const maxNamedIDs = 100

// namedIDs are the ids that a filter asks for by name; nil if it asks otherwise, or for many.
func namedIDs(f *filter.Filter) []string {
	if ids := f.Pins().IDs; len(ids) <= maxNamedIDs {
		return ids
	}
	return nil
}

// pickTasks is the list where the filter names the only ids that can match.
func (s *taskService) pickTasks(g grant, jobID string, l *listing, ids []string) (*apiv1.ListTasksResponse, error) {
	out := &apiv1.ListTasksResponse{}
	for _, id := range ids {
		info, err := s.readTask(g, jobID, id)
		if batcherr.HasCode(err, batcherr.CodeTaskNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if l.filter.Match(info.Task) {
			s.rules.blank(info.Task)
			l.fields.apply(info.Task)
			out.Tasks = append(out.Tasks, info.Task)
		}
	}
	return out, nil
}

func (s *taskService) tasksAfter(ctx context.Context, job uint64, span state.TaskSpan, after string, limit int) ([]item[*apiv1.Task], error) {
	if after != "" {
		span.After = binary.BigEndian.Uint64([]byte(after))
	}
	infos, _, err := s.State.Tasks(job, span, limit)
	if err != nil {
		return nil, internal(err)
	}
	out := make([]item[*apiv1.Task], len(infos))
	for i, info := range infos {
		s.rules.blank(info.Task)
		out[i] = item[*apiv1.Task]{string(binary.BigEndian.AppendUint64(nil, info.Key.Task)), info.Task}
	}
	return out, ctx.Err()
}

// UpdateTask replaces the constraints; absent ones fall back to their defaults.
func (s *taskService) UpdateTask(ctx context.Context, req *apiv1.UpdateTaskRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	constraints := req.GetConstraints()
	if constraints == nil {
		constraints = &apiv1.TaskConstraints{}
	}
	if err := s.rules.check(constraints, "constraints"); err != nil {
		return nil, err
	}
	if err := checkTaskConstraints("constraints", constraints); err != nil {
		return nil, err
	}
	job, err := s.job(ctx, g, req.GetJobId())
	if err != nil {
		return nil, err
	}
	return s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_UpdateTask{UpdateTask: &raftlogv1.UpdateTask{
		JobId: req.GetJobId(), TaskId: req.GetTaskId(), Conditions: req.GetConditions(), Constraints: lifecycle.TaskConstraints(constraints, job.Job),
	}}})
}

func (s *taskService) DeleteTask(ctx context.Context, req *apiv1.DeleteTaskRequest) (*apiv1.Empty, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	_, err = s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_DeleteTask{DeleteTask: &raftlogv1.DeleteTask{
		JobId: req.GetJobId(), TaskId: req.GetTaskId(), Conditions: req.GetConditions(),
	}}})
	if err != nil {
		return nil, err
	}
	return &apiv1.Empty{}, nil
}

func (s *taskService) TerminateTask(ctx context.Context, req *apiv1.TerminateTaskRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	return s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_TerminateTask{TerminateTask: &raftlogv1.TerminateTask{
		JobId: req.GetJobId(), TaskId: req.GetTaskId(), Conditions: req.GetConditions(),
	}}})
}

func (s *taskService) ReactivateTask(ctx context.Context, req *apiv1.ReactivateTaskRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	return s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_ReactivateTask{ReactivateTask: &raftlogv1.ReactivateTask{
		JobId: req.GetJobId(), TaskId: req.GetTaskId(), Conditions: req.GetConditions(),
	}}})
}

// ListSubtasks lists the instances of a multi-instance task beside its primary, in its newest attempt.
func (s *taskService) ListSubtasks(ctx context.Context, req *apiv1.ListSubtasksRequest) (*apiv1.ListSubtasksResponse, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	info, err := s.task(ctx, g, req.GetJobId(), req.GetTaskId())
	if err != nil {
		return nil, err
	}
	subtasks, err := s.State.Subtasks(info.Key)
	if err != nil {
		return nil, internal(err)
	}
	out := &apiv1.ListSubtasksResponse{}
	for _, one := range subtasks {
		out.Subtasks = append(out.Subtasks, showSubtask(one, lifecycle.TaskDirectory(req.GetJobId(), info.Task.GetId())))
	}
	return out, nil
}

func showSubtask(s state.Subtask, taskDirectory string) *apiv1.Subtask {
	out := &apiv1.Subtask{
		Id: proto.Int32(int32(s.ID)), State: s.State, StateTransitionTime: timestamp(s.StateTime),
		PreviousState: s.PreviousState, PreviousStateTransitionTime: timestamp(s.PreviousStateTime),
		StartTime: timestamp(s.StartTime),
		NodeInfo: &apiv1.NodeInfo{
			AffinityId: s.AffinityId, PoolId: s.PoolId, NodeId: s.NodeId,
			TaskRootDirectory: taskDirectory + "/" + strconv.FormatUint(uint64(s.ID), 10),
		},
	}
	if s.State == apiv1.SubtaskState_SUBTASK_STATE_COMPLETED {
		out.EndTime, out.ExitCode, out.FailureInfo = timestamp(s.EndTime), s.ExitCode, s.Failure
		out.Result = apiv1.TaskExecutionResult_TASK_EXECUTION_RESULT_SUCCESS
		if s.Failure != nil {
			out.Result = apiv1.TaskExecutionResult_TASK_EXECUTION_RESULT_FAILURE
		}
	}
	return out
}
