package task

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/batchyard/batchyard/internal/batcherr"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

const (
	removeStop    = agentv1.RemovalKind_REMOVAL_KIND_STOP
	removeRetract = agentv1.RemovalKind_REMOVAL_KIND_RETRACT
	removeClean   = agentv1.RemovalKind_REMOVAL_KIND_CLEAN
)

func TestACommandRunsAndIsReported(t *testing.T) {
	n := newNode(t)
	n.register(1)
	n.assign(set(true, command("prog a b"), 1))
	n.eventually(func() bool { return n.supervisor.runs(at(1)) })
	c := n.supervisor.commands[at(1)]
	require.Equal(t, []string{"prog", "a", "b"}, c.Args)
	require.Equal(t, filepath.Join(n.dir("t1"), "wd"), c.Dir)
	require.Equal(t, filepath.Join(n.dir("t1"), "stdout.txt"), c.Stdout)
	require.Contains(t, c.Env, "OF=job")
	require.Contains(t, c.Env, "AZ_BATCH_TASK_ID=t1")
	require.Zero(t, c.WallClock)
	require.DirExists(t, c.Dir)
	n.phase(at(1), phaseRunning)

	n.supervisor.finish(at(1), Exited{At: time.Now().UnixNano(), ExitCode: 9, Usage: Usage{MaxRSS: 42, UserCPU: 7}})
	report := n.phase(at(1), phaseEnded)
	require.Equal(t, int32(9), report.GetExitCode())
	require.Nil(t, report.GetFailure())
	require.Equal(t, stageCommand, report.GetFailureStage())
	require.Equal(t, int64(42), report.GetMaxRssBytes())
	require.Equal(t, int64(7), report.GetUserCpu())
	require.LessOrEqual(t, report.GetStartTime(), report.GetEndTime())

	n.commit()
	n.eventually(func() bool {
		events, err := n.supervisor.List(t.Context())
		held, heldErr := n.runner.Held(t.Context())
		return err == nil && len(events) == 0 && heldErr == nil && len(held) == 0
	})
	require.DirExists(t, n.dir("t1"), "the directory is retained")
	n.assign(removal(at(1), removeClean))
	n.eventually(func() bool {
		_, err := os.Stat(filepath.Join(n.cfg.Place.Root, "workitems", "j"))
		return os.IsNotExist(err)
	})
}

func TestFailuresBeforeTheCommand(t *testing.T) {
	n := newNode(t)
	n.register(10)
	for i, c := range []struct {
		task *apiv1.Task
		id   string
		code string
	}{
		{command("missing"), "", batcherr.CodeCommandProgramNotFound},
		{command(`"x`), "", batcherr.CodeCommandLaunchFailed},
		{command(""), "", batcherr.CodeCommandLaunchFailed},
		{&apiv1.Task{CommandLine: "x", ResourceFiles: []*apiv1.ResourceFile{{FilePath: "missing"}}}, "", batcherr.CodeBlobNotFound},
		{command("x"), "../../x", batcherr.CodeResourceDirectoryCreateFailed},
	} {
		number := uint64(i + 1)
		m := set(i == 0, c.task, number)
		if c.id != "" {
			m.Add[0].TaskId = c.id
		}
		n.assign(m)
		report := n.phase(at(number), phaseEnded)
		require.Equal(t, c.code, report.GetFailure().GetCode())
		require.Equal(t, stageBefore, report.GetFailureStage())
		require.Nil(t, report.ExitCode)
	}
	n.commit()
	n.eventually(n.idle)
}

func TestDirectoryCannotBeMade(t *testing.T) {
	n := newNode(t)
	n.register(1)
	require.NoError(t, os.WriteFile(filepath.Join(n.cfg.Place.Root, "workitems", "j"), nil, 0o600))
	n.assign(set(true, command("x"), 1))
	require.Equal(t, batcherr.CodeResourceDirectoryCreateFailed, n.phase(at(1), phaseEnded).GetFailure().GetCode())
}

