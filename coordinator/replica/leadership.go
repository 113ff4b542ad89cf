package replica

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// termRetry is how soon a leader proposes the start of its term again, should the first try be lost.
	termRetry = 200 * time.Millisecond
	// termBackoff is how long leader work that failed rests when no other replica can take over.
	termBackoff = time.Second
)

// leadership knows whether this replica leads and whether it has applied everything that its predecessors committed. The
// proof of that is an entry of its own term, with a nonce of its own, coming out of the log.
type leadership struct {
	instance [16]byte

	mu      sync.Mutex
	leading bool   // guarded by mu
	nonce   []byte // guarded by mu; differs for each time this replica is elected
	count   uint64 // guarded by mu; elections won
	term    uint64 // guarded by mu; 0 until everything is applied
	changed broadcast
}

func newLeadership() *leadership {
	l := &leadership{}
	_, _ = rand.Read(l.instance[:]) // it never fails
	return l
}

// elected notes that the library made this replica leader, or that it did not stay so.
func (l *leadership) elected(leading bool) {
	l.mu.Lock()
	l.leading, l.term = leading, 0
	if leading {
		l.count++
		l.nonce = binary.LittleEndian.AppendUint64(bytes.Clone(l.instance[:]), l.count)
	}
	l.mu.Unlock()
	l.changed.notify()
}

// began notes that the entry that starts a term has been applied.
func (l *leadership) began(term uint64, nonce []byte) {
	l.mu.Lock()
	if l.leading && bytes.Equal(nonce, l.nonce) {
		l.term = term
	}
	l.mu.Unlock()
	l.changed.notify()
}

// current returns the term that this replica leads and is ready in, or 0.
func (l *leadership) current() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.term
}

func (l *leadership) ready() bool { return l.current() != 0 }

// opening returns the nonce to propose while the term has not begun.
func (l *leadership) opening() (nonce []byte, wanted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.nonce, l.leading && l.term == 0
}

// followElections runs until the library is down: it blocks until its notifications are taken.
func (r *Replica) followElections(stop <-chan struct{}) {
	ticker := time.NewTicker(termRetry)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case leading := <-r.elections:
			r.leaders.elected(leading)
			r.noticed.notify()
		case <-ticker.C:
		}
		if nonce, wanted := r.leaders.opening(); wanted {
			// The fsm reports success; a failure is made up for by the next try or the end of the term.
			r.raft.Apply(seal(kindTerm, nonce), 0)
		}
	}
}

// IsLeader says whether this replica leads as far as it knows. Only Barrier can prove it.
func (r *Replica) IsLeader() bool { return r.raft.State() == raft.Leader }

// Leader returns the leader that this replica knows.
func (r *Replica) Leader() (id, addr string, ok bool) {
	a, i := r.raft.LeaderWithID()
	return string(i), string(a), i != ""
}

// LeaderChanged returns a channel that is closed when Leader or IsLeader next changes. Take it before calling those.
func (r *Replica) LeaderChanged() <-chan struct{} { return r.noticed.next() }

func (r *Replica) notLeader() error {
	if r.IsLeader() {
		return nil
	}
	return r.notLeaderError()
}

func (r *Replica) notLeaderError() error {
	id, addr, _ := r.Leader()
	return &NotLeaderError{LeaderID: id, LeaderAddr: addr}
}

// RunTerms runs work whenever this replica leads, once everything committed before is applied, until ctx ends or the replica
// closes. When the term ends, work's context is cancelled and work is waited for. An error from work ends the term: another
// replica is asked to lead, or, where there is none, work starts again after a second. When work returns nil the term goes
// on without it. The result is ctx's error or ErrClosed.
func (r *Replica) RunTerms(ctx context.Context, work func(ctx context.Context, term uint64) error) error {
	if !r.terms.enter() {
		return ErrClosed
	}
	defer r.terms.leave()
	for {
		changed := r.leaders.changed.next()
		if term := r.leaders.current(); term != 0 {
			r.runTerm(ctx, term, work)
		} else {
			select {
			case <-changed:
			case <-ctx.Done():
			case <-r.terms.closing:
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		select {
		case <-r.terms.closing:
			return ErrClosed
		default:
		}
	}
}

// runTerm returns when the term is over and work has ended, or when it should be started again.
func (r *Replica) runTerm(parent context.Context, term uint64, work func(ctx context.Context, term uint64) error) {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	log := r.cfg.Logger.With("term", term)
	log.Info("term begins")
	ended := make(chan error, 1)
	go func() { ended <- work(ctx, term) }()
	err, running := r.awaitTerm(ctx, term, ended)
	cancel()
	if running {
		err = <-ended
	}
	if err == nil || running && errors.Is(err, context.Canceled) {
		log.Info("term ends")
		return
	}
	log.Error("leader work failed", "error", err)
	if r.leaders.current() == term {
		r.giveUpTerm(parent, term)
	}
}

// awaitTerm returns when the term is over, or earlier when work fails. It says whether work still runs.
func (r *Replica) awaitTerm(ctx context.Context, term uint64, ended <-chan error) (err error, running bool) {
	running = true
	for {
		changed := r.leaders.changed.next()
		if r.leaders.current() != term {
			return nil, running
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, running
		case <-r.terms.closing:
			return nil, running
		case err := <-ended:
			if err != nil {
				return err, false
			}
			running, ended = false, nil
		}
	}
}

// giveUpTerm hands leadership over and returns once this replica does not lead the term any more, or after a rest.
func (r *Replica) giveUpTerm(ctx context.Context, term uint64) {
	if err := r.TransferLeadership(ctx); err != nil {
		r.cfg.Logger.Warn("leadership not handed over", "term", term, "error", err)
	}
	rest := time.NewTimer(termBackoff)
	defer rest.Stop()
	for {
		changed := r.leaders.changed.next()
		if r.leaders.current() != term {
			return
		}
		select {
		case <-changed:
		case <-rest.C:
			return
		case <-ctx.Done():
			return
		case <-r.terms.closing:
			return
		}
	}
}

// TransferLeadership asks the most advanced other voter to lead and waits for that. It is ErrNotLeader on a follower.
func (r *Replica) TransferLeadership(ctx context.Context) error {
	if err := r.notLeader(); err != nil {
		return err
	}
	if err := r.await(ctx, r.raft.LeadershipTransfer); err != nil {
		return fmt.Errorf("transfer leadership: %w", err)
	}
	return nil
}

// gate lets callers in until it is closed, and then waits for them.
type gate struct {
	closing chan struct{}
	mu      sync.Mutex
	closed  bool // guarded by mu
	inside  sync.WaitGroup
}

func newGate() *gate { return &gate{closing: make(chan struct{})} }

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.inside.Add(1)
	return true
}

func (g *gate) leave() { g.inside.Done() }

func (g *gate) close() {
	g.mu.Lock()
	if !g.closed {
		g.closed = true
		close(g.closing)
	}
	g.mu.Unlock()
	g.inside.Wait()
}
