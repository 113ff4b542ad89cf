package session

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/batchyard/batchyard/internal/batcherr"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

// maxTransfers is how many file requests are answered at once; followers count as long as they follow.
const maxTransfers = 256

// transfer answers a request for files in a stream and goroutine of its own. One too many is left unanswered: whoever
// asked gives up when its patience ends.
func (s *session) transfer(ctx context.Context, req *agentv1.FileRequest) {
	begun := s.transfers.TryGo(func() error {
		if err := s.answer(ctx, req); err != nil && ctx.Err() == nil {
			s.cfg.Logger.Debug("file request was not answered to its end", "operation", req.GetOperation().String(), "error", err)
		}
		return nil
	})
	if !begun {
		s.cfg.Logger.Warn("too many file requests at once", "limit", maxTransfers)
	}
}

// order does what the node is asked for and answers like a request for files.
func (s *session) order(ctx context.Context, order *agentv1.NodeOrder) {
	begun := s.transfers.TryGo(func() error {
		uploaded, err := s.cfg.Follow(ctx, order)
		if err := s.tell(ctx, order.GetId(), uploaded, err); err != nil && ctx.Err() == nil {
			s.cfg.Logger.Debug("order was not answered", "error", err)
		}
		return nil
	})
	if !begun {
		s.cfg.Logger.Warn("too many file requests and orders at once", "limit", maxTransfers)
	}
}

func (s *session) tell(ctx context.Context, id string, uploaded int32, failure error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.client.Transfer(ctx)
	if err != nil {
		return fmt.Errorf("opening a transfer: %w", err)
	}
	chunks := []*agentv1.TransferChunk{
		{Id: id, Content: &agentv1.TransferChunk_Uploaded{Uploaded: uploaded}}, {Id: id, Content: &agentv1.TransferChunk_End{End: true}},
	}
	if failure != nil {
		known := batcherr.From(failure)
		text := known.Message
		for _, v := range known.Values {
			text += " " + v.Value
		}
		chunks = []*agentv1.TransferChunk{{Id: id, Content: &agentv1.TransferChunk_Error{Error: &agentv1.FileError{Code: known.Code, Message: text}}}}
	}
	for _, chunk := range chunks {
		if err := stream.Send(chunk); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	_, err = stream.CloseAndRecv()
	return err
}

func (s *session) answer(ctx context.Context, req *agentv1.FileRequest) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.client.Transfer(ctx)
	if err != nil {
		return fmt.Errorf("opening a transfer: %w", err)
	}
	var done <-chan struct{}
	if req.GetAttempt() != nil && req.GetFollow() {
		if done, err = s.cfg.Tasks.Ended(ctx, req.GetAttempt()); err != nil {
			return err
		}
	}
	err = s.serve(ctx, req, stream.Send, done)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if _, err := stream.CloseAndRecv(); err != nil {
		return fmt.Errorf("ending a transfer: %w", err)
	}
	return nil
}

// serve keeps a fault in serving one file from ending the agent.
func (s *session) serve(ctx context.Context, req *agentv1.FileRequest, send func(*agentv1.TransferChunk) error, done <-chan struct{}) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			s.cfg.Logger.Error("serving a file panicked", "fault", fmt.Sprint(fault))
			err = batcherr.Internal(fmt.Errorf("panic: %v", fault))
		}
	}()
	return s.cfg.Serve(ctx, req, send, done)
}
