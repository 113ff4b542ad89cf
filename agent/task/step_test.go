package task

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/batchyard/batchyard/internal/batcherr"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

const (
	phaseRunning  = agentv1.AttemptPhase_ATTEMPT_PHASE_RUNNING
	phaseEnded    = agentv1.AttemptPhase_ATTEMPT_PHASE_ENDED
	phaseReturned = agentv1.AttemptPhase_ATTEMPT_PHASE_RETURNED
	phaseLost     = agentv1.AttemptPhase_ATTEMPT_PHASE_LOST
	phaseReleased = agentv1.AttemptPhase_ATTEMPT_PHASE_RELEASED

	stageBefore  = agentv1.FailureStage_FAILURE_STAGE_PRE_PROCESSING
	stageCommand = agentv1.FailureStage_FAILURE_STAGE_COMMAND
	stageUpload  = agentv1.FailureStage_FAILURE_STAGE_FILE_UPLOAD
)

func failureFor(code string) *apiv1.TaskFailureInfo {
	return failureOf(batcherr.New(batcherr.KindInternal, code, "it went wrong"), code)
}

func TestLives(t *testing.T) {
	stop, admit, committed := StopAsked{At: 3}, Admitted{At: 1}, Committed{}
	exit := func(code int32) Observation { return Exited{At: 4, ExitCode: code} }
	killed := Exited{At: 4, Reason: EndedOnStop, ExitCode: 143}
	missing := failureFor(batcherr.CodeBlobNotFound)
	denied := failureFor(batcherr.CodeFileUploadAccessDenied)
	for name, c := range map[string]struct {
		facts   Facts
		seen    []Observation
		stage   Stage
		phase   agentv1.AttemptPhase
		code    string
		failed  agentv1.FailureStage
		exit    int32
		actions []Action // of the last observation
	}{
		"plain command": {
			seen: []Observation{admit}, stage: Running, phase: phaseRunning, actions: []Action{Save, Report, Launch},
		},
		"with inputs": {
			facts: Facts{HasInputs: true}, seen: []Observation{admit}, stage: Staging, phase: phaseRunning,
			actions: []Action{Save, Report, StageIn},
		},
		"staged": {
			facts: Facts{HasInputs: true}, seen: []Observation{admit, Staged{At: 2}}, stage: Running, phase: phaseRunning,
			actions: []Action{Save, Launch},
		},
		"input missing": {
			facts: Facts{HasInputs: true}, seen: []Observation{admit, Staged{At: 2, Failure: missing}}, stage: Ended, phase: phaseEnded,
			code: batcherr.CodeBlobNotFound, failed: stageBefore, actions: []Action{Save, Report},
		},
		"cannot be launched": {
			seen:  []Observation{admit, LaunchFailed{At: 2, Failure: failureFor(batcherr.CodeCommandProgramNotFound)}},
			stage: Ended, phase: phaseEnded, code: batcherr.CodeCommandProgramNotFound, failed: stageBefore,
			actions: []Action{Save, Report},
		},
		"exit code": {
			seen: []Observation{admit, exit(7)}, stage: Ended, phase: phaseEnded, failed: stageCommand, exit: 7,
			actions: []Action{Save, Report},
		},
		"outputs": {
			facts: Facts{HasOutputs: true}, seen: []Observation{admit, exit(7)}, stage: Uploading, phase: phaseRunning,
			failed: stageCommand, exit: 7, actions: []Action{Save, Upload},
		},
		"uploaded": {
			facts: Facts{HasOutputs: true}, seen: []Observation{admit, exit(0), Uploaded{At: 5}}, stage: Ended, phase: phaseEnded,
			failed: stageCommand, actions: []Action{Save, Report},
		},
		"upload failed": {
			facts: Facts{HasOutputs: true}, seen: []Observation{admit, exit(3), Uploaded{At: 5, Failure: denied}}, stage: Ended,
			phase: phaseEnded, code: batcherr.CodeFileUploadAccessDenied, failed: stageUpload, exit: 3, actions: []Action{Save, Report},
		},
		"wall clock": {
			seen:  []Observation{admit, Exited{At: 9, Reason: EndedByWallClock, ExitCode: 137}},
			stage: Ended, phase: phaseEnded, code: batcherr.CodeTaskEnded, failed: stageCommand, exit: 137,
			actions: []Action{Save, Report},
		},
		"lease over":          {seen: []Observation{admit, Exited{At: 9, Reason: EndedByLease}}, stage: Ended, phase: phaseLost, actions: []Action{Save, Report}},
		"lost":                {seen: []Observation{admit, Lost{At: 9}}, stage: Ended, phase: phaseLost, actions: []Action{Save, Report}},
		"retracted":           {seen: []Observation{Retracted{}}, stage: Ended, phase: phaseReturned, actions: []Action{Report}},
		"retracted too late":  {seen: []Observation{admit, Retracted{}}, stage: Running, phase: phaseRunning},
		"stopped in queue":    {seen: []Observation{stop}, stage: Ended, phase: phaseReleased, actions: []Action{Report}},
		"stop":                {seen: []Observation{admit, stop}, stage: Running, phase: phaseRunning, actions: []Action{Save, Kill}},
		"stop again":          {seen: []Observation{admit, stop, stop}, stage: Running, phase: phaseRunning},
		"stopped":             {seen: []Observation{admit, stop, killed}, stage: Ended, phase: phaseReleased, failed: stageCommand, exit: 143, actions: []Action{Save, Report}},
		"ended before stop":   {seen: []Observation{admit, stop, exit(2)}, stage: Ended, phase: phaseEnded, failed: stageCommand, exit: 2, actions: []Action{Save, Report}},
		"stop while staging":  {facts: Facts{HasInputs: true}, seen: []Observation{admit, stop}, stage: Staging, phase: phaseRunning, actions: []Action{Save, Cancel}},
		"stopped staging":     {facts: Facts{HasInputs: true}, seen: []Observation{admit, stop, Staged{At: 5, Failure: missing}}, stage: Ended, phase: phaseReleased, actions: []Action{Save, Report}},
		"staged against stop": {facts: Facts{HasInputs: true}, seen: []Observation{admit, stop, Staged{At: 5}}, stage: Ended, phase: phaseReleased, actions: []Action{Save, Report}},
		"stopped uploading":   {facts: Facts{HasOutputs: true}, seen: []Observation{admit, exit(0), stop, Uploaded{At: 5, Failure: denied}}, stage: Ended, phase: phaseReleased, failed: stageCommand, actions: []Action{Save, Report}},
		"uploaded after all":  {facts: Facts{HasOutputs: true}, seen: []Observation{admit, exit(0), stop, Uploaded{At: 5}}, stage: Ended, phase: phaseEnded, failed: stageCommand, actions: []Action{Save, Report}},
		"committed":           {seen: []Observation{admit, exit(0), committed}, stage: Retained, phase: phaseEnded, failed: stageCommand, actions: []Action{Forget, Retain}},
		"committed, cleaned":  {seen: []Observation{admit, exit(0), CleanAsked{}, committed}, stage: Gone, phase: phaseEnded, failed: stageCommand, actions: []Action{Forget, Clean, Drop}},
		"returned, committed": {seen: []Observation{Retracted{}, committed}, stage: Gone, phase: phaseReturned, actions: []Action{Drop}},
		"retention over":      {seen: []Observation{admit, exit(0), committed, RetentionOver{}}, stage: Gone, phase: phaseEnded, failed: stageCommand, actions: []Action{Clean, Drop}},
		"cleaned while runs":  {seen: []Observation{admit, CleanAsked{}}, stage: Running, phase: phaseRunning, actions: []Action{Save, Kill}},
		"resumed":             {seen: []Observation{admit, Resumed{}}, stage: Running, phase: phaseRunning, actions: []Action{Report}},
		"resumed stopping":    {seen: []Observation{admit, stop, Resumed{}}, stage: Running, phase: phaseRunning, actions: []Action{Report, Kill}},
		"not handed over":     {seen: []Observation{admit, Unlaunched{}}, stage: Running, phase: phaseRunning, actions: []Action{Report, Launch}},
		"not handed, stopped": {seen: []Observation{admit, stop, Unlaunched{At: 5}}, stage: Ended, phase: phaseReleased, actions: []Action{Save, Report}},
		"resumed staging":     {facts: Facts{HasInputs: true}, seen: []Observation{admit, Resumed{}}, stage: Staging, phase: phaseRunning, actions: []Action{Report, StageIn}},
		"resumed uploading":   {facts: Facts{HasOutputs: true}, seen: []Observation{admit, exit(0), Resumed{}}, stage: Uploading, phase: phaseRunning, failed: stageCommand, actions: []Action{Report, Upload}},
	} {
		t.Run(name, func(t *testing.T) {
			state := State{Facts: c.facts}
			var actions []Action
			for _, obs := range c.seen {
				state, actions = Step(state, obs)
			}
			require.Equal(t, c.stage, state.Stage, state.Stage.String())
			require.Equal(t, c.phase, state.Outcome.Phase)
			require.Equal(t, c.code, state.Outcome.Failure.GetCode())
			require.Equal(t, c.failed, state.Outcome.FailureStage)
			require.Equal(t, c.exit, state.Outcome.ExitCode)
			require.Equal(t, c.actions, actions)
		})
	}
}

