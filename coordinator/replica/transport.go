package replica

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// handshakeTimeout bounds what a connection may take to prove who it is.
const handshakeTimeout = 10 * time.Second

// transport is the library's network transport with one feature off and one added.
//
// Off: heartbeats do not bypass the main loop. In the library (v1.8.0) that shortcut raises the term of a leader under its
// feet, whereupon it appends entries in the term of its successor, and replicas come to hold different committed entries
// for ever. Pausing leaders makes it happen within minutes.
//
// Added: it notes what each follower last acknowledged, which tells a reader that this leader still led, and an
// administrator that a new replica has caught up.
type transport struct {
	*raft.NetworkTransport
	acks *ackTable
}

// SetHeartbeatHandler does nothing, see transport.
func (t *transport) SetHeartbeatHandler(func(raft.RPC)) {}

// AppendEntries notes the follower's answer. It sees every one of them, as pipelining is off.
func (t *transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	sent := time.Now()
	*resp = raft.AppendEntriesResponse{}
	if err := t.NetworkTransport.AppendEntries(id, target, req, resp); err != nil {
		return err
	}
	if resp.Success && resp.Term == req.Term {
		match := req.PrevLogEntry + uint64(len(req.Entries))
		t.acks.note(string(id), ack{term: req.Term, sent: sent, match: match})
	}
	return nil
}

// ack is the last positive answer of a follower.
type ack struct {
	term  uint64
	sent  time.Time // when the request that it answers was sent
	match uint64    // the highest index that the follower is known to share with this leader in this term
}

// ackTable holds the last ack of each follower.
type ackTable struct {
	mu      sync.Mutex
	acks    map[string]ack // guarded by mu
	changed broadcast
}

func (t *ackTable) note(id string, a ack) {
	t.mu.Lock()
	if last := t.acks[id]; last.term == a.term {
		a.match = max(a.match, last.match)
		if a.sent.Before(last.sent) {
			a.sent = last.sent
		}
	}
	t.acks[id] = a
	t.mu.Unlock()
	t.changed.notify()
}

// forget drops what is known of a follower whose directory may have been replaced.
func (t *ackTable) forget(id string) {
	t.mu.Lock()
	delete(t.acks, id)
	t.mu.Unlock()
}

// majority says whether self and enough of the voters have acknowledged, in term, a request sent at or after since.
func (t *ackTable) majority(term uint64, since time.Time, self string, voters []string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	votes := 0
	for _, id := range voters {
		a := t.acks[id]
		if id == self || (a.term == term && !a.sent.Before(since)) {
			votes++
		}
	}
	return votes > len(voters)/2
}

// match returns the index up to which a follower is known to share the log of the leader of term.
func (t *ackTable) match(term uint64, id string) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a := t.acks[id]; a.term == term {
		return a.match
	}
	return 0
}

// streamLayer gives the library its connections and closes those it leaves open.
type streamLayer struct {
	listener  net.Listener
	advertise string
	dial      func(ctx context.Context, addr string) (net.Conn, error)
	ctx       context.Context
	cancel    context.CancelFunc

	mu     sync.Mutex
	open   map[net.Conn]struct{} // guarded by mu
	closed bool                  // guarded by mu
}

func newStreamLayer(cfg Config) *streamLayer {
	ctx, cancel := context.WithCancel(context.Background())
	return &streamLayer{
		listener: cfg.Listener, advertise: cfg.Advertise, dial: cfg.Dial,
		ctx: ctx, cancel: cancel, open: map[net.Conn]struct{}{},
	}
}

func (s *streamLayer) Accept() (net.Conn, error) {
	conn, err := s.listener.Accept()
	if err != nil {
		return nil, err
	}
	return s.track(conn)
}

func (s *streamLayer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	conn, err := s.dial(ctx, string(addr))
	if err != nil {
		return nil, fmt.Errorf("dial replica %s: %w", addr, err)
	}
	return s.track(conn)
}

func (s *streamLayer) track(conn net.Conn) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	tracked := &trackedConn{Conn: conn, layer: s}
	s.open[tracked] = struct{}{}
	return tracked, nil
}

func (s *streamLayer) forget(conn net.Conn) {
	s.mu.Lock()
	delete(s.open, conn)
	s.mu.Unlock()
}

// Close closes the listener and every connection.
func (s *streamLayer) Close() error {
	s.cancel()
	s.mu.Lock()
	s.closed = true
	open := s.open
	s.open = map[net.Conn]struct{}{}
	s.mu.Unlock()
	for conn := range open {
		_ = conn.Close()
	}
	return s.listener.Close()
}

// Addr is the advertised address, which the library puts into the cluster's configuration.
func (s *streamLayer) Addr() net.Addr { return advertised(s.advertise) }

type advertised string

func (advertised) Network() string  { return "tcp" }
func (a advertised) String() string { return string(a) }

// trackedConn bounds the handshake, which on a TLS listener only happens at the first read.
type trackedConn struct {
	net.Conn
	layer  *streamLayer
	shaken sync.Once
	err    error // of the handshake
}

func (c *trackedConn) Read(p []byte) (int, error) {
	c.shaken.Do(c.handshake)
	if c.err != nil {
		return 0, c.err
	}
	return c.Conn.Read(p)
}

func (c *trackedConn) handshake() {
	conn, ok := c.Conn.(interface {
		HandshakeContext(ctx context.Context) error
	})
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(c.layer.ctx, handshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		// The library takes io.EOF for a peer that has hung up, and logs everything else as an error of its own.
		c.err = fmt.Errorf("handshake with %s: %w", c.RemoteAddr(), err)
	}
}

func (c *trackedConn) Close() error {
	c.layer.forget(c)
	return c.Conn.Close()
}

var _ io.Closer = (*streamLayer)(nil)
