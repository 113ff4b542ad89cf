package api

import (
	"context"
	"strconv"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/batchyard/batchyard/coordinator/state"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// ListPreparationAndReleaseTasks lists the nodes on which the job has been, the earliest made first.
func (s *jobService) ListPreparationAndReleaseTasks(ctx context.Context, req *apiv1.ListPreparationAndReleaseTasksRequest) (*apiv1.ListPreparationAndReleaseTasksResponse, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	info, err := s.job(ctx, g, req.GetJobId())
	if err != nil {
		return nil, err
	}
	if info.Job.JobPreparationTask == nil {
		return nil, batcherr.Of(batcherr.CodeJobPreparationTaskNotSpecified)
	}
	desc := (&apiv1.JobPreparationAndReleaseTaskStatus{}).ProtoReflect().Descriptor()
	l, err := newListing(req.GetOptions(), desc, "jobnodes", g.Account, strconv.FormatUint(info.Uid, 10))
	if err != nil {
		return nil, err
	}
	statuses, token, err := collect(l, func(after string, limit int) ([]item[*apiv1.JobPreparationAndReleaseTaskStatus], error) {
		from := uint64(0)
		if after != "" {
			if from, err = strconv.ParseUint(after, 10, 64); err != nil {
				return nil, batcherr.Of(batcherr.CodeInvalidQueryParameterValue).With(batcherr.ValueQueryParameterName, querySkipToken)
			}
		}
		nodes, err := s.State.JobNodes(info.Uid, from, limit)
		if err != nil {
			return nil, internal(err)
		}
		var out []item[*apiv1.JobPreparationAndReleaseTaskStatus]
		for _, n := range nodes {
			out = append(out, item[*apiv1.JobPreparationAndReleaseTaskStatus]{strconv.FormatUint(n.Node, 10), showJobNode(info.Job, n)})
		}
		return out, ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	return &apiv1.ListPreparationAndReleaseTasksResponse{Statuses: statuses, NextPageToken: token}, nil
}

func showJobNode(job *apiv1.Job, n state.JobNode) *apiv1.JobPreparationAndReleaseTaskStatus {
	out := &apiv1.JobPreparationAndReleaseTaskStatus{PoolId: n.PoolId, NodeId: n.NodeId}
	if e := n.Preparation; e != nil {
		done := e.Phase == raftlogv1.SpecialPhase_SPECIAL_PHASE_COMPLETED
		out.JobPreparationTaskExecutionInfo = &apiv1.JobPreparationTaskExecutionInfo{
			State: apiv1.JobPreparationTaskState_JOB_PREPARATION_TASK_STATE_RUNNING, StartTime: timestamp(e.StartTime),
			TaskRootDirectory: lifecycle.TaskDirectory(job.Id, job.JobPreparationTask.GetId()),
			RetryCount:        e.RetryCount, LastRetryTime: timestamp(e.LastRetryTime),
		}
		if info := out.JobPreparationTaskExecutionInfo; done {
			info.State = apiv1.JobPreparationTaskState_JOB_PREPARATION_TASK_STATE_COMPLETED
			info.EndTime, info.ExitCode, info.FailureInfo, info.Result = timestamp(e.EndTime), e.ExitCode, e.Failure, resultOf(e)
			info.ContainerInfo = e.Container
		}
	}
	if e := n.Release; e != nil {
		done := e.Phase == raftlogv1.SpecialPhase_SPECIAL_PHASE_COMPLETED
		out.JobReleaseTaskExecutionInfo = &apiv1.JobReleaseTaskExecutionInfo{
			State: apiv1.JobReleaseTaskState_JOB_RELEASE_TASK_STATE_RUNNING, StartTime: timestamp(e.StartTime),
			TaskRootDirectory: lifecycle.TaskDirectory(job.Id, job.JobReleaseTask.GetId()),
		}
		if info := out.JobReleaseTaskExecutionInfo; done {
			info.State = apiv1.JobReleaseTaskState_JOB_RELEASE_TASK_STATE_COMPLETED
			info.EndTime, info.ExitCode, info.FailureInfo, info.Result = timestamp(e.EndTime), e.ExitCode, e.Failure, resultOf(e)
			info.ContainerInfo = e.Container
		}
	}
	return out
}

// showStart is a node's start task as users see it; nil if it has none.
func showStart(n *raftlogv1.NodeRecord) *apiv1.StartTaskInfo {
	e := n.Start
	if n.Node.StartTask == nil || e.GetPhase() == 0 {
		return nil
	}
	info := &apiv1.StartTaskInfo{
		State: apiv1.StartTaskState_START_TASK_STATE_RUNNING, StartTime: timestamp(e.StartTime),
		RetryCount: e.RetryCount, LastRetryTime: timestamp(e.LastRetryTime),
	}
	if e.Phase == raftlogv1.SpecialPhase_SPECIAL_PHASE_COMPLETED {
		info.State = apiv1.StartTaskState_START_TASK_STATE_COMPLETED
		info.EndTime, info.ExitCode, info.FailureInfo, info.Result = timestamp(e.EndTime), e.ExitCode, e.Failure, resultOf(e)
		info.ContainerInfo = e.Container
	}
	return info
}

func resultOf(e *raftlogv1.SpecialExecution) apiv1.TaskExecutionResult {
	if e.Succeeded {
		return apiv1.TaskExecutionResult_TASK_EXECUTION_RESULT_SUCCESS
	}
	return apiv1.TaskExecutionResult_TASK_EXECUTION_RESULT_FAILURE
}

// timestamp is a time of a record; nil for none.
func timestamp(nanos int64) *timestamppb.Timestamp {
	if nanos == 0 {
		return nil
	}
	return &timestamppb.Timestamp{Seconds: nanos / 1e9, Nanos: int32(nanos % 1e9)}
}
