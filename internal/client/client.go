// Package client finds the leading coordinator and keeps calling it, through restarts and changes of leader.
package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/batchyard/batchyard/internal/batcherr"
)

// Limits of what one call may carry and how connections are kept.
const (
	// MaxMessage is the largest message, in bytes, in either direction.
	MaxMessage = 16 << 20
	// KeepaliveTime is how often a connection with calls on it is probed; a server has to allow half of it.
	KeepaliveTime = 10 * time.Second
	// KeepaliveTimeout is how long a probe may stay unanswered before the connection counts as lost.
	KeepaliveTimeout = 5 * time.Second
	// DefaultRetryFor is how long a call rides out the absence of a leader.
	DefaultRetryFor = time.Minute
)

// LeaderValue is the key of the error detail in which a coordinator that cannot serve a call names the host:port of the
// leader.
const LeaderValue = "LeaderAddress"

// Config says whom to call and as whom.
type Config struct {
	// Addresses are the host:port of known coordinators; at least one.
	Addresses []string
	// CA holds the PEM certificates that sign the coordinators'; empty: the system's.
	CA []byte
	// ServerName is the name expected in the coordinators' certificates; empty: the host of the address.
	ServerName string
	// Token is sent with every call; empty: none.
	Token string
	// Certificate is asked for the client certificate on every handshake, so that renewed ones are taken up; nil: none.
	Certificate CertificateFunc
	// RetryFor limits how long one call is retried without success; 0: DefaultRetryFor.
	RetryFor time.Duration
	// FirstContact limits it until any coordinator has answered for the first time; 0: RetryFor.
	FirstContact time.Duration
	// OnRetry, if set, is told why a call is about to be tried again. It must not block.
	OnRetry func(err error)
	// Logger gets retries at debug level; nil: nothing is logged.
	Logger *slog.Logger
}

// Client is a grpc.ClientConnInterface over all coordinators; hand it to the generated clients. Its calls return
// *batcherr.Error. It is safe for concurrent use.
//
// A call that is known not to have been executed is tried again at another coordinator. One that may have been executed is tried
// again too: every call of the API can be repeated, and where the repetition finds its own work done (a deleted job is not found)
// that is success. Only creations may then be refused with an "exists" code; the error says so. Use the method AddTasks for tasks.
type Client struct {
	cfg     Config
	members *members

	ctx       context.Context
	cancel    context.CancelFunc
	learners  sync.WaitGroup
	mu        sync.Mutex
	learned   bool
	contacted bool
	closed    bool
}

// Dial makes a client without calling anyone yet. Close it.
func Dial(cfg Config) (*Client, error) {
	if len(cfg.Addresses) == 0 {
		return nil, errors.New("no coordinator address is known")
	}
	if cfg.RetryFor == 0 {
		cfg.RetryFor = DefaultRetryFor
	}
	if cfg.FirstContact == 0 {
		cfg.FirstContact = cfg.RetryFor
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	opts, err := dialOptions(cfg)
	if err != nil {
		return nil, err
	}
	ms := &members{dial: opts}
	for _, address := range cfg.Addresses {
		if _, err := ms.add(address); err != nil {
			return nil, errors.Join(err, ms.close())
		}
	}
	c := &Client{cfg: cfg, members: ms}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// At reaches one coordinator itself, for what only it can say; calls are made once.
func (c *Client) At(address string) (grpc.ClientConnInterface, error) {
	m, err := c.members.add(address)
	if err != nil {
		return nil, err
	}
	return m.conn, nil
}

// Addresses are those of all coordinators that are known by now.
func (c *Client) Addresses() []string { return c.members.addresses() }

// Close ends all connections; calls in flight fail.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.learners.Wait()
	return c.members.close()
}

// Invoke makes one call; see Client for when it is repeated.
func (c *Client) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	_, err := c.invoke(ctx, method, args, reply, opts...)
	return err
}

// invoke also reports whether an attempt before the last may have been executed.
func (c *Client) invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) (ambiguous bool, err error) {
	retry := c.newRetry()
	for {
		m := c.members.pick()
		attempt := &attempt{}
		err := m.conn.Invoke(attempt.context(ctx), method, args, reply, opts...)
		if err == nil {
			c.succeeded(m)
			return ambiguous, nil
		}
		verdict := judge(ctx, attempt, err)
		if !verdict.answered {
			c.failed(m, verdict.err)
		} else {
			c.succeeded(m)
		}
		if !verdict.again {
			if ambiguous {
				return true, settle(method, verdict.err)
			}
			return false, verdict.err
		}
		ambiguous = ambiguous || verdict.ambiguous
		if err := retry.wait(ctx, verdict.err); err != nil {
			return ambiguous, err
		}
	}
}

// NewStream opens a stream with a coordinator that answers; what happens to the stream later is its user's to handle.
func (c *Client) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	retry := c.newRetry()
	for {
		m := c.members.pick()
		stream, err := m.conn.NewStream(ctx, desc, method, opts...)
		if err == nil {
			return &observedStream{ClientStream: stream, client: c, member: m}, nil
		}
		verdict := judge(ctx, &attempt{}, err)
		if !verdict.again {
			return nil, verdict.err
		}
		c.failed(m, verdict.err)
		if err := retry.wait(ctx, verdict.err); err != nil {
			return nil, err
		}
	}
}

// observedStream moves the client on to another coordinator when the stream breaks.
type observedStream struct {
	grpc.ClientStream
	client *Client
	member *member
}

func (s *observedStream) RecvMsg(msg any) error {
	err := s.ClientStream.RecvMsg(msg)
	switch {
	case err == nil:
		s.client.succeeded(s.member)
		return nil
	case errors.Is(err, io.EOF):
		return err
	}
	verdict := judge(s.Context(), &attempt{}, err)
	if verdict.again {
		s.client.failed(s.member, verdict.err)
	}
	return verdict.err
}

func (c *Client) succeeded(m *member) {
	m.untrusted.Store(nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.contacted = true
	if c.learned || c.closed {
		return
	}
	c.learned = true
	c.learners.Go(func() { c.learn(m) })
}

func (c *Client) failed(m *member, err *batcherr.Error) {
	c.cfg.Logger.Debug("coordinator did not serve the call", "address", m.address, "error", err)
	c.mu.Lock()
	c.learned = false
	c.mu.Unlock()
	c.members.failed(m)
	if leader, ok := err.Value(LeaderValue); ok && leader != m.address {
		if known, err := c.members.add(leader); err == nil {
			c.members.prefer(known)
		}
	}
}

func (c *Client) limit() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.contacted {
		return c.cfg.RetryFor
	}
	return c.cfg.FirstContact
}

// untrusted is the reason why no coordinator can be believed, or nil.
func (c *Client) untrusted() error {
	if err := c.members.untrusted(); err != nil {
		return batcherr.Unauthenticated(fmt.Sprintf("the coordinator's certificate is not trusted: %v", err))
	}
	return nil
}
