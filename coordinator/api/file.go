package api

import (
	"context"
	"strings"

	"google.golang.org/grpc"

	"github.com/batchyard/batchyard/coordinator/state"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

type fileService struct {
	apiv1.UnimplementedFileServiceServer
	*core
}

// place is where files are: a directory of a node.
type place struct {
	node      uint64
	directory string // relative to the node's root
	// The task's attempt, while it runs.
	attempt *agentv1.AttemptRef
}

// place finds the node and the directory of a root. A task that has not run anywhere has none.
func (c *core) place(ctx context.Context, g grant, root *apiv1.FileRoot) (place, error) {
	if root.GetJobId() == "" {
		node, err := c.node(ctx, g, root.GetPoolId(), root.GetNodeId())
		if err != nil {
			return place{}, err
		}
		return place{node: node.Uid}, nil
	}
	info, err := c.task(ctx, g, root.GetJobId(), root.GetTaskId())
	if err != nil {
		return place{}, err
	}
	return c.placeOf(g, root, info)
}

func (c *core) placeOf(g grant, root *apiv1.FileRoot, info state.TaskInfo) (place, error) {
	if info.Node == 0 || info.Task.State == apiv1.TaskState_TASK_STATE_ACTIVE {
		return place{}, batcherr.Conflict(batcherr.CodeTaskFilesUnavailable, "The task has not started: it has no files yet.")
	}
	if _, ok := c.State.NodeByUID(info.Node); !ok {
		return place{}, batcherr.Conflict(batcherr.CodeTaskFilesUnavailable, "The node that ran the task has left its pool, and the task's files with it.")
	}
	job, ok := c.State.Job(g.Account, root.GetJobId())
	if !ok {
		return place{}, batcherr.Of(batcherr.CodeJobNotFound)
	}
	p := place{node: info.Node, directory: lifecycle.TaskDirectory(job.Job.Id, info.Task.Id)}
	if info.Task.State != apiv1.TaskState_TASK_STATE_COMPLETED {
		p.attempt = state.AttemptKey{TaskKey: info.Key, Attempt: info.Attempt}.Ref()
	}
	return p, nil
}

func (p place) request(op agentv1.FileOperation) *agentv1.FileRequest {
	return &agentv1.FileRequest{Operation: op, Root: p.directory}
}

// transfer asks the node for files. Where the node can't be reached, its state says why, or that the task's files can't.
func (c *core) transfer(ctx context.Context, at place, r *agentv1.FileRequest, each func(*agentv1.TransferChunk) error) error {
	err := c.Files.Transfer(ctx, at.node, r, each)
	if !batcherr.HasCode(err, batcherr.CodeNodeStateUnusable) {
		return err
	}
	if at.directory != "" {
		return batcherr.New(batcherr.KindUnavailable, batcherr.CodeTaskFilesUnavailable, "The node that has the task's files is not connected.").Wrap(err)
	}
	if info, ok := c.State.NodeByUID(at.node); ok {
		return workingOr(info, err)
	}
	return err
}

func (s *fileService) ListFiles(ctx context.Context, req *apiv1.ListFilesRequest) (*apiv1.ListFilesResponse, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	at, err := s.place(ctx, g, req.GetRoot())
	if err != nil {
		return nil, err
	}
	l, err := newListing(req.GetOptions(), (&apiv1.NodeFile{}).ProtoReflect().Descriptor(), "files", g.Account, at.directory)
	if err != nil {
		return nil, err
	}
	files, token, err := collect(l, func(after string, limit int) ([]item[*apiv1.NodeFile], error) {
		r := at.request(agentv1.FileOperation_FILE_OPERATION_LIST)
		r.Recursive, r.After, r.Limit = req.GetRecursive(), after, int32(limit)
		var out []item[*apiv1.NodeFile]
		err := s.transfer(ctx, at, r, func(c *agentv1.TransferChunk) error {
			if f := c.GetFile(); f != nil {
				out = append(out, item[*apiv1.NodeFile]{f.Name, f})
			}
			return nil
		})
		return out, err
	})
	if err != nil {
		return nil, err
	}
	return &apiv1.ListFilesResponse{Files: files, NextPageToken: token}, nil
}

func (s *fileService) GetFileProperties(ctx context.Context, req *apiv1.GetFilePropertiesRequest) (*apiv1.NodeFile, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	at, err := s.place(ctx, g, req.GetRoot())
	if err != nil {
		return nil, err
	}
	r := at.request(agentv1.FileOperation_FILE_OPERATION_PROPERTIES)
	r.Name = req.GetName()
	var file *apiv1.NodeFile
	err = s.transfer(ctx, at, r, func(c *agentv1.TransferChunk) error {
		file = c.GetFile()
		return nil
	})
	if err == nil && file == nil {
		err = batcherr.Of(batcherr.CodeFileNotFound)
	}
	return file, err
}

// ReadFile sends a file's properties, then its bytes. Following waits for a task that has not started, and goes on until its attempt ends.
func (s *fileService) ReadFile(req *apiv1.ReadFileRequest, stream grpc.ServerStreamingServer[apiv1.ReadFileResponse]) error {
	ctx := stream.Context()
	g, err := granted(ctx)
	if err != nil {
		return err
	}
	if req.GetOffset() < 0 || req.GetLength() < 0 {
		return batcherr.Of(batcherr.CodeInvalidRange)
	}
	at, err := s.place(ctx, g, req.GetRoot())
	if req.GetFollow() && batcherr.HasCode(err, batcherr.CodeTaskFilesUnavailable) {
		at, err = s.awaitStart(ctx, g, req.GetRoot())
	}
	if err != nil {
		return err
	}
	r := at.request(agentv1.FileOperation_FILE_OPERATION_READ)
	r.Name, r.Offset, r.Length = req.GetName(), req.GetOffset(), req.GetLength()
	if req.GetFollow() && at.attempt != nil {
		r.Follow, r.Attempt = true, at.attempt
	}
	return s.transfer(ctx, at, r, func(c *agentv1.TransferChunk) error {
		switch content := c.Content.(type) {
		case *agentv1.TransferChunk_File:
			return stream.Send(&apiv1.ReadFileResponse{Content: &apiv1.ReadFileResponse_Properties{Properties: content.File}})
		case *agentv1.TransferChunk_Data:
			return stream.Send(&apiv1.ReadFileResponse{Content: &apiv1.ReadFileResponse_Data{Data: content.Data}})
		}
		return nil
	})
}

// awaitStart waits until a task is with a node, or has ended without.
func (c *core) awaitStart(ctx context.Context, g grant, root *apiv1.FileRoot) (place, error) {
	job, err := c.job(ctx, g, root.GetJobId())
	if err != nil {
		return place{}, err
	}
	changed, cancel := c.signals.watch(job.Uid)
	defer cancel()
	for {
		info, err := c.readTask(g, root.GetJobId(), root.GetTaskId())
		if err != nil {
			return place{}, err
		}
		at, err := c.placeOf(g, root, info)
		if err == nil || info.Task.State != apiv1.TaskState_TASK_STATE_ACTIVE {
			return at, err
		}
		if err := c.nextChange(ctx, changed); err != nil {
			return place{}, err
		}
	}
}

func (s *fileService) DeleteFile(ctx context.Context, req *apiv1.DeleteFileRequest) (*apiv1.Empty, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	if strings.Trim(req.GetName(), "/") == "" {
		return nil, invalid("name", req.GetName(), "The root itself can't be deleted.")
	}
	at, err := s.place(ctx, g, req.GetRoot())
	if err != nil {
		return nil, err
	}
	r := at.request(agentv1.FileOperation_FILE_OPERATION_DELETE)
	r.Name, r.Recursive = req.GetName(), req.GetRecursive()
	return &apiv1.Empty{}, s.transfer(ctx, at, r, func(*agentv1.TransferChunk) error { return nil })
}
