package replica

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProposeReturnsResultsInOrder(t *testing.T) {
	p := alone(t)
	for i := range 5 {
		require.Equal(t, i+1, p.propose(fmt.Sprint(i)))
	}
	require.Equal(t, []string{"0", "1", "2", "3", "4"}, p.journal.all())
}

func TestBootstrapTwice(t *testing.T) {
	p := alone(t)
	require.ErrorIs(t, p.Bootstrap(), ErrBootstrapped)
}

func TestClusterOfOneElectsItselfAtOnce(t *testing.T) {
	p := newPeer(t, "a", func(c *Config) {
		c.Timeouts.Heartbeat, c.Timeouts.Election = 30*time.Second, 30*time.Second
	})
	require.NoError(t, p.Bootstrap())
	awaitLeader(t, p)
	p.shut()
	p.restart()
	awaitLeader(t, p)
}

func TestGroupCommit(t *testing.T) {
	p := alone(t)
	before := p.Status().Entries
	const writers, each = 64, 50
	var wg sync.WaitGroup
	errs := make(chan error, writers*each)
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, err := p.Propose(t.Context(), fmt.Appendf(nil, "%d/%d", w, i)); err != nil {
					errs <- err
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	require.NoError(t, <-errs)
	entries := p.Status().Entries - before
	require.Less(t, entries, uint64(writers*each/4), "proposals do not share entries")
	all := p.journal.all()
	require.Len(t, all, writers*each)
	next := map[string]int{}
	for _, c := range all {
		writer, number, _ := strings.Cut(c, "/")
		require.Equal(t, fmt.Sprint(next[writer]), number, "writer %s out of order", writer)
		next[writer]++
	}
}

func TestCommandLimits(t *testing.T) {
	p := alone(t, func(c *Config) { c.Batching.Bytes = 1000 })
	_, err := p.Propose(t.Context(), make([]byte, 1001))
	require.ErrorIs(t, err, ErrTooLarge)
	var pending []*Pending
	for range 20 {
		w, err := p.ProposeAsync(t.Context(), make([]byte, 600))
		require.NoError(t, err)
		pending = append(pending, w)
	}
	for i, w := range pending {
		result, err := w.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, i+1, result)
	}
}

func TestProposeOnNoLeader(t *testing.T) {
	p := newPeer(t, "a")
	_, err := p.Propose(t.Context(), []byte("x"))
	require.ErrorIs(t, err, ErrNotLeader)
	var detail *NotLeaderError
	require.ErrorAs(t, err, &detail)
	require.Empty(t, detail.LeaderID)
	require.ErrorIs(t, p.Barrier(t.Context()), ErrNotLeader)
}

func TestProposeAfterClose(t *testing.T) {
	p := alone(t)
	p.shut()
	_, err := p.Propose(t.Context(), []byte("x"))
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, p.Barrier(t.Context()), ErrClosed)
	require.ErrorIs(t, p.RunTerms(t.Context(), nil), ErrClosed)
	require.NoError(t, p.Close(), "closing twice is fine")
}

func TestFullQueueBlocksUntilContextEnds(t *testing.T) {
	gate := newStallGate()
	p := alone(t, gate.install, func(c *Config) { c.Batching.Queue, c.Batching.InFlight = 2, 1 })
	gate.shut()
	defer gate.open()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	submitted := p.Status().Entries + 1
	hanging, err := p.ProposeAsync(ctx, []byte("hanging"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return p.Status().Entries == submitted }, time.Minute, time.Millisecond)
	var waiting []*Pending
	for i := range 2 {
		w, err := p.ProposeAsync(ctx, fmt.Append(nil, i))
		require.NoError(t, err)
		waiting = append(waiting, w)
	}
	_, err = p.ProposeAsync(ctx, []byte("no room"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = hanging.Wait(ctx)
	require.ErrorIs(t, err, ErrUnknownOutcome)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	for _, w := range waiting {
		_, err := w.Wait(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, ErrUnknownOutcome, "it was still in the queue")
	}
	gate.open()
	p.propose("after")
	require.Equal(t, []string{"hanging", "after"}, p.journal.all(), "withdrawn commands must not be applied")
}

func TestRestartKeepsEverything(t *testing.T) {
	p := alone(t)
	want := p.proposeMany("x", 500)
	p.shut()
	p.restart()
	awaitLeader(t, p)
	require.Equal(t, want, p.journal.all())
	calls, restores := p.journal.counts()
	require.Zero(t, calls, "entries in the state are applied again")
	require.Zero(t, restores)
	p.propose("more")
	require.Equal(t, append(want, "more"), p.journal.all())
}

func TestBarrierSeesWhatWasAcknowledged(t *testing.T) {
	p := alone(t)
	for i := range 100 {
		w, err := p.ProposeAsync(t.Context(), fmt.Append(nil, i))
		require.NoError(t, err)
		_, err = w.Wait(t.Context())
		require.NoError(t, err)
		require.NoError(t, p.Barrier(t.Context()))
		require.Len(t, p.journal.all(), i+1)
	}
	last := p.Status().LastIndex
	for range 100 {
		require.NoError(t, p.Barrier(t.Context()))
	}
	require.Equal(t, last, p.Status().LastIndex, "barriers must not grow the log")
}

func TestDirectoryInUse(t *testing.T) {
	p := alone(t)
	cfg := p.cfg
	cfg.Listener = listen(t, "127.0.0.1:0")
	defer cfg.Listener.Close()
	_, err := Open(cfg)
	require.ErrorIs(t, err, ErrInUse)
}

func TestConfigValidate(t *testing.T) {
	err := Default().Validate()
	for _, field := range []string{"ID", "Dir", "Advertise", "Listener", "Dial", "Machine", "Logger"} {
		require.ErrorContains(t, err, field)
	}
	cfg := quickConfig("a", t.TempDir(), listen(t, "127.0.0.1:0"))
	defer cfg.Listener.Close()
	cfg.Machine = &journal{}
	require.NoError(t, cfg.Validate())
	cfg.Timeouts.Lease = cfg.Timeouts.Heartbeat
	require.ErrorContains(t, cfg.Validate(), "Lease")
}
