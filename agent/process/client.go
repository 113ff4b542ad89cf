package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

// ErrClosed says that the connection with the supervisor has ended. What was asked may or may not have been done; a new connection's
// List says.
var ErrClosed = errors.New("the connection with the supervisor has ended")

// Client is a connection with a supervisor. Its methods may be called from several goroutines. Start, Stop, Ack and Renew
// return when the request is on its way, in order; requests that come together travel together.
type Client struct {
	nc     net.Conn
	events chan []*agentv1.SupervisorEvent
	done   chan struct{} // closed when the connection has ended
	wait   sync.WaitGroup

	mu     sync.Mutex
	ready  sync.Cond
	outbox []*agentv1.SupervisorRequest
	lists  map[uint64]chan *agentv1.ProcessList
	number uint64
	err    error // why it has ended
}

// errUngreeted: something took the connection and ended it before it was served, which a supervisor that is ending does: its
// socket stays open until the last of its threads is gone.
var errUngreeted = errors.New("the supervisor is ending")

// Dial connects to the supervisor that serves socketPath.
func Dial(ctx context.Context, socketPath string) (*Client, error) {
	nc, err := dialSocket(ctx, socketPath)
	if err != nil {
		return nil, fmt.Errorf("connect to the supervisor: %w", err)
	}
	if err := awaitGreeting(ctx, nc); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to the supervisor: %w", err), nc.Close())
	}
	c := &Client{
		nc: nc, events: make(chan []*agentv1.SupervisorEvent, 16), done: make(chan struct{}),
		lists: map[uint64]chan *agentv1.ProcessList{},
	}
	c.ready.L = &c.mu
	c.wait.Go(c.read)
	c.wait.Go(c.write)
	return c, nil
}

// awaitGreeting reads the empty frame with which a supervisor begins every connection.
func awaitGreeting(ctx context.Context, nc net.Conn) error {
	giveUp := context.AfterFunc(ctx, func() { _ = nc.SetReadDeadline(time.Unix(1, 0)) })
	_, err := readFrame(nc, nil, &agentv1.SupervisorEvents{})
	if !giveUp() {
		return ctx.Err()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return errUngreeted
	}
	return err
}

// Events carries what happens to attempts from the moment of Dial on, in order: ProcessStarted, ProcessStartFailed and
// ProcessExited, also of those that another client started. An event can come again. The channel must be read, and is
// closed when the connection has ended.
func (c *Client) Events() <-chan []*agentv1.SupervisorEvent { return c.events }

// Start asks for processes; the answers come as events. Starting an attempt that the supervisor holds gives the events of
// what is known of it and never a second process.
func (c *Client) Start(specs ...*agentv1.StartProcess) error {
	requests := make([]*agentv1.SupervisorRequest, len(specs))
	for i, spec := range specs {
		requests[i] = &agentv1.SupervisorRequest{Request: &agentv1.SupervisorRequest_Start{Start: spec}}
	}
	return c.ask(requests...)
}

// Stop ends the whole process tree of an attempt: it is asked, and killed after grace, 0 for at once. An unknown attempt and one
// that is over are left alone.
func (c *Client) Stop(attemptID string, grace time.Duration) error {
	nanos := int64(grace)
	return c.ask(&agentv1.SupervisorRequest{Request: &agentv1.SupervisorRequest_Stop{
		Stop: &agentv1.StopProcess{AttemptId: attemptID, GraceNanos: &nanos},
	}})
}

// Ack makes the supervisor forget attempts that are over.
func (c *Client) Ack(attemptIDs ...string) error {
	return c.ask(&agentv1.SupervisorRequest{Request: &agentv1.SupervisorRequest_Ack{
		Ack: &agentv1.AckProcesses{AttemptIds: attemptIDs},
	}})
}

