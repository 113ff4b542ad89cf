package storage

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"time"
)

// Retry bounds how often a transfer is tried and how long it waits in between. Zero fields take the defaults.
type Retry struct {
	Attempts int           // in all, without progress in between; default 5
	Base     time.Duration // the first wait, doubled every time; default 200 ms
	Max      time.Duration // the longest wait; default 10 s
}

func (r Retry) withDefaults() Retry {
	if r.Attempts <= 0 {
		r.Attempts = 5
	}
	if r.Base <= 0 {
		r.Base = 200 * time.Millisecond
	}
	if r.Max <= 0 {
		r.Max = 10 * time.Second
	}
	return r
}

// wait sleeps before retry number n (from 1), between half and all of the doubled base, so that nodes that failed
// together do not come back together.
func (r Retry) wait(ctx context.Context, n int) error {
	d := min(r.Base<<min(n-1, 20), r.Max)
	t := time.NewTimer(d/2 + rand.N(d/2+1))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

var errStalled = errors.New("no byte moved for too long")

// watch cancels a transfer in which nothing moves.
type watch struct {
	limit  time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

func newWatch(ctx context.Context, limit time.Duration) (context.Context, *watch) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &watch{limit: limit, cancel: cancel, timer: time.AfterFunc(limit, func() { cancel(errStalled) })}
}

func (w *watch) moved() { w.timer.Reset(w.limit) }

func (w *watch) stop() {
	w.timer.Stop()
	w.cancel(nil)
}

// explain turns the cancellation that a stall caused into a timeout.
func explain(ctx context.Context, op, key string, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errStalled) {
		return &Error{Op: op, Key: key, Kind: ErrTimeout, Err: errStalled}
	}
	return Fail(op, key, err)
}

// watched resets the watch whenever bytes arrive.
type watched struct {
	io.Reader
	w *watch
}

func (r watched) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.w.moved()
	}
	return n, err
}
