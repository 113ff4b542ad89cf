package session

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

// coordinator is a fake of which the test is the brain: it accepts sessions and hands them over.
type coordinator struct {
	agentv1.UnimplementedAgentServiceServer
	address  string
	refusal  atomic.Pointer[error] // nil: accept
	sessions chan *fakeSession
	mute     bool // do not acknowledge heartbeats

	mu        sync.Mutex
	transfers map[string][]*agentv1.TransferChunk
	ended     chan string
}

// fakeSession is the coordinator's end of a session.
type fakeSession struct {
	hello  *agentv1.Hello
	stream grpc.BidiStreamingServer[agentv1.AgentMessage, agentv1.CoordinatorMessage]
	in     chan *agentv1.AgentMessage // all but heartbeats
	beats  chan uint64
	end    chan error
	over   chan struct{}

	sending sync.Mutex
}

const (
	testLease     = 2 * time.Second
	testHeartbeat = 30 * time.Millisecond
)

func startCoordinator(t *testing.T) *coordinator {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &coordinator{
		address: listener.Addr().String(), sessions: make(chan *fakeSession, 16),
		transfers: map[string][]*agentv1.TransferChunk{}, ended: make(chan string, 16),
	}
	server := grpc.NewServer()
	agentv1.RegisterAgentServiceServer(server, c)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-done)
	})
	return c
}

func (c *coordinator) refuse(err error) { c.refusal.Store(&err) }

func (c *coordinator) Session(stream grpc.BidiStreamingServer[agentv1.AgentMessage, agentv1.CoordinatorMessage]) error {
	if refusal := c.refusal.Load(); refusal != nil {
		return *refusal
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	s := &fakeSession{
		hello: first.GetHello(), stream: stream, in: make(chan *agentv1.AgentMessage, 1000), beats: make(chan uint64, 1000),
		end: make(chan error, 1), over: make(chan struct{}),
	}
	defer close(s.over)
	welcome := &agentv1.Welcome{
		Session: "s", Lease: durationpb.New(testLease), HeartbeatInterval: durationpb.New(testHeartbeat), TaskSlots: 4,
	}
	if err := stream.Send(&agentv1.CoordinatorMessage{Message: &agentv1.CoordinatorMessage_Welcome{Welcome: welcome}}); err != nil {
		return err
	}
	c.sessions <- s
	received := make(chan error, 1)
	go func() { received <- c.receive(s) }()
	select {
	case err := <-received:
		return err
	case err := <-s.end:
		return err
	}
}

func (c *coordinator) receive(s *fakeSession) error {
	for {
		m, err := s.stream.Recv()
		if err != nil {
			return err
		}
		if beat := m.GetHeartbeat(); beat != nil {
			s.beats <- beat.GetNumber()
			if !c.mute {
				s.send(&agentv1.CoordinatorMessage{Message: &agentv1.CoordinatorMessage_HeartbeatAck{
					HeartbeatAck: &agentv1.HeartbeatAck{Number: beat.GetNumber()},
				}})
			}
			continue
		}
		s.in <- m
	}
}

func (s *fakeSession) send(m *agentv1.CoordinatorMessage) {
	s.sending.Lock()
	defer s.sending.Unlock()
	_ = s.stream.Send(m) // a stream that has ended shows on the receiving side
}

func (s *fakeSession) assign(complete bool, number uint64) {
	s.send(&agentv1.CoordinatorMessage{Message: &agentv1.CoordinatorMessage_Assignments{
		Assignments: &agentv1.Assignments{Complete: complete, Number: number},
	}})
}

func (s *fakeSession) committed(batch uint64) {
	s.send(&agentv1.CoordinatorMessage{Message: &agentv1.CoordinatorMessage_ReportsCommitted{ReportsCommitted: batch}})
}

func (c *coordinator) Transfer(stream grpc.ClientStreamingServer[agentv1.TransferChunk, agentv1.TransferDone]) error {
	id := ""
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			c.ended <- id
			return stream.SendAndClose(&agentv1.TransferDone{})
		}
		if err != nil {
			return err
		}
		if chunk.GetId() != "" {
			id = chunk.GetId()
		}
		c.mu.Lock()
		c.transfers[id] = append(c.transfers[id], chunk)
		c.mu.Unlock()
	}
}

// fakeTasks records what a session brings.
type fakeTasks struct {
	mu       sync.Mutex
	held     []*agentv1.AttemptRef
	slots    int32
	assigned []*agentv1.Assignments
	until    time.Time
	renewals int
	fail     error // of the next Assign
	ended    chan struct{}
}