func TestSlotsPrioritiesAndRetraction(t *testing.T) {
	n := newNode(t)
	n.register(2)
	m := set(true, command("x"), 1, 2, 3, 4, 5)
	m.Add[0].Slots = 2
	m.Add[3].Priority = 7
	m.Add[4].Slots = 5 // wider than the node: alone
	n.assign(m)
	n.eventually(func() bool { return n.supervisor.runs(at(4)) })
	require.False(t, n.supervisor.runs(at(1)), "one slot is left for a task of two")
	n.assign(removal(at(2), removeRetract))
	n.phase(at(2), phaseReturned)
	n.assign(removal(at(4), removeRetract))
	n.assign(removal(Ref{Job: 9, Task: 9, Attempt: 9}, removeRetract))
	n.phase(Ref{Job: 9, Task: 9, Attempt: 9}, phaseReturned)
	n.supervisor.finish(at(4), Exited{})
	n.eventually(func() bool { return n.supervisor.runs(at(1)) })
	n.supervisor.finish(at(1), Exited{})
	n.eventually(func() bool { return n.supervisor.runs(at(3)) })
	require.False(t, n.supervisor.runs(at(5)))
	n.supervisor.finish(at(3), Exited{})
	n.eventually(func() bool { return n.supervisor.runs(at(5)) })
	require.Zero(t, n.supervisor.started(at(2)))
}

func TestStop(t *testing.T) {
	n := newNode(t)
	n.register(1)
	n.assign(set(true, command("x"), 1, 2))
	n.eventually(func() bool { return n.supervisor.runs(at(1)) })
	n.assign(removal(at(2), removeStop))
	n.phase(at(2), phaseReleased)
	n.assign(removal(at(1), removeStop))
	n.phase(at(1), phaseReleased)
	require.Zero(t, n.supervisor.started(at(2)))
	n.assign(removal(Ref{Job: 9, Task: 9, Attempt: 9}, removeStop))
	n.phase(Ref{Job: 9, Task: 9, Attempt: 9}, phaseReleased)
}

func TestStagingAndUpload(t *testing.T) {
	n := newNode(t)
	n.register(2)
	task := command("x")
	task.ResourceFiles = []*apiv1.ResourceFile{{FilePath: "in"}}
	task.OutputFiles = []*apiv1.OutputFile{{FilePattern: "denied"}}
	task.EnvironmentSettings = []*apiv1.EnvironmentSetting{setting("OF", "task")}
	n.assign(set(true, task, 1))
	n.eventually(func() bool { return n.supervisor.runs(at(1)) })
	require.FileExists(t, filepath.Join(n.dir("t1"), "wd", "in"))
	require.Contains(t, n.supervisor.commands[at(1)].Env, "AZ_BATCH_APP_PACKAGE_tool=/apps/tool")
	require.Contains(t, n.supervisor.commands[at(1)].Env, "OF=task")
	n.supervisor.finish(at(1), Exited{ExitCode: 3})
	report := n.phase(at(1), phaseEnded)
	require.Equal(t, batcherr.CodeFileUploadAccessDenied, report.GetFailure().GetCode())
	require.Equal(t, stageUpload, report.GetFailureStage())
	require.Equal(t, int32(3), report.GetExitCode())
	require.Contains(t, n.stager.outs[0].Environment, "OF=task")
}

func TestStopBreaksOffStagingAndUpload(t *testing.T) {
	n := newNode(t)
	n.stager.hold = make(chan struct{})
	n.register(2)
	task := command("x")
	task.ResourceFiles = []*apiv1.ResourceFile{{FilePath: "in"}}
	n.assign(set(true, task, 1))
	n.phase(at(1), phaseRunning)
	n.assign(removal(at(1), removeStop))
	n.phase(at(1), phaseReleased)
	require.Zero(t, n.supervisor.started(at(1)))

	upload := command("x")
	upload.OutputFiles = []*apiv1.OutputFile{{FilePattern: "*"}}
	m := set(false, upload, 2)
	m.Specs[0].Spec, m.Add[0].Spec = 2, 2
	n.assign(m)
	n.eventually(func() bool { return n.supervisor.runs(at(2)) })
	n.supervisor.finish(at(2), Exited{})
	n.eventually(func() bool { n.stager.mu.Lock(); defer n.stager.mu.Unlock(); return len(n.stager.outs) == 1 })
	n.assign(removal(at(2), removeStop))
	n.phase(at(2), phaseReleased)
}

