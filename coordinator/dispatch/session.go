package dispatch

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/batchyard/batchyard/coordinator/state"
	"github.com/batchyard/batchyard/internal/batcherr"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

var (
	errTermEnded  = batcherr.Unavailable("this coordinator does not lead any more")
	errReplaced   = batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState, "the node has begun another session")
	errNewStore   = batcherr.Unavailable("the account's store has changed: begin again")
	errIncarnated = batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState, "the node was given up: begin again")
)

type agentStream = grpc.BidiStreamingServer[agentv1.AgentMessage, agentv1.CoordinatorMessage]

// session is one registration of one node. The receiving goroutine proposes reports, the sending one turns changes into assignments; messages of both
// go through out, so that only one sends.
type session struct {
	server *Server
	node   *raftlogv1.NodeRecord
	ctx    context.Context
	cancel context.CancelCauseFunc
	out    chan *agentv1.CoordinatorMessage

	mu      sync.Mutex
	pending *state.NodeChanges
	wake    chan struct{}

	// What the welcome said; not changed afterwards.
	store *apiv1.StoreAccess

	// Owned by the sending goroutine.
	number  uint64
	ordered uint32 // number of the restart that was asked for
	sent    map[sentSpec]bool
}

// sentSpec names what the session has sent already: a spec of a job, or with spec 0 the job.
type sentSpec struct {
	job  uint64
	spec uint32
}

func (s *session) stop(cause error) { s.cancel(cause) }

// deliver takes in what has changed for the node.
func (s *session) deliver(c *state.NodeChanges) {
	s.mu.Lock()
	s.pending.Merge(c)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *session) take() *state.NodeChanges {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.pending
	s.pending = &state.NodeChanges{}
	return out
}

// Session serves one agent until the stream, the term or the node's incarnation ends.
func (s *Server) Session(stream agentStream) error {
	info, err := s.caller(stream.Context())
	if err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	hello := first.GetHello()
	if hello == nil {
		return batcherr.Invalid(batcherr.CodeInvalidInput, "the first message of a session must be a hello")
	}
	session, err := s.open(stream.Context(), info.NodeRecord, hello)
	if err != nil {
		return err
	}
	defer s.unregister(session)
	return session.serve(stream, hello)
}

// open registers a session and says that the node is there, in this order: placement looks once for nodes with a session, when the hello is applied.
func (s *Server) open(ctx context.Context, node *raftlogv1.NodeRecord, hello *agentv1.Hello) (*session, error) {
	session, err := s.register(ctx, node)
	if err != nil {
		return nil, err
	}
	result, err := s.cfg.Proposer.Propose(ctx, &raftlogv1.Command{
		Now: s.cfg.Now().UnixNano(), Account: node.Account,
		Kind: &raftlogv1.Command_NodeHello{NodeHello: &raftlogv1.NodeHello{PoolId: node.PoolId, NodeId: node.Node.Id, Facts: hello.Facts}},
	})
	if err == nil && result.Err != nil {
		err = result.Err
	}
	if err != nil {
		s.unregister(session)
		return nil, err
	}
	session.node = result.Node
	return session, nil
}

func (s *Server) register(ctx context.Context, node *raftlogv1.NodeRecord) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.term == nil {
		return nil, errTermEnded
	}
	if old := s.sessions[node.Uid]; old != nil {
		old.stop(errReplaced)
	}
	out := &session{
		server: s, node: node, out: make(chan *agentv1.CoordinatorMessage, 16),
		pending: &state.NodeChanges{}, wake: make(chan struct{}, 1), sent: map[sentSpec]bool{},
	}
	out.ctx, out.cancel = context.WithCancelCause(ctx)
	s.live.Add(1)
	s.sessions[node.Uid] = out
	s.lastSeen[node.Uid] = s.cfg.Now()
	return out, nil
}