func (f *fakeTasks) Held(context.Context) ([]*agentv1.AttemptRef, error) { return f.held, nil }

func (f *fakeTasks) Configure(_ context.Context, w *agentv1.Welcome) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slots = w.GetTaskSlots()
	return nil
}

func (f *fakeTasks) Assign(_ context.Context, m *agentv1.Assignments) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fail; err != nil {
		f.fail = nil
		return err
	}
	f.assigned = append(f.assigned, m)
	return nil
}

func (f *fakeTasks) Renew(_ context.Context, until time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.until = until
	f.renewals++
	return nil
}

func (f *fakeTasks) Ended(context.Context, *agentv1.AttemptRef) (<-chan struct{}, error) {
	return f.ended, nil
}

func (f *fakeTasks) lease() (until time.Time, renewals int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.until, f.renewals
}

// fakeReports is an outbox of which every report is a number.
type fakeReports struct {
	mu        sync.Mutex
	waiting   []*agentv1.AttemptReport
	kept      map[uint64][]*agentv1.AttemptReport
	signal    chan struct{}
	rewinds   int
	committed []uint64
}

func newFakeReports() *fakeReports {
	return &fakeReports{kept: map[uint64][]*agentv1.AttemptReport{}, signal: make(chan struct{}, 1)}
}

func (f *fakeReports) wake() {
	select {
	case f.signal <- struct{}{}:
	default:
	}
}

func (f *fakeReports) put(tasks ...uint64) {
	f.mu.Lock()
	for _, task := range tasks {
		f.waiting = append(f.waiting, &agentv1.AttemptReport{Ref: &agentv1.AttemptRef{Job: 1, Task: task, Attempt: 1}})
	}
	f.mu.Unlock()
	f.wake()
}

func (f *fakeReports) Ready() <-chan struct{} { return f.signal }

func (f *fakeReports) Rewind() {
	f.mu.Lock()
	f.rewinds++
	for _, reports := range f.kept {
		f.waiting = append(f.waiting, reports...)
	}
	clear(f.kept)
	f.mu.Unlock()
	f.wake()
}

func (f *fakeReports) Take(batch uint64, _ int) []*agentv1.AttemptReport {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.waiting
	f.waiting = nil
	if len(out) > 0 {
		f.kept[batch] = out
	}
	return out
}

func (f *fakeReports) Committed(batch uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.committed = append(f.committed, batch)
	delete(f.kept, batch)
}

// agent is a keeper with fakes around it.
type agent struct {
	t       *testing.T
	keeper  *Keeper
	tasks   *fakeTasks
	reports *fakeReports
	done    chan error
	stop    context.CancelFunc
}

func startAgent(t *testing.T, configure func(*Keeper), addresses ...string) *agent {
	a := &agent{t: t, tasks: &fakeTasks{}, reports: newFakeReports(), done: make(chan error, 1)}
	a.keeper = &Keeper{
		Config: Config{
			Tasks: a.tasks, Reports: a.reports, Logger: slog.New(slog.DiscardHandler),
			Facts: func() *agentv1.NodeFacts { return &agentv1.NodeFacts{Hostname: "here"} },
			Load:  func(b *agentv1.Heartbeat) { b.CpuPercent = 5 },
			Serve: func(ctx context.Context, req *agentv1.FileRequest, send func(*agentv1.TransferChunk) error, done <-chan struct{}) error {
				if req.GetName() == "panic" {
					panic("in the server of files")
				}
				if done != nil {
					select {
					case <-done:
					case <-ctx.Done():
						return ctx.Err()
					}
				}
				return send(&agentv1.TransferChunk{Id: req.GetId(), Content: &agentv1.TransferChunk_Data{Data: []byte(req.GetName())}})
			},
		},
		Dial: func(address string) (*grpc.ClientConn, error) {
			return grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		},
	}
	if configure != nil {
		configure(a.keeper)
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.stop = cancel
	go func() { a.done <- a.keeper.Run(ctx, addresses) }()
	t.Cleanup(func() {
		cancel()
		if !t.Failed() {
			require.NoError(t, <-a.done)
		}
	})
	return a
}

func (a *agent) eventually(cond func() bool) {
	a.t.Helper()
	require.Eventually(a.t, cond, time.Minute, time.Millisecond)
}

// get receives from a channel, and not for ever.
func get[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(10 * time.Second):
		require.FailNow(t, "nothing came")
		panic("unreachable")
	}
}
