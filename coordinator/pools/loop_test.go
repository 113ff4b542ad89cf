package pools

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/coordinator/state"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// machines is a provider that remembers what it was asked for.
type machines struct {
	mu       sync.Mutex
	running  map[string]Machine
	tokens   []string
	broken   error // of every call
	ensures  int
	removals []string
}

func (m *machines) Name() string { return "test" }

func (m *machines) Ensure(ctx context.Context, machine Machine, token func(context.Context) (string, error)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ensures++
	if m.broken != nil {
		return m.broken
	}
	if _, ok := m.running[machine.Node]; ok {
		return nil
	}
	text, err := token(ctx)
	if err != nil {
		return err
	}
	m.tokens = append(m.tokens, text)
	m.running[machine.Node] = machine
	return nil
}

func (m *machines) Stop(_ context.Context, machine Machine) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.running, machine.Node)
	return m.broken
}

func (m *machines) Remove(_ context.Context, machine Machine) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return m.broken
	}
	delete(m.running, machine.Node)
	m.removals = append(m.removals, machine.Node)
	return nil
}

func (m *machines) names() (out []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.running {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func (y *yard) loop(p Provider) *Loop {
	ids := 0
	return &Loop{
		State: y.store, Proposer: y, Provider: p, Now: y.clock, Logger: slog.New(slog.DiscardHandler),
		NewID: func() string { ids++; return fmt.Sprint("n", ids) },
		Tokens: func(_ context.Context, account, pool, node string) (string, error) {
			return account + "/" + pool + "/" + node, nil
		},
	}
}

func (y *yard) follow(l *Loop) {
	y.t.Helper()
	require.NoError(y.t, l.follow(context.Background(), state.PoolKey{Account: "acct", ID: "p"}))
}

func (y *yard) resize(n int32) {
	y.t.Helper()
	y.do(&raftlogv1.Command{Kind: &raftlogv1.Command_ResizePool{ResizePool: &raftlogv1.ResizePool{
		PoolId: "p", Options: &apiv1.PoolResizeOptions{TargetDedicatedNodes: &n},
	}}})
}

func TestLoopMakesAndRemovesNodes(t *testing.T) {
	y := newYard(t)
	m := &machines{running: map[string]Machine{}}
	l := y.loop(m)
	y.createPool(func(p *apiv1.Pool) {
		p.TargetDedicatedNodes, p.TargetLowPriorityNodes, p.VmSize = proto.Int32(2), proto.Int32(1), "big"
	})
	y.follow(l)
	require.Equal(t, []string{"create_nodes", "create_nodes"}, y.proposed())
	require.Empty(t, m.names(), "a machine starts when its node is in the log")
	y.follow(l)
	require.Equal(t, []string{"n1", "n2", "n3"}, m.names())
	require.Equal(t, []string{"acct/p/n1", "acct/p/n2", "acct/p/n3"}, m.tokens)
	uid := m.running["n3"].UID
	require.NotZero(t, uid)
	require.Equal(t, Machine{Account: "acct", Pool: "p", Node: "n3", UID: uid, VMSize: "big"}, m.running["n3"])
	require.Equal(t, []string{"finish_resize"}, y.proposed())
	require.Equal(t, apiv1.AllocationState_ALLOCATION_STATE_STEADY, y.pool().Pool.AllocationState)

	y.follow(l)
	require.Empty(t, y.proposed(), "all is as it should be")
	require.Len(t, m.tokens, 3, "a machine that runs needs no token")
	delete(m.running, "n2")
	y.follow(l)
	require.Equal(t, []string{"n1", "n2", "n3"}, m.names(), "a machine that went away comes back")

	y.join("n1")
	y.resize(1)
	y.follow(l)
	require.Equal(t, []string{"leave_nodes"}, y.proposed())
	y.follow(l)
	require.Equal(t, []string{"delete_node"}, y.proposed(), "the idle node stays, the one that has not begun goes")
	require.Equal(t, []string{"n2"}, m.removals)
	y.follow(l)
	require.Equal(t, []string{"finish_resize"}, y.proposed())
	require.Equal(t, []string{"n1", "n3"}, m.names())

	y.do(&raftlogv1.Command{Kind: &raftlogv1.Command_DeletePool{DeletePool: &raftlogv1.DeletePool{PoolId: "p"}}})
	y.follow(l)
	y.follow(l)
	require.Empty(t, m.names())
	_, ok := y.store.Pool("acct", "p")
	require.False(t, ok)
	y.follow(l)
}

func TestLoopOutlivesItsProvider(t *testing.T) {
	y := newYard(t)
	m := &machines{running: map[string]Machine{}, broken: errors.New("no machines today")}
	l := y.loop(m)
	y.createPool(func(p *apiv1.Pool) { p.TargetDedicatedNodes = proto.Int32(1) })
	y.follow(l)
	y.follow(l)
	require.Equal(t, 1, m.ensures)
	y.proposed()
	m.broken = nil
	y.follow(l)
	require.Equal(t, []string{"n1"}, m.names())
	y.resize(0)
	y.follow(l)
	m.broken = errors.New("can't remove it")
	y.proposed()
	y.follow(l)
	require.Empty(t, y.proposed(), "a node whose machine is still there is not forgotten")
	m.broken = nil
	y.follow(l)
	require.Equal(t, []string{"delete_node"}, y.proposed())

	y.resizeErrors(t, l)
}

// resizeErrors runs out of time.
func (y *yard) resizeErrors(t *testing.T, l *Loop) {
	y.follow(l)
	require.Equal(t, apiv1.AllocationState_ALLOCATION_STATE_STEADY, y.pool().Pool.AllocationState)
	l.Provider = nil
	y.resize(4)
	y.follow(l)
	require.Equal(t, apiv1.AllocationState_ALLOCATION_STATE_RESIZING, y.pool().Pool.AllocationState, "machines may still join")
	y.pass(time.Hour)
	y.follow(l)
	require.Equal(t, "AllocationTimedout", y.pool().Pool.ResizeErrors[0].Code)
}

func TestLoopEndsWithItsTerm(t *testing.T) {
	y := newYard(t)
	m := &machines{running: map[string]Machine{}}
	l := y.loop(m)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	y.createPool(func(p *apiv1.Pool) { p.TargetDedicatedNodes = proto.Int32(2) })
	require.Eventually(t, func() bool { return len(m.names()) == 2 }, 30*time.Second, time.Millisecond, "a change wakes the loop")
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)

	y.mu.Lock()
	y.refuse = errNotLeading
	y.mu.Unlock()
	y.do(&raftlogv1.Command{Kind: &raftlogv1.Command_DeletePool{DeletePool: &raftlogv1.DeletePool{PoolId: "p"}}})
	require.ErrorIs(t, l.Run(context.Background()), errNotLeading)
}
