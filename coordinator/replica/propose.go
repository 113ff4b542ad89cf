package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// Propose replicates command and returns what the machine answered. Proposals that arrive together share a log entry; those
// of one goroutine are applied in the order in which it made them. While the queue is full it blocks.
//
// Errors: the context's error, ErrNotLeader, ErrTooLarge or ErrClosed when the command was certainly not accepted;
// ErrUnknownOutcome, perhaps wrapping the context's error, when it may have been.
func (r *Replica) Propose(ctx context.Context, command []byte) (any, error) {
	pending, err := r.ProposeAsync(ctx, command)
	if err != nil {
		return nil, err
	}
	return pending.Wait(ctx)
}

// ProposeAsync is Propose without the waiting: it returns once the command is in the queue. The command must not be modified
// afterwards.
func (r *Replica) ProposeAsync(ctx context.Context, command []byte) (*Pending, error) {
	return r.batcher.submit(ctx, command)
}

// Pending is a command on its way.
type Pending struct {
	command []byte
	stage   atomic.Int32
	done    chan outcome
	batcher *batcher
}

// The stages of a Pending. From queued it goes to exactly one of the others.
const (
	stageQueued int32 = iota
	stageSubmitted
	stageWithdrawn
)

type outcome struct {
	result any
	err    error
}

// Wait returns what Propose would. It may be called once.
func (p *Pending) Wait(ctx context.Context) (any, error) {
	select {
	case o := <-p.done:
		return o.result, o.err
	default:
	}
	select {
	case o := <-p.done:
		return o.result, o.err
	case <-ctx.Done():
		if p.stage.CompareAndSwap(stageQueued, stageWithdrawn) {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, ctx.Err())
	case <-p.batcher.stopped:
		return p.last()
	}
}

// last is the outcome of a command whose batcher has ended.
func (p *Pending) last() (any, error) {
	select {
	case o := <-p.done:
		return o.result, o.err
	default:
	}
	if p.stage.CompareAndSwap(stageQueued, stageWithdrawn) {
		return nil, ErrClosed
	}
	return nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, ErrClosed)
}

// applier is the part of raft.Raft that a batcher needs. Apply must not block for long.
type applier interface {
	Apply(data []byte, timeout time.Duration) raft.ApplyFuture
}

// batcher is group commit: one goroutine puts commands that wait together into one entry and submits it while earlier
// entries are still committing, another one hands out the results.
type batcher struct {
	limits    Batching
	raft      applier
	notLeader func() error // nil when this replica leads

	queue    chan *Pending
	slots    chan struct{} // one for each entry in flight
	inFlight chan *batch
	closing  chan struct{}
	stopped  chan struct{} // closed when no further outcome will come
	carry    *Pending      // taken from the queue, too large for the last entry
	entries  atomic.Uint64 // submitted

	wg sync.WaitGroup
}

// batch is an entry in flight.
type batch struct {
	pending []*Pending
	future  raft.ApplyFuture
}

func startBatcher(limits Batching, raft applier, notLeader func() error) *batcher {
	b := &batcher{
		limits: limits, raft: raft, notLeader: notLeader,
		queue:    make(chan *Pending, limits.Queue),
		slots:    make(chan struct{}, limits.InFlight),
		inFlight: make(chan *batch, limits.InFlight),
		closing:  make(chan struct{}),
		stopped:  make(chan struct{}),
	}
	b.wg.Go(b.submitLoop)
	b.wg.Go(b.resultLoop)
	return b
}

func (b *batcher) submit(ctx context.Context, command []byte) (*Pending, error) {
	if len(command) > b.limits.Bytes {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, len(command), b.limits.Bytes)
	}
	select {
	case <-b.closing:
		return nil, ErrClosed
	default:
	}
	if err := b.notLeader(); err != nil {
		return nil, err
	}
	p := &Pending{command: command, done: make(chan outcome, 1), batcher: b}
	select {
	case b.queue <- p:
		return p, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-b.closing:
		return nil, ErrClosed
	}
}

func (b *batcher) submitLoop() {
	defer close(b.inFlight)
	for {
		// Waiting for a slot before gathering lets the entry grow while the disk is busy.
		select {
		case b.slots <- struct{}{}:
		case <-b.closing:
			return
		}
		first := b.next()
		if first == nil {
			return
		}
		next := b.gather(first)
		commands := make([][]byte, len(next.pending))
		for i, p := range next.pending {
			commands[i] = p.command
		}
		next.future = b.raft.Apply(sealCommands(commands), 0)
		b.entries.Add(1)
		b.inFlight <- next
	}
}

// next takes the next command that has not been withdrawn; nil means that the batcher is closing.
func (b *batcher) next() *Pending {
	if p := b.carry; p != nil {
		b.carry = nil
		if p.stage.CompareAndSwap(stageQueued, stageSubmitted) {
			return p
		}
	}
	for {
		select {
		case <-b.closing:
			return nil
		case p := <-b.queue:
			if p.stage.CompareAndSwap(stageQueued, stageSubmitted) {
				return p
			}
		}
	}
}

// gather adds what is waiting to first, as far as it fits.
func (b *batcher) gather(first *Pending) *batch {
	pending := []*Pending{first}
	size := len(first.command)
	for len(pending) < b.limits.Commands {
		select {
		case p := <-b.queue:
			if size+len(p.command) > b.limits.Bytes {
				b.carry = p
				return &batch{pending: pending}
			}
			if p.stage.CompareAndSwap(stageQueued, stageSubmitted) {
				size += len(p.command)
				pending = append(pending, p)
			}
		default:
			return &batch{pending: pending}
		}
	}
	return &batch{pending: pending}
}

func (b *batcher) resultLoop() {
	defer close(b.stopped)
	for next := range b.inFlight {
		next.finish(b.notLeader)
		<-b.slots
	}
}

// finish waits for the entry and tells everybody who has a command in it.
func (n *batch) finish(notLeader func() error) {
	if err := n.future.Error(); err != nil {
		err = outcomeError(err, notLeader)
		for _, p := range n.pending {
			p.done <- outcome{err: err}
		}
		return
	}
	applied, ok := n.future.Response().(*applyResult)
	for i, p := range n.pending {
		if !ok {
			p.done <- outcome{err: fmt.Errorf("%w: replica has halted", ErrUnknownOutcome)}
			continue
		}
		p.done <- outcome{result: applied.results[i]}
	}
}

// outcomeError says what an error of the library means for a command.
func outcomeError(err error, notLeader func() error) error {
	if errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		if now := notLeader(); now != nil {
			return now
		}
		return &NotLeaderError{}
	}
	return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
}

// close refuses further commands and waits for those in flight, at most until ctx ends: a hung disk never finishes them.
func (b *batcher) close(ctx context.Context) error {
	close(b.closing)
	done := make(chan struct{})
	go func() {
		b.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("commands still in flight: %w", ctx.Err())
	}
}
