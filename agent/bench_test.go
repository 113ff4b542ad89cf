//go:build unix

package agent

import (
	"fmt"
	"testing"

	"github.com/batchyard/batchyard/agent/task"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// BenchmarkShortTasks runs /bin/true under everything that a node has: session, journal, directories, supervisor.
func BenchmarkShortTasks(b *testing.B) {
	f := newFarm(b)
	n := newNode(b, f)
	n.run(nil)
	first := f.add(0, &apiv1.Task{CommandLine: "/bin/true"})
	f.ended(first)
	b.ResetTimer()
	f.mu.Lock()
	for begin := 0; begin < b.N; begin += 1000 {
		f.number++
		m := &agentv1.Assignments{Number: f.number}
		for i := begin; i < min(begin+1000, b.N); i++ {
			ref := task.Ref{Job: 1, Task: uint64(i) + 10, Attempt: 1}
			m.Add = append(m.Add, &agentv1.Assignment{Ref: ref.Message(), TaskId: fmt.Sprintf("short%d", i), Slots: 1})
		}
		f.send(&agentv1.CoordinatorMessage{Message: &agentv1.CoordinatorMessage_Assignments{Assignments: m}})
	}
	f.mu.Unlock()
	f.ended(task.Ref{Job: 1, Task: uint64(b.N) + 9, Attempt: 1})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}
