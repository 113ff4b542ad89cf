package task

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/batcherr"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// fakeContainers has containers of which a test says how they ended. They outlive Runners.
type fakeContainers struct {
	mu      sync.Mutex
	made    map[Ref]*Container
	pulled  []string
	settled map[Ref]Settled
	removed []Ref
	kept    map[Ref]bool
	fails   error         // of Create and Pull
	hold    chan struct{} // Settle waits for it; nil: it does not
}

func (f *fakeContainers) Pull(_ context.Context, images []string, _ []*apiv1.ContainerRegistryReference) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pulled = append(f.pulled, images...)
	return f.fails
}

func (f *fakeContainers) Create(_ context.Context, c *Container) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fails != nil {
		return f.fails
	}
	f.made[c.Ref] = c
	return nil
}

func (f *fakeContainers) Command(ref Ref, _ User) ([]string, error) {
	return []string{"runner", ref.String()}, nil
}

func (f *fakeContainers) Settle(ctx context.Context, ref Ref) (Settled, error) {
	f.mu.Lock()
	hold := f.hold
	f.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return Settled{}, ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.settled[ref], nil
}

func (f *fakeContainers) Remove(_ context.Context, ref Ref) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.removed = append(f.removed, ref)
	return nil
}

func (f *fakeContainers) Clean(_ context.Context, keep map[Ref]bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kept = maps.Clone(keep)
}

// ends says how a container will have ended.
func (f *fakeContainers) ends(ref Ref, s Settled) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.settled[ref] = s
}

func (f *fakeContainers) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails = err
}

func (f *fakeContainers) block(hold chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hold = hold
}

func (f *fakeContainers) of(ref Ref) *Container {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.made[ref]
}

func (f *fakeContainers) hasRemoved(ref Ref) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Contains(f.removed, ref)
}

func newContainerNode(t *testing.T) (*node, *fakeContainers) {
	n := newNode(t)
	n.stop()
	f := &fakeContainers{made: map[Ref]*Container{}, settled: map[Ref]Settled{}}
	n.cfg.Containers = f
	n.start()
	n.register(4)
	return n, f
}

// inBox is a set of tasks in containers, of a pool for them.
func inBox(complete bool, line string, tasks ...uint64) *agentv1.Assignments {
	task := command(line)
	task.ContainerSettings = &apiv1.TaskContainerSettings{ImageName: "box"}
	m := set(complete, task, tasks...)
	m.Jobs[0].Containers = &agentv1.ContainerSupport{Registries: []*apiv1.ContainerRegistryReference{{Username: "ann"}}}
	m.Jobs[0].PreparationId = "prep"
	return m
}

func TestACommandInAContainer(t *testing.T) {
	n, f := newContainerNode(t)
	n.assign(inBox(true, "prog a", 1))
	n.eventually(func() bool { return n.supervisor.runs(at(1)) })
	made, c := f.of(at(1)), n.supervisor.commands[at(1)]
	require.Equal(t, []string{"prog", "a"}, made.Args)
	require.Contains(t, made.Env, "AZ_BATCH_TASK_ID=t1")
	require.Contains(t, made.Env, "AZ_BATCH_APP_PACKAGE_tool=/apps/tool")
	require.NotContains(t, made.Env, n.cfg.Place.Base[0], "what the machine's programs need is not for the image's")
	require.Equal(t, n.dir("t1"), made.Directory)
	require.Equal(t, n.dir("t1")+"/wd", made.Work)
	require.Equal(t, n.dir("prep"), made.Preparation)
	require.Equal(t, "ann", made.Registries[0].GetUsername())
	require.Equal(t, []string{"runner", "1.1.1"}, c.Args)
	require.Empty(t, c.Env, "the runner sees nothing of the task's environment")
	require.Equal(t, User{}, c.User)

	hold := make(chan struct{})
	f.block(hold)
	f.ends(at(1), Settled{Info: &apiv1.TaskContainerExecutionInfo{ContainerId: "abc"}, Exited: true, ExitCode: 7})
	n.supervisor.finish(at(1), Exited{At: time.Now().UnixNano(), ExitCode: 137, Usage: Usage{MaxRSS: 1}})
	n.runner.Observe([]Event{{Ref: at(1), Exit: Exited{ExitCode: 137}}}) // told twice
	n.phase(at(1), phaseRunning)
	close(hold)
	report := n.phase(at(1), phaseEnded)
	require.Equal(t, int32(7), report.GetExitCode())
	require.Equal(t, "abc", report.GetContainer().GetContainerId())
	require.Zero(t, report.GetMaxRssBytes(), "that was the runner's")
	require.False(t, f.hasRemoved(at(1)), "not before it is committed")
	n.commit()
	n.eventually(func() bool { return f.hasRemoved(at(1)) })
}

func TestAnEmptyCommandLineIsTheImagesOwn(t *testing.T) {
	n, f := newContainerNode(t)
	n.assign(inBox(true, "", 1))
	n.eventually(func() bool { return n.supervisor.runs(at(1)) })
	require.Empty(t, f.of(at(1)).Args)
}

