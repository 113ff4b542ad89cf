package formula

import "strings"

// The deallocation options.
const (
	Requeue        = "requeue"
	Terminate      = "terminate"
	TaskCompletion = "taskcompletion"
	RetainedData   = "retaineddata"
)

// The variables that a formula sets.
const (
	targetDedicated   = "$TargetDedicatedNodes"
	targetLowPriority = "$TargetLowPriorityNodes"
	deallocation      = "$NodeDeallocationOption"
)

// The variables that a formula reads and that pools have samples of.
const (
	CPUPercent              = "$CPUPercent"
	ActiveTasks             = "$ActiveTasks"
	RunningTasks            = "$RunningTasks"
	PendingTasks            = "$PendingTasks"
	SucceededTasks          = "$SucceededTasks"
	FailedTasks             = "$FailedTasks"
	TaskSlotsPerNode        = "$TaskSlotsPerNode"
	CurrentDedicatedNodes   = "$CurrentDedicatedNodes"
	CurrentLowPriorityNodes = "$CurrentLowPriorityNodes"
	PreemptedNodeCount      = "$PreemptedNodeCount"
	UsableNodeCount         = "$UsableNodeCount"
	WallClockSeconds        = "$WallClockSeconds"
	MemoryBytes             = "$MemoryBytes"
	DiskBytes               = "$DiskBytes"
	DiskReadBytes           = "$DiskReadBytes"
	DiskWriteBytes          = "$DiskWriteBytes"
	DiskReadOps             = "$DiskReadOps"
	DiskWriteOps            = "$DiskWriteOps"
	NetworkInBytes          = "$NetworkInBytes"
	NetworkOutBytes         = "$NetworkOutBytes"
	SampleNodeCount         = "$SampleNodeCount"
)

// Variables are all that a formula reads.
func Variables() []string {
	return []string{
		CPUPercent, ActiveTasks, RunningTasks, PendingTasks, SucceededTasks, FailedTasks, TaskSlotsPerNode, CurrentDedicatedNodes,
		CurrentLowPriorityNodes, PreemptedNodeCount, UsableNodeCount, WallClockSeconds, MemoryBytes, DiskBytes, DiskReadBytes, DiskWriteBytes,
		DiskReadOps, DiskWriteOps, NetworkInBytes, NetworkOutBytes, SampleNodeCount,
	}
}

// readable finds a variable of the service by its name in any case.
func readable(name string) (string, bool) {
	if !strings.HasPrefix(name, "$") {
		return "", false
	}
	if strings.EqualFold(name, "$CurrentDedicated") { // its name until 2017
		return CurrentDedicatedNodes, true
	}
	for _, v := range Variables() {
		if strings.EqualFold(name, v) {
			return v, true
		}
	}
	return "", false
}

// target is a number of nodes that a formula reads and sets, under its full name and under an alias.
type target struct {
	current     int32
	full, alias *float64
}

// value is what was assigned, the full name going before the alias, or else the pool's present target.
func (t *target) value() float64 {
	switch {
	case t.full != nil:
		return *t.full
	case t.alias != nil:
		return *t.alias
	default:
		return float64(t.current)
	}
}

// nodes is the value as a number of nodes: whole ones only, and never fewer than none. Assignments keep it below the largest number.
func (t *target) nodes() int32 { return int32(max(t.value(), 0)) }

// output finds the target of that name in any case; isAlias says that the name is not the full one.
func (r *run) output(name string) (t *target, isAlias bool) {
	for _, o := range []struct {
		t           *target
		full, alias string
	}{
		{&r.dedicated, targetDedicated, "$TargetDedicated"},
		{&r.lowPriority, targetLowPriority, "$TargetLowPriority"},
	} {
		switch {
		case strings.EqualFold(name, o.full):
			return o.t, false
		case strings.EqualFold(name, o.alias):
			return o.t, true
		}
	}
	return nil, false
}

// option finds a deallocation option by its name in any case.
func option(name string) (word, bool) {
	for _, o := range []string{Requeue, Terminate, TaskCompletion, RetainedData} {
		if strings.EqualFold(name, o) {
			return word(o), true
		}
	}
	return "", false
}
