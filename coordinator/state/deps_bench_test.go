package state

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

const benchEdges = 200_000

// addDependents adds tasks in commands of a thousand.
func (f *farm) addDependents(b *testing.B, tasks int, dependsOn func(i int) *apiv1.TaskDependencies) {
	for first := 0; first < tasks; first += 1000 {
		cmd := &raftlogv1.AddTasks{JobId: "j", Specs: [][]byte{taskSpec()}}
		for i := first; i < min(first+1000, tasks); i++ {
			cmd.Tasks = append(cmd.Tasks, &raftlogv1.NewTask{Id: fmt.Sprint(i + 1), DependsOn: dependsOn(i)})
		}
		f.apply(marshal(b, f.command(cmd)))
	}
}

// complete ends a task that is queued, in one command.
func (f *farm) complete(b *testing.B, node uint64, task uint64, code int32) {
	j, _ := f.s.Job("acct", "j")
	f.apply(marshal(b, f.command(&raftlogv1.AssignTasks{Nodes: []*raftlogv1.NodePlan{
		{Node: node, Incarnation: 1, Tasks: []*raftlogv1.PlannedTask{{Job: j.Uid, Task: task}}},
	}})))
	r := exited(code)
	r.Ref = &agentv1.AttemptRef{Job: j.Uid, Task: task, Attempt: 1}
	f.apply(marshal(b, f.command(&raftlogv1.ReportAttempts{Node: node, Incarnation: 1, Reports: []*agentv1.AttemptReport{r}})))
}

// BenchmarkDependencies completes tasks of a job with 200,000 edges: layers of a hundred, each task depending on ten of the layer before.
func BenchmarkDependencies(b *testing.B) {
	const layer, each = 100, 10
	f := newFarm(b)
	f.pool("p", func(p *apiv1.Pool) { n := int32(1 << 20); p.TaskSlotsPerNode = &n })
	node := f.node("p", "n")
	f.job("j")
	f.addDependents(b, benchEdges/each, func(i int) *apiv1.TaskDependencies {
		if i < layer {
			return nil
		}
		d := &apiv1.TaskDependencies{}
		for k := range each {
			d.TaskIds = append(d.TaskIds, fmt.Sprint((i/layer-1)*layer+(i+k)%layer+1))
		}
		return d
	})
	b.ResetTimer()
	done := uint64(0)
	for range b.N {
		if done++; done > benchEdges/each {
			b.Skip("the job is over")
		}
		f.complete(b, node, done, 0)
	}
}

// BenchmarkFanOut ends one task on which 200,000 wait, in success and in failure: no entry may take long, however many there are.
func BenchmarkFanOut(b *testing.B) {
	b.Run("success", func(b *testing.B) { fanOut(b, 0) })
	b.Run("failure", func(b *testing.B) { fanOut(b, 1) })
}

func fanOut(b *testing.B, code int32) {
	for range b.N {
		b.StopTimer()
		f := newFarm(b)
		f.pool("p", func(p *apiv1.Pool) { n := int32(1 << 20); p.TaskSlotsPerNode = &n })
		node := f.node("p", "n")
		f.job("j")
		f.addDependents(b, benchEdges, func(i int) *apiv1.TaskDependencies {
			if i == 0 {
				return nil
			}
			return &apiv1.TaskDependencies{TaskIds: []string{"1"}}
		})
		j, _ := f.s.Job("acct", "j")
		longest, begun := time.Duration(0), time.Now()
		step := func(do func()) {
			at := time.Now()
			do()
			longest = max(longest, time.Since(at))
		}
		b.StartTimer()
		step(func() { f.complete(b, node, 1, code) })
		for f.jobInfo("j").Releasing {
			step(func() {
				f.index++
				_, _ = f.s.Apply(f.index, [][]byte{marshal(b, f.command(&raftlogv1.AdvanceReleases{Job: j.Uid, Limit: ReleaseStep}))})
			})
		}
		b.StopTimer()
		b.ReportMetric(float64(longest.Microseconds())/1000, "ms/longest-entry")
		b.ReportMetric(time.Since(begun).Seconds(), "s/all")
		j, _ = f.s.Job("acct", "j")
		if code == 0 {
			require.EqualValues(b, benchEdges-1, j.Queued)
		} else {
			require.EqualValues(b, benchEdges-1, j.Counts.Blocked)
		}
	}
}
