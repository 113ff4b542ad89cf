// Package task is one attempt's life on a node: a pure step function, the loop around it and its durable record.
package task

import (
	"fmt"
	"strconv"
	"strings"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

// Ref names an attempt; unlike the message it can be compared and is a map's key.
type Ref struct {
	Job     uint64
	Task    uint64
	Attempt uint32
	// Coordination is set in the name, at the supervisor, of a multi-instance task's coordination command.
	Coordination bool
}

// RefOf reads a message.
func RefOf(m *agentv1.AttemptRef) Ref {
	return Ref{Job: m.GetJob(), Task: m.GetTask(), Attempt: m.GetAttempt()}
}

// Message writes the reference for the wire.
func (r Ref) Message() *agentv1.AttemptRef {
	return &agentv1.AttemptRef{Job: r.Job, Task: r.Task, Attempt: r.Attempt}
}

// own is the attempt's own name.
func (r Ref) own() Ref { r.Coordination = false; return r }

// coordination names the attempt's coordination command.
func (r Ref) coordination() Ref { r.Coordination = true; return r }

const coordinationSuffix = ".c"

// String is the attempt's name at the supervisor, "JOB.TASK.ATTEMPT".
func (r Ref) String() string {
	b := make([]byte, 0, 32)
	b = strconv.AppendUint(b, r.Job, 10)
	b = append(b, '.')
	b = strconv.AppendUint(b, r.Task, 10)
	b = append(b, '.')
	b = strconv.AppendUint(b, uint64(r.Attempt), 10)
	if r.Coordination {
		b = append(b, coordinationSuffix...)
	}
	return string(b)
}

// ParseRef reads what String wrote and nothing else.
func ParseRef(text string) (Ref, error) {
	name, coordination := strings.CutSuffix(text, coordinationSuffix)
	parts := strings.Split(name, ".")
	if len(parts) != 3 {
		return Ref{}, fmt.Errorf("%q does not name an attempt", text)
	}
	job, err1 := strconv.ParseUint(parts[0], 10, 64)
	task, err2 := strconv.ParseUint(parts[1], 10, 64)
	attempt, err3 := strconv.ParseUint(parts[2], 10, 32)
	ref := Ref{Job: job, Task: task, Attempt: uint32(attempt), Coordination: coordination}
	if err1 != nil || err2 != nil || err3 != nil || ref.String() != text {
		return Ref{}, fmt.Errorf("%q does not name an attempt", text)
	}
	return ref, nil
}
