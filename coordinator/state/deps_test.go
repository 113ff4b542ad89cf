package state

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

func (f *farm) blocked(job string) int64 { return f.jobInfo(job).Counts.Blocked }

func TestDependOnIDs(t *testing.T) {
	f, n1, _, _ := yard(t)
	f.add("j", "done")
	f.run(n1, "j", "done", 0)
	f.addAfter("j", "free", after("DONE", "done"))
	require.True(t, f.queued("j", "free"), "satisfied before it was added")
	f.addAfter("j", "merge", after("a", "A", "later", "done"))
	f.add("j", "a")
	f.run(n1, "j", "a", 0)
	require.False(t, f.queued("j", "merge"))
	require.Equal(t, active, f.state("j", "merge"))
	f.add("j", "Later")
	f.run(n1, "j", "later", 0)
	require.True(t, f.queued("j", "merge"))
	f.run(n1, "j", "merge", 0)
}

func TestDependOnRanges(t *testing.T) {
	f, n1, _, _ := yard(t)
	f.addAfter("j", "one", afterRange(4, 4))
	f.addAfter("j", "three", afterRange(3, 5))
	f.addAfter("j", "twice", &apiv1.TaskDependencies{TaskIds: []string{"4"}, TaskIdRanges: []*apiv1.TaskIdRange{{Start: 4, End: 5}, {Start: 5, End: 5}}})
	f.addAfter("j", "nothing", afterRange(5, 4))
	require.True(t, f.queued("j", "nothing"), "an empty range")
	f.addAfter("j", "all", afterRange(math.MinInt32, math.MaxInt32))
	f.addAfter("j", "more", &apiv1.TaskDependencies{TaskIdRanges: []*apiv1.TaskIdRange{{Start: 0, End: math.MaxInt32}, {Start: 0, End: math.MaxInt32}}})
	require.False(t, f.queued("j", "all"))
	require.False(t, f.queued("j", "more"))
	f.add("j", "5flamingoes", "004", "4", "3", "05")
	f.run(n1, "j", "5flamingoes", 0)
	f.run(n1, "j", "004", 0)
	require.True(t, f.queued("j", "one"), "leading zeros do not matter")
	f.run(n1, "j", "3", 0)
	require.False(t, f.queued("j", "three"))
	f.run(n1, "j", "05", 0)
	require.True(t, f.queued("j", "three"))
	require.False(t, f.queued("j", "twice"), "the id is another matter than the number")
	f.run(n1, "j", "4", 1)
	require.EqualValues(t, 1, f.blocked("j"), "by id only: the number was satisfied by the first")
	f.addAfter("j", "late", afterRange(3, 5))
	require.True(t, f.queued("j", "late"))
}

func TestExitCodeMaySatisfy(t *testing.T) {
	satisfy := &apiv1.ExitConditions{ExitCodes: []*apiv1.ExitCodeMapping{{Code: 9, ExitOptions: &apiv1.ExitOptions{DependencyAction: apiv1.DependencyAction_DEPENDENCY_ACTION_SATISFY}}}}
	f, n1, _, _ := yard(t)
	f.addSpec("j", taskSpec(withExit(satisfy)), "a")
	f.addAfter("j", "b", after("a"))
	f.run(n1, "j", "a", 9)
	require.Equal(t, failed, f.task("j", "a").Task.ExecutionInfo.Result)
	require.True(t, f.queued("j", "b"))
	f.addAfter("j", "c", after("a"))
	require.True(t, f.queued("j", "c"))
}

func TestBlockedTasks(t *testing.T) {
	f, n1, _, _ := yard(t)
	f.add("j", "a", "x")
	f.addAfter("j", "b", after("a", "x"))
	f.addAfter("j", "c", after("b"))
	f.addAfter("j", "d", after("c"))
	f.run(n1, "j", "a", 1)
	require.EqualValues(t, 3, f.blocked("j"), "and those who wait for the blocked")
	f.addAfter("j", "e", after("d"))
	require.EqualValues(t, 4, f.blocked("j"))
	f.addAfter("j", "f", after("g"))
	require.EqualValues(t, 4, f.blocked("j"))
	f.addAfter("j", "g", after("e"))
	require.EqualValues(t, 6, f.blocked("j"), "a task that comes blocked blocks those who waited for it")

	f.ok(&raftlogv1.ReactivateTask{JobId: "j", TaskId: "a"})
	require.Zero(t, f.blocked("j"), "it may succeed yet")
	f.run(n1, "j", "a", 1)
	require.EqualValues(t, 6, f.blocked("j"))
	f.ok(&raftlogv1.DeleteTask{JobId: "j", TaskId: "a"})
	require.Zero(t, f.blocked("j"), "another task of the name may come")
	f.add("j", "a")
	f.run(n1, "j", "a", 0)
	f.run(n1, "j", "x", 0)
	for _, id := range []string{"b", "c", "d", "e", "g", "f"} {
		require.True(t, f.queued("j", id), id)
		f.run(n1, "j", id, 0)
	}
}

