//go:build linux

package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// leaderBudget is how soon after a leader's death a new task must be running.
const leaderBudget = 3 * time.Second

// submitEchoes adds a job of tasks that write their numbers to a file.
func (c *cluster) submitEchoes(job, path string, tasks int) {
	c.must("submit", c.write(job+".yaml", fmt.Sprintf(`
job: {id: %s, poolInfo: {poolId: pool}}
tasks:
  - id: "%s-{{n}}"
    commandLine: "/bin/sh -c 'echo %s-{{n}} >> %s; sleep 0.02'"
    sweep: {n: {first: 1, last: %d}}
`, job, job, job, path, tasks)))
}

// waitFor runs `job wait` and gives what it printed once it has ended well.
func (c *cluster) waitFor(job string) <-chan string {
	out := make(chan string, 1)
	go func() {
		text, err := c.command("job", "wait", job).CombinedOutput()
		out <- fmt.Sprintf("%s\nerr=%v", text, err)
	}()
	return out
}

func (c *cluster) requireDone(waited <-chan string, want string) {
	c.t.Helper()
	select {
	case out := <-waited:
		require.Contains(c.t, out, "err=<nil>")
		require.Contains(c.t, out, want)
	case <-time.After(2 * patience):
		require.FailNow(c.t, "the job does not end")
	}
}

// The leader is killed again and again in the middle of a job of 1,000 tasks, while more are added. A task that is added at that moment measures how soon
// work goes on.
func TestKilledLeaders(t *testing.T) {
	const tasks, kills = 1000, 5
	c := newCluster(t, options{members: 3, nodes: 2, slots: 2})
	c.requireEveryMemberServes()
	big, more, probes := filepath.Join(c.dir, "big"), filepath.Join(c.dir, "more"), filepath.Join(c.dir, "probes")
	c.must("job", "create", "more", "--pool", "pool")
	c.must("job", "create", "probes", "--pool", "pool", "--priority", "500")
	c.submitEchoes("big", big, tasks)
	waited := c.waitFor("big")
	adding := c.startAdders(2, 5, "more", more)
	conn := c.dial()

	var took []time.Duration
	for i := range kills {
		c.eventually(patience, "work goes on", func() bool { return lines(big)+lines(more) > (i+1)*150 })
		leader := c.leader()
		killed := time.Now()
		leader.kill()
		results, err := conn.AddTasks(t.Context(), "probes", []*apiv1.Task{echo(fmt.Sprintf("probe-%d", i), probes)}, nil)
		require.NoError(t, err)
		require.Equal(t, apiv1.TaskAddStatus_TASK_ADD_STATUS_SUCCESS, results[0].GetStatus())
		c.eventually(patience, "the probe runs", func() bool { return lines(probes) > i })
		took = append(took, time.Since(killed).Round(time.Millisecond))
		leader.start()
		c.eventually(patience, "the member is back", func() bool {
			status, err := c.status()
			return err == nil && !slices.ContainsFunc(status.GetMembers(), func(m *apiv1.Member) bool { return m.GetDigest() == "" })
		})
	}
	acked := adding.stop(t)
	c.requireDone(waited, fmt.Sprintf("%d succeeded", tasks))
	c.requireDone(c.waitFor("more"), "succeeded")
	c.requireOnce("big", big, nil)
	c.requireOnce("more", more, acked)
	c.requireOnce("probes", probes, nil)
	require.Equal(t, tasks, lines(big))
	c.agree()
	t.Logf("from a leader's death to a new task's start: %v; %d tasks were added meanwhile", took, len(acked))
	// Other tests run on the same processors, so that a single one may take longer.
	slices.Sort(took)
	require.Less(t, took[len(took)/2], leaderBudget, "all: %v", took)
}

// requireEveryMemberServes asks each member itself: followers forward to the leader.
func (c *cluster) requireEveryMemberServes() {
	conn := c.dial()
	for i, address := range c.grpc {
		at, err := conn.At(address)
		require.NoError(c.t, err)
		job := fmt.Sprintf("via-%d", i)
		jobs := apiv1.NewJobServiceClient(at)
		_, err = jobs.CreateJob(c.t.Context(), &apiv1.CreateJobRequest{Job: &apiv1.Job{Id: job, PoolInfo: &apiv1.PoolInfo{PoolId: "pool"}}})
		require.NoError(c.t, err)
		out := filepath.Join(c.dir, job)
		_, err = apiv1.NewTaskServiceClient(at).AddTasks(c.t.Context(), &apiv1.AddTasksRequest{JobId: job, Tasks: []*apiv1.Task{echo(job, out)}})
		require.NoError(c.t, err)
		ctx, cancel := context.WithTimeout(c.t.Context(), patience)
		watch, err := jobs.WatchJob(ctx, &apiv1.WatchJobRequest{JobId: job, UntilDone: true})
		require.NoError(c.t, err)
		for err == nil {
			_, err = watch.Recv()
		}
		cancel()
		require.Equal(c.t, 1, lines(out), "%v", err)
	}
}

// The leader is paused and resumed a hundred times under load. With a short election timeout another member takes over in most pauses.
func TestPausedLeaders(t *testing.T) {
	const tasks, pauses, election = 1000, 100, 250 * time.Millisecond
	c := newCluster(t, options{members: 3, nodes: 2, slots: 2, tuning: []string{"--election-timeout", election.String()}})
	base, path := filepath.Join(c.dir, "base"), filepath.Join(c.dir, "load")
	c.must("job", "create", "load", "--pool", "pool")
	c.submitEchoes("base", base, tasks)
	adding := c.startAdders(2, 5, "load", path)
	// A sentinel is added last, so that `job wait` has to hold out to the end.
	c.must("job", "create", "watched", "--pool", "pool")
	done := filepath.Join(c.dir, "done")
	c.must("task", "add", "watched", "--id", "sentinel", "--shell", "--", "until [ -e "+done+" ]; do sleep 0.1; done")
	waited := c.waitFor("watched")

	random := rand.New(rand.NewPCG(2, pauses))
	status, err := c.status()
	require.NoError(t, err)
	before := status.GetTerm()
	began := time.Now()
	for range pauses {
		leader := c.leader()
		leader.signal(syscall.SIGSTOP)
		<-time.After(election/2 + time.Duration(random.Int64N(int64(3*election))))
		leader.signal(syscall.SIGCONT)
		<-time.After(time.Duration(random.Int64N(int64(election))))
	}
	took := time.Since(began)
	c.leader()
	status, err = c.status()
	require.NoError(t, err)
	acked := adding.stop(t)
	ran := lines(path) + lines(base)
	require.NoError(t, os.WriteFile(done, nil, 0o600))
	c.requireDone(waited, "1 succeeded")
	c.requireDone(c.waitFor("load"), "succeeded")
	c.requireDone(c.waitFor("base"), fmt.Sprintf("%d succeeded", tasks))
	c.requireOnce("load", path, acked)
	c.requireOnce("base", base, nil)
	c.agree()
	t.Logf("%d pauses in %v, terms %d to %d; %d tasks acknowledged, %d had run by then", pauses, took.Round(time.Second), before, status.GetTerm(), len(acked), ran)
	require.Greater(t, status.GetTerm()-before, uint64(pauses/4), "pauses hardly ever changed the leader")
	require.Greater(t, ran, pauses, "hardly any work went on")
	require.Greater(t, len(acked), pauses, "hardly anything was acknowledged")
}
