package session

import (
	"sync"
	"time"
)

// maxBeats bounds how many heartbeats are remembered; a session with more unanswered ones has ended.
const maxBeats = 64

// beats are the heartbeats that are not acknowledged. Times are monotonic readings.
type beats struct {
	mu     sync.Mutex
	last   uint64
	sent   map[uint64]time.Time
	answer time.Time // when the last acknowledged message was sent
}

func (b *beats) start(at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent = map[uint64]time.Time{}
	b.answer = at
}

func (b *beats) next(at time.Time) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last++
	b.sent[b.last] = at
	delete(b.sent, b.last-maxBeats)
	return b.last
}

// acknowledged gives the time at which a heartbeat was sent: the lease counts from there, since the coordinator's does
// not count from later.
func (b *beats) acknowledged(number uint64) (sent time.Time, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	sent, ok = b.sent[number]
	if !ok {
		return time.Time{}, false
	}
	for n := range b.sent {
		if n <= number {
			delete(b.sent, n)
		}
	}
	b.answer = sent
	return sent, true
}

func (b *beats) answered() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.answer
}
