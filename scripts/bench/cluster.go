package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/batchyard/batchyard/internal/clustertest"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

const simulatedPool = "simulated"

// inCluster runs a cluster of this process while fn works with it.
func inCluster(ctx context.Context, b *bench, members int, fn func(*clustertest.Cluster) error) error {
	dir, err := os.MkdirTemp(b.dir, "cluster")
	if err != nil {
		return err
	}
	c, err := clustertest.Start(ctx, clustertest.Config{Dir: dir, Members: members})
	if err != nil {
		return err
	}
	return errors.Join(fn(c), c.Stop())
}

func createPool(ctx context.Context, c *clustertest.Cluster, slots int32) error {
	_, err := apiv1.NewPoolServiceClient(c.Client()).CreatePool(ctx, &apiv1.CreatePoolRequest{Pool: &apiv1.Pool{
		Id: simulatedPool, VmSize: "simulated", TaskSlotsPerNode: &slots,
	}})
	return err
}

// simulated measures what coordinators can do when nodes cost nothing.
func simulated(ctx context.Context, b *bench) error {
	for _, members := range []int{1, 3} {
		n := b.size(100_000)
		var rate float64
		err := inCluster(ctx, b, members, func(c *clustertest.Cluster) (err error) {
			rate, err = simulatedRate(ctx, c, n, queued)
			return err
		})
		if err != nil {
			return err
		}
		name, budget := "simulated tasks, one coordinator", 20_000.0
		if members > 1 {
			name, budget = "simulated tasks, three coordinators", 10_000
		}
		b.add(Figure{
			Name: name, Value: rate, Unit: "tasks/s", Budget: budget, AtLeast: true,
			How: fmt.Sprintf("%d queued tasks until the last is committed as completed; 8 agents of 64 slots; coordinators and agents in one process", n),
		})
	}
	return nil
}

func simulatedRate(ctx context.Context, c *clustertest.Cluster, n int, queue queuer) (perSecond float64, err error) {
	if err := createPool(ctx, c, 64); err != nil {
		return 0, err
	}
	agents, err := c.StartAgents(ctx, simulatedPool, 8)
	if err != nil {
		return 0, err
	}
	jobs := apiv1.NewJobServiceClient(c.Client())
	// The queue waits, complete, on a pool that has no nodes; then the job moves.
	if err := queue(ctx, c, "job", n); err != nil {
		return 0, errors.Join(err, agents.Stop())
	}
	begun := time.Now()
	if err := release(ctx, jobs, "job"); err != nil {
		return 0, errors.Join(err, agents.Stop())
	}
	err = waitCompleted(ctx, jobs, "job", n, pollBusy)
	return float64(n) / time.Since(begun).Seconds(), errors.Join(err, agents.Stop())
}

// queuer makes a disabled job with n tasks.
type queuer func(ctx context.Context, c *clustertest.Cluster, job string, n int) error

func queued(ctx context.Context, c *clustertest.Cluster, job string, n int) error {
	if err := disabled(ctx, c, job); err != nil {
		return err
	}
	_, err := c.Client().AddTasks(ctx, job, sameTasks(n, "/bin/true"), nil)
	return err
}

func disabled(ctx context.Context, c *clustertest.Cluster, job string) error {
	jobs := apiv1.NewJobServiceClient(c.Client())
	if err := createJob(ctx, jobs, job, simulatedPool); err != nil {
		return err
	}
	_, err := jobs.DisableJob(ctx, &apiv1.DisableJobRequest{JobId: job, Options: &apiv1.JobDisableOptions{DisableTasks: apiv1.DisableJobOption_DISABLE_JOB_OPTION_WAIT}})
	if err != nil {
		return err
	}
	return waitState(ctx, jobs, job, apiv1.JobState_JOB_STATE_DISABLED)
}

func release(ctx context.Context, jobs apiv1.JobServiceClient, job string) error {
	_, err := jobs.EnableJob(ctx, &apiv1.EnableJobRequest{JobId: job})
	return err
}

