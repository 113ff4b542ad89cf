package api

import (
	"context"

	"google.golang.org/grpc"

	"github.com/batchyard/batchyard/coordinator/state"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

const (
	// retryScan is how many executions a retry of failed tasks looks at in one go, while no command is applied.
	retryScan = 2000
	// retryBatch is how many tasks one command runs again.
	retryBatch = 250
	// maxIDRanges bounds the ranges of one request.
	maxIDRanges = 1000
)

type failureService struct {
	apiv1.UnimplementedFailureServiceServer
	*core
}

func (s *failureService) ListFailures(ctx context.Context, req *apiv1.ListFailuresRequest) (*apiv1.ListFailuresResponse, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	info, err := s.job(ctx, g, req.GetJobId())
	if err != nil {
		return nil, err
	}
	groups, tasks, err := s.State.Failures(info.Uid)
	if err != nil {
		return nil, internal(err)
	}
	return &apiv1.ListFailuresResponse{Groups: groups, Tasks: tasks}, nil
}

// RetryTasks goes through the job's tasks once, in their order: one that fails again meanwhile is not looked at a second time.
func (s *failureService) RetryTasks(req *apiv1.RetryTasksRequest, stream grpc.ServerStreamingServer[apiv1.RetryProgress]) error {
	ctx := stream.Context()
	g, err := granted(ctx)
	if err != nil {
		return err
	}
	if err := checkRanges(req.GetIdRanges()); err != nil {
		return err
	}
	info, err := s.job(ctx, g, req.GetJobId())
	if err != nil {
		return err
	}
	filter := state.FailureFilter{Code: req.GetCode(), ExitCode: req.ExitCode, IDs: req.GetIdRanges()}
	progress := &apiv1.RetryProgress{}
	for last, more := uint64(0), true; more; more = last != 0 {
		var found []*raftlogv1.FailedTask
		var examined int
		if found, examined, last, err = s.State.FailedTasks(info.Uid, last, filter, retryScan); err != nil {
			return internal(err)
		}
		progress.Examined += int64(examined)
		for len(found) > 0 {
			batch := found[:min(retryBatch, len(found))]
			found = found[len(batch):]
			result, err := s.propose(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_RetryTasks{
				RetryTasks: &raftlogv1.RetryTasks{JobId: req.GetJobId(), Tasks: batch},
			}})
			if err != nil {
				return err
			}
			progress.Retried += int64(result.Count)
			if err := stream.Send(progress); err != nil {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return stream.Send(progress)
}

func checkRanges(ranges []*apiv1.TaskIdRange) error {
	if len(ranges) > maxIDRanges {
		return invalid("idRanges", "", "There are at most 1000 ranges in one call.")
	}
	for _, r := range ranges {
		if r.GetStart() > r.GetEnd() {
			return invalid("idRanges", "", "A range's start is not after its end.")
		}
	}
	return nil
}
