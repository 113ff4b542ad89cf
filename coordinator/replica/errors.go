package replica

import (
	"errors"
	"fmt"
)

var (
	// ErrNotLeader says that this replica does not lead and that the command was certainly not accepted. Errors that
	// match it are *NotLeaderError and say who leads, if that is known.
	ErrNotLeader = errors.New("not the leader")
	// ErrUnknownOutcome says that the command may or may not take effect, now or later.
	ErrUnknownOutcome = errors.New("outcome unknown")
	// ErrClosed says that the replica is closed and that the command was certainly not accepted.
	ErrClosed = errors.New("replica closed")
	// ErrTooLarge says that a command exceeds Batching.Bytes.
	ErrTooLarge = errors.New("command too large")
	// ErrBootstrapped says that the replica already belongs to a cluster.
	ErrBootstrapped = errors.New("already bootstrapped")
	// ErrInUse says that another process has the data directory open.
	ErrInUse = errors.New("data directory in use")
	// ErrLogLost says that the disk holds a state that is newer than the log it came from, or that the log has a gap: the
	// log was damaged or deleted. The replica must be removed from its cluster and join it again, empty.
	ErrLogLost = errors.New("log entries lost")
)

// NotLeaderError names the leader as far as this replica knows; the fields are empty when it does not.
type NotLeaderError struct {
	LeaderID   string
	LeaderAddr string
}

func (e *NotLeaderError) Error() string {
	if e.LeaderID == "" {
		return "not the leader: no leader known"
	}
	return fmt.Sprintf("not the leader: %s at %s leads", e.LeaderID, e.LeaderAddr)
}

// Is makes errors.Is(err, ErrNotLeader) true.
func (e *NotLeaderError) Is(target error) bool { return target == ErrNotLeader }

// StallError is fatal: the disk has not finished a write within the limit.
type StallError struct {
	Operation string
	Limit     string
}

func (e *StallError) Error() string {
	return fmt.Sprintf("log store stalled: %s has taken more than %s", e.Operation, e.Limit)
}

// DivergenceError is fatal: this replica and the leader hold different states at the same index.
type DivergenceError struct {
	Index  uint64
	Ours   [32]byte
	Leader [32]byte
	By     string
}

func (e *DivergenceError) Error() string {
	return fmt.Sprintf("state diverged at index %d: digest here is %x, at leader %s it is %x", e.Index, e.Ours, e.By, e.Leader)
}

// CorruptionError is fatal: an entry of the log is not what was written, or cannot be understood.
type CorruptionError struct {
	Index uint64
	Err   error
}

func (e *CorruptionError) Error() string {
	return fmt.Sprintf("log entry %d: %v", e.Index, e.Err)
}

func (e *CorruptionError) Unwrap() error { return e.Err }
