package state

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// checkFailures counts a job's failed tasks again, by what their executions say.
func checkFailures(t require.TestingT, j *job, tasks map[uint64]*storedTask) {
	counted := map[uint32]int64{}
	for n, task := range tasks {
		if task.exec.Phase != completed || task.exec.Succeeded {
			require.Zero(t, task.exec.FailureKind, "task %d has not failed", n)
			continue
		}
		kind := task.exec.FailureKind
		require.NotZero(t, kind, "task %d is not counted", n)
		counted[kind]++
		if k := j.failures.at(kind); kind != otherFailures {
			require.Equal(t, task.exec.Failure.GetCode(), k.GetCode())
			require.True(t, sameExit(task.exec.ExitCode, k.ExitCode), "task %d", n)
		}
	}
	kinds := map[string]bool{}
	for n := uint32(1); n <= otherFailures; n++ {
		k := j.failures.at(n)
		require.Equal(t, counted[n], k.GetTasks(), "kind %d", n)
		require.Equal(t, counted[n] == 0, k == nil, "a kind without tasks")
		if k != nil {
			name := fmt.Sprint(k.Code, k.ExitCode != nil, k.GetExitCode(), n == otherFailures)
			require.False(t, kinds[name], "two kinds are the same")
			kinds[name] = true
		}
	}
}

func (c *chooser) retryTasks(job string) any {
	cmd := &raftlogv1.RetryTasks{JobId: job}
	for range rapid.IntRange(0, 4).Draw(c.T, "retried") {
		cmd.Tasks = append(cmd.Tasks, &raftlogv1.FailedTask{
			Task: rapid.Uint64Range(0, 12).Draw(c.T, "number"), Attempt: rapid.Uint32Range(0, 3).Draw(c.T, "attempt"),
		})
	}
	return cmd
}

func (f *farm) failures(job string) (out []string) {
	j, _ := f.s.Job("acct", job)
	groups, tasks, err := f.s.Failures(j.Uid)
	require.NoError(f.t, err)
	for _, g := range groups {
		tasks -= g.Tasks
		exit := "-"
		if g.ExitCode != nil {
			exit = fmt.Sprint(*g.ExitCode)
		}
		out = append(out, fmt.Sprintf("%d %s %s %s", g.Tasks, g.Code, exit, g.ExampleTaskId))
	}
	require.Zero(f.t, tasks, "not every failed task is in a group")
	return out
}

func TestFailuresAreCounted(t *testing.T) {
	f, n1, _, _ := yard(t)
	f.add("j", "1", "2", "3", "4", "5")
	for id, code := range map[string]int32{"1": 7, "2": 7, "3": 9, "4": 0} {
		f.run(n1, "j", id, code)
	}
	f.ok(&raftlogv1.TerminateTask{JobId: "j", TaskId: "5"})
	got := f.failures("j")
	require.Len(t, got, 3)
	require.Regexp(t, "^2 FailureExitCode 7 [12]$", got[0])
	require.ElementsMatch(t, []string{"1 FailureExitCode 9 3", "1 TaskEnded - 5"}, got[1:])

	f.ok(&raftlogv1.ReactivateTask{JobId: "j", TaskId: "3"})
	f.ok(&raftlogv1.DeleteTask{JobId: "j", TaskId: "5"})
	f.run(n1, "j", "3", 7)
	require.Equal(t, []string{"3 FailureExitCode 7 3"}, f.failures("j"))
	f.ok(&raftlogv1.DeleteTask{JobId: "j", TaskId: "3"})
	require.Equal(t, []string{"2 FailureExitCode 7 "}, f.failures("j"), "the example is gone")
}

// A job that fails in more ways than are told apart counts the others together, and each task is taken off where it was counted.
func TestMoreKindsOfFailuresThanAreToldApart(t *testing.T) {
	f, n1, _, _ := yard(t)
	const tasks = maxFailureKinds + 3
	for i := range tasks {
		id := fmt.Sprint(i + 1)
		f.add("j", id)
		f.run(n1, "j", id, int32(i+1))
	}
	require.Len(t, f.failures("j"), maxFailureKinds+1)
	require.Equal(t, "3  - ", f.failures("j")[maxFailureKinds])
	f.ok(&raftlogv1.ReactivateTask{JobId: "j", TaskId: "1"}) // frees a kind
	f.run(n1, "j", "1", int32(tasks))                        // which is taken by one of which another is among the others
	f.ok(&raftlogv1.DeleteTask{JobId: "j", TaskId: fmt.Sprint(tasks)})
	require.Equal(t, "2  - ", f.failures("j")[maxFailureKinds])
}

func TestRetryTasks(t *testing.T) {
	f, n1, _, job := yard(t)
	f.add("j", "1", "2", "3", "04", "x", "6")
	for id, code := range map[string]int32{"1": 7, "2": 9, "3": 0, "04": 7, "x": 7} {
		f.run(n1, "j", id, code)
	}
	find := func(filter FailureFilter, limit int) (numbers []uint64, out []*raftlogv1.FailedTask) {
		after := uint64(0)
		for {
			found, examined, last, err := f.s.FailedTasks(job, after, filter, limit)
			require.NoError(t, err)
			require.LessOrEqual(t, examined, limit)
			for _, one := range found {
				numbers = append(numbers, one.Task)
			}
			if out = append(out, found...); last == 0 {
				return numbers, out
			}
			after = last
		}
	}
	for _, limit := range []int{1, 2, 100} {
		all, _ := find(FailureFilter{}, limit)
		require.Equal(t, []uint64{1, 2, 4, 5}, all)
		exit, _ := find(FailureFilter{ExitCode: proto.Int32(7)}, limit)
		require.Equal(t, []uint64{1, 4, 5}, exit)
		ids, _ := find(FailureFilter{IDs: []*apiv1.TaskIdRange{{Start: 2, End: 3}, {Start: 4, End: 4}}}, limit)
		require.Equal(t, []uint64{2, 4}, ids)
		code, _ := find(FailureFilter{Code: "TaskEnded"}, limit)
		require.Empty(t, code)
	}
	_, seven := find(FailureFilter{ExitCode: proto.Int32(7)}, 100)
	require.Equal(t, 3, f.ok(&raftlogv1.RetryTasks{JobId: "j", Tasks: seven}).Count)
	require.True(t, f.queued("j", "1") && f.queued("j", "04") && f.queued("j", "x"))
	require.Equal(t, []string{"1 FailureExitCode 9 2"}, f.failures("j"))
	require.Equal(t, 0, f.ok(&raftlogv1.RetryTasks{JobId: "j", Tasks: seven}).Count, "what runs again is not failed")

	f.run(n1, "j", "1", 7)
	require.Equal(t, 0, f.ok(&raftlogv1.RetryTasks{JobId: "j", Tasks: seven}).Count, "an attempt that the caller has not seen")
	f.refuse(batcherr.CodeJobNotFound, &raftlogv1.RetryTasks{JobId: "no", Tasks: seven})
	f.ok(&raftlogv1.TerminateJob{JobId: "j"})
	f.refuse(batcherr.CodeJobCompleted, &raftlogv1.RetryTasks{JobId: "j", Tasks: seven})
}
