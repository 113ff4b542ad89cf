package client

import (
	"context"
	"errors"
	"io"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// ActOnTasks does the same to all selected tasks of a job and calls show with what is done so far. It rides out coordinators that restart, as
// long as each absence is shorter than RetryFor: what is left is asked for again. A task that was run again and fails meanwhile may then run once more.
func (c *Client) ActOnTasks(ctx context.Context, req *apiv1.ActOnTasksRequest, show func(*apiv1.ActOnTasksProgress)) (done int64, err error) {
	retry := c.newRetry()
	for {
		finished, progress, err := c.actOnce(ctx, req, done, show)
		done += progress.GetDone()
		if finished {
			return done, err
		}
		if progress.GetDone() > 0 {
			retry.reset()
		}
		if err := retry.wait(ctx, err); err != nil {
			return done, err
		}
	}
}

func (c *Client) actOnce(
	ctx context.Context, req *apiv1.ActOnTasksRequest, before int64, show func(*apiv1.ActOnTasksProgress),
) (finished bool, last *apiv1.ActOnTasksProgress, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := apiv1.NewTaskGroupServiceClient(c).ActOnTasks(ctx, req)
	if err != nil {
		return true, nil, err // NewStream has done already
	}
	for {
		progress, err := stream.Recv()
		switch {
		case err == nil:
			last = progress
			show(&apiv1.ActOnTasksProgress{Done: before + progress.GetDone(), Examined: progress.GetExamined()})
		case errors.Is(err, io.EOF):
			return true, last, nil
		default:
			return !temporary(ctx, err), last, err
		}
	}
}
