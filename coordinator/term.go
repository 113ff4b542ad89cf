package coordinator

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/coordinator/dispatch"
	"github.com/batchyard/batchyard/coordinator/pools"
	"github.com/batchyard/batchyard/coordinator/reconcile"
	"github.com/batchyard/batchyard/coordinator/schedule"
	"github.com/batchyard/batchyard/internal/lifecycle"
	"github.com/batchyard/batchyard/internal/trust"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// lead is what runs only while this member leads: one group a term. Any loop's failure ends the term; when leadership is lost, ctx ends and all are waited for.
func (c *Coordinator) lead(ctx context.Context, term uint64) error {
	c.logger.Info("leading", "member", c.id, "term", term)
	if err := c.recordMember(ctx, c.describe()); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.dispatch.Run(ctx) })
	g.Go(func() error {
		loop := &schedule.Loop{State: c.state, Proposer: c, Connected: c.dispatch.Connected, Now: c.cfg.Now, Logger: c.logger}
		return loop.Run(ctx)
	})
	g.Go(func() error {
		loops := &reconcile.Loops{
			State: c.state, Proposer: c, Liveness: c.dispatch, Lease: c.cfg.Lease, Grace: c.cfg.Grace, Now: c.cfg.Now, Logger: c.logger,
			NewPoolID: newPoolID, Quarantine: c.cfg.Quarantine, Logs: nodeLogs{c},
		}
		return loops.Run(ctx)
	})
	g.Go(func() error {
		loop := &pools.Loop{
			State: c.state, Proposer: c, Provider: c.provider, Tokens: c.nodeToken, NewID: dispatch.NewNodeID, Now: c.cfg.Now, Logger: c.logger,
		}
		return loop.Run(ctx)
	})
	g.Go(func() error { return c.scaler.Run(ctx) })
	g.Go(func() error { return c.provideStores(ctx) })
	err := g.Wait()
	c.logger.Info("not leading any more", "member", c.id, "term", term, "err", err)
	return err
}

// recordMember makes the state know a member under its present addresses.
func (c *Coordinator) recordMember(ctx context.Context, m *apiv1.Member) error {
	for _, known := range c.state.Members() {
		if known.Id == m.Id && proto.Equal(known, m) {
			return nil
		}
	}
	result, err := c.Propose(ctx, &raftlogv1.Command{
		Now:  c.cfg.Now().UnixNano(),
		Kind: &raftlogv1.Command_PutMember{PutMember: &raftlogv1.PutMember{Record: &raftlogv1.MemberRecord{Member: m}}},
	})
	if err == nil && result.Err != nil {
		err = result.Err
	}
	return err
}

// nodeTokenLife is how long a machine that a provider starts may take to join.
const nodeTokenLife = 15 * time.Minute

// nodeToken makes a join token for one node of one pool.
func (c *Coordinator) nodeToken(ctx context.Context, account, pool, node string) (string, error) {
	token, record, err := c.authority.NewJoinToken(trust.JoinNode)
	if err != nil {
		return "", err
	}
	now := c.cfg.Now()
	_, err = c.Propose(ctx, &raftlogv1.Command{
		Now: now.UnixNano(), Account: account,
		Kind: &raftlogv1.Command_PutJoinToken{PutJoinToken: &raftlogv1.PutJoinToken{Record: &raftlogv1.JoinTokenRecord{
			Id: record.ID, SecretHash: record.SecretHash, Kind: apiv1.JoinTokenKind_JOIN_TOKEN_KIND_NODE,
			Account: account, PoolId: pool, NodeId: node, ExpiryTime: now.Add(nodeTokenLife).UnixNano(), UsesLeft: 1,
		}}},
	})
	return token.Text(), err
}

// retryUntil calls fn until it succeeds or ctx ends, at a growing distance.
func retryUntil(ctx context.Context, fn func(context.Context) error) error {
	wait := 50 * time.Millisecond
	for {
		err := fn(ctx)
		if err == nil {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(ctx.Err(), err)
		case <-timer.C:
		}
		wait = min(2*wait, 2*time.Second)
	}
}

// newPoolID makes the id of an automatic pool.
func newPoolID(prefix string) string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return lifecycle.AutoPoolID(prefix, b)
}

// randomHex makes n random bytes, in hex.
func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