func TestWallClockCountsAsTheServicesDoing(t *testing.T) {
	require.Equal(t, apiv1.ErrorSourceCategory_ERROR_SOURCE_CATEGORY_SERVER_ERROR, wallClockFailure().GetCategory())
}

func observations() *rapid.Generator[Observation] {
	return rapid.Custom(func(t *rapid.T) Observation {
		at := rapid.Int64Range(1, 1000).Draw(t, "at")
		var failure *apiv1.TaskFailureInfo
		if rapid.Bool().Draw(t, "failed") {
			failure = failureFor(batcherr.CodeDiskFull)
		}
		reason := EndReason(rapid.IntRange(0, int(EndLost)).Draw(t, "reason"))
		all := []Observation{
			Admitted{at}, Staged{at, failure}, LaunchFailed{At: at, Failure: failureFor(batcherr.CodeUnknown)},
			Exited{At: at, Reason: reason, ExitCode: 1}, Uploaded{at, failure}, StopAsked{at}, Retracted{}, CleanAsked{at},
			Committed{}, RetentionOver{}, Lost{at}, Resumed{at}, Unlaunched{at},
			CoordinationLeft{}, Proceed{}, CoordinationEnded{Exited{At: at, Reason: reason, ExitCode: 1}},
		}
		return all[rapid.IntRange(0, len(all)-1).Draw(t, "kind")]
	})
}