func (s *Server) unregister(session *session) {
	defer s.live.Done()
	session.cancel(nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[session.node.Uid] == session {
		delete(s.sessions, session.node.Uid)
		delete(s.cpu, session.node.Uid)
	}
}

func (s *session) serve(stream agentStream, hello *agentv1.Hello) error {
	logger := s.server.cfg.Logger.With("pool", s.node.PoolId, "node", s.node.Node.Id)
	logger.Info("node session begins", "incarnation", s.node.Incarnation, "held", len(hello.Held))
	welcome, err := s.welcome()
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { s.stop(s.sendLoop(stream)) })
	wg.Go(func() { s.stop(s.assignLoop(welcome)) })
	// Recv ends when the handler returns; it can't be waited for before.
	received := make(chan error, 1)
	go func() { received <- s.receiveLoop(stream) }()
	select {
	case err = <-received:
		s.stop(err)
	case <-s.ctx.Done():
		err = context.Cause(s.ctx)
	}
	logger.Info("node session ends", "err", err)
	if errors.Is(err, context.Canceled) {
		return batcherr.Unavailable("the session was cancelled")
	}
	return err
}

func (s *session) welcome() (*agentv1.CoordinatorMessage, error) {
	cfg := s.server.cfg
	store, err := cfg.Store(s.node.Account)
	if err != nil {
		return nil, batcherr.Internal(err)
	}
	s.store = store
	return &agentv1.CoordinatorMessage{Message: &agentv1.CoordinatorMessage_Welcome{Welcome: &agentv1.Welcome{
		Session:              newID(),
		Lease:                durationpb.New(cfg.Lease),
		HeartbeatInterval:    durationpb.New(cfg.Heartbeat),
		TaskSlots:            s.node.Slots,
		CoordinatorAddresses: cfg.Addresses(),
		Store:                store,
		AccountUrl:           cfg.AccountURL(s.node.Account),
		AccountId:            s.node.Account,
		Mounts:               s.mounts(),
	}}}, nil
}

// sameStore fails when the node has to be told of another store.
func (s *session) sameStore() error {
	store, err := s.server.cfg.Store(s.node.Account)
	if err != nil {
		return batcherr.Internal(err)
	}
	if !proto.Equal(store, s.store) {
		return errNewStore
	}
	return nil
}

func (s *session) send(m *agentv1.CoordinatorMessage) error {
	select {
	case s.out <- m:
		return nil
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}

func (s *session) sendLoop(stream agentStream) error {
	for {
		select {
		case m := <-s.out:
			if err := stream.Send(m); err != nil {
				return err
			}
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
	}
}

func (s *session) receiveLoop(stream agentStream) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		s.server.seen(s.node.Uid)
		switch m := m.Message.(type) {
		case *agentv1.AgentMessage_Heartbeat:
			s.server.told(s, m.Heartbeat)
			err = s.send(&agentv1.CoordinatorMessage{Message: &agentv1.CoordinatorMessage_HeartbeatAck{
				HeartbeatAck: &agentv1.HeartbeatAck{Number: m.Heartbeat.Number},
			}})
		case *agentv1.AgentMessage_Reports:
			err = s.report(m.Reports)
		case *agentv1.AgentMessage_Mounts:
			err = s.mounted(m.Mounts)
		}
		if err != nil {
			return err
		}
	}
}

// report commits a batch of statuses, then acknowledges it.
func (s *session) report(r *agentv1.Reports) error {
	result, err := s.server.cfg.Proposer.Propose(s.ctx, &raftlogv1.Command{
		Now: s.server.cfg.Now().UnixNano(), Account: s.node.Account,
		Kind: &raftlogv1.Command_ReportAttempts{ReportAttempts: &raftlogv1.ReportAttempts{
			Node: s.node.Uid, Incarnation: s.node.Incarnation, Reports: r.Reports,
		}},
	})
	if err != nil {
		return err
	}
	if result.Err != nil {
		return errIncarnated
	}
	return s.send(&agentv1.CoordinatorMessage{Message: &agentv1.CoordinatorMessage_ReportsCommitted{ReportsCommitted: r.Batch}})
}

// current says whether the node still is the one that this session was begun for.
func (s *session) current() bool {
	n, ok := s.server.cfg.State.NodeByUID(s.node.Uid)
	return ok && n.Incarnation == s.node.Incarnation
}
