package main

import (
	"context"
	"fmt"
	"time"

	"github.com/batchyard/batchyard/internal/clustertest"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func addArray(ctx context.Context, c *clustertest.Cluster, job string, n int) error {
	return c.Client().AddTaskArray(ctx, job, &apiv1.TaskArray{
		Id: "array", Task: &apiv1.Task{CommandLine: "/bin/true {{index}}"},
		Elements: &apiv1.TaskArray_Range{Range: &apiv1.ArrayRange{First: 1, Last: int64(n), Step: 1}},
	}, nil)
}

// array measures what an array of n elements costs until they run.
func array(ctx context.Context, b *bench, c *clustertest.Cluster, n int) error {
	if err := createJob(ctx, apiv1.NewJobServiceClient(c.Client()), "array", "none"); err != nil {
		return err
	}
	before := heap()
	begun := time.Now()
	if err := addArray(ctx, c, "array", n); err != nil {
		return err
	}
	b.add(Figure{
		Name: "adding a task array", Value: float64(time.Since(begun).Microseconds()) / 1000, Unit: "ms", Budget: 200,
		How: fmt.Sprintf("%d elements in one call, committed", n),
	})
	b.add(Figure{
		Name: "leader memory per queued element", Value: max(0, heap()-before) / float64(n), Unit: "bytes", Budget: 10,
		How: fmt.Sprintf("growth of the heap by an array of %d", n),
	})
	return nil
}

// simulatedArray is simulatedRate for elements of an array, whose entries are made as they are given to nodes.
func simulatedArray(ctx context.Context, b *bench) error {
	n := b.size(100_000)
	return inCluster(ctx, b, 1, func(c *clustertest.Cluster) error {
		rate, err := simulatedRate(ctx, c, n, func(ctx context.Context, c *clustertest.Cluster, job string, n int) error {
			if err := disabled(ctx, c, job); err != nil {
				return err
			}
			return addArray(ctx, c, job, n)
		})
		if err != nil {
			return err
		}
		b.add(Figure{
			Name: "simulated elements of an array", Value: rate, Unit: "tasks/s", Budget: 20_000, AtLeast: true,
			How: fmt.Sprintf("%d of one array, one coordinator, otherwise like simulated tasks", n),
		})
		return nil
	})
}
