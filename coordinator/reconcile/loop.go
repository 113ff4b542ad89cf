// Package reconcile holds the leader's small loops: lost nodes, jobs on their way to an end, limits that run out, job schedules.
package reconcile

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/batchyard/batchyard/coordinator/state"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// Proposer puts a command into the log and waits until it is applied.
type Proposer interface {
	Propose(ctx context.Context, cmd *raftlogv1.Command) (state.Result, error)
}

// Liveness says when nodes were last heard of in this term.
type Liveness interface {
	LastSeen(node uint64) (time.Time, bool)
}

// Loops are the loops of one term.
type Loops struct {
	State    *state.Store
	Proposer Proposer
	Liveness Liveness
	// Lease is how long a node's tasks go on without a leader; Grace is added before the node counts as lost, so that they have ended by then.
	Lease, Grace time.Duration
	// Quarantine says when nodes are taken out of service, Logs saves what they have of logs then.
	Quarantine Quarantine
	Logs       NodeLogs
	// NewPoolID makes the id of an automatic pool.
	NewPoolID func(prefix string) string
	Now       func() time.Time
	Logger    *slog.Logger
}

// Run runs all loops until ctx ends or one fails.
func (l *Loops) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.nodes(ctx) })
	g.Go(func() error { return l.jobs(ctx) })
	g.Go(func() error { return l.age(ctx) })
	g.Go(func() error { return l.schedules(ctx) })
	g.Go(func() error { return l.quarantine(ctx) })
	g.Go(func() error { return l.saveLogs(ctx) })
	return g.Wait()
}

// every calls fn at once, on each wake and at each interval.
func every(ctx context.Context, interval time.Duration, wake <-chan struct{}, fn func() error) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if err := fn(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		case <-tick.C:
		}
	}
}
