//go:build linux

package faults

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/client"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// dial makes a client of the cluster that knows all members.
func (c *cluster) dial() *client.Client {
	all, err := client.LoadContexts(c.config())
	require.NoError(c.t, err)
	found, ok := all.Find("admin")
	require.True(c.t, ok)
	cfg := found.Config()
	cfg.Addresses, cfg.RetryFor = c.grpc, patience
	out, err := client.Dial(cfg)
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = out.Close() })
	return out
}

// echo is a task that writes its id to a file when it runs.
func echo(id, path string) *apiv1.Task {
	return &apiv1.Task{Id: id, CommandLine: fmt.Sprintf("/bin/sh -c 'echo %s >> %s'", id, path)}
}

// pace is how long an adder rests between calls: the point is trouble, not throughput.
const pace = 50 * time.Millisecond

// adders add tasks to a job in small calls until they are stopped, and remember what was acknowledged.
type adders struct {
	cancel context.CancelFunc
	wait   sync.WaitGroup
	mu     sync.Mutex
	acked  map[string]bool
	failed []string
}

func (c *cluster) startAdders(n, batch int, job, path string) *adders {
	a := &adders{acked: map[string]bool{}}
	var ctx context.Context
	ctx, a.cancel = context.WithCancel(c.t.Context())
	for i := range n {
		conn := c.dial()
		a.wait.Go(func() {
			for round := 0; ctx.Err() == nil; round++ {
				tasks := make([]*apiv1.Task, batch)
				for k := range tasks {
					tasks[k] = echo(fmt.Sprintf("%s-%d-%d-%d", job, i, round, k), path)
				}
				// A call that is under way is seen through, so that its outcome is known.
				results, err := conn.AddTasks(context.WithoutCancel(ctx), job, tasks, nil)
				a.note(results, err)
				<-time.After(pace)
			}
		})
	}
	return a
}

func (a *adders) note(results []*apiv1.TaskAddResult, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.failed = append(a.failed, err.Error())
	}
	for _, r := range results {
		switch {
		case r == nil:
		case r.GetStatus() == apiv1.TaskAddStatus_TASK_ADD_STATUS_SUCCESS:
			a.acked[r.GetTaskId()] = true
		default:
			a.failed = append(a.failed, fmt.Sprintf("%s: %s", r.GetTaskId(), r.GetError().GetMessage()))
		}
	}
}

// stop returns all ids that were acknowledged. No call may have failed: clients ride trouble out.
func (a *adders) stop(t *testing.T) map[string]bool {
	a.cancel()
	a.wait.Wait()
	require.Empty(t, a.failed)
	return a.acked
}

// requireOnce holds a job's records and the witness of its tasks against what was acknowledged: everything is there, has
// succeeded and has run exactly once.
func (c *cluster) requireOnce(job, path string, acked map[string]bool) {
	c.t.Helper()
	seen := witness(c.t, path)
	tasks := apiv1.NewTaskServiceClient(c.dial())
	recorded := map[string]bool{}
	for token := ""; ; {
		page, err := tasks.ListTasks(c.t.Context(), &apiv1.ListTasksRequest{JobId: job, Options: &apiv1.ListOptions{PageToken: token}})
		require.NoError(c.t, err)
		for _, task := range page.GetTasks() {
			id := task.GetId()
			require.False(c.t, recorded[id], "%s is listed twice", id)
			recorded[id] = true
			require.Equal(c.t, apiv1.TaskState_TASK_STATE_COMPLETED, task.GetState(), id)
			require.Equal(c.t, apiv1.TaskExecutionResult_TASK_EXECUTION_RESULT_SUCCESS, task.GetExecutionInfo().GetResult(), id)
			require.Equal(c.t, 1, seen[id], "runs of %s", id)
		}
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	for id := range acked {
		require.True(c.t, recorded[id], "%s was acknowledged and is lost", id)
	}
	require.Len(c.t, seen, len(recorded), "everything that ran is on record")
}
