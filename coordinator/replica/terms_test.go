package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// runTerms runs work in the background until the test ends.
func runTerms(t *testing.T, p *peer, work func(ctx context.Context, term uint64) error) (cancel func() error) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.RunTerms(ctx, work) }()
	cancel = sync.OnceValue(func() error {
		stop()
		return <-ended
	})
	t.Cleanup(func() { _ = cancel() })
	return cancel
}

func TestRunTermsStartsWithEverythingApplied(t *testing.T) {
	p := alone(t)
	want := p.proposeMany("x", 300)
	p.shut()
	require.NoError(t, removeState(p))
	p.restart()
	seen := make(chan []string, 1)
	cancel := runTerms(t, p, func(ctx context.Context, term uint64) error {
		seen <- p.journal.all()
		<-ctx.Done()
		return ctx.Err()
	})
	require.Equal(t, want, <-seen)
	require.ErrorIs(t, cancel(), context.Canceled)
}

func TestSteppingDownCancelsAndWaits(t *testing.T) {
	peers := cluster(t, 3)
	var running, starts atomic.Int32
	cancelled, release := make(chan struct{}, 10), make(chan struct{})
	terms := make(chan uint64, 10)
	work := func(ctx context.Context, term uint64) error {
		if running.Add(1) != 1 {
			t.Error("two terms at once")
		}
		defer running.Add(-1)
		starts.Add(1)
		terms <- term
		<-ctx.Done()
		cancelled <- struct{}{}
		<-release
		return nil
	}
	runTerms(t, peers[0], work)
	first := <-terms
	require.NoError(t, peers[0].TransferLeadership(t.Context()))
	<-cancelled
	require.EqualValues(t, 1, running.Load())
	// Leading again must not start the work while the former term's still runs.
	awaitLeader(t, peers[1:]...)
	for !peers[0].IsLeader() {
		if next := awaitLeader(t, peers...); next != peers[0] {
			require.NoError(t, next.TransferLeadership(t.Context()))
		}
	}
	awaitLeader(t, peers[0])
	require.EqualValues(t, 1, starts.Load())
	close(release)
	require.Greater(t, <-terms, first)
}

func TestFailedWorkHandsLeadershipOver(t *testing.T) {
	peers := cluster(t, 3)
	failed := make(chan uint64, 10)
	runTerms(t, peers[0], func(_ context.Context, term uint64) error {
		failed <- term
		return errors.New("disk full of eels")
	})
	<-failed
	awaitLeader(t, peers[1:]...)
}

func TestFailedWorkStartsAgainWhereNobodyElseCanLead(t *testing.T) {
	p := alone(t)
	starts := make(chan time.Time, 10)
	runTerms(t, p, func(context.Context, uint64) error {
		starts <- time.Now()
		return fmt.Errorf("no luck: %w", context.Canceled)
	})
	first := <-starts
	require.GreaterOrEqual(t, (<-starts).Sub(first), termBackoff/2)
	p.propose("still leads")
}

func TestWorkMayEndBeforeTheTerm(t *testing.T) {
	p := alone(t)
	starts := make(chan struct{}, 10)
	cancel := runTerms(t, p, func(context.Context, uint64) error {
		starts <- struct{}{}
		return nil
	})
	<-starts
	p.propose("still leads")
	require.ErrorIs(t, cancel(), context.Canceled)
	require.Empty(t, starts)
}

func TestCloseEndsTerms(t *testing.T) {
	p := alone(t)
	began := make(chan struct{})
	var ended atomic.Bool
	result := make(chan error, 1)
	go func() {
		result <- p.RunTerms(context.Background(), func(ctx context.Context, _ uint64) error {
			close(began)
			<-ctx.Done()
			ended.Store(true)
			return nil
		})
	}()
	<-began
	p.shut()
	require.True(t, ended.Load())
	require.ErrorIs(t, <-result, ErrClosed)
}
