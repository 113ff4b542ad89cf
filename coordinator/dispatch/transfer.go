package dispatch

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"

	"github.com/batchyard/batchyard/internal/batcherr"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

// transfer is a file request that waits for its node's answer. The agent's stream hands chunks over one by one, so that nothing piles up here.
type transfer struct {
	node   uint64
	ctx    context.Context
	chunks chan *agentv1.TransferChunk
}

type transferStream = grpc.ClientStreamingServer[agentv1.TransferChunk, agentv1.TransferDone]

// Request asks a node for files and hands each chunk of the answer to each, until the last. A file error of the agent is returned as the error with its code.
func (s *Server) Request(ctx context.Context, node uint64, req *agentv1.FileRequest, each func(*agentv1.TransferChunk) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req.Id = newID()
	return s.ask(ctx, node, req.Id, &agentv1.CoordinatorMessage{Message: &agentv1.CoordinatorMessage_File{File: req}}, each)
}

// Order asks a node's agent to do something and hands each part of the answer to each.
func (s *Server) Order(ctx context.Context, node uint64, order *agentv1.NodeOrder, each func(*agentv1.TransferChunk) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	order.Id = newID()
	return s.ask(ctx, node, order.Id, &agentv1.CoordinatorMessage{Message: &agentv1.CoordinatorMessage_Order{Order: order}}, each)
}

func (s *Server) ask(ctx context.Context, node uint64, id string, m *agentv1.CoordinatorMessage, each func(*agentv1.TransferChunk) error) error {
	t := &transfer{node: node, ctx: ctx, chunks: make(chan *agentv1.TransferChunk)}
	session, err := s.awaitSession(ctx, id, t)
	if err != nil {
		return err
	}
	defer s.closeTransfer(id)
	if err := session.send(m); err != nil {
		return notConnected().Wrap(err)
	}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-session.ctx.Done():
			return notConnected()
		case chunk := <-t.chunks:
			if done, err := takeChunk(chunk, each); done || err != nil {
				return err
			}
		}
	}
}

// reconnectWait is how long a node is waited for that is not connected: after a change of leaders all are not for a moment.
const reconnectWait = 2 * time.Second

func (s *Server) awaitSession(ctx context.Context, id string, t *transfer) (*session, error) {
	deadline := time.NewTimer(reconnectWait)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if session := s.openTransfer(id, t); session != nil {
			return session, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-deadline.C:
			return nil, notConnected()
		case <-tick.C:
		}
	}
}

func notConnected() *batcherr.Error {
	return batcherr.New(batcherr.KindUnavailable, batcherr.CodeNodeStateUnusable, "The node is not connected.")
}

func takeChunk(chunk *agentv1.TransferChunk, each func(*agentv1.TransferChunk) error) (done bool, err error) {
	switch c := chunk.Content.(type) {
	case *agentv1.TransferChunk_Error:
		return true, batcherr.New(batcherr.KindOf(c.Error.Code), c.Error.Code, "%s", c.Error.Message)
	case *agentv1.TransferChunk_End:
		return true, nil
	}
	return false, each(chunk)
}

func (s *Server) openTransfer(id string, t *transfer) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	session := s.sessions[t.node]
	if session != nil {
		s.transfers[id] = t
	}
	return session
}

func (s *Server) closeTransfer(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.transfers, id)
}

// Transfer takes in a node's answer to one file request.
func (s *Server) Transfer(stream transferStream) error {
	node, err := s.caller(stream.Context())
	if err != nil {
		return err
	}
	var t *transfer
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&agentv1.TransferDone{})
		}
		if err != nil {
			return err
		}
		if t == nil {
			// Only the node that was asked may answer.
			if t = s.transfer(chunk.Id); t == nil || t.node != node.Uid {
				return batcherr.NotFound(batcherr.CodeResourceNotFound, "nobody waits for this transfer")
			}
		}
		select {
		case t.chunks <- chunk:
		case <-t.ctx.Done():
			return batcherr.NotFound(batcherr.CodeResourceNotFound, "nobody waits for this transfer any more")
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (s *Server) transfer(id string) *transfer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.transfers[id]
}
