package task

import apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"

// Observation is something that an attempt's life depends on. Times are Unix nanoseconds.
type Observation interface{ observation() }

// Admitted says that slots are free for the attempt.
type Admitted struct{ At int64 }

// Staged says that staging is over; Failure is nil when all is in place.
type Staged struct {
	At      int64
	Failure *apiv1.TaskFailureInfo
}

// LaunchFailed says that the command could not be started.
type LaunchFailed struct {
	At        int64
	Failure   *apiv1.TaskFailureInfo
	Container *apiv1.TaskContainerExecutionInfo // nil: there is none
}

// EndReason is why a command is no longer running.
type EndReason uint8

// The reasons.
const (
	EndedByItself    EndReason = iota
	EndedOnStop                // a stop was asked for, and it did its work
	EndedByWallClock           // its maxWallClockTime was over
	EndedByLease               // the node's right to run attempts ran out
	EndLost                    // how it ended is not known
)

// Exited says that all processes of the command are gone.
type Exited struct {
	At       int64
	Reason   EndReason
	ExitCode int32 // meaningless for EndLost
	Usage    Usage
	// Container is that of the command; nil: it ran in none.
	Container *apiv1.TaskContainerExecutionInfo
}

// Uploaded says that the upload of output files is over.
type Uploaded struct {
	At      int64
	Failure *apiv1.TaskFailureInfo
}

// StopAsked is the coordinator's wish to have the attempt ended, or its ignorance of it.
type StopAsked struct{ At int64 }

// Retracted is the coordinator's wish to have the attempt back unless it has begun.
type Retracted struct{}

// CleanAsked is the coordinator's wish to have the directory deleted.
type CleanAsked struct{ At int64 }

// Committed says that the newest report is acknowledged.
type Committed struct{}

// RetentionOver says that the directory's time has come.
type RetentionOver struct{}

// Lost says that nothing is known of an attempt that should have been running.
type Lost struct{ At int64 }

// Resumed says that the agent has started again and the attempt is to go on where it was.
type Resumed struct{ At int64 }

// Unlaunched says that the supervisor was never given the command: the agent ended between intent and action.
type Unlaunched struct{ At int64 }

// CoordinationLeft says that the coordination command has succeeded, and what it has left goes on.
type CoordinationLeft struct{}

// CoordinationEnded says that nothing of the coordination command is left.
type CoordinationEnded struct{ Exited }

// Proceed says that the coordination command has succeeded in all instances.
type Proceed struct{}

func (CoordinationLeft) observation()  {}
func (CoordinationEnded) observation() {}
func (Proceed) observation()           {}

func (Admitted) observation()      {}
func (Staged) observation()        {}
func (LaunchFailed) observation()  {}
func (Exited) observation()        {}
func (Uploaded) observation()      {}
func (StopAsked) observation()     {}
func (Retracted) observation()     {}
func (CleanAsked) observation()    {}
func (Committed) observation()     {}
func (RetentionOver) observation() {}
func (Lost) observation()          {}
func (Resumed) observation()       {}
func (Unlaunched) observation()    {}
