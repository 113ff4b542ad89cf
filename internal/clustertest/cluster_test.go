package clustertest

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func TestTasksComplete(t *testing.T) {
	ctx := t.Context()
	c, err := Start(ctx, Config{Dir: t.TempDir(), Members: 3})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Stop()) })

	slots := int32(4)
	_, err = apiv1.NewPoolServiceClient(c.Client()).CreatePool(ctx, &apiv1.CreatePoolRequest{Pool: &apiv1.Pool{
		Id: "pool", VmSize: "simulated", TaskSlotsPerNode: &slots,
	}})
	require.NoError(t, err)
	agents, err := c.StartAgents(ctx, "pool", 5)
	require.NoError(t, err)
	jobs := apiv1.NewJobServiceClient(c.Client())
	_, err = jobs.CreateJob(ctx, &apiv1.CreateJobRequest{Job: &apiv1.Job{Id: "job", PoolInfo: &apiv1.PoolInfo{PoolId: "pool"}}})
	require.NoError(t, err)
	var tasks []*apiv1.Task
	for i := range 500 {
		tasks = append(tasks, &apiv1.Task{Id: "t" + strconv.Itoa(i), CommandLine: "/bin/true"})
	}
	_, err = c.Client().AddTasks(ctx, "job", tasks, nil)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		counts, err := jobs.GetTaskCounts(ctx, &apiv1.GetTaskCountsRequest{JobId: "job"})
		return err == nil && counts.TaskCounts.Succeeded == 500
	}, 30*time.Second, 20*time.Millisecond)
	require.NoError(t, agents.Stop())
}
