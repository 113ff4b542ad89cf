package state

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

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
