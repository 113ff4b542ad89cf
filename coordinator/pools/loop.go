package pools

import (
	"context"
	"log/slog"
	"math"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/coordinator/state"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// Proposer puts a command into the log and waits until it is applied.
type Proposer interface {
	Propose(ctx context.Context, cmd *raftlogv1.Command) (state.Result, error)
}

// Machine is a node as its provider sees it.
type Machine struct {
	Account, Pool, Node string
	UID                 uint64
	VMSize              string
}

// Provider makes and removes the machines of nodes. Both calls are idempotent, return quickly and are repeated until the node is as it should be.
type Provider interface {
	Name() string
	// Ensure makes the machine run an agent that joins with the token that token makes; a machine that runs already is left alone.
	Ensure(ctx context.Context, m Machine, token func(context.Context) (string, error)) error
	// Stop stops the machine; Ensure starts it again.
	Stop(ctx context.Context, m Machine) error
	// Remove takes the machine away with everything on it.
	Remove(ctx context.Context, m Machine) error
}

// Tokens makes a join token for one node.
type Tokens func(ctx context.Context, account, pool, node string) (string, error)

// Loop follows the pools' targets while leading. Events only wake it: every pass derives from the state what is to be done.
type Loop struct {
	State    *state.Store
	Proposer Proposer
	// Provider is nil where machines join by themselves.
	Provider Provider
	Tokens   Tokens
	NewID    func() string
	Now      func() time.Time
	Logger   *slog.Logger
}

// checkEvery is how often machines that should run are looked at, and deadlines.
const checkEvery = time.Second

// Run follows targets until ctx ends.
func (l *Loop) Run(ctx context.Context) error {
	w := l.State.Watch()
	defer w.Close()
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	dirty := l.all()
	for {
		for key := range dirty {
			if err := l.follow(ctx, key); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.C():
			dirty = w.Take().Pools
		case <-tick.C:
			dirty = l.all()
		}
	}
}

func (l *Loop) all() map[state.PoolKey]bool {
	keys := map[state.PoolKey]bool{}
	for _, key := range l.State.PoolKeys() {
		keys[key] = true
	}
	return keys
}

// follow does what one pool needs next. A provider's failure is logged and tried again; an error is one of the proposer.
func (l *Loop) follow(ctx context.Context, key state.PoolKey) error {
	p, ok := l.State.Pool(key.Account, key.ID)
	if !ok {
		return nil
	}
	nodes, _ := l.State.Nodes(key.Account, key.ID, "", math.MaxInt)
	d := decide(p, nodes, l.Now(), l.Provider != nil)
	if err := l.makeNodes(ctx, p, d); err != nil {
		return err
	}
	if len(d.leave) > 0 {
		if err := l.propose(ctx, p, &raftlogv1.LeaveNodes{PoolId: p.Pool.Id, NodeIds: d.leave}); err != nil {
			return err
		}
	}
	for _, n := range d.gone {
		if err := l.removeNode(ctx, p, n); err != nil {
			return err
		}
	}
	if err := l.ensure(ctx, p, nodes); err != nil {
		return err
	}
	if d.finish {
		return l.propose(ctx, p, &raftlogv1.FinishResize{
			PoolId: p.Pool.Id, Errors: d.errors, SeenTransition: p.Pool.AllocationStateTransitionTime.AsTime().UnixNano(),
		})
	}
	return nil
}

func (l *Loop) makeNodes(ctx context.Context, p state.PoolInfo, d decision) error {
	for _, want := range []struct {
		count     int
		dedicated bool
	}{{d.dedicated, true}, {d.lowPriority, false}} {
		if want.count == 0 {
			continue
		}
		ids := make([]string, want.count)
		for i := range ids {
			ids[i] = l.NewID()
		}
		cmd := &raftlogv1.CreateNodes{PoolId: p.Pool.Id, NodeIds: ids, Provider: l.Provider.Name(), Dedicated: want.dedicated}
		if err := l.propose(ctx, p, cmd); err != nil {
			return err
		}
	}
	return nil
}

func (l *Loop) removeNode(ctx context.Context, p state.PoolInfo, n state.NodeInfo) error {
	if n.Provider != "" && l.Provider != nil {
		if err := l.Provider.Remove(ctx, machine(p, n)); err != nil {
			l.Logger.Error("machine can't be removed; will be tried again", "pool", p.Pool.Id, "node", n.NodeRecord.Node.Id, "err", err)
			return nil
		}
	}
	return l.propose(ctx, p, &raftlogv1.DeleteNode{PoolId: p.Pool.Id, NodeId: n.NodeRecord.Node.Id})
}

// ensure keeps the machines of a pool's nodes running.
func (l *Loop) ensure(ctx context.Context, p state.PoolInfo, nodes []state.NodeInfo) error {
	if l.Provider == nil {
		return nil
	}
	for _, n := range nodes {
		id, at := n.NodeRecord.Node.Id, n.NodeRecord.Node.State
		if n.Provider != l.Provider.Name() || n.Leaving && n.Held == 0 || at == apiv1.NodeState_NODE_STATE_DEALLOCATED {
			continue
		}
		if at == apiv1.NodeState_NODE_STATE_DEALLOCATING && n.Held == 0 {
			if err := l.deallocate(ctx, p, n); err != nil {
				return err
			}
			continue
		}
		token := func(ctx context.Context) (string, error) { return l.Tokens(ctx, p.Account, p.Pool.Id, id) }
		if err := l.Provider.Ensure(ctx, machine(p, n), token); err != nil {
			l.Logger.Error("machine can't be started; will be tried again", "pool", p.Pool.Id, "node", id, "err", err)
		}
	}
	return nil
}

// deallocate stops the machine of a node on which nothing is any more.
func (l *Loop) deallocate(ctx context.Context, p state.PoolInfo, n state.NodeInfo) error {
	if err := l.Provider.Stop(ctx, machine(p, n)); err != nil {
		l.Logger.Error("machine can't be stopped; will be tried again", "pool", p.Pool.Id, "node", n.NodeRecord.Node.Id, "err", err)
		return nil
	}
	return l.propose(ctx, p, &raftlogv1.SetNodeState{
		PoolId: p.Pool.Id, NodeId: n.NodeRecord.Node.Id, State: apiv1.NodeState_NODE_STATE_DEALLOCATED,
	})
}

func machine(p state.PoolInfo, n state.NodeInfo) Machine {
	return Machine{Account: p.Account, Pool: p.Pool.Id, Node: n.NodeRecord.Node.Id, UID: n.Uid, VMSize: p.Pool.VmSize}
}

func (l *Loop) propose(ctx context.Context, p state.PoolInfo, kind proto.Message) error {
	cmd := &raftlogv1.Command{Now: l.Now().UnixNano(), Account: p.Account}
	switch k := kind.(type) {
	case *raftlogv1.CreateNodes:
		cmd.Kind = &raftlogv1.Command_CreateNodes{CreateNodes: k}
	case *raftlogv1.LeaveNodes:
		cmd.Kind = &raftlogv1.Command_LeaveNodes{LeaveNodes: k}
	case *raftlogv1.DeleteNode:
		cmd.Kind = &raftlogv1.Command_DeleteNode{DeleteNode: k}
	case *raftlogv1.SetNodeState:
		cmd.Kind = &raftlogv1.Command_SetNodeState{SetNodeState: k}
	case *raftlogv1.FinishResize:
		cmd.Kind = &raftlogv1.Command_FinishResize{FinishResize: k}
	}
	_, err := l.Proposer.Propose(ctx, cmd)
	return err
}
