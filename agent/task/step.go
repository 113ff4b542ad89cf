package task

import (
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// Action is something to be done for an attempt; what it needs to know is in the state that Step returned with it.
type Action uint8

// The actions, in the order in which they are carried out.
const (
	Save       Action = iota // write the state to the journal, before anything below
	Report                   // tell the coordinator the newest status
	StageIn                  // make directories, bring packages and resource files
	Coordinate               // hand the coordination command to the supervisor
	Launch                   // make directories if nothing was staged, hand the command to the supervisor
	Kill                     // have the supervisor stop it: gracefully, then by force
	Cancel                   // break off staging or upload
	Upload                   // upload output files
	Forget                   // the supervisor need not remember it
	Retain                   // replace the record by that of the directory
	Clean                    // delete the directory
	Drop                     // forget the record
)

// Step decides what an observation means for an attempt. It is pure: the same arguments give the same answer, and an
// observation that has no meaning at the attempt's stage, because it was repeated or overtaken, changes nothing.
func Step(s State, obs Observation) (State, []Action) {
	switch s.Stage {
	case Queued:
		return stepQueued(s, obs)
	case Staging:
		return stepStaging(s, obs)
	case Coordinating:
		return stepCoordinating(s, obs)
	case Gathered:
		return stepGathered(s, obs)
	case Fetching:
		return stepFetching(s, obs)
	case Clearing:
		return stepClearing(s, obs)
	case Running:
		return stepRunning(s, obs)
	case Uploading:
		return stepUploading(s, obs)
	case Ended:
		return stepEnded(s, obs)
	case Retained:
		return stepRetained(s, obs)
	default:
		return s, nil
	}
}

func stepQueued(s State, obs Observation) (State, []Action) {
	switch o := obs.(type) {
	case Admitted:
		s.Outcome.Phase = agentv1.AttemptPhase_ATTEMPT_PHASE_RUNNING
		s.Outcome.Start = o.At
		if s.Facts.HasInputs {
			s.Stage = Staging
			return s, []Action{Save, Report, StageIn}
		}
		s.Stage = Running
		return s, []Action{Save, Report, Launch}
	case Retracted:
		return endUnbegun(s, agentv1.AttemptPhase_ATTEMPT_PHASE_RETURNED)
	case StopAsked, CleanAsked:
		return endUnbegun(s, agentv1.AttemptPhase_ATTEMPT_PHASE_RELEASED)
	case Lost:
		return endUnbegun(s, agentv1.AttemptPhase_ATTEMPT_PHASE_LOST)
	}
	return s, nil
}

// endUnbegun ends an attempt that has touched nothing: there is nothing for the journal.
func endUnbegun(s State, phase agentv1.AttemptPhase) (State, []Action) {
	s.Stage = Ended
	s.Outcome.Phase = phase
	return s, []Action{Report}
}

func stepStaging(s State, obs Observation) (State, []Action) {
	switch o := obs.(type) {
	case Staged:
		switch {
		case s.Stopping:
			return end(s, agentv1.AttemptPhase_ATTEMPT_PHASE_RELEASED, o.At)
		case o.Failure != nil:
			return fail(s, o.Failure, agentv1.FailureStage_FAILURE_STAGE_PRE_PROCESSING, o.At)
		case s.Facts.Bare:
			return exited(s, Exited{At: o.At})
		case s.Facts.Instance:
			s.Stage, s.Coordinated = Coordinating, true
			return s, []Action{Save, Coordinate}
		}
		s.Stage = Running
		return s, []Action{Save, Launch}
	case StopAsked:
		return stopping(s, false, Cancel)
	case CleanAsked:
		return stopping(s, true, Cancel)
	case Lost:
		return end(s, agentv1.AttemptPhase_ATTEMPT_PHASE_LOST, o.At)
	case Resumed:
		if s.Stopping {
			return end(s, agentv1.AttemptPhase_ATTEMPT_PHASE_RELEASED, o.At)
		}
		return s, []Action{Report, StageIn}
	}
	return s, nil
}

func stepRunning(s State, obs Observation) (State, []Action) {
	switch o := obs.(type) {
	case LaunchFailed:
		s.Outcome.Container = o.Container
		if s.Stopping {
			return end(s, agentv1.AttemptPhase_ATTEMPT_PHASE_RELEASED, o.At)
		}
		return fail(s, o.Failure, agentv1.FailureStage_FAILURE_STAGE_PRE_PROCESSING, o.At)
	case Exited:
		return exited(s, o)
	case CoordinationEnded:
		return cleared(s)
	case StopAsked:
		return stopping(s, false, Kill)
	case CleanAsked:
		return stopping(s, true, Kill)
	case Lost:
		return end(s, agentv1.AttemptPhase_ATTEMPT_PHASE_LOST, o.At)
	case Resumed:
		if s.Stopping {
			return s, []Action{Report, Kill}
		}
		return s, []Action{Report}
	case Unlaunched:
		if s.Stopping {
			return end(s, agentv1.AttemptPhase_ATTEMPT_PHASE_RELEASED, o.At)
		}
		return s, []Action{Report, Launch}
	}
	return s, nil
}

func exited(s State, o Exited) (State, []Action) {
	s.Outcome.Container = o.Container
	if o.Reason == EndLost || o.Reason == EndedByLease {
		// What a lease's end has stopped belongs to another node by now: whether it counted is not ours to say.
		return end(s, agentv1.AttemptPhase_ATTEMPT_PHASE_LOST, o.At)
	}
	s.Outcome.End, s.Outcome.Exited, s.Outcome.ExitCode, s.Outcome.Usage = o.At, true, o.ExitCode, o.Usage
	s.Outcome.FailureStage = agentv1.FailureStage_FAILURE_STAGE_COMMAND
	if o.Reason == EndedByWallClock {
		s.Outcome.Failure = wallClockFailure()
	}
	switch {
	case s.Stopping && (o.Reason == EndedOnStop || s.Facts.HasOutputs):
		return end(s, agentv1.AttemptPhase_ATTEMPT_PHASE_RELEASED, o.At)
	case s.Facts.HasOutputs:
		s.Stage = Uploading
		return s, []Action{Save, Upload}
	}
	return end(s, agentv1.AttemptPhase_ATTEMPT_PHASE_ENDED, o.At)
}

func stepUploading(s State, obs Observation) (State, []Action) {
	switch o := obs.(type) {
	case Uploaded:
		if s.Stopping && o.Failure != nil {
			return end(s, agentv1.AttemptPhase_ATTEMPT_PHASE_RELEASED, o.At)
		}
		if o.Failure != nil && s.Outcome.Failure == nil {
			s.Outcome.Failure = o.Failure
			s.Outcome.FailureStage = agentv1.FailureStage_FAILURE_STAGE_FILE_UPLOAD
		}
		return end(s, agentv1.AttemptPhase_ATTEMPT_PHASE_ENDED, o.At)
	case CoordinationEnded:
		return cleared(s)
	case StopAsked:
		return stopping(s, false, Cancel)
	case CleanAsked:
		return stopping(s, true, Cancel)
	case Lost:
		return end(s, agentv1.AttemptPhase_ATTEMPT_PHASE_LOST, o.At)
	case Resumed:
		if s.Stopping {
			return end(s, agentv1.AttemptPhase_ATTEMPT_PHASE_RELEASED, o.At)
		}
		return s, []Action{Report, Upload}
	}
	return s, nil
}

func stepEnded(s State, obs Observation) (State, []Action) {
	switch obs.(type) {
	case Committed:
		switch {
		case !s.Begun():
			s.Stage = Gone
			return s, []Action{Drop}
		case s.Cleaning:
			s.Stage = Gone
			return s, []Action{Forget, Clean, Drop}
		}
		s.Stage = Retained
		return s, []Action{Forget, Retain}
	case CleanAsked:
		if s.Cleaning {
			return s, nil
		}
		s.Cleaning = true
		if !s.Begun() {
			return s, nil
		}
		return s, []Action{Save}
	case Resumed, StopAsked, Lost:
		return s, []Action{Report}
	}
	return s, nil
}

func stepRetained(s State, obs Observation) (State, []Action) {
	switch obs.(type) {
	case CleanAsked, RetentionOver:
		s.Stage = Gone
		return s, []Action{Clean, Drop}
	}
	return s, nil
}

// stopping notes the wish once; the end is reported when it is observed.
func stopping(s State, clean bool, how Action) (State, []Action) {
	if s.Stopping && (s.Cleaning || !clean) {
		return s, nil
	}
	first := !s.Stopping
	s.Stopping = true
	s.Cleaning = s.Cleaning || clean
	if first {
		return s, []Action{Save, how}
	}
	return s, []Action{Save}
}

func end(s State, phase agentv1.AttemptPhase, at int64) (State, []Action) {
	s.Outcome.Phase = phase
	s.Outcome.End = max(at, s.Outcome.Start)
	if s.Coordinated {
		s.Stage = Clearing
		return s, []Action{Save, Kill}
	}
	s.Stage = Ended
	return s, []Action{Save, Report}
}

func fail(s State, failure *apiv1.TaskFailureInfo, stage agentv1.FailureStage, at int64) (State, []Action) {
	s.Outcome.Failure = failure
	s.Outcome.FailureStage = stage
	return end(s, agentv1.AttemptPhase_ATTEMPT_PHASE_ENDED, at)
}
