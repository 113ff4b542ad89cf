package pools

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/coordinator/state"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

var testNow = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// nodesOf makes nodes from words: d or l (dedicated, low priority), then what is to be said of them: i idle, r running, s starting, u unusable,
// x leaving, and a digit for the attempts that they hold. They are named by their place.
func nodesOf(text string) (out []state.NodeInfo) {
	for i, spec := range strings.Fields(text) {
		dedicated := spec[0] == 'd'
		n := state.NodeInfo{NodeRecord: &raftlogv1.NodeRecord{Node: &apiv1.Node{Id: fmt.Sprint(i), IsDedicated: &dedicated}, Uid: uint64(i + 1)}}
		for _, c := range spec[1:] {
			switch c {
			case 'i':
				n.NodeRecord.Node.State = apiv1.NodeState_NODE_STATE_IDLE
			case 'r':
				n.NodeRecord.Node.State = apiv1.NodeState_NODE_STATE_RUNNING
			case 's':
				n.NodeRecord.Node.State = apiv1.NodeState_NODE_STATE_STARTING
			case 'u':
				n.NodeRecord.Node.State = apiv1.NodeState_NODE_STATE_UNUSABLE
			case 'x':
				n.Leaving = true
			default:
				n.Held = int(c - '0')
			}
		}
		out = append(out, n)
	}
	return out
}

// shown writes a decision in one line.
func shown(d decision) string {
	var gone []string
	for _, n := range d.gone {
		gone = append(gone, n.NodeRecord.Node.Id)
	}
	text := fmt.Sprintf("make %d+%d leave [%s] gone [%s]", d.dedicated, d.lowPriority, strings.Join(d.leave, " "), strings.Join(gone, " "))
	if d.finish {
		text += " finish"
	}
	for _, e := range d.errors {
		text += " " + e.Code
	}
	return text
}

func TestDecide(t *testing.T) {
	const (
		steady   = apiv1.AllocationState_ALLOCATION_STATE_STEADY
		resizing = apiv1.AllocationState_ALLOCATION_STATE_RESIZING
		stopping = apiv1.AllocationState_ALLOCATION_STATE_STOPPING
	)
	for _, c := range []struct {
		name            string
		state           apiv1.AllocationState
		dedicated, spot int32
		nodes           string
		machinesJoin    bool
		late, goingAway bool
		want            string
	}{
		{"an empty pool that is to be empty", resizing, 0, 0, "", false, false, false, "make 0+0 leave [] gone [] finish"},
		{"all are missing", resizing, 3, 2, "", false, false, false, "make 3+2 leave [] gone []"},
		{"some are missing", resizing, 3, 2, "di ds lr", false, false, false, "make 1+1 leave [] gone []"},
		{"as many as wanted", resizing, 2, 1, "di ds lr1", false, false, false, "make 0+0 leave [] gone [] finish"},
		{"too many of one kind, too few of the other", resizing, 1, 2, "di di li", false, false, false, "make 0+1 leave [0] gone []"},
		{"those that can't run tasks leave first", resizing, 1, 0, "dr1 di dr2 du", false, false, false, "make 0+0 leave [3 1 0] gone []"},
		{"leaving ones are not wanted", resizing, 1, 0, "dx1 di", false, false, false, "make 0+0 leave [] gone []"},
		{"a leaving one is replaced", resizing, 2, 0, "dx1 di", false, false, false, "make 1+0 leave [] gone []"},
		{"a leaving one has let go", resizing, 1, 0, "dx di", false, false, false, "make 0+0 leave [] gone [0]"},
		{"machines join by themselves", resizing, 2, 0, "di", true, false, false, "make 0+0 leave [] gone []"},
		{"machines that joined are too many", resizing, 0, 0, "di", true, false, false, "make 0+0 leave [0] gone []"},
		{"out of time", resizing, 2, 0, "di", false, true, false, "make 0+0 leave [] gone [] finish AllocationTimedout"},
		{"out of time while one leaves", resizing, 1, 0, "di dx1", false, true, false, "make 0+0 leave [] gone [] finish AllocationTimedout"},
		{"out of time and too many", resizing, 1, 0, "di di", false, true, false, "make 0+0 leave [0] gone [] finish AllocationTimedout"},
		{"done just in time", resizing, 1, 0, "di", false, true, false, "make 0+0 leave [] gone [] finish"},
		{"a pool that goes away has no deadline", resizing, 0, 0, "dx1", false, true, true, "make 0+0 leave [] gone []"},
		{"stopped", stopping, 5, 0, "di dx", false, false, false, "make 0+0 leave [] gone [1] finish ResizeStopped"},
		{"steady, too few", steady, 5, 0, "di", false, false, false, "make 0+0 leave [] gone []"},
		{"steady, one has let go", steady, 1, 0, "di dx", false, false, false, "make 0+0 leave [] gone [1]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := state.PoolInfo{PoolRecord: &raftlogv1.PoolRecord{
				ResizeDeadline: testNow.Add(time.Second).UnixNano(),
				Pool: &apiv1.Pool{
					State: apiv1.PoolState_POOL_STATE_ACTIVE, AllocationState: c.state, TargetDedicatedNodes: &c.dedicated, TargetLowPriorityNodes: &c.spot,
				},
			}}
			now := testNow
			if c.late {
				now = now.Add(time.Second)
			}
			if c.goingAway {
				p.Pool.State = apiv1.PoolState_POOL_STATE_DELETING
			}
			require.Equal(t, c.want, shown(decide(p, nodesOf(c.nodes), now, !c.machinesJoin)))
		})
	}
}

func TestLeastBusy(t *testing.T) {
	nodes := nodesOf("dr3 di ds dr1 du9 di")
	require.Equal(t, []string{"2", "4", "1", "5", "3", "0"}, leastBusy(nodes, 6), "what can't run tasks goes first, then by the tasks held")
	require.Equal(t, []string{"2", "4"}, leastBusy(nodes, 2))
}
