package client

import (
	"context"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// Limits of one AddTasks call, below the coordinator's own, and how many are on their way at once.
const (
	maxBatchTasks = 1000
	maxBatchBytes = 3 << 20
	addPipeline   = 4
)

// AddTasks adds any number of tasks to a job and returns the result of each, in the order of tasks. Tasks travel in several calls at
// once, so their order in the job is roughly, not exactly, the given one. A task that exists already counts as added when a broken
// attempt before may have added it. An error means that some tasks were not tried; results of those are nil. progress (may be nil) is
// told, by one goroutine at a time, how many tasks have a result.
func (c *Client) AddTasks(ctx context.Context, jobID string, tasks []*apiv1.Task, progress func(done int)) ([]*apiv1.TaskAddResult, error) {
	results := make([]*apiv1.TaskAddResult, len(tasks))
	var mu sync.Mutex
	finished := 0
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(addPipeline)
	for from, to := range batches(tasks) {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			got, err := c.addBatch(ctx, jobID, tasks[from:to])
			copy(results[from:to], got)
			mu.Lock()
			defer mu.Unlock()
			finished += to - from
			if progress != nil && err == nil {
				progress(finished)
			}
			return err
		})
	}
	return results, group.Wait()
}

// batches yields the bounds of consecutive parts that fit a call; a task larger than that goes alone.
func batches(tasks []*apiv1.Task) func(yield func(from, to int) bool) {
	return func(yield func(from, to int) bool) {
		from, size := 0, 0
		for i, task := range tasks {
			n := proto.Size(task) + 8
			if i > from && (i-from == maxBatchTasks || size+n > maxBatchBytes) {
				if !yield(from, i) {
					return
				}
				from, size = i, 0
			}
			size += n
		}
		if from < len(tasks) {
			yield(from, len(tasks))
		}
	}
}

// addBatch sends tasks until each has a result that is not the coordinator's own trouble.
func (c *Client) addBatch(ctx context.Context, jobID string, tasks []*apiv1.Task) ([]*apiv1.TaskAddResult, error) {
	results := make([]*apiv1.TaskAddResult, len(tasks))
	pending := make([]int, len(tasks)) // indexes into tasks
	for i := range pending {
		pending[i] = i
	}
	retry := c.newRetry()
	doubtful := false
	for {
		req := &apiv1.AddTasksRequest{JobId: jobID}
		for _, i := range pending {
			req.Tasks = append(req.Tasks, tasks[i])
		}
		resp := &apiv1.AddTasksResponse{}
		ambiguous, err := c.invoke(ctx, apiv1.TaskService_AddTasks_FullMethodName, req, resp)
		if err != nil {
			return results, err
		}
		doubtful = doubtful || ambiguous
		if len(resp.GetResults()) != len(pending) {
			return results, batcherr.Internal(nil).With("Reason", "the coordinator answered for another number of tasks")
		}
		for at, i := range pending {
			results[i] = resp.GetResults()[at]
			if doubtful && results[i].GetError().GetCode() == batcherr.CodeTaskExists {
				results[i] = &apiv1.TaskAddResult{Status: apiv1.TaskAddStatus_TASK_ADD_STATUS_SUCCESS, TaskId: tasks[i].GetId()}
			}
		}
		pending = slices.DeleteFunc(pending, func(i int) bool {
			return results[i].GetStatus() != apiv1.TaskAddStatus_TASK_ADD_STATUS_SERVER_ERROR
		})
		if len(pending) == 0 {
			return results, nil
		}
		doubtful = true
		if err := retry.wait(ctx, batcherr.Unavailable("The coordinator could not add some tasks.")); err != nil {
			return results, ctx.Err() // without an end of ctx, the results themselves say what is wrong
		}
	}
}
