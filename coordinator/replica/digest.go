package replica

import (
	"context"
	"sync/atomic"
	"time"
)

// ringSize is how many digests a replica remembers. A leader's digest entry arrives within a few entries of the one that
// it is about.
const ringSize = 4096

// digestRing remembers the digests after the last entries that carried commands.
type digestRing struct {
	slots [ringSize]struct {
		index uint64
		sum   [32]byte
	}
}

func (r *digestRing) add(index uint64, sum [32]byte) {
	slot := &r.slots[index%ringSize]
	slot.index, slot.sum = index, sum
}

func (r *digestRing) at(index uint64) (sum [32]byte, known bool) {
	slot := &r.slots[index%ringSize]
	return slot.sum, slot.index == index && index > 0
}

// digestPublisher makes the leader propose its digest from time to time, for every replica to compare with its own.
type digestPublisher struct {
	limits  Digests
	machine Machine
	ready   func() bool
	propose func(sum checkpointDigest)

	due  chan struct{}
	seen atomic.Uint64 // applied index when a comparison was last asked for
}

func newDigestPublisher(limits Digests, machine Machine, ready func() bool, propose func(checkpointDigest)) *digestPublisher {
	return &digestPublisher{limits: limits, machine: machine, ready: ready, propose: propose, due: make(chan struct{}, 1)}
}

// applied asks for a comparison after enough entries.
func (p *digestPublisher) applied(index uint64) {
	if index-min(index, p.seen.Load()) < p.limits.Entries {
		return
	}
	p.seen.Store(index)
	select {
	case p.due <- struct{}{}:
	default:
	}
}

func (p *digestPublisher) run(ctx context.Context) {
	ticker := time.NewTicker(p.limits.Interval)
	defer ticker.Stop()
	var published uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-p.due:
		}
		index, sum := p.machine.Digest()
		if index == published || !p.ready() {
			continue
		}
		published = index
		p.propose(checkpointDigest{index: index, sum: sum})
	}
}
