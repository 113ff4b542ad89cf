package process

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

// attempt is one attempt at the supervisor: queued, running, or over until it is acknowledged. The supervisor's lock
// guards it.
type attempt struct {
	id    string
	spec  *agentv1.StartProcess // until it is started; its id and paths after that
	grace time.Duration
	child *child // while a process of it may run

	start   *agentv1.ProcessStarted
	failure *agentv1.ProcessStartFailed
	exit    *agentv1.ProcessExited
	lingers bool                    // what the main process leaves behind with exit code 0 goes on
	left    *agentv1.ProcessLingers // its main process has done so
	gone    chan struct{}           // closed when it is over

	why    agentv1.ProcessEnd // why it is being stopped
	wallAt int64              // on the boot clock: the wall-clock limit; 0: none
	killAt int64              // on the boot clock: the end of the grace; 0: no stop
	killed bool               // killing has begun
}

func (a *attempt) stopping() bool { return a.why != agentv1.ProcessEnd_PROCESS_END_UNSPECIFIED }

func (a *attempt) over() bool { return a.exit != nil || a.failure != nil }

// forgetSpec lets go of what a running attempt does not need, above all its environment.
func (a *attempt) forgetSpec() {
	a.spec = &agentv1.StartProcess{
		Dir: a.spec.GetDir(), StdoutPath: a.spec.GetStdoutPath(), StderrPath: a.spec.GetStderrPath(),
	}
}

// events say what is known of the attempt.
func (a *attempt) events() []*agentv1.SupervisorEvent {
	var events []*agentv1.SupervisorEvent
	if a.start != nil {
		events = append(events, &agentv1.SupervisorEvent{Event: &agentv1.SupervisorEvent_Started{Started: a.start}})
	}
	if a.failure != nil {
		events = append(events, &agentv1.SupervisorEvent{
			Event: &agentv1.SupervisorEvent_StartFailed{StartFailed: a.failure},
		})
	}
	if a.left != nil && a.exit == nil {
		events = append(events, &agentv1.SupervisorEvent{Event: &agentv1.SupervisorEvent_Lingers{Lingers: a.left}})
	}
	if a.exit != nil {
		events = append(events, &agentv1.SupervisorEvent{Event: &agentv1.SupervisorEvent_Exited{Exited: a.exit}})
	}
	return events
}

func (a *attempt) intent() *agentv1.SupervisorRecord {
	return &agentv1.SupervisorRecord{Record: &agentv1.SupervisorRecord_Intent{Intent: &agentv1.ProcessIntent{
		AttemptId: a.id, Dir: a.spec.GetDir(),
		StdoutPath: a.spec.GetStdoutPath(), StderrPath: a.spec.GetStderrPath(),
		CreatedFrom: bootClock(),
	}}}
}

// records say all that a new supervisor must know of the attempt.
func (a *attempt) records() []*agentv1.SupervisorRecord {
	records := []*agentv1.SupervisorRecord{}
	if !a.over() {
		records = append(records, a.intent())
		if a.child != nil {
			records[0].GetIntent().CreatedFrom = a.child.from
		}
	}
	for _, e := range a.events() {
		records = append(records, eventRecord(e))
	}
	return records
}

func eventRecord(e *agentv1.SupervisorEvent) *agentv1.SupervisorRecord {
	return &agentv1.SupervisorRecord{Record: &agentv1.SupervisorRecord_Event{Event: e}}
}

func (a *attempt) exited(e exit) *agentv1.ProcessExited {
	end := a.why
	if end == agentv1.ProcessEnd_PROCESS_END_UNSPECIFIED {
		end = agentv1.ProcessEnd_PROCESS_END_BY_ITSELF
	}
	return &agentv1.ProcessExited{
		AttemptId: a.id, Pid: a.start.GetPid(), ExitCode: int32(e.code), Signal: int32(e.signal), End: end,
		StartedAt: a.start.GetStartedAt(), EndedAt: max(e.at, a.start.GetStartedAt()),
		UserNanos: int64(e.user), SystemNanos: int64(e.system), MaxRssBytes: e.maxRSS,
	}
}

// exit is how a process ended.
type exit struct {
	pid, code, signal int
	at                int64 // Unix nanoseconds
	user, system      time.Duration
	maxRSS            int64 // bytes
}

const (
	// exitOnSignal is what shells add to the signal that ended a process.
	exitOnSignal    = 128
	terminateSignal = 15
	exitUnknown     = -1
)

// startError is why a process was not started.
type startError struct {
	kind    agentv1.StartFailure
	message string
}

func failedEvent(id string, kind agentv1.StartFailure, message string) *agentv1.SupervisorEvent {
	return &agentv1.SupervisorEvent{Event: &agentv1.SupervisorEvent_StartFailed{StartFailed: &agentv1.ProcessStartFailed{
		AttemptId: id, Kind: kind, Message: message, FailedAt: time.Now().UnixNano(),
	}}}
}

const maxAttemptID = 128

// checkSpec refuses what no system could start.
func checkSpec(spec *agentv1.StartProcess) error {
	id, argv := spec.GetAttemptId(), spec.GetArgv()
	if id == "" || len(id) > maxAttemptID {
		return fmt.Errorf("an attempt's id has 1 to %d bytes", maxAttemptID)
	}
	if len(argv) == 0 || argv[0] == "" {
		return ErrEmptyCommand
	}
	for _, a := range argv {
		if strings.IndexByte(a, 0) >= 0 {
			return ErrNUL
		}
	}
	for _, e := range spec.GetEnv() {
		if i := strings.IndexByte(e, '='); i < 1 || strings.IndexByte(e, 0) >= 0 {
			return errors.New("an environment variable needs a name and an equals sign, and has no NUL byte")
		}
	}
	for _, path := range []string{spec.GetDir(), spec.GetStdoutPath(), spec.GetStderrPath()} {
		if strings.IndexByte(path, 0) >= 0 || (path != "" && !filepath.IsAbs(path)) {
			return fmt.Errorf("%q is not an absolute path", path)
		}
	}
	if spec.GetDir() == "" {
		return errors.New("a working directory is needed")
	}
	if spec.GetGraceNanos() < 0 || spec.GetMaxWallClockNanos() < 0 {
		return errors.New("a duration is negative")
	}
	return nil
}
