package coordinator

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/coordinator/dispatch"
	"github.com/batchyard/batchyard/coordinator/replica"
	"github.com/batchyard/batchyard/coordinator/state"
	"github.com/batchyard/batchyard/internal/batcherr"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// Propose puts a command into the log and waits until it is applied here.
func (c *Coordinator) Propose(ctx context.Context, cmd *raftlogv1.Command) (state.Result, error) {
	raw, err := proto.Marshal(cmd)
	if err != nil {
		return state.Result{}, fmt.Errorf("encode command: %w", err)
	}
	out, err := c.replica.Propose(ctx, raw)
	if err != nil {
		return state.Result{}, c.unavailable(ctx, err)
	}
	result, ok := out.(state.Result)
	if !ok {
		return state.Result{}, fmt.Errorf("command answered %T", out)
	}
	return result, nil
}

// Barrier returns once this member, as leader, has applied everything that was acknowledged before the call.
func (c *Coordinator) Barrier(ctx context.Context) error {
	if err := c.replica.Barrier(ctx); err != nil {
		return c.unavailable(ctx, err)
	}
	return nil
}

// unavailable turns a replica's error into one that callers know to try again elsewhere.
func (c *Coordinator) unavailable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, replica.ErrUnknownOutcome) {
		// Who tries again must reckon with finding it done.
		return batcherr.Of(batcherr.CodeOperationTimedOut).
			With(batcherr.ValueReason, "The coordinators lost their leader while the request was under way: it may have been done.").Wrap(err)
	}
	out := batcherr.Unavailable("the coordinators have no leader at the moment").Wrap(err)
	if errors.Is(err, replica.ErrNotLeader) {
		out = batcherr.Unavailable("this coordinator does not lead").Wrap(err)
		if address, itself := c.Leader(); address != "" && !itself {
			out = out.With(dispatch.LeaderKey, address)
		}
	}
	return out
}

// Leader is the gRPC address of the leader as far as this member knows; itself says whether that is this member.
func (c *Coordinator) Leader() (address string, itself bool) {
	id, _, ok := c.replica.Leader()
	if !ok {
		return "", false
	}
	if id == c.id {
		return c.GRPCAddress(), c.replica.IsLeader()
	}
	for _, m := range c.state.Members() {
		if m.Id == id {
			return m.Address, false
		}
	}
	return "", false
}

// addresses are the gRPC addresses of all members, this one's first.
func (c *Coordinator) addresses() []string {
	out := []string{c.GRPCAddress()}
	for _, m := range c.state.Members() {
		if m.Id != c.id {
			out = append(out, m.Address)
		}
	}
	return out
}
