package schedule

import (
	"fmt"
	"slices"

	"github.com/batchyard/batchyard/coordinator/state"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// several explains a multi-instance task by its nodes: usable of them can be given tasks, idle of these have none.
func (e *explainer) several(usable, idle int, others map[string]int, connected func(uint64) bool) {
	need, pool := int(e.s.Instances), e.s.Pool.Pool
	r := &apiv1.WaitReason{Kind: apiv1.WaitReasonKind_WAIT_REASON_KIND_NODES_AT_ONCE, Count: int64(need)}
	switch claim := e.claim(connected); {
	case usable < need:
		r.Message = fmt.Sprintf("It runs on %d nodes at once, and %d of the pool %s can be given tasks", need, usable, e.s.PoolID)
		r.Message += beside(others) + "."
		r.Remedy = fmt.Sprintf("It can start when %d nodes are idle, connected, and enabled for scheduling.", need)
		planned := int(pool.GetTargetDedicatedNodes() + pool.GetTargetLowPriorityNodes())
		if !pool.GetEnableAutoScale() && max(planned, len(e.s.Nodes)) < need {
			r.Never, r.Remedy = true, fmt.Sprintf("Resize the pool to %d nodes or more, or add the task with fewer instances.", need)
		}
	case claim != nil && (claim.job.UID != e.s.Job.Uid || claim.task != e.s.Number):
		e.because(keptFor(claim))
		return
	case idle < need:
		r.Message = fmt.Sprintf("It runs on %d nodes at once, and %d of the %d that can run it are idle.", need, idle, usable)
		r.Remedy = "It can start when enough of the tasks that run have ended."
		if claim != nil {
			r.Remedy = "Nodes that become idle are kept for it. " + r.Remedy
		}
	default:
		return
	}
	e.because(r)
}

// kept explains a task that has room by the multi-instance task for which the room is kept.
func (e *explainer) kept(connected func(uint64) bool) {
	if claim := e.claim(connected); claim != nil && claim.job.Priority >= e.s.Job.Job.GetPriority() {
		e.because(keptFor(claim))
	}
}

func (e *explainer) claim(connected func(uint64) bool) *claim {
	room := e.s.Room
	room.Nodes = slices.DeleteFunc(slices.Clone(room.Nodes), func(n state.NodeRoom) bool { return !connected(n.UID) })
	room.Jobs = slices.Clone(room.Jobs)
	for i := range room.Jobs {
		room.Jobs[i].Runs = slices.Clone(room.Jobs[i].Runs)
	}
	return claimOn(room)
}

func keptFor(c *claim) *apiv1.WaitReason {
	return &apiv1.WaitReason{
		Kind: apiv1.WaitReasonKind_WAIT_REASON_KIND_NODES_KEPT, Ids: []string{c.job.ID}, Count: int64(c.instances),
		Message: fmt.Sprintf("Nodes that become idle are kept for a task of the job %s, which runs on %d at once.", c.job.ID, c.instances),
		Remedy:  "It can start when that task has started; a job of a higher priority does not wait for it.",
	}
}
