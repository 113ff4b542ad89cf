// Package session is one registration of a node with one leading coordinator, from hello to failure, and the keeper that begins the next.
package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
)

// Reasons for which an agent ends a session by itself.
var (
	// ErrGap says that an increment is missing, or that the complete set did not come first.
	ErrGap = errors.New("assignments have a gap")
	// ErrSilence says that heartbeats are no longer acknowledged.
	ErrSilence = errors.New("heartbeats are not acknowledged")
	// ErrProtocol says that a message came which has no place there.
	ErrProtocol = errors.New("coordinator breaks the protocol")
)

const (
	welcomeTimeout   = 15 * time.Second
	defaultHeartbeat = 5 * time.Second
	minHeartbeat     = 20 * time.Millisecond
	// missedHeartbeats is how many acknowledgements in a row may be missing.
	missedHeartbeats = 3
	// unlimitedLease stands in for a coordinator that gives none.
	unlimitedLease = 100 * 365 * 24 * time.Hour
)

// Tasks takes over what a session brings.
type Tasks interface {
	// Held names every attempt that runs, or has ended without acknowledgement.
	Held(ctx context.Context) ([]*agentv1.AttemptRef, error)
	Configure(ctx context.Context, w *agentv1.Welcome) error
	Assign(ctx context.Context, m *agentv1.Assignments) error
	// Renew extends the node's right to run attempts.
	Renew(ctx context.Context, until time.Time) error
	// Ended is closed when the attempt has ended; at once for one that is not known.
	Ended(ctx context.Context, ref *agentv1.AttemptRef) (<-chan struct{}, error)
}

// Reports is where reports wait until they are committed.
type Reports interface {
	// Ready is sent to when Take may have something.
	Ready() <-chan struct{}
	// Rewind makes everything that is not committed ready again.
	Rewind()
	Take(batch uint64, limit int) []*agentv1.AttemptReport
	Committed(batch uint64)
}

// Mounts is where a report on mounts waits for the session.
type Mounts interface {
	// Ready is sent to when Take may have something.
	Ready() <-chan struct{}
	// Take gives what the session has not been told yet, or nil.
	Take() *agentv1.MountReport
}

// ServeFunc answers one request for files; following ends when done is closed.
type ServeFunc func(ctx context.Context, req *agentv1.FileRequest, send func(*agentv1.TransferChunk) error, done <-chan struct{}) error

// Config says what a session is between.
type Config struct {
	Tasks   Tasks
	Reports Reports
	// Mounts says how the file systems fare that the welcome has asked for. It may be nil.
	Mounts Mounts
	Serve  ServeFunc
	// Follow does what an order to the node asks, and says how many files it has uploaded.
	Follow func(ctx context.Context, order *agentv1.NodeOrder) (uploaded int32, err error)
	// Restart begins to end everything; it returns at once.
	Restart func(*agentv1.RestartNode)
	// Facts describes the machine; Load fills in what a heartbeat tells.
	Facts func() *agentv1.NodeFacts
	Load  func(*agentv1.Heartbeat)
	// Heartbeat overrides the coordinator's interval; 0: it decides.
	Heartbeat time.Duration
	Logger    *slog.Logger
}

// session is what the goroutines of one registration share.
type session struct {
	cfg       Config
	client    agentv1.AgentServiceClient
	stream    grpc.BidiStreamingClient[agentv1.AgentMessage, agentv1.CoordinatorMessage]
	out       chan *agentv1.AgentMessage
	committed chan struct{}
	interval  time.Duration
	lease     time.Duration
	beats     beats
	inFlight  atomic.Int64 // batches sent and not committed
	transfers *errgroup.Group
}

// Run registers over conn and works until something fails, which is what it returns: there is no other end. welcomed is
// told of the coordinator's answer, before assignments come.
func Run(ctx context.Context, conn grpc.ClientConnInterface, cfg Config, welcomed func(*agentv1.Welcome)) error {
	group, ctx := errgroup.WithContext(ctx)
	s := &session{
		cfg: cfg, client: agentv1.NewAgentServiceClient(conn),
		out: make(chan *agentv1.AgentMessage, 16), committed: make(chan struct{}, 1),
		transfers: &errgroup.Group{},
	}
	s.transfers.SetLimit(maxTransfers)
	group.Go(func() error {
		welcome, err := s.register(ctx)
		if err != nil {
			return err
		}
		welcomed(welcome)
		group.Go(func() error { return s.send(ctx) })
		group.Go(func() error { return s.watch(ctx) })
		return s.receive(ctx)
	})
	err := group.Wait()
	_ = s.transfers.Wait() // they end with ctx and report to the coordinator, not here
	return err
}

// register says hello and takes the answer.
func (s *session) register(ctx context.Context) (*agentv1.Welcome, error) {
	held, err := s.cfg.Tasks.Held(ctx)
	if err != nil {
		return nil, err
	}
	streamCtx, cancel := context.WithCancelCause(ctx)
	late := time.AfterFunc(welcomeTimeout, func() { cancel(errors.New("coordinator does not answer")) })
	defer late.Stop()
	if s.stream, err = s.client.Session(streamCtx); err != nil {
		return nil, fmt.Errorf("opening a session: %w", err)
	}
	sent := time.Now()
	hello := &agentv1.Hello{Facts: s.cfg.Facts(), Held: held}
	if err := s.stream.Send(&agentv1.AgentMessage{Message: &agentv1.AgentMessage_Hello{Hello: hello}}); err != nil {
		return nil, s.why(err)
	}
	first, err := s.stream.Recv()
	if err != nil {
		return nil, fmt.Errorf("registering: %w", errors.Join(err, context.Cause(streamCtx)))
	}
	welcome := first.GetWelcome()
	if welcome == nil {
		return nil, fmt.Errorf("%w: the first message is no welcome", ErrProtocol)
	}
	s.configure(welcome)
	if err := s.cfg.Tasks.Configure(ctx, welcome); err != nil {
		return nil, err
	}
	s.beats.start(sent)
	if err := s.cfg.Tasks.Renew(ctx, sent.Add(s.lease)); err != nil {
		return nil, fmt.Errorf("renewing the lease: %w", err)
	}
	s.cfg.Reports.Rewind()
	return welcome, nil
}

func (s *session) configure(w *agentv1.Welcome) {
	s.interval = s.cfg.Heartbeat
	if s.interval == 0 {
		s.interval = w.GetHeartbeatInterval().AsDuration()
	}
	if s.interval <= 0 {
		s.interval = defaultHeartbeat
	}
	s.interval = max(s.interval, minHeartbeat)
	s.lease = w.GetLease().AsDuration()
	if s.lease <= 0 {
		s.lease = unlimitedLease
	}
}

// why finds what a failed Send only hints at: the status is what Recv gives.
func (s *session) why(err error) error {
	if _, status := s.stream.Recv(); status != nil {
		err = status
	}
	return fmt.Errorf("sending to the coordinator: %w", err)
}
