package task

import (
	"time"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// Stage is how far an attempt has come. It only grows.
type Stage uint8

// The stages. Those from Staging to Clearing hold the attempt's slots. Coordinating, Gathered, Fetching and Clearing are those of multi-instance tasks only.
const (
	Queued       Stage = iota // waits for slots: nothing on disk, nothing to stop
	Staging                   // directories, packages and resource files are being made
	Coordinating              // the coordination command is handed to the supervisor, or about to be
	Gathered                  // it has succeeded: the primary waits for the others, the others for the end
	Fetching                  // the primary's own resource files are being brought
	Running                   // handed to the supervisor, or about to be
	Uploading                 // the command has ended; its output files are on their way
	Clearing                  // the outcome is known; what the coordination command has left is being ended
	Ended                     // the outcome is known and not yet acknowledged
	Retained                  // acknowledged; only the directory is left
	Gone                      // nothing is left
)

var stageNames = [...]string{
	"queued", "staging", "coordinating", "gathered", "fetching", "running", "uploading", "clearing", "ended", "retained", "gone",
}

// String names the stage.
func (s Stage) String() string {
	if int(s) < len(stageNames) {
		return stageNames[s]
	}
	return "unknown"
}

// HoldsSlots says whether an attempt at this stage occupies its slots.
func (s Stage) HoldsSlots() bool { return s >= Staging && s <= Clearing }

// Facts are what the step function knows of an attempt from its specification.
type Facts struct {
	HasInputs  bool // packages or resource files are to be brought in
	HasOutputs bool // output files are declared
	Instance   bool // of a multi-instance task
	Fetches    bool // the primary has resource files of its own
	Bare       bool // nothing is run once all is brought in
}

// Outcome is what is to be reported.
type Outcome struct {
	Phase        agentv1.AttemptPhase
	Start, End   int64 // Unix nanoseconds on the node's clock; 0: not yet
	Exited       bool  // the command ended, with ExitCode
	ExitCode     int32
	Failure      *apiv1.TaskFailureInfo // never changed once set
	FailureStage agentv1.FailureStage
	Usage        Usage
	Container    *apiv1.TaskContainerExecutionInfo // that the command ran in; never changed once set
}

// Usage is what the attempt's processes used.
type Usage struct {
	UserCPU, KernelCPU time.Duration
	MaxRSS             int64 // bytes
}

// State is one attempt, as far as decisions need it.
type State struct {
	Stage    Stage
	Stopping bool // a stop was asked for
	// Coordinated: the supervisor holds the coordination command, or what it has left.
	Coordinated bool
	Cleaning    bool // the directory is to go as soon as nothing runs in it
	Facts       Facts
	Outcome     Outcome
}

// Begun says whether the attempt has had a directory.
func (s State) Begun() bool { return s.Outcome.Start != 0 }

// Report writes the newest status for the coordinator.
func (s State) Report(ref Ref) *agentv1.AttemptReport {
	o := &s.Outcome
	report := &agentv1.AttemptReport{
		Ref: ref.Message(), Phase: o.Phase, StartTime: o.Start, EndTime: o.End,
		Failure: o.Failure, FailureStage: o.FailureStage,
		UserCpu: int64(o.Usage.UserCPU), KernelCpu: int64(o.Usage.KernelCPU), MaxRssBytes: o.Usage.MaxRSS,
		Container: o.Container,
	}
	if o.Exited {
		report.ExitCode = &o.ExitCode
	}
	return report
}

// outcomeOf reads a report that Report wrote.
func outcomeOf(m *agentv1.AttemptReport) Outcome {
	return Outcome{
		Phase: m.GetPhase(), Start: m.GetStartTime(), End: m.GetEndTime(),
		Exited: m != nil && m.ExitCode != nil, ExitCode: m.GetExitCode(),
		Failure: m.GetFailure(), FailureStage: m.GetFailureStage(), Container: m.GetContainer(),
		Usage: Usage{
			UserCPU: time.Duration(m.GetUserCpu()), KernelCPU: time.Duration(m.GetKernelCpu()), MaxRSS: m.GetMaxRssBytes(),
		},
	}
}

// change writes what the journal keeps of the state.
func (s State) change(ref Ref) *agentv1.AttemptChange {
	return &agentv1.AttemptChange{
		Report: s.Report(ref), Stage: journalStages[s.Stage], Stopping: s.Stopping, Cleaning: s.Cleaning,
		Coordinated: s.Coordinated,
	}
}

var journalStages = map[Stage]agentv1.AttemptStage{
	Coordinating: agentv1.AttemptStage_ATTEMPT_STAGE_COORDINATING,
	Gathered:     agentv1.AttemptStage_ATTEMPT_STAGE_GATHERED,
	Fetching:     agentv1.AttemptStage_ATTEMPT_STAGE_FETCHING,
	Clearing:     agentv1.AttemptStage_ATTEMPT_STAGE_CLEARING,

	Staging:   agentv1.AttemptStage_ATTEMPT_STAGE_STAGING,
	Running:   agentv1.AttemptStage_ATTEMPT_STAGE_RUNNING,
	Uploading: agentv1.AttemptStage_ATTEMPT_STAGE_UPLOADING,
	Ended:     agentv1.AttemptStage_ATTEMPT_STAGE_ENDED,
}

// stateOf reads what change wrote; ok is false for a stage that no journal has.
func stateOf(m *agentv1.AttemptChange, facts Facts) (state State, ok bool) {
	state = State{Stopping: m.GetStopping(), Cleaning: m.GetCleaning(), Coordinated: m.GetCoordinated(), Facts: facts, Outcome: outcomeOf(m.GetReport())}
	for stage, written := range journalStages {
		if written == m.GetStage() {
			state.Stage = stage
			return state, true
		}
	}
	return State{}, false
}