// TestAnyOrder feeds observations in random order: whatever comes, an attempt goes only forward, launches at most once,
// is saved before anything is done, reports an end once it has one, and survives its own record.
func TestAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		state := State{Facts: Facts{HasInputs: rapid.Bool().Draw(t, "inputs"), HasOutputs: rapid.Bool().Draw(t, "outputs")}}
		if rapid.Bool().Draw(t, "instance") {
			state.Facts.Instance, state.Facts.HasInputs, state.Facts.Fetches = true, true, rapid.Bool().Draw(t, "fetches")
		}
		launches, coordinations := 0, 0
		for _, obs := range rapid.SliceOfN(observations(), 1, 40).Draw(t, "seen") {
			before := state
			next, actions := Step(state, obs)
			again, same := Step(state, obs)
			require.Equal(t, next, again)
			require.Equal(t, actions, same)
			state = next
			require.GreaterOrEqual(t, state.Stage, before.Stage)
			require.True(t, state.Stopping || !before.Stopping, "a stop is not forgotten")
			if before.Stage >= Ended {
				require.Equal(t, before.Outcome, state.Outcome, "an outcome does not change")
			}
			changed := state.Stage != before.Stage || state.Stopping != before.Stopping || state.Cleaning != before.Cleaning
			for i, action := range actions {
				_, resumed := obs.(Resumed)
				_, unlaunched := obs.(Unlaunched) // of an intent that was saved before
				if action == Launch && !unlaunched {
					launches++
				}
				if action == Coordinate && !unlaunched {
					coordinations++
				}
				if action == Coordinate || action == Launch || action == Kill || (action == StageIn && before.Stage == Queued) {
					require.True(t, resumed || unlaunched || actions[0] == Save && i > 0, "intent first: %v", actions)
				}
			}
			if changed && state.Begun() && state.Stage <= Ended {
				require.Equal(t, Save, actions[0])
			}
			if before.Stage < Ended && state.Stage == Ended {
				require.Contains(t, actions, Report)
				require.False(t, state.Coordinated, "something of it may still run")
				require.Greater(t, state.Outcome.Phase, phaseRunning)
			}
			if state.Begun() && state.Stage <= Ended {
				back, ok := stateOf(state.change(Ref{Job: 1, Task: 2, Attempt: 3}), state.Facts)
				require.True(t, ok)
				require.Equal(t, state, back)
			}
		}
		require.LessOrEqual(t, launches, 1)
		require.LessOrEqual(t, coordinations, 1)
	})
}

func TestRefs(t *testing.T) {
	ref := Ref{Job: 1 << 63, Task: 7, Attempt: 1<<32 - 1}
	back, err := ParseRef(ref.String())
	require.NoError(t, err)
	require.Equal(t, ref, back)
	require.Equal(t, ref, RefOf(ref.Message()))
	back, err = ParseRef(ref.coordination().String())
	require.NoError(t, err)
	require.Equal(t, ref.coordination(), back)
	require.Equal(t, ref, back.own())
	for _, wrong := range []string{"", "1.2", "1.2.3.4", "1.2.x", "01.2.3", "1.2.4294967296", "-1.2.3", "1.2.3.c.c", "1.2.c"} {
		_, err := ParseRef(wrong)
		require.Error(t, err, wrong)
	}
}