func TestWallClockCoversStaging(t *testing.T) {
	n := newNode(t)
	n.register(1)
	task := command("x")
	task.Constraints = &apiv1.TaskConstraints{MaxWallClockTime: durationpb.New(time.Minute)}
	n.assign(set(true, task, 1))
	n.eventually(func() bool { return n.supervisor.runs(at(1)) })
	require.InDelta(t, float64(time.Minute), float64(n.supervisor.commands[at(1)].WallClock), float64(10*time.Second))
	n.supervisor.finish(at(1), Exited{Reason: EndedByWallClock, ExitCode: 137})
	report := n.phase(at(1), phaseEnded)
	require.Equal(t, batcherr.CodeTaskEnded, report.GetFailure().GetCode())
	require.Equal(t, int32(137), report.GetExitCode())

	n.stager.hold = make(chan struct{})
	slow := command("x")
	slow.Constraints = &apiv1.TaskConstraints{MaxWallClockTime: durationpb.New(time.Millisecond)}
	slow.ResourceFiles = []*apiv1.ResourceFile{{FilePath: "in"}}
	m := set(false, slow, 2)
	m.Specs[0].Spec, m.Add[0].Spec = 2, 2
	n.assign(m)
	report = n.phase(at(2), phaseEnded)
	require.Equal(t, batcherr.CodeTaskEnded, report.GetFailure().GetCode())
	require.Equal(t, stageBefore, report.GetFailureStage())
}

func TestARetryHasAFreshDirectory(t *testing.T) {
	n := newNode(t)
	n.register(4)
	n.assign(set(true, command("x"), 1))
	n.eventually(func() bool { return n.supervisor.runs(at(1)) })
	left := filepath.Join(n.dir("t1"), "wd", "left")
	require.NoError(t, os.WriteFile(left, nil, 0o600))

	again := set(false, command("x"), 1)
	again.Add[0].Ref.Attempt = 2
	second := Ref{Job: 1, Task: 1, Attempt: 2}
	n.assign(again)
	require.False(t, n.supervisor.runs(second), "the first still uses the directory")
	n.supervisor.finish(at(1), Exited{ExitCode: 1})
	n.eventually(func() bool { return n.supervisor.runs(second) })
	require.NoFileExists(t, left)
	// The first is acknowledged late: the directory is the second's by now.
	n.phase(at(1), phaseEnded)
	n.commit()
	n.assign(removal(at(1), removeClean))
	n.supervisor.finish(second, Exited{})
	n.phase(second, phaseEnded)
	n.commit()
	n.eventually(n.idle)
	n.assign(removal(at(1), removeClean))
	require.DirExists(t, n.dir("t1"))
	n.eventually(func() bool {
		left, err := os.ReadDir(filepath.Join(n.cfg.Place.Root, "volatile", "trash"))
		return err == nil && len(left) == 0
	})
}

func TestRetentionEnds(t *testing.T) {
	n := newNode(t)
	n.register(1)
	task := command("x")
	task.Constraints = &apiv1.TaskConstraints{RetentionTime: durationpb.New(0)}
	n.assign(set(true, task, 1))
	n.eventually(func() bool { return n.supervisor.runs(at(1)) })
	n.supervisor.finish(at(1), Exited{})
	n.phase(at(1), phaseEnded)
	n.commit()
	n.eventually(n.idle)
	n.stop()
	n.cfg.Now = func() time.Time { return time.Now().Add(2 * bucketSeconds * time.Second) }
	n.start()
	require.NoError(t, n.runner.do(t.Context(), n.runner.sweep))
	n.eventually(func() bool { _, err := os.Stat(n.dir("t1")); return os.IsNotExist(err) })
}

func TestUnknownSpecAsksForANewSession(t *testing.T) {
	n := newNode(t)
	n.register(1)
	m := set(false, command("x"), 1)
	m.Specs = nil
	require.ErrorIs(t, n.runner.Assign(t.Context(), m), ErrUnknownSpec)
	m.Complete = true // where another session would not help
	n.assign(m)
	n.phase(at(1), phaseLost)
	n.assign(set(false, command("x"), 2))
	n.eventually(func() bool { return n.supervisor.runs(at(2)) })
	again := set(true, command("x"), 2, 3) // the same session begins its set anew without sending specs again
	again.Specs, again.Jobs = nil, nil
	n.assign(again)
	n.supervisor.finish(at(2), Exited{})
	n.eventually(func() bool { return n.supervisor.runs(at(3)) })
}

