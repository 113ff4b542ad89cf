//go:build linux

package devfarm_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Tasks of a job that allows it give way to a job of a higher priority, and run again when that is done.
func TestTasksGiveWay(t *testing.T) {
	f := startFarm(t, "--nodes", "1", "--slots", "2")
	gate := f.dir + "/gate"
	f.must("job", "create", "low", "--pool", "default", "--preemptible")
	f.must("job", "create", "firm", "--pool", "default")
	f.must("job", "create", "high", "--pool", "default", "--priority", "10")
	wait := "until test -e " + gate + "; do sleep 0.1; done"
	f.must("task", "add", "low", "--id", "t", "--", "/bin/sh", "-c", wait)
	f.must("task", "add", "firm", "--id", "t", "--", "/bin/sh", "-c", wait)
	running := func(job, task string) bool {
		return strings.TrimSpace(f.must("task", "list", job, "--filter", "state eq 'running' and id eq '"+task+"'", "-q")) == task
	}
	f.eventually("both run", func() bool { return running("low", "t") && running("firm", "t") })

	f.must("task", "add", "high", "--id", "two", "--slots", "2", "--", "/bin/true")
	f.eventually("why it waits", func() bool {
		return strings.Contains(f.must("task", "explain", "high", "two"), "None of the 1 nodes that can run it has 2 free slots.")
	})
	require.True(t, running("low", "t"), "nothing is stopped where it would not be enough")
	f.must("task", "delete", "high", "two")

	f.must("task", "add", "high", "--id", "one", "--", "/bin/true")
	f.must("job", "wait", "high", "--timeout", "60s")
	f.eventually("it runs again", func() bool { return running("low", "t") })
	shown := f.must("task", "show", "low", "t", "-o", "json")
	require.Contains(t, shown, `"requeueCount": 1`)
	require.Contains(t, shown, `"retryCount": 0`)
	require.True(t, running("firm", "t"))
	require.Contains(t, f.must("task", "show", "firm", "t", "-o", "json"), `"requeueCount": 0`)
	f.write("gate", "")
	f.must("job", "wait", "low", "--timeout", "60s")
	f.must("job", "wait", "firm", "--timeout", "60s")
}

// A task that asks for a node gets it while it has room, and another when it has not.
func TestTasksAreRunWhereTheyAskTo(t *testing.T) {
	f := startFarm(t, "--nodes", "2", "--slots", "2")
	var nodes []string
	f.eventually("two nodes", func() bool {
		nodes = strings.Fields(f.must("node", "list", "default", "--filter", "state eq 'idle'", "-q"))
		return len(nodes) == 2
	})
	gate := f.dir + "/gate"
	f.must("job", "create", "j", "--pool", "default")
	where := func(id string) (node string) {
		f.eventually("task "+id+" runs", func() bool {
			for _, n := range nodes {
				if strings.TrimSpace(f.must("task", "list", "j", "--filter", "id eq '"+id+"' and state eq 'running' and nodeInfo/nodeId eq '"+n+"'", "-q")) != "" {
					node = n
				}
			}
			return node != ""
		})
		return node
	}
	for i, near := range nodes {
		for _, id := range []string{"a", "b"} {
			id += near
			f.must("task", "add", "j", "--id", id, "--near", near, "--", "/bin/sh", "-c", "until test -e "+gate+"; do sleep 0.1; done")
			require.Equal(t, near, where(id), "node %d", i)
		}
		if i == 0 {
			f.must("task", "add", "j", "--id", "elsewhere", "--near", near, "--", "/bin/sh", "-c", "until test -e "+gate+"; do sleep 0.1; done")
			require.Equal(t, nodes[1], where("elsewhere"))
			f.must("task", "terminate", "j", "elsewhere")
			f.eventually("it is gone", func() bool {
				return strings.TrimSpace(f.must("node", "list", "default", "--filter", "id eq '"+nodes[1]+"' and runningTasksCount eq 0", "-q")) != ""
			})
		}
	}
	f.write("gate", "")
	_, _ = f.run("job", "wait", "j", "--timeout", "60s")
}
