//go:build linux

package devfarm_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A node on which tasks of several jobs fail at once is given no more, says why, and its logs are in the account's store; a person can enable it again.
func TestANodeThatBreaksTasksIsTakenOutOfService(t *testing.T) {
	f := startFarm(t, "--nodes", "2", "--slots", "2")
	var nodes []string
	f.eventually("two nodes", func() bool {
		nodes = strings.Fields(f.must("node", "list", "default", "--filter", "state eq 'idle'", "-q"))
		return len(nodes) == 2
	})
	bad, good := nodes[0], nodes[1]
	for _, job := range []string{"a", "b"} {
		f.must("job", "create", job, "--pool", "default", "--retries", "1000")
	}
	for i := range 8 {
		for _, job := range []string{"a", "b"} {
			id := job + string(rune('0'+i))
			f.must("task", "add", job, "--id", id, "--", "/bin/sh", "-c", "echo broken >&2; test $AZ_BATCH_NODE_ID != "+bad+" || exit 9; sleep 0.2")
		}
	}
	f.eventually("it is in quarantine", func() bool {
		return regexp.MustCompile(bad + ` .*quarantine`).MatchString(f.must("node", "list", "default"))
	})
	require.NotRegexp(t, good+` .*quarantine`, f.must("node", "list", "default"))
	require.Contains(t, f.must("pool", "show", "default"), "1 node; see: batchyard node list default")
	f.must("job", "wait", "a", "--timeout", "120s")
	f.must("job", "wait", "b", "--timeout", "120s")

	var shown string
	f.eventually("its logs are saved", func() bool {
		shown = f.must("node", "show", "default", bad)
		return strings.Contains(shown, "node-logs/")
	})
	require.Contains(t, shown, "attempts of tasks of 2 jobs failed here one after the other while other nodes succeed")
	require.Contains(t, shown, "NodeQuarantined")
	files := f.must("file", "list", "node-logs/", "-q")
	require.Regexp(t, `workitems_a_job-1_a\d_stderr\.txt`, files)
	require.Contains(t, files, "agent.log")
	stderr := regexp.MustCompile(`\S*workitems_a_job-1_a\d_stderr\.txt`).FindString(files)
	f.must("file", "download", stderr, "--to", f.dir+"/logs")
	require.Contains(t, f.lines("logs/"+stderr[strings.LastIndex(stderr, "/")+1:]), "broken")

	f.must("node", "disable", "default", good)
	f.must("job", "create", "c", "--pool", "default")
	f.must("task", "add", "c", "--id", "t", "--", "/bin/true")
	explained := f.must("task", "explain", "c", "t")
	require.Contains(t, explained, "1 in quarantine")
	require.Contains(t, explained, "until somebody enables them")
	f.must("node", "enable", "default", bad)
	f.must("job", "wait", "c", "--timeout", "60s")
	require.NotContains(t, f.must("node", "show", "default", bad), "NodeQuarantined")
}

// Nodes that a failed preparation task has barred, and manager tasks that want a node for themselves, are named as what a task waits for.
func TestWaitingForPreparationAndManagers(t *testing.T) {
	f := startFarm(t, "--nodes", "1", "--slots", "2")
	job := func(text string) string { return f.write("job.yaml", text) }
	f.must("job", "create", "--file", job("id: prep\npoolInfo: {poolId: default}\njobPreparationTask: {id: p, commandLine: /bin/false, waitForSuccess: true}\n"))
	f.must("task", "add", "prep", "--id", "t", "--", "/bin/true")
	f.eventually("it is barred", func() bool {
		return strings.Contains(f.must("task", "explain", "prep", "t"), "The preparation task of the job prep failed on every node of the pool default")
	})
	gate := f.dir + "/gate"
	f.must("job", "create", "work", "--pool", "default")
	f.must("task", "add", "work", "--id", "first", "--", "/bin/sh", "-c", "until test -e "+gate+"; do sleep 0.1; done")
	f.eventually("it runs", func() bool { return strings.Contains(f.must("task", "list", "work"), "running") })
	f.must("job", "create", "--file", job("id: led\npriority: 5\npoolInfo: {poolId: default}\njobManagerTask: {id: boss, commandLine: /bin/true, runExclusive: true}\n"))
	f.must("task", "add", "work", "--id", "second", "--", "/bin/true")
	f.eventually("why they wait", func() bool {
		return strings.Contains(f.must("task", "explain", "led", "boss"), "It runs alone on its node, and none of the 1 nodes") &&
			strings.Contains(f.must("task", "explain", "work", "second"), "Nodes are kept for manager tasks that run alone on theirs, of the jobs: led.")
	})
	f.write("gate", "")
	f.must("job", "wait", "work", "--timeout", "60s")
	f.must("job", "wait", "led", "--timeout", "60s")
}