func waitState(ctx context.Context, jobs apiv1.JobServiceClient, job string, want apiv1.JobState) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		got, err := jobs.GetJob(ctx, &apiv1.GetJobRequest{JobId: job})
		if err != nil {
			return err
		}
		if got.State == want {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// adding measures how fast tasks are taken in.
func adding(ctx context.Context, b *bench) error {
	return inCluster(ctx, b, 1, func(c *clustertest.Cluster) error {
		jobs := apiv1.NewJobServiceClient(c.Client())
		for _, id := range []string{"grpc", "rest"} {
			if err := createJob(ctx, jobs, id, "none"); err != nil {
				return err
			}
		}
		n := b.size(200_000)
		tasks := sameTasks(n, "/bin/true")
		begun := time.Now()
		if _, err := c.Client().AddTasks(ctx, "grpc", tasks, nil); err != nil {
			return err
		}
		b.add(Figure{
			Name: "adding tasks, gRPC", Value: float64(n) / time.Since(begun).Seconds(), Unit: "tasks/s", Budget: 30_000, AtLeast: true,
			How: fmt.Sprintf("%d tasks, calls of 1,000, 4 at once", n),
		})
		r, err := newREST(ctx, c)
		if err != nil {
			return err
		}
		n = b.size(100_000) / 100 * 100
		begun = time.Now()
		if err := r.addTasks(ctx, "rest", n); err != nil {
			return err
		}
		b.add(Figure{
			Name: "adding tasks, REST", Value: float64(n) / time.Since(begun).Seconds(), Unit: "tasks/s", Budget: 10_000, AtLeast: true,
			How: fmt.Sprintf("%d tasks, collections of 100, %d connections, shared key", n, restConnections),
		})
		return nil
	})
}

// heap is what is in use after a collection, in bytes.
func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// million measures what a job of a million tasks costs: memory while queued and after, lists and counts.
func million(ctx context.Context, b *bench) error {
	return inCluster(ctx, b, 1, func(c *clustertest.Cluster) error {
		if err := createPool(ctx, c, 64); err != nil {
			return err
		}
		jobs := apiv1.NewJobServiceClient(c.Client())
		// Caches and connections are filled by a job of a tenth, so that only what grows with the tasks is counted.
		if err := runSimulated(ctx, c, "warm", b.size(100_000)); err != nil {
			return err
		}
		n := b.size(1_000_000)
		before := heap()
		if err := queued(ctx, c, "million", n); err != nil {
			return err
		}
		b.add(Figure{
			Name: "leader memory per queued task", Value: (heap() - before) / float64(n), Unit: "bytes", Budget: 1000,
			How: fmt.Sprintf("growth of the heap by %d queued tasks", n),
		})
		if err := array(ctx, b, c, n); err != nil {
			return err
		}
		if err := listing(ctx, b, c, n); err != nil {
			return err
		}
		if err := runQueued(ctx, c, jobs, "million", n); err != nil {
			return err
		}
		b.add(Figure{
			Name: "leader memory per completed task", Value: (heap() - before) / float64(n), Unit: "bytes", Budget: 50,
			How: fmt.Sprintf("growth of the heap after %d tasks have completed, to what it was before they were added", n),
		})
		return nil
	})
}

func runSimulated(ctx context.Context, c *clustertest.Cluster, job string, n int) error {
	if err := queued(ctx, c, job, n); err != nil {
		return err
	}
	return runQueued(ctx, c, apiv1.NewJobServiceClient(c.Client()), job, n)
}

func runQueued(ctx context.Context, c *clustertest.Cluster, jobs apiv1.JobServiceClient, job string, n int) error {
	agents, err := c.StartAgents(ctx, simulatedPool, 8)
	if err != nil {
		return err
	}
	if err := release(ctx, jobs, job); err != nil {
		return errors.Join(err, agents.Stop())
	}
	return errors.Join(waitCompleted(ctx, jobs, job, n, pollBusy), agents.Stop())
}

func listing(ctx context.Context, b *bench, c *clustertest.Cluster, n int) error {
	r, err := newREST(ctx, c)
	if err != nil {
		return err
	}
	first, last, pages, err := r.listAll(ctx, "million")
	if err != nil {
		return err
	}
	how := fmt.Sprintf("1,000 of %d tasks over REST, page 1 and page %d", n, pages)
	b.add(Figure{Name: "listing, first page", Value: first, Unit: "ms", Budget: 50, How: how})
	b.add(Figure{Name: "listing, last page", Value: last, Unit: "ms", Budget: 50, How: how})
	few, err := r.timeCounts(ctx, "warm")
	if err != nil {
		return err
	}
	many, err := r.timeCounts(ctx, "million")
	if err != nil {
		return err
	}
	b.add(Figure{
		Name: "task counts, ratio", Value: many / few, Budget: 2,
		How: fmt.Sprintf("median of 51 calls: %.2f ms for %d tasks against %.2f ms for a tenth of them", many, n, few),
	})
	return nil
}

// manyAgents measures how many nodes one coordinator keeps.
func manyAgents(ctx context.Context, b *bench) error {
	return inCluster(ctx, b, 1, func(c *clustertest.Cluster) error {
		if err := createPool(ctx, c, 4); err != nil {
			return err
		}
		n := b.size(5000)
		before, begun := heap(), time.Now()
		agents, err := c.StartAgents(ctx, simulatedPool, n)
		if err != nil {
			return err
		}
		joined := time.Since(begun)
		perAgent := (heap() - before) / float64(n)
		tasks := 10 * n
		if err := queued(ctx, c, "job", tasks); err != nil {
			return errors.Join(err, agents.Stop())
		}
		begun = time.Now()
		jobs := apiv1.NewJobServiceClient(c.Client())
		if err := release(ctx, jobs, "job"); err != nil {
			return errors.Join(err, agents.Stop())
		}
		if err := waitCompleted(ctx, jobs, "job", tasks, pollBusy); err != nil {
			return errors.Join(err, agents.Stop())
		}
		rate := float64(tasks) / time.Since(begun).Seconds()
		b.add(Figure{
			Name: "agents with sessions", Value: float64(agents.Sessions()), Unit: "agents", Budget: float64(n), AtLeast: true,
			How: fmt.Sprintf("joined in %.0f s; %.0f KB of heap each with both ends in this process; %d tasks over all of them at %.0f tasks/s",
				joined.Seconds(), perAgent/1000, tasks, rate),
		})
		return agents.Stop()
	})
}
