package task

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/batcherr"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

const phaseReady = agentv1.AttemptPhase_ATTEMPT_PHASE_READY

func TestLivesOfInstances(t *testing.T) {
	admit, staged, left, stop := Admitted{At: 1}, Staged{At: 2}, CoordinationLeft{}, StopAsked{At: 3}
	dissolved := func(reason EndReason, code int32) Observation {
		return CoordinationEnded{Exited{At: 8, Reason: reason, ExitCode: code}}
	}
	primary := Facts{HasInputs: true, Instance: true}
	fetching := Facts{HasInputs: true, Instance: true, Fetches: true}
	missing := failureFor(batcherr.CodeBlobNotFound)
	for name, c := range map[string]struct {
		facts   Facts
		seen    []Observation
		stage   Stage
		phase   agentv1.AttemptPhase
		code    string
		exit    int32
		actions []Action // of the last observation
	}{
		"coordinates":          {seen: []Observation{admit, staged}, stage: Coordinating, phase: phaseRunning, actions: []Action{Save, Coordinate}},
		"is ready":             {seen: []Observation{admit, staged, left}, stage: Gathered, phase: phaseReady, actions: []Action{Save, Report}},
		"coordination fails":   {seen: []Observation{admit, staged, dissolved(EndedByItself, 5)}, stage: Ended, phase: phaseEnded, exit: 5, actions: []Action{Save, Report}},
		"stopped coordinating": {seen: []Observation{admit, staged, stop, dissolved(EndedOnStop, 143)}, stage: Ended, phase: phaseReleased, actions: []Action{Save, Report}},
		"stopped ready":        {seen: []Observation{admit, staged, left, stop}, stage: Gathered, phase: phaseReady, actions: []Action{Save, Kill}},
		"subtask's end":        {seen: []Observation{admit, staged, left, stop, dissolved(EndedOnStop, 0)}, stage: Ended, phase: phaseReleased, actions: []Action{Save, Report}},
		"lease over":           {seen: []Observation{admit, staged, left, dissolved(EndedByLease, 0)}, stage: Ended, phase: phaseLost, actions: []Action{Save, Report}},
		"wall clock":           {seen: []Observation{admit, staged, left, dissolved(EndedByWallClock, 0)}, stage: Ended, phase: phaseEnded, code: batcherr.CodeTaskEnded, actions: []Action{Save, Report}},
		"proceeds":             {seen: []Observation{admit, staged, left, Proceed{}}, stage: Running, phase: phaseRunning, actions: []Action{Save, Launch}},
		"proceeds too late":    {seen: []Observation{admit, staged, left, stop, Proceed{}}, stage: Gathered, phase: phaseReady},
		"proceeds once":        {seen: []Observation{admit, staged, left, Proceed{}, Proceed{}}, stage: Running, phase: phaseRunning},
		"fetches":              {facts: fetching, seen: []Observation{admit, staged, left, Proceed{}}, stage: Fetching, phase: phaseRunning, actions: []Action{Save, StageIn}},
		"has fetched":          {facts: fetching, seen: []Observation{admit, staged, left, Proceed{}, staged}, stage: Running, phase: phaseRunning, actions: []Action{Save, Launch}},
		"fetches in vain": {
			facts: fetching, seen: []Observation{admit, staged, left, Proceed{}, Staged{At: 5, Failure: missing}},
			stage: Clearing, phase: phaseEnded, code: batcherr.CodeBlobNotFound, actions: []Action{Save, Kill},
		},
		"lease over, fetching": {
			facts: fetching, seen: []Observation{admit, staged, left, Proceed{}, dissolved(EndedByLease, 0)}, stage: Ended, phase: phaseLost, actions: []Action{Save, Report, Cancel},
		},
		"clears": {seen: []Observation{admit, staged, left, Proceed{}, Exited{At: 7, ExitCode: 3}}, stage: Clearing, phase: phaseEnded, exit: 3, actions: []Action{Save, Kill}},
		"cleared": {
			seen:  []Observation{admit, staged, left, Proceed{}, Exited{At: 7, ExitCode: 3}, dissolved(EndedOnStop, 0)},
			stage: Ended, phase: phaseEnded, exit: 3, actions: []Action{Save, Report},
		},
		"nothing to clear": {
			seen:  []Observation{admit, staged, left, Proceed{}, dissolved(EndedOnStop, 0), Exited{At: 7, ExitCode: 3}},
			stage: Ended, phase: phaseEnded, exit: 3, actions: []Action{Save, Report},
		},
	} {
		t.Run(name, func(t *testing.T) {
			state := State{Facts: c.facts}
			if !state.Facts.Instance {
				state.Facts = primary
			}
			var actions []Action
			for _, obs := range c.seen {
				state, actions = Step(state, obs)
			}
			require.Equal(t, c.stage, state.Stage, state.Stage.String())
			require.Equal(t, c.phase, state.Outcome.Phase)
			require.Equal(t, c.code, state.Outcome.Failure.GetCode())
			require.Equal(t, c.exit, state.Outcome.ExitCode)
			require.Equal(t, c.actions, actions)
		})
	}
}

