package azure_test

import (
	"context"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// acted records what a node was asked for, if it exists.
func (f fakeNodes) acted(pool, node string, req proto.Message) (*apiv1.Written, error) {
	if _, err := f.GetNode(context.Background(), &apiv1.GetNodeRequest{PoolId: pool, NodeId: node}); err != nil {
		return nil, err
	}
	unlock, err := f.locked()
	defer unlock()
	f.lastNode = req
	return &apiv1.Written{}, err
}

func (f fakeNodes) RebootNode(_ context.Context, r *apiv1.RebootNodeRequest) (*apiv1.Written, error) {
	return f.acted(r.GetPoolId(), r.GetNodeId(), r)
}

func (f fakeNodes) ReimageNode(_ context.Context, r *apiv1.ReimageNodeRequest) (*apiv1.Written, error) {
	return f.acted(r.GetPoolId(), r.GetNodeId(), r)
}

func (f fakeNodes) DeallocateNode(_ context.Context, r *apiv1.DeallocateNodeRequest) (*apiv1.Written, error) {
	return f.acted(r.GetPoolId(), r.GetNodeId(), r)
}

func (f fakeNodes) StartNode(_ context.Context, r *apiv1.StartNodeRequest) (*apiv1.Written, error) {
	return f.acted(r.GetPoolId(), r.GetNodeId(), r)
}

func (f fakeNodes) CreateNodeUser(_ context.Context, r *apiv1.CreateNodeUserRequest) (*apiv1.Written, error) {
	return f.acted(r.GetPoolId(), r.GetNodeId(), r)
}

func (f fakeNodes) UpdateNodeUser(_ context.Context, r *apiv1.UpdateNodeUserRequest) (*apiv1.Written, error) {
	return f.acted(r.GetPoolId(), r.GetNodeId(), r)
}

func (f fakeNodes) DeleteNodeUser(_ context.Context, r *apiv1.DeleteNodeUserRequest) (*apiv1.Written, error) {
	return f.acted(r.GetPoolId(), r.GetNodeId(), r)
}

func (f fakeNodes) GetNodeRemoteLoginSettings(_ context.Context, r *apiv1.GetNodeRemoteLoginSettingsRequest) (*apiv1.NodeRemoteLoginSettings, error) {
	if _, err := f.acted(r.GetPoolId(), r.GetNodeId(), r); err != nil {
		return nil, err
	}
	return &apiv1.NodeRemoteLoginSettings{RemoteLoginIpAddress: "10.0.0.4", RemoteLoginPort: 22}, nil
}

func (f fakeNodes) UploadNodeLogs(_ context.Context, r *apiv1.UploadNodeLogsRequest) (*apiv1.UploadBatchServiceLogsResult, error) {
	if _, err := f.acted(r.GetPoolId(), r.GetNodeId(), r); err != nil {
		return nil, err
	}
	return &apiv1.UploadBatchServiceLogsResult{VirtualDirectoryName: "logs", NumberOfFilesUploaded: 2}, nil
}

func (f fakeJobs) ListPreparationAndReleaseTasks(ctx context.Context, r *apiv1.ListPreparationAndReleaseTasksRequest) (*apiv1.ListPreparationAndReleaseTasksResponse, error) {
	job, err := f.GetJob(ctx, &apiv1.GetJobRequest{JobId: r.GetJobId()})
	if err != nil {
		return nil, err
	}
	if job.GetJobPreparationTask() == nil {
		return nil, batcherr.Of(batcherr.CodeJobPreparationTaskNotSpecified)
	}
	return &apiv1.ListPreparationAndReleaseTasksResponse{Statuses: []*apiv1.JobPreparationAndReleaseTaskStatus{{
		PoolId: "Pool-1", NodeId: "tvmps_000_d",
		JobPreparationTaskExecutionInfo: &apiv1.JobPreparationTaskExecutionInfo{
			StartTime: timestamppb.New(fakeNow), State: apiv1.JobPreparationTaskState_JOB_PREPARATION_TASK_STATE_RUNNING,
		},
	}}}, nil
}
