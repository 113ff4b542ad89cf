package session

import (
	"context"
	"fmt"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

// receive owns the receiving side of the stream.
func (s *session) receive(ctx context.Context) error {
	var set assignments
	for {
		m, err := s.stream.Recv()
		if err != nil {
			return fmt.Errorf("receiving from the coordinator: %w", err)
		}
		switch body := m.GetMessage().(type) {
		case *agentv1.CoordinatorMessage_Assignments:
			err = s.assign(ctx, &set, body.Assignments)
		case *agentv1.CoordinatorMessage_ReportsCommitted:
			s.commit(body.ReportsCommitted)
		case *agentv1.CoordinatorMessage_HeartbeatAck:
			err = s.acknowledge(ctx, body.HeartbeatAck.GetNumber())
		case *agentv1.CoordinatorMessage_File:
			s.transfer(ctx, body.File)
		case *agentv1.CoordinatorMessage_Order:
			if restart := body.Order.GetRestart(); restart != nil {
				s.cfg.Restart(restart)
			} else {
				s.order(ctx, body.Order)
			}
		case *agentv1.CoordinatorMessage_Welcome:
			err = fmt.Errorf("%w: a second welcome", ErrProtocol)
		default: // of a later version
		}
		if err != nil {
			return err
		}
	}
}

// assignments checks that nothing is missing: the complete set first, then increments that count up by one.
type assignments struct {
	begun  bool
	number uint64
}

func (a *assignments) accept(m *agentv1.Assignments) error {
	if !m.GetComplete() && (!a.begun || m.GetNumber() != a.number+1) {
		return fmt.Errorf("%w: %d after %d", ErrGap, m.GetNumber(), a.number)
	}
	a.begun, a.number = true, m.GetNumber()
	return nil
}

func (s *session) assign(ctx context.Context, set *assignments, m *agentv1.Assignments) error {
	if err := set.accept(m); err != nil {
		return err
	}
	if err := s.cfg.Tasks.Assign(ctx, m); err != nil {
		return fmt.Errorf("taking over assignments: %w", err)
	}
	taken := &agentv1.AgentMessage{Message: &agentv1.AgentMessage_AssignmentsTaken{AssignmentsTaken: m.GetNumber()}}
	select {
	case s.out <- taken:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *session) commit(batch uint64) {
	s.cfg.Reports.Committed(batch)
	s.inFlight.Add(-1)
	select {
	case s.committed <- struct{}{}:
	default:
	}
}

func (s *session) acknowledge(ctx context.Context, number uint64) error {
	sent, ok := s.beats.acknowledged(number)
	if !ok {
		return nil
	}
	if err := s.cfg.Tasks.Renew(ctx, sent.Add(s.lease)); err != nil {
		return fmt.Errorf("renewing the lease: %w", err)
	}
	return nil
}