// instance is the assignment of one instance of three of task 1.
func instance(id uint32, proceed bool) *agentv1.Assignments {
	task := command("solve")
	task.ResourceFiles = []*apiv1.ResourceFile{{FilePath: "own"}}
	task.MultiInstanceSettings = &apiv1.MultiInstanceSettings{
		CoordinationCommandLine: "coordinate", CommonResourceFiles: []*apiv1.ResourceFile{{FilePath: "common"}},
	}
	m := set(true, task, 1)
	m.Add[0].Instance = &agentv1.Instance{Id: id, Proceed: proceed, Peers: []*agentv1.InstancePeer{
		{IpAddress: "10.0.0.4", Cpus: 2}, {IpAddress: "10.0.0.5", Cpus: 4}, {IpAddress: "10.0.0.6"},
	}}
	return m
}

func TestThePrimaryRunsItsCommandWhenAllAreReady(t *testing.T) {
	n := newNode(t)
	n.register(1)
	n.assign(instance(0, false))
	coordination := at(1).coordination()
	n.eventually(func() bool { return n.supervisor.runs(coordination) })
	first := n.supervisor.commands[coordination]
	require.True(t, first.Lingers)
	require.Equal(t, []string{"coordinate"}, first.Args)
	require.Equal(t, filepath.Join(n.dir("t1"), "coordination-stdout.txt"), first.Stdout)
	for _, variable := range []string{
		"AZ_BATCH_HOST_LIST=10.0.0.4,10.0.0.5,10.0.0.6", "AZ_BATCH_NODE_LIST=10.0.0.4;10.0.0.5;10.0.0.6", "AZ_BATCH_MASTER_NODE=10.0.0.4:6000",
		"AZ_BATCH_IS_CURRENT_NODE_MASTER=true", "AZ_BATCH_TASK_SHARED_DIR=" + n.dir("t1"), "CCP_NODES=3 10.0.0.4 2 10.0.0.5 4 10.0.0.6 1",
		"AZ_BATCH_TASK_WORKING_DIR=" + filepath.Join(n.dir("t1"), "wd"),
	} {
		require.Contains(t, first.Env, variable)
	}
	require.FileExists(t, filepath.Join(n.dir("t1"), "common"))
	require.NoFileExists(t, filepath.Join(n.dir("t1"), "wd", "own"))
	n.supervisor.leave(coordination)
	n.phase(at(1), phaseReady)

	// The agent begins again while it waits.
	n.stop()
	n.start()
	n.register(1)
	n.assign(instance(0, false))
	n.phase(at(1), phaseReady)
	n.assign(instance(0, true))
	n.eventually(func() bool { return n.supervisor.runs(at(1)) })
	require.FileExists(t, filepath.Join(n.dir("t1"), "wd", "own"))
	require.Equal(t, filepath.Join(n.dir("t1"), "stdout.txt"), n.supervisor.commands[at(1)].Stdout)
	require.Equal(t, 1, n.supervisor.started(coordination))

	// And again while the command runs, which ends meanwhile.
	n.stop()
	n.supervisor.finish(at(1), Exited{ExitCode: 4})
	n.start()
	n.register(1)
	n.assign(instance(0, true))
	require.EqualValues(t, 4, n.phase(at(1), phaseEnded).GetExitCode())
	require.False(t, n.supervisor.runs(coordination), "what the coordination command has left is ended before")
	n.commit()
	n.eventually(n.idle)
	n.eventually(func() bool {
		n.supervisor.mu.Lock()
		defer n.supervisor.mu.Unlock()
		return len(n.supervisor.ended) == 0
	})
}

func TestASubtaskHasADirectoryOfItsOwn(t *testing.T) {
	n := newNode(t)
	n.register(1)
	n.assign(instance(2, false))
	coordination := at(1).coordination()
	n.eventually(func() bool { return n.supervisor.runs(coordination) })
	first := n.supervisor.commands[coordination]
	require.Equal(t, filepath.Join(n.dir("t1"), "2", "wd"), first.Dir)
	require.Equal(t, filepath.Join(n.dir("t1"), "2", "stdout.txt"), first.Stdout)
	require.DirExists(t, first.Dir)
	require.FileExists(t, filepath.Join(n.dir("t1"), "common"))
	for _, variable := range []string{
		"AZ_BATCH_IS_CURRENT_NODE_MASTER=false", "AZ_BATCH_TASK_SHARED_DIR=" + n.dir("t1"), "AZ_BATCH_TASK_DIR=" + filepath.Join(n.dir("t1"), "2"),
	} {
		require.Contains(t, first.Env, variable)
	}
	n.supervisor.leave(coordination)
	n.phase(at(1), phaseReady)
	n.assign(removal(at(1), agentv1.RemovalKind_REMOVAL_KIND_STOP))
	n.phase(at(1), phaseReleased)
	require.Zero(t, n.supervisor.started(at(1)), "the task's command is the primary's")
}

func TestACoordinationCommandOfWhichNothingIsKnownIsEnded(t *testing.T) {
	n := newNode(t)
	n.register(1)
	n.assign(instance(1, false))
	coordination := at(1).coordination()
	n.eventually(func() bool { return n.supervisor.runs(coordination) })
	n.supervisor.leave(coordination)
	n.phase(at(1), phaseReady)
	n.stop()
	n.cfg.StateDir = t.TempDir() // its journal is lost
	n.cfg.Fresh = false
	n.start()
	n.register(1)
	n.eventually(func() bool { return !n.supervisor.runs(coordination) })
	n.assign(instance(1, false))
	n.phase(at(1), phaseLost)
}
