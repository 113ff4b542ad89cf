package replica

import (
	"context"
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

// publishDigests proposes the leader's digest from time to time, for every replica to compare with its own.
func (r *Replica) publishDigests(ctx context.Context) {
	ticker := time.NewTicker(r.cfg.Digests.Interval)
	defer ticker.Stop()
	var published uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-r.digestDue:
		}
		r.digestAt.Store(r.fsm.applied.get())
		index, sum := r.cfg.Machine.Digest()
		if index == published || !r.leaders.ready() {
			continue
		}
		published = index
		// Nobody waits for the outcome: a lost comparison is made up for by the next.
		r.raft.Apply(sealDigest(checkpointDigest{index: index, sum: sum, by: r.cfg.ID}), 0)
	}
}

// digestWhenDue asks for a comparison after enough entries. The caller is the goroutine that applies entries.
func (r *Replica) digestWhenDue(applied uint64) {
	if applied-min(applied, r.digestAt.Load()) < r.cfg.Digests.Entries {
		return
	}
	select {
	case r.digestDue <- struct{}{}:
	default:
	}
}
