package replica

import (
	"context"
	"sync"
)

// broadcast wakes everybody who waits for the next change. The zero value is ready.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{} // guarded by mu; nil while nobody waits
}

// next returns a channel that the next notify closes. Take it before looking at what may change.
func (b *broadcast) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *broadcast) notify() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}

// progress is an index that can be waited for.
type progress struct {
	mu      sync.Mutex
	index   uint64 // guarded by mu
	changed broadcast
}

func (p *progress) set(index uint64) {
	p.mu.Lock()
	p.index = index
	p.mu.Unlock()
	p.changed.notify()
}

func (p *progress) get() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.index
}

// wait returns when the index has reached at least target, or with the context's error.
func (p *progress) wait(ctx context.Context, target uint64) error {
	for {
		changed := p.changed.next()
		if p.get() >= target {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
