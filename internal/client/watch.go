package client

import (
	"context"
	"errors"
	"io"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// WatchJob calls show with the job's progress at once and after changes until the stream ends by itself: the job is done (with
// untilDone) or gone. It rides out coordinators that restart, as long as each absence is shorter than RetryFor. An error of show
// ends it and is returned.
func (c *Client) WatchJob(ctx context.Context, jobID string, untilDone bool, show func(*apiv1.JobProgress) error) error {
	req := &apiv1.WatchJobRequest{JobId: jobID, UntilDone: untilDone}
	retry := c.newRetry()
	for {
		finished, progressed, err := c.watchOnce(ctx, req, show)
		if finished {
			return err
		}
		if progressed {
			retry.reset()
		}
		if err := retry.wait(ctx, err); err != nil {
			return err
		}
	}
}

func (c *Client) watchOnce(ctx context.Context, req *apiv1.WatchJobRequest, show func(*apiv1.JobProgress) error) (finished, progressed bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := apiv1.NewJobServiceClient(c).WatchJob(ctx, req)
	if err != nil {
		return true, false, err // NewStream has retried already
	}
	var last *apiv1.JobProgress
	for {
		progress, err := stream.Recv()
		switch {
		case err == nil:
			last = progress
			if err := show(progress); err != nil {
				return true, true, err
			}
		case errors.Is(err, io.EOF):
			if req.GetUntilDone() && !over(last) {
				return false, last != nil, batcherr.Unavailable("The coordinator ended the watch of the job early.")
			}
			return true, true, nil
		default:
			return !temporary(ctx, err), last != nil, err
		}
	}
}

// over reports whether nothing can happen any more; it tells the end of a watch from a coordinator that is going down.
func over(p *apiv1.JobProgress) bool {
	counts := p.GetCounts().GetTaskCounts()
	return p.GetDone() || p.GetState() >= apiv1.JobState_JOB_STATE_COMPLETED ||
		p != nil && int64(counts.GetActive()) <= p.GetBlocked() && counts.GetRunning() == 0
}