func TestContainersThatCantRun(t *testing.T) {
	n, f := newContainerNode(t)
	failure := func(ref Ref) *agentv1.AttemptReport {
		report := n.phase(ref, phaseEnded)
		require.Equal(t, agentv1.FailureStage_FAILURE_STAGE_PRE_PROCESSING, report.GetFailureStage())
		return report
	}
	f.fail(batcherr.New(batcherr.KindInvalid, batcherr.CodeContainerInvalidImage, "no such image"))
	n.assign(inBox(true, "prog", 1))
	require.Equal(t, batcherr.CodeContainerInvalidImage, failure(at(1)).GetFailure().GetCode())
	f.fail(nil)

	n.assign(inBox(false, "prog", 2))
	n.eventually(func() bool { return n.supervisor.runs(at(2)) })
	f.ends(at(2), Settled{Info: &apiv1.TaskContainerExecutionInfo{Error: "no prog"}, Failure: batcherr.New(batcherr.KindInvalid, batcherr.CodeCommandProgramNotFound, "no prog")})
	n.supervisor.finish(at(2), Exited{ExitCode: 125})
	report := failure(at(2))
	require.Equal(t, batcherr.CodeCommandProgramNotFound, report.GetFailure().GetCode())
	require.Equal(t, "no prog", report.GetContainer().GetError())
	require.Nil(t, report.ExitCode)

	n.assign(inBox(false, `"x`, 3))
	require.Equal(t, batcherr.CodeCommandLaunchFailed, failure(at(3)).GetFailure().GetCode())
	n.commit()
	n.eventually(func() bool { return f.hasRemoved(at(1)) && f.hasRemoved(at(2)) && f.hasRemoved(at(3)) })
}

// A task goes with its pool: in one for containers it has one, in others not.
func TestContainersGoWithTheirPool(t *testing.T) {
	n, _ := newContainerNode(t)
	m := inBox(true, "prog", 1)
	m.Jobs[0].Containers = nil
	n.assign(m)
	require.Equal(t, batcherr.CodeContainerInvalidSettings, n.phase(at(1), phaseEnded).GetFailure().GetCode())

	n, _ = newContainerNode(t)
	m = set(true, command("prog"), 1)
	m.Jobs[0].Containers = &agentv1.ContainerSupport{}
	n.assign(m)
	require.Equal(t, batcherr.CodeContainerInvalidSettings, n.phase(at(1), phaseEnded).GetFailure().GetCode())

	n, _ = newContainerNode(t)
	m = set(true, command("prog"), 1)
	m.Jobs[0].Containers, m.Add[0].Kind = &agentv1.ContainerSupport{}, agentv1.AssignmentKind_ASSIGNMENT_KIND_PREPARATION
	n.assign(m)
	n.eventually(func() bool { return n.supervisor.runs(at(1)) })
}

func TestPrefetch(t *testing.T) {
	n, f := newContainerNode(t)
	m := set(true, &apiv1.Task{}, 1, 2)
	m.Jobs[0].Containers, m.Specs[0].Images = &agentv1.ContainerSupport{}, []string{"a", "b"}
	m.Add[0].Kind, m.Add[1].Kind = agentv1.AssignmentKind_ASSIGNMENT_KIND_PREFETCH, agentv1.AssignmentKind_ASSIGNMENT_KIND_PREFETCH
	f.fail(errors.New("the engine is broken"))
	n.assign(&agentv1.Assignments{Complete: true, Jobs: m.Jobs, Specs: m.Specs, Add: m.Add[:1]})
	report := n.phase(at(1), phaseEnded)
	require.Equal(t, "the engine is broken", report.GetFailure().GetMessage())
	n.commit()
	f.fail(nil)
	n.assign(&agentv1.Assignments{Add: m.Add[1:]})
	report = n.phase(at(2), phaseEnded)
	require.Nil(t, report.GetFailure())
	require.Zero(t, report.GetExitCode())
	require.NotNil(t, report.ExitCode)
	f.mu.Lock()
	require.Equal(t, []string{"a", "b", "a", "b"}, f.pulled)
	f.mu.Unlock()
	require.Zero(t, n.supervisor.started(at(2)), "nothing is run")
}

// The agent ends while a container runs, while it is being judged, and before it was handed over.
func TestContainersOutliveTheAgent(t *testing.T) {
	n, f := newContainerNode(t)
	n.assign(inBox(true, "prog", 1, 2))
	n.eventually(func() bool { return n.supervisor.runs(at(1)) && n.supervisor.runs(at(2)) })
	n.supervisor.swallow = true
	n.assign(inBox(false, "prog", 3))
	n.eventually(func() bool { return n.supervisor.started(at(3)) == 1 })
	hold := make(chan struct{})
	f.block(hold)
	f.ends(at(1), Settled{Info: &apiv1.TaskContainerExecutionInfo{ContainerId: "one"}, Exited: true, ExitCode: 5})
	f.ends(at(3), Settled{Info: &apiv1.TaskContainerExecutionInfo{ContainerId: "three"}, Exited: true, ExitCode: 6})
	n.supervisor.finish(at(1), Exited{ExitCode: 5})
	n.stop()
	n.supervisor.swallow = false
	close(hold)
	f.mu.Lock()
	f.kept = nil // of the first life
	f.mu.Unlock()
	n.start()
	n.eventually(func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.kept != nil })
	require.Equal(t, map[Ref]bool{at(1): true, at(2): true, at(3): true}, f.kept)
	n.register(4)
	n.assign(inBox(true, "prog", 1, 2, 3))
	require.Equal(t, "one", n.phase(at(1), phaseEnded).GetContainer().GetContainerId())
	n.eventually(func() bool { return n.supervisor.runs(at(3)) })
	n.supervisor.finish(at(3), Exited{ExitCode: 6})
	require.Equal(t, int32(6), n.phase(at(3), phaseEnded).GetExitCode())
	require.Equal(t, 1, n.supervisor.started(at(2)))

	n.assign(removal(at(2), removeStop))
	n.phase(at(2), phaseReleased)
	n.commit()
	n.eventually(func() bool { return f.hasRemoved(at(2)) })
	require.True(t, f.of(at(2)) != nil)
}
