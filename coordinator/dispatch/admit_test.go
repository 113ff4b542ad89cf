package dispatch

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/coordinator/state"
	"github.com/batchyard/batchyard/internal/batcherr"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// election is who leads, for a server that is not the only coordinator.
type election struct {
	mu      sync.Mutex
	address string
	itself  bool
	changed chan struct{}
}

func (e *election) set(address string, itself bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.address, e.itself = address, itself
	close(e.changed)
	e.changed = make(chan struct{})
}

func (e *election) server() *Server {
	e.changed = make(chan struct{})
	return New(Config{
		Leader: func() (string, bool) {
			e.mu.Lock()
			defer e.mu.Unlock()
			return e.address, e.itself
		},
		LeaderChanged: func() <-chan struct{} {
			e.mu.Lock()
			defer e.mu.Unlock()
			return e.changed
		},
		Now: time.Now,
	})
}

func admitted(s *Server) <-chan error {
	out := make(chan error, 1)
	go func() { out <- s.admit(context.Background()) }()
	return out
}

func TestAgentsThatComeDuringAnElectionWaitForItsEnd(t *testing.T) {
	t.Run("another one leads", func(t *testing.T) {
		e := &election{}
		s := e.server()
		out := admitted(s)
		e.set("other:7444", false)
		err := batcherr.From(<-out)
		require.Equal(t, batcherr.KindUnavailable, err.Kind)
		address, ok := err.Value(LeaderKey)
		require.True(t, ok)
		require.Equal(t, "other:7444", address)
	})
	t.Run("this one leads, once its term has begun", func(t *testing.T) {
		e := &election{}
		s := e.server()
		out := admitted(s)
		e.set("itself:7444", true)
		s.begin(t.Context())
		require.NoError(t, <-out)
		s.end()
		e.set("other:7444", false)
		require.Error(t, s.admit(t.Context()), "its term is over")
	})
	t.Run("the agent goes away", func(t *testing.T) {
		s := (&election{}).server()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := batcherr.From(s.admit(ctx))
		require.Equal(t, batcherr.KindUnavailable, err.Kind)
		_, ok := err.Value(LeaderKey)
		require.False(t, ok)
	})
}

func TestANodesLatestSessionCounts(t *testing.T) {
	s := (&election{}).server()
	s.begin(t.Context())
	_, seen := s.LastSeen(5)
	require.False(t, seen)
	node := &raftlogv1.NodeRecord{Uid: 5}
	first, err := s.register(t.Context(), node)
	require.NoError(t, err)
	second, err := s.register(t.Context(), node)
	require.NoError(t, err)
	require.ErrorIs(t, context.Cause(first.ctx), errReplaced)
	require.NoError(t, second.ctx.Err())
	s.unregister(first)
	require.True(t, s.Connected(5), "the end of the first does not end the second")
	_, seen = s.LastSeen(5)
	require.True(t, seen)
	s.end()
	require.ErrorIs(t, context.Cause(second.ctx), errTermEnded)
	s.unregister(second)
	require.False(t, s.Connected(5))
	_, err = s.register(t.Context(), node)
	require.ErrorIs(t, err, errTermEnded)
}

// proposer tells what was the case when a command was put forward.
type proposer func(*raftlogv1.Command) (state.Result, error)

func (p proposer) Propose(_ context.Context, cmd *raftlogv1.Command) (state.Result, error) {
	return p(cmd)
}

// A node whose hello is applied before its session counts would be passed over by placement, and nothing would wake that again.
func TestASessionCountsBeforeItsHelloIsApplied(t *testing.T) {
	s := (&election{}).server()
	s.begin(t.Context())
	counted := false
	var answer state.Result
	s.cfg.Proposer = proposer(func(cmd *raftlogv1.Command) (state.Result, error) {
		require.NotNil(t, cmd.GetNodeHello())
		counted = s.Connected(5)
		return answer, nil
	})
	node := &raftlogv1.NodeRecord{Account: "acct", PoolId: "p", Uid: 5, Node: &apiv1.Node{Id: "n"}}
	answer.Err = batcherr.NotFound(batcherr.CodeNodeNotFound, "gone")
	_, err := s.open(t.Context(), node, &agentv1.Hello{})
	require.Error(t, err)
	require.True(t, counted)
	require.False(t, s.Connected(5), "a session whose hello is refused is none")

	answer = state.Result{Node: &raftlogv1.NodeRecord{Uid: 5, Incarnation: 3}}
	session, err := s.open(t.Context(), node, &agentv1.Hello{})
	require.NoError(t, err)
	require.Equal(t, uint32(3), session.node.Incarnation, "as the hello left it")
	require.True(t, s.Connected(5))
}

func TestANodeThatIsAwayIsWaitedForAMoment(t *testing.T) {
	s := (&election{}).server()
	s.begin(t.Context())
	err := s.Request(t.Context(), 5, &agentv1.FileRequest{}, nil)
	require.True(t, batcherr.HasCode(err, batcherr.CodeNodeStateUnusable))
	require.True(t, batcherr.HasKind(err, batcherr.KindUnavailable))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Request(ctx, 5, &agentv1.FileRequest{}, nil), context.Canceled)
}
