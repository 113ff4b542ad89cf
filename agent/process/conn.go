package process

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

const (
	// maxBacklog is how many bytes of events wait for a client that does not read, before it is cut off; it learns all of
	// them again from a list.
	maxBacklog = 64 << 20
	// flushPatience is how long a client may take to read what is left when the connection ends.
	flushPatience = 2 * time.Second
)

// conn is one connected client.
type conn struct {
	net.Conn
	out *sendQueue
}

// greeting is a frame without events: the first on every connection, so that a client knows that it is served.
var greeting = []byte{0, 0, 0, 0}

// sendQueue is what waits to be written to a connection.
type sendQueue struct {
	mu      sync.Mutex
	ready   sync.Cond
	frames  net.Buffers
	size    int
	limit   int
	closing bool
}

func newSendQueue(limit int) *sendQueue {
	q := &sendQueue{limit: limit}
	q.ready.L = &q.mu
	return q
}

// push takes a frame and says whether it had room; after close it is dropped.
func (q *sendQueue) push(frame []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closing {
		return true
	}
	if q.size+len(frame) > q.limit {
		return false
	}
	q.frames = append(q.frames, frame)
	q.size += len(frame)
	q.ready.Signal()
	return true
}

// close lets run end when all is written.
func (q *sendQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closing = true
	q.ready.Signal()
}

// run writes frames to w until close or an error.
func (q *sendQueue) run(w io.Writer) error {
	for {
		q.mu.Lock()
		for len(q.frames) == 0 && !q.closing {
			q.ready.Wait()
		}
		frames := q.frames
		q.frames, q.size = nil, 0
		q.mu.Unlock()
		if len(frames) == 0 {
			return nil
		}
		if _, err := frames.WriteTo(w); err != nil {
			return err
		}
	}
}

// accept serves clients until the listener is closed.
func (s *supervisor) accept(listener net.Listener) {
	for {
		nc, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of descriptors, most likely: others will be closed.
			s.log.Warn("cannot accept a connection", "error", err)
			time.Sleep(lastPause)
			continue
		}
		if err := checkPeer(nc); err != nil {
			s.log.Warn("refused a connection", "error", err)
			_ = nc.Close()
			continue
		}
		c := &conn{Conn: nc, out: newSendQueue(maxBacklog)}
		c.out.push(greeting)
		s.mu.Lock()
		if s.phase == ended {
			s.mu.Unlock()
			_ = nc.Close()
			continue
		}
		s.conns[c] = struct{}{}
		s.background.Go(func() { s.serveConn(c) })
		s.mu.Unlock()
	}
}

// serveConn reads a client's requests until the connection ends, and owns its writer.
func (s *supervisor) serveConn(c *conn) {
	written := make(chan struct{})
	go func() {
		defer close(written)
		if err := c.out.run(c); err != nil {
			_ = c.Close()
		}
	}()
	err := s.readRequests(c)
	s.mu.Lock()
	delete(s.conns, c)
	over := s.phase == ended
	s.mu.Unlock()
	if err != nil && !over {
		s.log.Warn("a client's connection failed", "error", err)
	}
	_ = c.SetWriteDeadline(time.Now().Add(flushPatience))
	c.out.close()
	<-written
	_ = c.Close()
}

func (s *supervisor) readRequests(c *conn) error {
	r := bufio.NewReaderSize(c, 64<<10)
	var buf []byte
	for {
		frame := &agentv1.SupervisorRequests{}
		var err error
		if buf, err = readFrame(r, buf, frame); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		s.handle(c, frame.GetRequests())
	}
}

func (s *supervisor) handle(c *conn, requests []*agentv1.SupervisorRequest) {
	var begun []*attempt
	s.mu.Lock()
	for _, r := range requests {
		switch r := r.GetRequest().(type) {
		case *agentv1.SupervisorRequest_Start:
			if a := s.begin(r.Start, c); a != nil {
				begun = append(begun, a)
			}
		case *agentv1.SupervisorRequest_Stop:
			if a := s.attempts[r.Stop.GetAttemptId()]; a != nil {
				grace := a.grace
				if r.Stop.GraceNanos != nil {
					grace = time.Duration(r.Stop.GetGraceNanos())
				}
				s.stop(a, grace, agentv1.ProcessEnd_PROCESS_END_STOPPED)
			}
		case *agentv1.SupervisorRequest_Ack:
			s.forget(r.Ack.GetAttemptIds())
		case *agentv1.SupervisorRequest_Renew:
			s.renew(r.Renew)
		case *agentv1.SupervisorRequest_List:
			s.list(r.List.GetNumber(), c)
		case *agentv1.SupervisorRequest_Shutdown:
			if s.phase == serving {
				s.phase = draining
				close(s.shutdownAsked)
			}
		}
	}
	s.mu.Unlock()
	s.enqueue(begun)
}

// list answers with everything held; s.mu is held.
func (s *supervisor) list(number uint64, to *conn) {
	l := &agentv1.ProcessList{Number: number, LeaseNanos: s.remaining()}
	for _, a := range s.attempts {
		l.Processes = append(l.Processes, &agentv1.HeldProcess{
			AttemptId: a.id, Started: a.start, StartFailed: a.failure, Exited: a.exit, Lingers: a.left,
		})
	}
	s.emit(outgoing{event: &agentv1.SupervisorEvent{Event: &agentv1.SupervisorEvent_List{List: l}}, only: to, again: true})
}

// closeConns lets every client read what is left and ends its connection.
func (s *supervisor) closeConns() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.SetReadDeadline(time.Now())
	}
}