func TestBlockedByNumber(t *testing.T) {
	f, n1, _, _ := yard(t)
	f.addAfter("j", "m", afterRange(1, 2))
	f.add("j", "1", "01", "2", "002")
	f.run(n1, "j", "1", 1)
	require.EqualValues(t, 1, f.blocked("j"))
	f.addAfter("j", "n", afterRange(0, 1))
	require.EqualValues(t, 2, f.blocked("j"), "failed before it was added")
	f.run(n1, "j", "01", 0)
	require.Zero(t, f.blocked("j"), "the first to satisfy a number counts")
	f.ok(&raftlogv1.TerminateTask{JobId: "j", TaskId: "2"})
	require.EqualValues(t, 1, f.blocked("j"))
	f.run(n1, "j", "002", 0)
	require.Zero(t, f.blocked("j"))
	require.True(t, f.queued("j", "m"))
}

func TestEndedDependentsForget(t *testing.T) {
	f, n1, _, uid := yard(t)
	f.add("j", "a", "1")
	d := &apiv1.TaskDependencies{TaskIds: []string{"a", "z"}, TaskIdRanges: []*apiv1.TaskIdRange{{Start: 1, End: 9}}}
	f.addAfter("j", "b", d)
	f.addAfter("j", "c", d)
	f.ok(&raftlogv1.TerminateTask{JobId: "j", TaskId: "b"})
	f.ok(&raftlogv1.DeleteTask{JobId: "j", TaskId: "c"})
	deps := f.s.jobByUID[uid].deps
	require.Empty(t, deps.byID)
	require.Empty(t, deps.ranges)
	require.Empty(t, deps.index)
	f.run(n1, "j", "a", 0)
	f.run(n1, "j", "1", 0)
	require.Equal(t, done, f.state("j", "b"))
}

// The index and the set of numbers are compared with what they stand for.
func TestNumbers(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		edge := rapid.OneOf(rapid.Int32Range(-3, 70), rapid.Int32Range(math.MaxInt32-40, math.MaxInt32))
		index, set := rangeIndex{}, numberSet{}
		type task struct {
			number uint64
			r      *apiv1.TaskIdRange
		}
		var tasks []task
		for range rapid.IntRange(0, 8).Draw(rt, "ranges") {
			r := &apiv1.TaskIdRange{Start: edge.Draw(rt, "start"), End: edge.Draw(rt, "end")}
			one := task{rapid.Uint64Range(1, 4).Draw(rt, "task"), r}
			tasks = append(tasks, one)
			index.add(one.number, r)
		}
		in := map[int32]bool{}
		for range rapid.IntRange(0, 60).Draw(rt, "numbers") {
			n := max(0, edge.Draw(rt, "number"))
			run, _, added := set.add(n)
			require.Equal(rt, !in[n], added)
			require.True(rt, run.first <= n && n <= run.last)
			in[n] = true
		}
		for _, one := range tasks {
			var want int64
			for n := range in {
				if one.r.Start <= n && n <= one.r.End {
					want++
				}
			}
			require.Equal(rt, want, set.count(one.r.Start, one.r.End))
			for _, n := range []int32{one.r.Start, one.r.End, one.r.End - 1, 0, math.MaxInt32} {
				var waiting []uint64
				for _, other := range tasks {
					if other.r.Start <= n && n <= other.r.End {
						waiting = append(waiting, other.number)
					}
				}
				if slices.Sort(waiting); n >= 0 {
					require.Equal(rt, waiting, index.tasks(n), "number %d", n)
				}
			}
		}
		for _, one := range tasks {
			index.remove(one.number, one.r)
		}
		require.Empty(rt, index)
	})
}

// A task that would close a circle with tasks that were added before is refused; others that come late are not.
func TestCirclesAcrossCalls(t *testing.T) {
	f, n1, _, _ := yard(t, func(j *apiv1.Job) { j.UsesTaskDependencies = proto.Bool(true) })
	f.addAfter("j", "a", after("B"))
	f.addAfter("j", "b", after("c", "other"))
	f.addAfter("j", "x", afterRange(5, 9))
	f.addAfter("j", "y", after("x"))
	refused := func(id string, on *apiv1.TaskDependencies) {
		r := f.ok(&raftlogv1.AddTasks{JobId: "j", Specs: [][]byte{taskSpec()}, Tasks: []*raftlogv1.NewTask{{Id: id, DependsOn: on}}})
		require.Equal(t, batcherr.CodeInvalidPropertyValue, r.Tasks[0].Error.GetCode(), id)
	}
	refused("c", after("A"))
	refused("7", after("y"))
	refused("007", &apiv1.TaskDependencies{TaskIds: []string{"nothing", "Y"}})
	f.addAfter("j", "c", after("y"))
	refused("8", after("a")) // by way of b, c, y and x
	f.add("j", "5", "6", "7", "8", "9")
	for _, id := range []string{"5", "6", "7", "8", "9", "x", "y", "c"} {
		f.run(n1, "j", id, 0)
	}
	cmd := sweepOf("other", "o-", 1, 2)
	cmd.Array.DependsOn = after("a")
	f.refuse(batcherr.CodeInvalidPropertyValue, cmd)
	cmd.Array.DependsOn = after("y")
	f.ok(cmd)
}
