package pools

import (
	"math"
	"slices"
	"time"

	"github.com/batchyard/batchyard/coordinator/pools/formula"
	"github.com/batchyard/batchyard/coordinator/state"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// sampled are the variables that pools have samples of.
var sampled = [...]string{
	formula.CPUPercent, formula.ActiveTasks, formula.RunningTasks, formula.PendingTasks, formula.SucceededTasks, formula.FailedTasks,
	formula.TaskSlotsPerNode, formula.CurrentDedicatedNodes, formula.CurrentLowPriorityNodes, formula.PreemptedNodeCount, formula.UsableNodeCount,
}

// row is one sample of each variable, in the order of sampled; NaN where nothing is known.
type row struct {
	at     time.Time
	values [len(sampled)]float64
}

// Loads is what nodes say of themselves.
type Loads interface {
	// CPU is how busy a node's processors are, in percent; false where it has not said so.
	CPU(nodeUID uint64) (float64, bool)
}

// measure takes a sample of everything that formulas read.
func measure(at time.Time, p state.PoolInfo, work state.PoolLoad, nodes []state.NodeInfo, loads Loads) row {
	preempted, usable := 0, 0
	cpu, told := 0.0, 0
	for _, n := range nodes {
		switch n.NodeRecord.Node.State {
		case apiv1.NodeState_NODE_STATE_PREEMPTED:
			preempted++
		case apiv1.NodeState_NODE_STATE_IDLE, apiv1.NodeState_NODE_STATE_RUNNING:
			usable++
		}
		if percent, ok := loads.CPU(n.Uid); ok {
			cpu += percent / 100
			told++
		}
	}
	average := math.NaN()
	if told > 0 {
		average = cpu / float64(told)
	}
	return row{at: at, values: [...]float64{
		average, float64(work.Active), float64(work.Running), float64(work.Active + work.Running), float64(work.Succeeded), float64(work.Failed),
		float64(max(1, p.Pool.GetTaskSlotsPerNode())), float64(p.Dedicated), float64(p.LowPriority), float64(preempted), float64(usable),
	}}
}

// keptSamples bounds the history of a pool: three hours at two samples a minute.
const keptSamples = 360

// history is what formulas know of a pool: past samples, oldest first, and how things are at present.
type history struct {
	rows    []row
	present row
}

// add takes in a sample and forgets the oldest.
func (h *history) add(r row) {
	if len(h.rows) >= 2*keptSamples {
		h.rows = slices.Clone(h.rows[len(h.rows)-keptSamples:])
	}
	h.rows = append(h.rows, r)
}

// kept are the samples that count.
func (h *history) kept() []row { return h.rows[max(0, len(h.rows)-keptSamples):] }

// Samples implements formula.History.
func (h *history) Samples(variable string) []formula.Sample {
	i := slices.Index(sampled[:], variable)
	if i < 0 {
		return nil
	}
	var out []formula.Sample
	for _, r := range h.kept() {
		if v := r.values[i]; !math.IsNaN(v) {
			out = append(out, formula.Sample{Time: r.at, Value: v})
		}
	}
	return out
}

// Latest implements formula.History.
func (h *history) Latest(variable string) (float64, bool) {
	i := slices.Index(sampled[:], variable)
	if i < 0 || math.IsNaN(h.present.values[i]) {
		return 0, false
	}
	return h.present.values[i], true
}
