package api

import (
	"context"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

const (
	// groupScan is how many tasks are looked at in one go, while no command is applied.
	groupScan = 2000
	// groupBatch is to how many tasks one command does something.
	groupBatch = 250
	// maxIDRanges bounds the ranges of one request.
	maxIDRanges = 1000
)

type taskGroupService struct {
	apiv1.UnimplementedTaskGroupServiceServer
	*core
}

func (s *taskGroupService) ListFailures(ctx context.Context, req *apiv1.ListFailuresRequest) (*apiv1.ListFailuresResponse, error) {
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

// ActOnTasks goes through the job's tasks once, in their order.
func (s *taskGroupService) ActOnTasks(req *apiv1.ActOnTasksRequest, stream grpc.ServerStreamingServer[apiv1.ActOnTasksProgress]) error {
	ctx := stream.Context()
	g, err := granted(ctx)
	if err != nil {
		return err
	}
	if err := checkGroup(req); err != nil {
		return err
	}
	info, err := s.job(ctx, g, req.GetJobId())
	if err != nil {
		return err
	}
	by := proto.CloneOf(req.GetSelection())
	if by == nil {
		by = &apiv1.TaskSelection{}
	}
	by.Failed = by.Failed || req.GetAction() == apiv1.TaskGroupAction_TASK_GROUP_ACTION_REACTIVATE
	span, err := s.elements(info.Uid, by.GetArrayId(), by.FirstIndex, by.LastIndex)
	if err != nil {
		return err
	}
	progress := &apiv1.ActOnTasksProgress{}
	for more := true; more; {
		found, err := s.State.SelectTasks(info.Uid, span, by, groupScan)
		if err != nil {
			return internal(err)
		}
		span.After, more = found.Last, found.Last != 0
		progress.Examined += int64(found.Examined)
		for batch := range slices.Chunk(found.Tasks, groupBatch) {
			result, err := s.propose(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_ActOnTasks{
				ActOnTasks: &raftlogv1.ActOnTasks{JobId: req.GetJobId(), Action: req.GetAction(), Tasks: batch},
			}})
			if err != nil {
				return err
			}
			progress.Done += int64(result.Count)
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

func checkGroup(req *apiv1.ActOnTasksRequest) error {
	if _, known := apiv1.TaskGroupAction_name[int32(req.GetAction())]; !known || req.GetAction() == 0 {
		return invalid("action", "", "Tasks are terminated, reactivated or deleted.")
	}
	ranges := req.GetSelection().GetIdRanges()
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
