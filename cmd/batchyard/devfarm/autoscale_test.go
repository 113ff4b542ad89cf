//go:build linux

package devfarm_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// scaledPool is what a test looks at of a pool.
type scaledPool struct {
	AllocationState       string
	CurrentDedicatedNodes int
	TargetDedicatedNodes  int
	AutoScaleRun          struct {
		Results string
		Error   *struct{ Code string }
	}
}

func (f *farm) pool(id string) (p scaledPool) {
	out, code := f.run("pool", "show", id, "-o", "json")
	require.Zero(f.t, code, out)
	require.NoError(f.t, json.Unmarshal([]byte(out), &p), out)
	return p
}

// A pool with a formula has no nodes while there is nothing to do, grows for the tasks that wait, and shrinks when they are done.
func TestPoolFollowsItsFormula(t *testing.T) {
	f := startFarm(t, "--nodes", "0", "--autoscale-every", "400ms")
	formula := f.write("formula", `// As many nodes as tasks, up to two.
pending = max($PendingTasks.GetSample(1));
$TargetDedicatedNodes = min(2, pending);
$NodeDeallocationOption = taskcompletion;`)
	out, code := f.run("pool", "create", "scaled", "--formula-file", formula)
	require.Zero(t, code, out)
	require.Eventually(t, func() bool { return f.pool("scaled").AutoScaleRun.Results != "" }, time.Minute, 50*time.Millisecond, "it is evaluated")
	out, code = f.run("pool", "resize", "scaled", "--nodes", "5")
	require.NotZero(t, code, out)

	end := filepath.Join(f.dir, "end")
	job := f.write("job.yaml", `job: {id: work, poolInfo: {poolId: scaled}}
tasks:
- {id: a, commandLine: "sh -c 'while [ ! -e `+end+` ]; do sleep 0.1; done'"}
- {id: b, commandLine: "sh -c 'while [ ! -e `+end+` ]; do sleep 0.1; done'"}
- {id: c, commandLine: "sh -c 'while [ ! -e `+end+` ]; do sleep 0.1; done'"}
`)
	out, code = f.run("submit", job)
	require.Zero(t, code, out)
	require.Eventually(t, func() bool {
		p := f.pool("scaled")
		out, _ := f.run("task", "list", "work", "--filter", "state eq 'running'", "-q")
		return p.CurrentDedicatedNodes == 2 && p.AllocationState == "steady" && len(out) == len("a\nb\n")
	}, time.Minute, 100*time.Millisecond, "two nodes run two tasks")
	p := f.pool("scaled")
	require.Contains(t, p.AutoScaleRun.Results, "$TargetDedicatedNodes=2;$TargetLowPriorityNodes=0;$NodeDeallocationOption=taskcompletion;pending=3")

	out, code = f.run("pool", "autoscale", "evaluate", "scaled", "--formula",
		"busy = $RunningTasks; nodes = $CurrentDedicatedNodes; usable = $UsableNodeCount; $TargetDedicatedNodes = 7")
	require.Zero(t, code, out)
	for _, line := range []string{"busy=2", "nodes=2", "usable=2", "$TargetDedicatedNodes=7"} {
		require.Contains(t, out, line+"\n")
	}
	require.Eventually(t, func() bool {
		out, _ := f.run("pool", "autoscale", "evaluate", "scaled", "--formula", "known = $CPUPercent >= 0 && $CPUPercent <= 1")
		return strings.Contains(out, "known=1")
	}, time.Minute, 100*time.Millisecond, "nodes tell how busy they are")
	require.Equal(t, 2, f.pool("scaled").TargetDedicatedNodes, "an evaluation changes nothing")
	out, code = f.run("pool", "autoscale", "evaluate", "scaled", "--formula", "x = $CPUPercent.GetSample(TimeInterval_Hour, 50)")
	require.NotZero(t, code)
	require.Contains(t, out, "InsufficientSampleData")
	require.Contains(t, out, "$CPUPercent wanted 50%")

	f.write("end", "")
	require.Eventually(t, func() bool {
		p := f.pool("scaled")
		return p.CurrentDedicatedNodes == 0 && p.AllocationState == "steady"
	}, time.Minute, 100*time.Millisecond, "no node is left")
	out, code = f.run("task", "list", "work", "--filter", "executionInfo/result eq 'success'", "-q")
	require.Zero(t, code, out)
	require.Equal(t, "a\nb\nc\n", out)
	require.Nil(t, f.pool("scaled").AutoScaleRun.Error)

	out, code = f.run("pool", "autoscale", "disable", "scaled")
	require.Zero(t, code, out)
	out, code = f.run("pool", "autoscale", "enable", "scaled", "--formula", "$TargetDedicatedNodes = (")
	require.NotZero(t, code)
	require.Contains(t, out, "AutoScalingFormulaSyntaxError")
	out, code = f.run("pool", "autoscale", "enable", "scaled", "--formula", "x = 1", "--interval", "4m")
	require.NotZero(t, code, out)
	out, code = f.run("pool", "autoscale", "enable", "scaled", "--formula", "x = 40 + 2")
	require.Zero(t, code, out)
	require.Contains(t, f.pool("scaled").AutoScaleRun.Results, "x=42", "a formula is evaluated when it is given")
}
