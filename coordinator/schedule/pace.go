package schedule

import (
	"time"

	"github.com/batchyard/batchyard/coordinator/state"
)

const (
	// aheadTime is how long the tasks given ahead should last a node: a few round trips.
	aheadTime = 100 * time.Millisecond
	maxAhead  = 512
	// stuckAfter is how long a node may sit on tasks that it has not started before they are asked back for a node with room.
	stuckAfter = 250 * time.Millisecond
	paceWindow = 50 * time.Millisecond
)

// pace measures how fast each node finishes tasks, from how many it was given and how many it holds. Tasks are given ahead only to nodes that finish many
// within a round trip: elsewhere an empty slot costs nothing that could be noticed.
type pace struct {
	nodes map[uint64]*nodePace
}

type nodePace struct {
	held, given    int
	windowStart    time.Time
	windowFinished int
	perSecond      float64
	lastFinished   time.Time
}

func newPace() *pace { return &pace{nodes: map[uint64]*nodePace{}} }

// observe takes in what the nodes of a pool hold now and returns how many tasks each may be given ahead.
func (p *pace) observe(nodes []state.NodeRoom, now time.Time) map[uint64]int {
	ahead := map[uint64]int{}
	for _, n := range nodes {
		np := p.nodes[n.UID]
		if np == nil {
			np = &nodePace{held: n.Held, windowStart: now, lastFinished: now}
			p.nodes[n.UID] = np
		}
		np.observe(n.Held, now)
		if k := int(np.perSecond * aheadTime.Seconds()); k > int(n.Slots)/2 {
			ahead[n.UID] = min(k, maxAhead)
		}
	}
	return ahead
}

func (n *nodePace) observe(held int, now time.Time) {
	if done := n.held + n.given - held; done > 0 {
		n.windowFinished += done
		n.lastFinished = now
	}
	n.held, n.given = held, 0
	if elapsed := now.Sub(n.windowStart); elapsed >= paceWindow {
		rate := float64(n.windowFinished) / elapsed.Seconds()
		n.perSecond = (n.perSecond + rate) / 2
		n.windowStart, n.windowFinished = now, 0
	}
}

func (p *pace) gave(node uint64, tasks int) {
	if np := p.nodes[node]; np != nil {
		np.given += tasks
	}
}

// stuck says whether a node that holds more than its slots has finished nothing for a while.
func (p *pace) stuck(n state.NodeRoom, now time.Time) bool {
	np := p.nodes[n.UID]
	return n.Used > n.Slots && np != nil && now.Sub(np.lastFinished) >= stuckAfter
}
