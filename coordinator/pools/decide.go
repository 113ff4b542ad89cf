// Package pools makes the node count of pools follow their targets.
package pools

import (
	"fmt"
	"sort"
	"time"

	"github.com/batchyard/batchyard/coordinator/state"
	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// decision is what a pool needs next.
type decision struct {
	// How many nodes to make.
	dedicated, lowPriority int
	// Nodes that begin to leave.
	leave []string
	// Nodes that have left: nothing is on them any more.
	gone []state.NodeInfo
	// finish ends the resize, with these errors.
	finish bool
	errors []*apiv1.ResizeError
}

// decide compares a pool with its targets. canMake says whether a provider makes its nodes; where none does, machines join by themselves.
func decide(p state.PoolInfo, nodes []state.NodeInfo, now time.Time, canMake bool) decision {
	var d decision
	var stay [2][]state.NodeInfo // low priority, dedicated
	for _, n := range nodes {
		switch {
		case n.Leaving && n.Held == 0:
			d.gone = append(d.gone, n)
		case !n.Leaving:
			stay[kindOf(n)] = append(stay[kindOf(n)], n)
		}
	}
	switch p.Pool.AllocationState {
	case apiv1.AllocationState_ALLOCATION_STATE_STOPPING:
		d.finish = true
		d.errors = []*apiv1.ResizeError{{Code: batcherr.CodeResizeStopped, Message: "The resize was stopped on request"}}
		return d
	case apiv1.AllocationState_ALLOCATION_STATE_RESIZING:
	default:
		return d
	}
	missing := d.compare(stay, [2]int{int(p.Pool.GetTargetLowPriorityNodes()), int(p.Pool.GetTargetDedicatedNodes())})
	leaving := len(nodes) - len(stay[0]) - len(stay[1])
	switch {
	case missing == 0 && len(d.leave) == 0 && leaving == 0:
		d.finish = true
	case now.UnixNano() >= p.ResizeDeadline && p.Pool.State == apiv1.PoolState_POOL_STATE_ACTIVE:
		d.finish = true
		d.dedicated, d.lowPriority = 0, 0
		d.errors = []*apiv1.ResizeError{{
			Code:    batcherr.CodeAllocationTimedout,
			Message: fmt.Sprintf("The pool did not reach its targets in time: %d nodes are missing, %d have not left yet", missing, leaving),
		}}
	case !canMake:
		d.dedicated, d.lowPriority = 0, 0
	}
	return d
}

func kindOf(n state.NodeInfo) int {
	if n.NodeRecord.Node.GetIsDedicated() {
		return 1
	}
	return 0
}

// compare sets how many nodes are to be made and which are to leave; it returns how many are missing.
func (d *decision) compare(stay [2][]state.NodeInfo, targets [2]int) (missing int) {
	for kind, nodes := range stay {
		short := targets[kind] - len(nodes)
		if short > 0 {
			missing += short
			if kind == 1 {
				d.dedicated = short
			} else {
				d.lowPriority = short
			}
		} else if short < 0 {
			d.leave = append(d.leave, leastBusy(nodes, -short)...)
		}
	}
	return missing
}

// leastBusy chooses the nodes whose removal disturbs least: those that can't run tasks, then those with the fewest tasks.
func leastBusy(nodes []state.NodeInfo, n int) []string {
	sorted := append([]state.NodeInfo(nil), nodes...)
	sort.SliceStable(sorted, func(a, b int) bool {
		if works(sorted[a]) != works(sorted[b]) {
			return works(sorted[b])
		}
		return sorted[a].Held < sorted[b].Held
	})
	ids := make([]string, n)
	for i := range ids {
		ids[i] = sorted[i].NodeRecord.Node.Id
	}
	return ids
}

func works(n state.NodeInfo) bool {
	switch n.NodeRecord.Node.State {
	case apiv1.NodeState_NODE_STATE_IDLE, apiv1.NodeState_NODE_STATE_RUNNING:
		return true
	}
	return false
}
