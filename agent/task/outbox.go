package task

import (
	"sync"
	"time"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

// runningLinger is how long "running" is held back: a task that ends meanwhile is reported once instead of twice.
const runningLinger = 20 * time.Millisecond

// Outbox holds the newest report of each attempt until it is acknowledged. One session at a time reads it. It is safe for
// concurrent use.
type Outbox struct {
	mu      sync.Mutex
	entries map[Ref]*entry
	final   []*entry // to be sent, in the order in which they came
	running []*entry // to be sent once they have lingered
	sent    map[uint64][]delivery
	signal  chan struct{}
	timer   *time.Timer
	now     func() time.Time

	committed func([]Ref) // the newest reports of these attempts are acknowledged
}

type entry struct {
	ref     Ref
	report  *agentv1.AttemptReport
	version uint64 // grows with every change
	since   time.Time
	waiting bool // in one of the lists
}

// delivery is the version of an entry that travelled in a batch.
type delivery struct {
	entry   *entry
	version uint64
}

func newOutbox(now func() time.Time, committed func([]Ref)) *Outbox {
	o := &Outbox{
		entries: map[Ref]*entry{}, sent: map[uint64][]delivery{}, signal: make(chan struct{}, 1), now: now, committed: committed,
	}
	o.timer = time.AfterFunc(time.Hour, o.wake)
	o.timer.Stop()
	return o
}

// Ready is sent to when Take may have something.
func (o *Outbox) Ready() <-chan struct{} { return o.signal }

func (o *Outbox) wake() {
	select {
	case o.signal <- struct{}{}:
	default:
	}
}

// put makes reports the newest of their attempts.
func (o *Outbox) put(refs []Ref, reports []*agentv1.AttemptReport) {
	if len(refs) == 0 {
		return
	}
	o.mu.Lock()
	now := o.now()
	final := false
	for i, ref := range refs {
		e := o.entries[ref]
		if e == nil {
			e = &entry{ref: ref}
			o.entries[ref] = e
		}
		running := reports[i].GetPhase() == agentv1.AttemptPhase_ATTEMPT_PHASE_RUNNING
		// An entry that lingers as running and has ended goes into the other list; Take passes over the first place.
		if !e.waiting || (!running && e.report.GetPhase() == agentv1.AttemptPhase_ATTEMPT_PHASE_RUNNING) {
			e.since = now
			if running {
				o.running = append(o.running, e)
			} else {
				o.final = append(o.final, e)
			}
		}
		e.report, e.waiting = reports[i], true
		e.version++
		final = final || !running
	}
	o.mu.Unlock()
	if final {
		o.wake()
	} else {
		o.timer.Reset(runningLinger)
	}
}

// Rewind makes everything that is not acknowledged ready to be sent again: a new session begins.
func (o *Outbox) Rewind() {
	o.mu.Lock()
	o.final, o.running = o.final[:0], o.running[:0]
	clear(o.sent)
	for _, e := range o.entries {
		e.waiting = true
		o.final = append(o.final, e)
	}
	o.mu.Unlock()
	o.wake()
}

// Take gives at most limit reports to be sent as the batch of that number, which must not have been used in this session.
func (o *Outbox) Take(batch uint64, limit int) []*agentv1.AttemptReport {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []*agentv1.AttemptReport
	var deliveries []delivery
	take := func(e *entry) {
		e.waiting = false
		out = append(out, e.report)
		deliveries = append(deliveries, delivery{entry: e, version: e.version})
	}
	n := 0
	for ; n < len(o.final) && len(out) < limit; n++ {
		if e := o.final[n]; e.waiting {
			take(e)
		}
	}
	o.final = o.final[:copy(o.final, o.final[n:])]
	now := o.now()
	for n = 0; n < len(o.running) && len(out) < limit; n++ {
		e := o.running[n]
		if !e.waiting || e.report.GetPhase() != agentv1.AttemptPhase_ATTEMPT_PHASE_RUNNING {
			continue // it has ended and went with the others, or will
		}
		if now.Sub(e.since) < runningLinger {
			o.timer.Reset(runningLinger)
			break
		}
		take(e)
	}
	o.running = o.running[:copy(o.running, o.running[n:])]
	if len(out) > 0 {
		o.sent[batch] = deliveries
	}
	if len(out) == limit {
		o.wake()
	}
	return out
}

// Committed says that the coordinator has committed a batch. Reports that are newer than what it held stay.
func (o *Outbox) Committed(batch uint64) {
	o.mu.Lock()
	var done []Ref
	for _, d := range o.sent[batch] {
		if d.entry.version != d.version || o.entries[d.entry.ref] != d.entry {
			continue
		}
		delete(o.entries, d.entry.ref)
		if d.entry.report.GetPhase() != agentv1.AttemptPhase_ATTEMPT_PHASE_RUNNING {
			done = append(done, d.entry.ref)
		}
	}
	delete(o.sent, batch)
	o.mu.Unlock()
	if len(done) > 0 {
		o.committed(done)
	}
}

// Len is how many attempts have a report that is not acknowledged.
func (o *Outbox) Len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.entries)
}
