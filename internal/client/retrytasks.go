package client

import (
	"context"
	"errors"
	"io"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// RetryTasks runs failed tasks of a job again and calls show with what is done so far, of this call alone. It rides out coordinators that restart, as
// long as each absence is shorter than RetryFor: what is left is asked for again. A task that fails again meanwhile may then run once more.
func (c *Client) RetryTasks(ctx context.Context, req *apiv1.RetryTasksRequest, show func(*apiv1.RetryProgress)) (retried int64, err error) {
	retry := c.newRetry()
	for {
		finished, progress, err := c.retryOnce(ctx, req, retried, show)
		retried += progress.GetRetried()
		if finished {
			return retried, err
		}
		if progress.GetRetried() > 0 {
			retry.reset()
		}
		if err := retry.wait(ctx, err); err != nil {
			return retried, err
		}
	}
}

func (c *Client) retryOnce(
	ctx context.Context, req *apiv1.RetryTasksRequest, before int64, show func(*apiv1.RetryProgress),
) (finished bool, last *apiv1.RetryProgress, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := apiv1.NewFailureServiceClient(c).RetryTasks(ctx, req)
	if err != nil {
		return true, nil, err // NewStream has retried already
	}
	for {
		progress, err := stream.Recv()
		switch {
		case err == nil:
			last = progress
			show(&apiv1.RetryProgress{Retried: before + progress.GetRetried(), Examined: progress.GetExamined()})
		case errors.Is(err, io.EOF):
			return true, last, nil
		default:
			return !temporary(ctx, err), last, err
		}
	}
}
