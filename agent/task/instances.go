package task

import (
	"net"
	"strconv"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

// An instance of a multi-instance task first runs the coordination command, which may leave processes behind. They go on until the attempt has an outcome,
// and are ended before it is reported. The primary's own command runs beside them, once the coordinator says that all instances are there.

const (
	// masterPort is the port in AZ_BATCH_MASTER_NODE. Nothing listens there: programs take the address only.
	masterPort = 6000
	// coordinationOutputs is what the names of the files of a primary's coordination command begin with: its own command has the usual ones.
	coordinationOutputs = "coordination-"
)

func stepCoordinating(s State, obs Observation) (State, []Action) {
	switch o := obs.(type) {
	case CoordinationLeft:
		s.Stage = Gathered
		s.Outcome.Phase = agentv1.AttemptPhase_ATTEMPT_PHASE_READY
		if s.Stopping {
			return s, []Action{Save}
		}
		return s, []Action{Save, Report}
	case CoordinationEnded:
		return dissolved(s, o)
	case LaunchFailed:
		s.Coordinated = false
		if s.Stopping {
			return end(s, agentv1.AttemptPhase_ATTEMPT_PHASE_RELEASED, o.At)
		}
		return fail(s, o.Failure, agentv1.FailureStage_FAILURE_STAGE_PRE_PROCESSING, o.At)
	case Unlaunched:
		if s.Stopping {
			s.Coordinated = false
			return end(s, agentv1.AttemptPhase_ATTEMPT_PHASE_RELEASED, o.At)
		}
		return s, []Action{Report, Coordinate}
	}
	return stepHeld(s, obs)
}

func stepGathered(s State, obs Observation) (State, []Action) {
	switch o := obs.(type) {
	case Proceed:
		if s.Stopping {
			return s, nil
		}
		s.Outcome.Phase = agentv1.AttemptPhase_ATTEMPT_PHASE_RUNNING
		if s.Facts.Fetches {
			s.Stage = Fetching
			return s, []Action{Save, StageIn}
		}
		s.Stage = Running
		return s, []Action{Save, Launch}
	case CoordinationEnded:
		return dissolved(s, o)
	}
	return stepHeld(s, obs)
}

// stepHeld is what the stages have in common in which only the coordination command is with the supervisor.
func stepHeld(s State, obs Observation) (State, []Action) {
	switch o := obs.(type) {
	case StopAsked:
		return stopping(s, false, Kill)
	case CleanAsked:
		return stopping(s, true, Kill)
	case Lost:
		s.Coordinated = false
		return end(s, agentv1.AttemptPhase_ATTEMPT_PHASE_LOST, o.At)
	case Resumed:
		if s.Stopping {
			return s, []Action{Report, Kill}
		}
		return s, []Action{Report}
	}
	return s, nil
}

// dissolved ends an attempt of which nothing is left but the coordination command's end.
func dissolved(s State, o CoordinationEnded) (State, []Action) {
	s.Coordinated = false
	if s.Stopping {
		return end(s, agentv1.AttemptPhase_ATTEMPT_PHASE_RELEASED, o.At)
	}
	if o.Reason == EndedByWallClock {
		return fail(s, wallClockFailure(), agentv1.FailureStage_FAILURE_STAGE_COMMAND, o.At)
	}
	s.Facts.HasOutputs = false // of the command that has not run
	return exited(s, o.Exited)
}

func stepFetching(s State, obs Observation) (State, []Action) {
	switch o := obs.(type) {
	case Staged:
		switch {
		case s.Stopping:
			return end(s, agentv1.AttemptPhase_ATTEMPT_PHASE_RELEASED, o.At)
		case o.Failure != nil:
			return fail(s, o.Failure, agentv1.FailureStage_FAILURE_STAGE_PRE_PROCESSING, o.At)
		}
		s.Stage = Running
		return s, []Action{Save, Launch}
	case CoordinationEnded:
		s, actions := dissolved(s, o)
		return s, append(actions, Cancel)
	}
	return stepStaging(s, obs)
}

func stepClearing(s State, obs Observation) (State, []Action) {
	switch obs.(type) {
	case CoordinationEnded, Unlaunched, Lost:
		s.Stage, s.Coordinated = Ended, false
		return s, []Action{Save, Report}
	case CleanAsked:
		if s.Cleaning {
			return s, nil
		}
		s.Cleaning = true
		return s, []Action{Save}
	case Resumed:
		return s, []Action{Kill}
	}
	return s, nil
}

// cleared notes that nothing is left of the coordination command while the attempt goes on.
func cleared(s State) (State, []Action) {
	s.Coordinated = false
	return s, []Action{Save}
}

// names are those by which the supervisor may know the attempt.
func (a *attempt) names() []Ref {
	if a.assignment.GetInstance() == nil {
		return []Ref{a.ref}
	}
	return []Ref{a.ref, a.ref.coordination()}
}

// place is what an instance's files are in, relative to the task's directory, which all instances share by its path: nothing for the primary.
func (a *attempt) place() string {
	if id := a.assignment.GetInstance().GetId(); id > 0 {
		return strconv.FormatUint(uint64(id), 10)
	}
	return ""
}

func (r *Runner) coordinationOf(a *attempt) launch {
	l := r.launchOf(a)
	l.ref, l.lingers = a.ref.coordination(), true
	l.line = a.own.GetTask().GetMultiInstanceSettings().GetCoordinationCommandLine()
	if a.place() == "" {
		l.outputs = coordinationOutputs
	}
	return l
}

// hearCoordination takes news of a coordination command; a is nil for one that nothing is known of.
func (r *Runner) hearCoordination(a *attempt, e *Event) {
	goes := e.Running || e.Left
	switch {
	case goes && (a == nil || a.state.Stage >= Ended):
		r.fx.kills = append(r.fx.kills, e.Ref)
	case e.Left:
		r.observe(a, CoordinationLeft{})
	case e.Running:
	case a == nil:
		r.fx.forgets = append(r.fx.forgets, e.Ref)
	case e.Error != nil:
		r.observe(a, LaunchFailed{At: r.nanos(), Failure: launchFailure(e.Error)})
	default:
		r.observe(a, CoordinationEnded{e.Exit})
	}
}

// missCoordination decides about a coordination command that the supervisor does not have.
func (r *Runner) missCoordination(a *attempt, sameBoot bool) {
	if sameBoot && a.state.Stage == Coordinating {
		a.unlaunched = true // see meet
		return
	}
	r.inbox.put(func() { r.observe(a, CoordinationEnded{Exited{At: r.nanos(), Reason: EndLost}}) })
}

// multiInstanceOf is what a command is told of the other instances; nil where there are none.
func multiInstanceOf(instance *agentv1.Instance, shared string) *MultiInstance {
	if instance == nil {
		return nil
	}
	out := &MultiInstance{Master: instance.GetId() == 0, SharedDir: shared}
	for i, peer := range instance.GetPeers() {
		out.Addresses = append(out.Addresses, peer.GetIpAddress())
		out.Cores = append(out.Cores, int(max(peer.GetCpus(), 1)))
		if i == 0 {
			out.MasterAddr = net.JoinHostPort(peer.GetIpAddress(), strconv.Itoa(masterPort))
		}
	}
	return out
}
