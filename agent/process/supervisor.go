package process

import (
	"context"
	"log/slog"
	"sync"
	"time"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

// supervisor holds the attempts of one node.
type supervisor struct {
	cfg           ServeConfig
	log           *slog.Logger
	machine       *machine
	journal       *journal
	background    sync.WaitGroup
	shutdownAsked chan struct{}
	// pumpWake and watchWake hold at most one token each.
	pumpWake  chan struct{}
	watchWake chan struct{}

	mu       sync.Mutex
	attempts map[string]*attempt
	running  map[int]*attempt // by pid
	// lingering are those whose main process has ended and whose other processes go on, by id.
	lingering map[string]*attempt
	// early holds the exits of children whose start has not been noted yet, while spawning is not 0.
	early    map[int]exit
	spawning int
	queue    []*attempt
	queued   sync.Cond
	outbox   []outgoing
	acked    []string
	conns    map[*conn]struct{}
	lease    lease
	phase    phase
}

// phase of a supervisor only grows.
type phase uint8

const (
	serving  phase = iota
	draining       // nothing starts any more
	ended          // nothing is held by a process any more
)

// outgoing is an event on its way to the journal and the connections, or to one of them only.
type outgoing struct {
	event *agentv1.SupervisorEvent
	only  *conn
	// again: the event is in the journal already.
	again bool
}

// lease is the node's right to run attempts.
type lease struct {
	end   int64 // on the boot clock; 0: none
	grace time.Duration
	over  bool
}

func newSupervisor(ctx context.Context, cfg ServeConfig) (*supervisor, error) {
	s := &supervisor{
		cfg: cfg, log: cfg.Logger,
		shutdownAsked: make(chan struct{}),
		pumpWake:      make(chan struct{}, 1), watchWake: make(chan struct{}, 1),
		attempts: map[string]*attempt{}, running: map[int]*attempt{}, lingering: map[string]*attempt{}, early: map[int]exit{},
		conns: map[*conn]struct{}{},
	}
	s.queued.L = &s.mu
	if err := s.takeOver(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// begin takes a request to start an attempt, and returns it if it is new.
func (s *supervisor) begin(spec *agentv1.StartProcess, from *conn) *attempt {
	if a := s.attempts[spec.GetAttemptId()]; a != nil {
		for _, e := range a.events() {
			s.emit(outgoing{event: e, only: from, again: true})
		}
		return nil
	}
	a := &attempt{id: spec.GetAttemptId(), spec: spec, grace: time.Duration(spec.GetGraceNanos()), lingers: spec.GetLingers()}
	a.gone = make(chan struct{})
	kind, message := agentv1.StartFailure_START_FAILURE_UNSPECIFIED, ""
	switch err := checkSpec(spec); {
	case err != nil:
		kind, message = agentv1.StartFailure_START_FAILURE_INVALID, err.Error()
	case s.phase != serving:
		kind, message = agentv1.StartFailure_START_FAILURE_SHUTTING_DOWN, "the supervisor is shutting down"
	case s.lease.over:
		kind, message = agentv1.StartFailure_START_FAILURE_LEASE_OVER, "the node's lease is over"
	}
	if kind != agentv1.StartFailure_START_FAILURE_UNSPECIFIED {
		// Not held: what is wrong now can be right at the next try.
		s.emit(outgoing{event: failedEvent(a.id, kind, message), only: from, again: true})
		return nil
	}
	s.attempts[a.id] = a
	return a
}

// enqueue hands new attempts to the spawners once their intent is on disk.
func (s *supervisor) enqueue(batch []*attempt) {
	if len(batch) == 0 {
		return
	}
	records := make([]*agentv1.SupervisorRecord, len(batch))
	for i, a := range batch {
		records[i] = a.intent()
	}
	err := s.journal.append(records...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.log.Error("cannot record starts", "error", err)
		for _, a := range batch {
			s.failed(a, agentv1.StartFailure_START_FAILURE_LAUNCH_FAILED, err.Error())
		}
		return
	}
	s.queue = append(s.queue, batch...)
	s.queued.Broadcast()
}

// spawn starts queued attempts until endSpawners.
func (s *supervisor) spawn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(s.queue) == 0 {
			if s.phase == ended {
				return
			}
			s.queued.Wait()
		}
		a := s.queue[0]
		s.queue[0] = nil
		s.queue = s.queue[1:]
		if a.stopping() {
			s.end(a, exit{code: exitOnSignal + terminateSignal, signal: terminateSignal})
			continue
		}
		s.spawning++
		s.mu.Unlock()
		wall := time.Now().UnixNano()
		c, err := s.machine.start(a.spec)
		s.mu.Lock()
		s.spawning--
		if err != nil {
			s.failed(a, err.kind, err.message)
		} else {
			s.started(a, c, wall)
		}
		if s.spawning == 0 {
			clear(s.early)
		}
	}
}

// started notes a process; s.mu is held.
func (s *supervisor) started(a *attempt, c *child, wall int64) {
	a.child = c
	a.start = &agentv1.ProcessStarted{
		AttemptId: a.id, Pid: int32(c.pid), StartedAt: wall, CreatedFrom: c.from, CreatedTo: c.to,
	}
	s.emit(outgoing{event: &agentv1.SupervisorEvent{Event: &agentv1.SupervisorEvent_Started{Started: a.start}}})
	limit := a.spec.GetMaxWallClockNanos()
	a.forgetSpec()
	if limit > 0 {
		a.wallAt = c.to + limit
		wake(s.watchWake)
	}
	if e, ok := s.early[c.pid]; ok {
		delete(s.early, c.pid)
		s.leave(a, e)
		return
	}
	s.running[c.pid] = a
	if a.stopping() {
		s.terminate(a)
	}
}

// onExit is told of every child that has ended.
func (s *supervisor) onExit(e exit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.running[e.pid]
	if a == nil {
		if s.spawning > 0 {
			s.early[e.pid] = e
		}
		return
	}
	delete(s.running, e.pid)
	s.leave(a, e)
}

// leave ends an attempt whose main process has ended, at once if it was the last of its tree; s.mu is held.
func (s *supervisor) leave(a *attempt, e exit) {
	e.at = time.Now().UnixNano()
	if a.lingers && e.code == 0 && !a.stopping() {
		a.left = &agentv1.ProcessLingers{AttemptId: a.id, At: e.at}
		s.lingering[a.id] = a
		s.emit(outgoing{event: &agentv1.SupervisorEvent{Event: &agentv1.SupervisorEvent_Lingers{Lingers: a.left}}})
		return
	}
	if s.machine.empty(a.child) {
		s.end(a, e)
		return
	}
	s.background.Go(func() {
		s.log.Debug("an attempt left processes behind", "attempt", a.id)
		s.sweep(a.child)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.end(a, e)
	})
}

// end reports an attempt of which nothing runs any more; s.mu is held.
func (s *supervisor) end(a *attempt, e exit) {
	if a.child != nil {
		s.machine.release(a.child)
		a.child = nil
	}
	if e.at == 0 {
		e.at = time.Now().UnixNano()
	}
	a.exit = a.exited(e)
	a.forgetSpec()
	close(a.gone)
	s.emit(outgoing{event: &agentv1.SupervisorEvent{Event: &agentv1.SupervisorEvent_Exited{Exited: a.exit}}})
}

// failed reports an attempt that could not be started; s.mu is held.
func (s *supervisor) failed(a *attempt, kind agentv1.StartFailure, message string) {
	event := failedEvent(a.id, kind, message)
	a.failure = event.GetStartFailed()
	a.forgetSpec()
	close(a.gone)
	s.emit(outgoing{event: event})
}

// forget drops attempts that have ended; s.mu is held.
func (s *supervisor) forget(ids []string) {
	for _, id := range ids {
		if a := s.attempts[id]; a != nil && a.over() {
			delete(s.attempts, id)
			s.acked = append(s.acked, id)
		}
	}
	wake(s.pumpWake)
}

// emit puts an event on its way; s.mu is held.
func (s *supervisor) emit(o outgoing) {
	s.outbox = append(s.outbox, o)
	wake(s.pumpWake)
}

// wake puts the token into a channel that holds at most one.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
