package replica

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Barrier returns when the machine holds every command that anybody saw succeed before the call, so that a read of it is
// linearizable. Only the leader can do that; others return ErrNotLeader. It costs no log entry: callers share a round of
// heartbeats to a majority, and a cluster of one needs none.
func (r *Replica) Barrier(ctx context.Context) error {
	return r.reads.wait(ctx)
}

// readRounds lets concurrent barriers share the work. A round that has begun is of no use to those who come later.
type readRounds struct {
	round func(ctx context.Context) error

	mu      sync.Mutex
	waiting []chan error // guarded by mu
	wake    chan struct{}
	stop    chan struct{}
	done    sync.WaitGroup
}

func startReadRounds(round func(ctx context.Context) error) *readRounds {
	q := &readRounds{round: round, wake: make(chan struct{}, 1), stop: make(chan struct{})}
	q.done.Go(q.run)
	return q
}

func (q *readRounds) wait(ctx context.Context) error {
	done := make(chan error, 1)
	q.mu.Lock()
	q.waiting = append(q.waiting, done)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-q.stop:
		return ErrClosed
	}
}

func (q *readRounds) run() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	q.done.Go(func() {
		<-q.stop
		cancel()
	})
	for {
		select {
		case <-q.stop:
			return
		case <-q.wake:
		}
		q.mu.Lock()
		served := q.waiting
		q.waiting = nil
		q.mu.Unlock()
		if len(served) == 0 {
			continue
		}
		err := q.round(ctx)
		for _, done := range served {
			done <- err
		}
	}
}

func (q *readRounds) close() {
	close(q.stop)
	q.done.Wait()
}

// readRound is one barrier. The commit index is read after the callers have arrived; leadership is then proved by answers to
// requests sent after that.
func (r *Replica) readRound(ctx context.Context) error {
	term, err := r.awaitReady(ctx)
	if err != nil {
		return err
	}
	target := r.raft.CommitIndex()
	if err := r.proveLeadership(ctx, term, time.Now()); err != nil {
		return err
	}
	// After the entry that begins a term every entry passes through the fsm, so its progress reaches any commit index.
	if err := r.fsm.applied.wait(ctx, target); err != nil {
		return errors.Join(ErrClosed, err)
	}
	return nil
}

// awaitReady returns the term that this replica leads, after everything committed earlier is applied.
func (r *Replica) awaitReady(ctx context.Context) (term uint64, err error) {
	for {
		changed := r.leaders.changed.next()
		if err := r.notLeader(); err != nil {
			return 0, err
		}
		if term := r.leaders.current(); term != 0 {
			return term, nil
		}
		select {
		case <-changed:
		case <-time.After(termRetry):
		case <-ctx.Done():
			return 0, ErrClosed
		}
	}
}

// proveLeadership returns when a majority has acknowledged this leader in a request sent at or after since. The library's
// VerifyLeader triggers those requests, but its own verdict also counts answers to earlier ones, which a leader that was
// paused or cut off may find waiting; so the answers are checked, and asked for again.
func (r *Replica) proveLeadership(ctx context.Context, term uint64, since time.Time) error {
	for ctx.Err() == nil {
		voters := r.voters()
		if len(voters) == 1 && voters[0] == r.cfg.ID {
			break
		}
		if err := r.raft.VerifyLeader().Error(); err != nil {
			return r.notLeaderError()
		}
		if r.acks.majority(term, since, r.cfg.ID, voters) {
			break
		}
	}
	if r.raft.CurrentTerm() != term {
		return r.notLeaderError()
	}
	return nil
}