// Renew starts the lease anew, at the moment that the supervisor reads it; 0 for a lease without end. When it ends, every attempt is
// stopped with stopGrace, 0 for killed at once.
func (c *Client) Renew(d, stopGrace time.Duration) error {
	return c.ask(&agentv1.SupervisorRequest{Request: &agentv1.SupervisorRequest_Renew{
		Renew: &agentv1.RenewLease{DurationNanos: int64(d), StopGraceNanos: int64(stopGrace)},
	}})
}

// List returns everything that the supervisor holds: attempts that run, and those that are over and not acknowledged. Events
// that were read from Events before the list was asked for are in it.
func (c *Client) List(ctx context.Context) (*agentv1.ProcessList, error) {
	answer := make(chan *agentv1.ProcessList, 1)
	c.mu.Lock()
	c.number++
	number := c.number
	c.lists[number] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.lists, number)
		c.mu.Unlock()
	}()
	err := c.ask(&agentv1.SupervisorRequest{Request: &agentv1.SupervisorRequest_List{
		List: &agentv1.ListProcesses{Number: number},
	}})
	if err != nil {
		return nil, err
	}
	select {
	case l := <-answer:
		return l, nil
	case <-c.done:
		return nil, c.Err()
	case <-ctx.Done():
		return nil, fmt.Errorf("list the supervisor's attempts: %w", ctx.Err())
	}
}

// Shutdown makes the supervisor stop every attempt and end, and returns when the connection has ended with it. Events must be
// read meanwhile.
func (c *Client) Shutdown(ctx context.Context) error {
	err := c.ask(&agentv1.SupervisorRequest{Request: &agentv1.SupervisorRequest_Shutdown{
		Shutdown: &agentv1.ShutdownSupervisor{},
	}})
	if err != nil {
		return err
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("shut the supervisor down: %w", ctx.Err())
	}
}

// Err is why the connection has ended, ErrClosed with its cause; nil while it lasts.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Close ends the connection, not the supervisor nor its attempts.
func (c *Client) Close() error {
	c.end(nil)
	c.wait.Wait()
	return nil
}

func (c *Client) ask(requests ...*agentv1.SupervisorRequest) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.outbox = append(c.outbox, requests...)
	c.ready.Signal()
	return nil
}

// end ends the connection once; the first cause counts.
func (c *Client) end(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = ErrClosed
	if cause != nil {
		c.err = fmt.Errorf("%w: %w", ErrClosed, cause)
	}
	_ = c.nc.Close()
	close(c.done)
	c.ready.Broadcast()
}

// maxStarts is how many requests travel in one frame.
const maxStarts = 256

func (c *Client) write() {
	var buf []byte
	for {
		c.mu.Lock()
		for len(c.outbox) == 0 && c.err == nil {
			c.ready.Wait()
		}
		if c.err != nil {
			c.mu.Unlock()
			return
		}
		n := min(len(c.outbox), maxStarts)
		batch := c.outbox[:n:n]
		if c.outbox = c.outbox[n:]; len(c.outbox) == 0 {
			c.outbox = nil
		}
		c.mu.Unlock()
		var err error
		if buf, err = appendFrame(buf[:0], &agentv1.SupervisorRequests{Requests: batch}); err == nil {
			_, err = c.nc.Write(buf)
		}
		if err != nil {
			c.end(err)
			return
		}
	}
}

func (c *Client) read() {
	defer close(c.events)
	r := bufio.NewReaderSize(c.nc, 64<<10)
	var buf []byte
	for {
		frame := &agentv1.SupervisorEvents{}
		var err error
		if buf, err = readFrame(r, buf, frame); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			c.end(err)
			return
		}
		events := frame.GetEvents()
		if len(events) == 1 && events[0].GetList() != nil {
			c.answer(events[0].GetList())
			continue
		}
		select {
		case c.events <- events:
		case <-c.done:
			return
		}
	}
}

func (c *Client) answer(l *agentv1.ProcessList) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if answer := c.lists[l.GetNumber()]; answer != nil {
		answer <- l
	}
}
