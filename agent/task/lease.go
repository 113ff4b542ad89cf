package task

import (
	"context"
	"errors"
	"sync"
	"time"
)

// errLeaseOver ends the context of an upload.
var errLeaseOver = errors.New("the node's lease is over")

// lease is the node's right to begin attempts and to publish outputs. It is safe for concurrent use.
type lease struct {
	mu    sync.Mutex
	until time.Time // with a monotonic reading
}

func (l *lease) valid(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return now.Before(l.until)
}

func (l *lease) renew(until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until.After(l.until) {
		l.until = until
	}
}

func (l *lease) end() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until
}

// context ends with errLeaseOver as its cause when the lease does, however often it is renewed before.
func (l *lease) context(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	var mu sync.Mutex
	var timer *time.Timer
	check := func() {
		mu.Lock()
		defer mu.Unlock()
		left := time.Until(l.end())
		if left <= 0 {
			cancel(errLeaseOver)
			return
		}
		timer.Reset(left)
	}
	mu.Lock()
	timer = time.AfterFunc(time.Until(l.end()), check)
	mu.Unlock()
	return ctx, func() {
		mu.Lock()
		timer.Stop()
		mu.Unlock()
		cancel(nil)
	}
}