func TestConstraintsOfTheAssignmentWin(t *testing.T) {
	n := newNode(t)
	n.register(1)
	m := set(true, command("x"), 1)
	m.Specs[0].Task.Constraints = &apiv1.TaskConstraints{MaxWallClockTime: durationpb.New(time.Hour)}
	m.Add[0].Constraints = &apiv1.TaskConstraints{MaxWallClockTime: durationpb.New(time.Minute)}
	n.assign(m)
	n.eventually(func() bool { return n.supervisor.runs(at(1)) })
	require.LessOrEqual(t, n.supervisor.commands[at(1)].WallClock, time.Minute)
}

func TestNothingBeginsWithoutALease(t *testing.T) {
	n := newNode(t)
	require.NoError(t, n.runner.Configure(t.Context(), &agentv1.Welcome{TaskSlots: 1}))
	n.assign(set(true, command("x"), 1))
	held, err := n.runner.Held(t.Context())
	require.NoError(t, err)
	require.Empty(t, held)
	require.NoError(t, n.runner.Renew(t.Context(), time.Now().Add(time.Hour)))
	n.eventually(func() bool { return n.supervisor.runs(at(1)) })
}

func TestManyShortCommands(t *testing.T) {
	n := newNode(t)
	n.supervisor.instant = true
	n.register(8)
	const tasks = 2000
	m := set(true, command("x"))
	for i := range uint64(tasks) {
		m.Add = append(m.Add, &agentv1.Assignment{Ref: at(i).Message(), Spec: 1, TaskId: fmt.Sprintf("t%d", i), Slots: 1})
	}
	begin := time.Now()
	n.assign(m)
	n.reports(func() bool {
		done := 0
		for _, report := range n.newest {
			if report.GetPhase() == phaseEnded {
				done++
			}
		}
		return done == tasks
	})
	t.Logf("%.0f attempts/s", tasks/time.Since(begin).Seconds())
	n.commit()
	n.eventually(n.idle)
	for i := range uint64(tasks) {
		require.Equal(t, 1, n.supervisor.started(at(i)))
	}
}

func TestADeletedJobLeavesNoDirectory(t *testing.T) {
	n := newNode(t)
	n.register(4)
	n.assign(set(true, command("x"), 1, 2, 3))
	for _, task := range []uint64{1, 2} {
		n.eventually(func() bool { return n.supervisor.runs(at(task)) })
		n.supervisor.finish(at(task), Exited{})
		n.phase(at(task), phaseEnded)
	}
	n.eventually(func() bool { return n.supervisor.runs(at(3)) })
	n.commit()
	n.eventually(func() bool {
		held, err := n.runner.Held(t.Context())
		return err == nil && len(held) == 1
	})
	cleanJob := &agentv1.Assignments{Remove: []*agentv1.Removal{{Ref: &agentv1.AttemptRef{Job: 1}, Kind: removeClean, JobId: "j"}}}

	// One of its tasks is still here: the others' directories go at once, its own when it is over.
	n.assign(cleanJob)
	n.eventually(func() bool { return !exists(n.dir("t1")) && !exists(n.dir("t2")) })
	n.phase(at(3), phaseReleased)
	n.commit()
	n.eventually(func() bool { return !exists(filepath.Join(n.cfg.Place.Root, "workitems", "j")) })

	// What no record is left of goes too; a later job of the same id keeps its own.
	require.NoError(t, os.MkdirAll(n.dir("forgotten"), 0o700))
	n.assign(cleanJob)
	n.eventually(func() bool { return !exists(n.dir("forgotten")) })
	later := set(false, command("x"))
	later.Jobs[0].Job, later.Specs[0].Job = 2, 2
	ref := Ref{Job: 2, Task: 1, Attempt: 1}
	later.Add = []*agentv1.Assignment{{Ref: ref.Message(), Spec: 1, TaskId: "t1", Slots: 1}}
	n.assign(later)
	n.eventually(func() bool { return n.supervisor.runs(ref) })
	n.assign(cleanJob)
	n.supervisor.finish(ref, Exited{})
	n.phase(ref, phaseEnded)
	n.commit()
	n.eventually(n.idle)
	n.assign(cleanJob)
	require.True(t, n.idle())
	require.DirExists(t, n.dir("t1"))
	require.NoError(t, n.runner.do(t.Context(), func() {
		_, ok := n.runner.book.retained.get("workitems/j/job-1/t1")
		require.True(t, ok)
	}))
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
