package state

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// benchYard is a farm with a pool of one node that takes everything, and a job.
func benchYard(b *testing.B) (f *farm, node, job uint64) {
	f = newFarm(b)
	f.pool("p", func(p *apiv1.Pool) { n := int32(1 << 20); p.TaskSlotsPerNode = &n })
	return f, f.node("p", "n"), f.job("j", func(j *apiv1.Job) { j.UsesTaskDependencies = nil })
}

// apply applies one command as an entry of its own, without checks.
func (f *farm) apply(raw []byte) {
	f.index++
	f.s.Apply(f.index, [][]byte{raw})
}

// taskName is an id as a client makes it: numbered, scattered or padded.
type taskName func(n int) string

func numbered(n int) string { return fmt.Sprintf("task-%d", n) }

func scattered(n int) string { return fmt.Sprintf("%016x", uint64(n+1)*0x9e3779b97f4a7c15) }

func addition(b *testing.B, f *farm, name taskName, first, tasks int) []byte {
	cmd := &raftlogv1.AddTasks{JobId: "j", Specs: [][]byte{taskSpec()}}
	for i := range tasks {
		cmd.Tasks = append(cmd.Tasks, &raftlogv1.NewTask{Id: name(first + i), CommandLine: fmt.Sprintf("/bin/echo %d", first+i)})
	}
	return marshal(b, f.command(cmd))
}

func perSecond(b *testing.B, tasks int) {
	b.ReportMetric(float64(tasks)*float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}

// BenchmarkAddTasks adds a million and more tasks, a thousand a command.
func BenchmarkAddTasks(b *testing.B) {
	for label, name := range map[string]taskName{"numbered": numbered, "scattered": scattered} {
		b.Run(label, func(b *testing.B) {
			f, _, _ := benchYard(b)
			const batch = 1000
			b.ReportAllocs()
			for i := range b.N {
				b.StopTimer()
				raw := addition(b, f, name, i*batch, batch)
				b.StartTimer()
				f.apply(raw)
			}
			perSecond(b, batch)
		})
	}
}

// BenchmarkAddOneByOne adds tasks as clients do that know no collections, with the commands of a few in one entry.
func BenchmarkAddOneByOne(b *testing.B) {
	f, _, _ := benchYard(b)
	const group = 16
	b.ReportAllocs()
	for i := range b.N {
		b.StopTimer()
		var entry [][]byte
		for k := range group {
			entry = append(entry, addition(b, f, numbered, i*group+k, 1))
		}
		b.StartTimer()
		f.index++
		f.s.Apply(f.index, entry)
	}
	perSecond(b, group)
}

// BenchmarkCycle takes tasks from their addition through assignment to their result, 256 at a time.
func BenchmarkCycle(b *testing.B) {
	f, node, job := benchYard(b)
	const batch = 256
	b.ReportAllocs()
	for i := range b.N {
		b.StopTimer()
		add := addition(b, f, numbered, i*batch, batch)
		plan := &raftlogv1.NodePlan{Node: node, Incarnation: 1}
		reports := &raftlogv1.ReportAttempts{Node: node, Incarnation: 1}
		for k := range uint64(batch) {
			key := TaskKey{job, uint64(i)*batch + k + 1}
			plan.Tasks = append(plan.Tasks, &raftlogv1.PlannedTask{Job: key.Job, Task: key.Task})
			r := exited(0)
			r.Ref = AttemptKey{key, 1}.Ref()
			reports.Reports = append(reports.Reports, r)
		}
		assign := marshal(b, f.command(&raftlogv1.AssignTasks{Nodes: []*raftlogv1.NodePlan{plan}}))
		report := marshal(b, f.command(reports))
		b.StartTimer()
		f.apply(add)
		f.apply(assign)
		f.apply(report)
	}
	perSecond(b, batch)
	b.StopTimer()
	require.EqualValues(b, b.N*batch, f.jobInfo("j").Counts.Succeeded)
}

// filled has a million queued tasks, and says how many bytes of memory they take.
func filled(b *testing.B, tasks int) (f *farm, job uint64, bytes float64) {
	f, _, job = benchYard(b)
	before := heap()
	const batch = 2000
	for i := range tasks / batch {
		f.apply(addition(b, f, numbered, i*batch, batch))
	}
	return f, job, float64(heap()-before) / float64(tasks)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkMillion measures what a million queued tasks cost: memory, pages of a listing, a look at one, and opening the state.
func BenchmarkMillion(b *testing.B) {
	const tasks = 1_000_000
	f, job, bytes := filled(b, tasks)
	b.Run("first page of 1000", func(b *testing.B) {
		b.ReportMetric(bytes, "heap-bytes/task")
		for range b.N {
			page(b, f, job, 0)
		}
	})
	b.Run("last page of 1000", func(b *testing.B) {
		for range b.N {
			page(b, f, job, tasks-1000)
		}
	})
	b.Run("one task", func(b *testing.B) {
		for i := range b.N {
			_ = f.task("j", numbered(i*7919%tasks))
		}
	})
	b.Run("room", func(b *testing.B) {
		for range b.N {
			_, _ = f.s.Room(PoolKey{"acct", "p"}, 4096)
		}
	})
	b.Run("open", func(b *testing.B) {
		for range b.N {
			require.NoError(b, f.s.Close())
			f.s.db = openStore(b, f.s.dir).db
		}
	})
}

func page(b *testing.B, f *farm, job, after uint64) {
	out, _, err := f.s.Tasks(job, TaskSpan{After: after}, 1000)
	require.NoError(b, err)
	require.Len(b, out, 1000)
}
