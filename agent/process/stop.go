package process

import (
	"context"
	"math"
	"time"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

// stop asks an attempt to end and has it killed when the grace is over; s.mu is held. A later stop shortens the grace.
func (s *supervisor) stop(a *attempt, grace time.Duration, why agentv1.ProcessEnd) {
	if a.over() {
		return
	}
	now := bootClock()
	killAt := now + max(0, int64(grace))
	if killAt < now {
		killAt = math.MaxInt64
	}
	first := !a.stopping()
	if first {
		a.why, a.killAt = why, killAt
		s.log.Info("stopping an attempt", "attempt", a.id, "why", why.String(), "grace", grace)
	}
	a.killAt = min(a.killAt, killAt)
	if a.child == nil {
		// Not started yet: started finds the wish.
		return
	}
	if first || grace <= 0 {
		s.terminate(a)
	}
	if first && a.left != nil {
		s.awaitLeft(a)
	}
	wake(s.watchWake)
}

// awaitLeft ends an attempt that lingers once nothing of it runs any more; s.mu is held.
func (s *supervisor) awaitLeft(a *attempt) {
	c := a.child
	s.background.Go(func() {
		for pause := firstPause; !s.machine.deserted(c); pause = min(2*pause, lastPause) {
			time.Sleep(pause)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.lingering, a.id)
		s.end(a, exit{})
	})
}

// terminate asks the processes of an attempt to end, or kills them if its grace is over; s.mu is held.
func (s *supervisor) terminate(a *attempt) {
	if a.killAt <= bootClock() {
		s.kill(a)
		return
	}
	c := a.child
	s.background.Go(func() { s.machine.terminate(c) })
	wake(s.watchWake)
}

// kill ends all processes of an attempt, again and again until they are gone; s.mu is held.
func (s *supervisor) kill(a *attempt) {
	if a.killed {
		return
	}
	a.killed = true
	c := a.child
	s.background.Go(func() {
		for pause := firstPause; ; pause = min(2*pause, lastPause) {
			s.machine.kill(c)
			select {
			case <-a.gone:
				return
			case <-time.After(pause):
			}
		}
	})
}

const (
	firstPause = time.Millisecond
	lastPause  = 100 * time.Millisecond
)

// sweep kills what the main process left behind and returns when nothing of it runs.
func (s *supervisor) sweep(c *child) {
	pause := firstPause
	for begun := time.Now(); ; pause = min(2*pause, lastPause) {
		s.machine.kill(c)
		if s.machine.deserted(c) {
			return
		}
		if time.Since(begun) > sweepPatience {
			s.log.Warn("processes of an attempt do not die", "pid", c.pid)
			begun = time.Now()
		}
		time.Sleep(pause)
	}
}

const sweepPatience = 10 * time.Second

// watch stops attempts whose wall-clock limit or grace is over, and all of them at the end of the lease.
func (s *supervisor) watch(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.watchWake:
		case <-timer.C:
		}
		s.mu.Lock()
		next := s.due(bootClock())
		s.mu.Unlock()
		if next != math.MaxInt64 {
			// Never longer than a second: the clock behind timers stands still while the machine is suspended.
			timer.Reset(min(max(time.Duration(next-bootClock()), 0), time.Second))
		}
	}
}

// due does what is due at now, and says when something is next; s.mu is held.
func (s *supervisor) due(now int64) int64 {
	next := int64(math.MaxInt64)
	if s.lease.end != 0 && !s.lease.over {
		if s.lease.end <= now {
			s.lease.over = true
			s.log.Warn("the lease is over; stopping all attempts", "attempts", len(s.attempts))
			for _, a := range s.attempts {
				s.stop(a, s.lease.grace, agentv1.ProcessEnd_PROCESS_END_LEASE)
			}
		} else {
			next = s.lease.end
		}
	}
	for _, a := range s.running {
		next = min(next, s.dueOf(a, now))
	}
	for _, a := range s.lingering {
		next = min(next, s.dueOf(a, now))
	}
	return next
}

// dueOf does what is due at now for an attempt, and says when something is next; s.mu is held.
func (s *supervisor) dueOf(a *attempt, now int64) int64 {
	next := int64(math.MaxInt64)
	if a.wallAt != 0 && a.wallAt <= now {
		a.wallAt = 0
		s.stop(a, a.grace, agentv1.ProcessEnd_PROCESS_END_WALL_CLOCK)
	}
	if a.killAt != 0 && a.killAt <= now {
		s.kill(a)
		return next
	}
	for _, at := range []int64{a.wallAt, a.killAt} {
		if at != 0 {
			next = min(next, at)
		}
	}
	return next
}

// renew starts the lease anew; s.mu is held.
func (s *supervisor) renew(r *agentv1.RenewLease) {
	s.lease = lease{grace: time.Duration(r.GetStopGraceNanos())}
	if d := r.GetDurationNanos(); d > 0 {
		s.lease.end = bootClock() + d
		if s.lease.end < 0 {
			s.lease.end = math.MaxInt64
		}
	}
	wake(s.watchWake)
}

// remaining is how long the lease lasts, as ProcessList says it; s.mu is held.
func (s *supervisor) remaining() int64 {
	switch left := s.lease.end - bootClock(); {
	case s.lease.end == 0:
		return 0
	case s.lease.over || left <= 0:
		return -1
	default:
		return left
	}
}

// drain stops every attempt and returns when all are over.
func (s *supervisor) drain() {
	s.mu.Lock()
	s.phase = draining
	var waits []chan struct{}
	for _, a := range s.attempts {
		if a.over() {
			continue
		}
		grace := a.grace
		if s.cfg.ShutdownGrace > 0 {
			grace = min(grace, s.cfg.ShutdownGrace)
		}
		s.stop(a, grace, agentv1.ProcessEnd_PROCESS_END_SHUTDOWN)
		waits = append(waits, a.gone)
	}
	s.mu.Unlock()
	for _, gone := range waits {
		<-gone
	}
}

func (s *supervisor) endSpawners() {
	s.mu.Lock()
	s.phase = ended
	s.queued.Broadcast()
	s.mu.Unlock()
}
