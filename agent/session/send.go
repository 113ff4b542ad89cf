package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

const (
	// maxReports bounds a batch.
	maxReports = 2000
	// maxInFlight is how many batches may be on their way: while they are, what comes gathers into the next.
	maxInFlight = 4
	// reportGap is the least time between two batches. The first after a silence goes at once; a node that finishes hundreds of tasks a second costs
	// the coordinator an entry in its log for each batch, not for each task, and waits for longer: it has tasks ahead.
	reportGap, busyGap = 4 * time.Millisecond, 10 * time.Millisecond
	// busyBatch is how many reports within a gap mean that a node is busy: one short task has one.
	busyBatch = 2
)

func gapAfter(reports int) time.Duration {
	if reports >= busyBatch {
		return busyGap
	}
	return reportGap
}

// send owns the sending side of the stream.
func (s *session) send(ctx context.Context) error {
	beat := time.NewTicker(s.interval)
	defer beat.Stop()
	gap := time.NewTimer(0)
	defer gap.Stop()
	paused := true // until gap fires
	var mounts <-chan struct{}
	if s.cfg.Mounts != nil {
		mounts = s.cfg.Mounts.Ready()
	}
	var batch uint64
	for {
		var message *agentv1.AgentMessage
		ready, committed := s.cfg.Reports.Ready(), s.committed
		if paused {
			ready, committed = nil, nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-beat.C:
			message = s.heartbeat()
		case message = <-s.out:
		case <-mounts:
			message = s.mounts()
		case <-gap.C:
			paused = false
		case <-ready:
			message = s.reports(&batch)
		case <-committed:
			message = s.reports(&batch)
		}
		if message == nil {
			continue
		}
		if sent := message.GetReports().GetReports(); len(sent) > 0 {
			paused = true
			gap.Reset(gapAfter(len(sent)))
		}
		switch err := s.stream.Send(message); {
		case errors.Is(err, io.EOF):
			return nil // the stream has ended: the receiving side learns why
		case err != nil:
			return fmt.Errorf("sending to the coordinator: %w", err)
		}
	}
}

func (s *session) heartbeat() *agentv1.AgentMessage {
	heartbeat := &agentv1.Heartbeat{}
	s.cfg.Load(heartbeat)
	heartbeat.Number = s.beats.next(time.Now())
	return &agentv1.AgentMessage{Message: &agentv1.AgentMessage_Heartbeat{Heartbeat: heartbeat}}
}

func (s *session) mounts() *agentv1.AgentMessage {
	report := s.cfg.Mounts.Take()
	if report == nil {
		return nil
	}
	return &agentv1.AgentMessage{Message: &agentv1.AgentMessage_Mounts{Mounts: report}}
}

// reports makes the next batch, or nothing while enough are on their way: the next commit asks again.
func (s *session) reports(batch *uint64) *agentv1.AgentMessage {
	if s.inFlight.Load() >= maxInFlight {
		return nil
	}
	reports := s.cfg.Reports.Take(*batch+1, maxReports)
	if len(reports) == 0 {
		return nil
	}
	*batch++
	s.inFlight.Add(1)
	return &agentv1.AgentMessage{Message: &agentv1.AgentMessage_Reports{Reports: &agentv1.Reports{Batch: *batch, Reports: reports}}}
}

// watch ends the session when acknowledgements stay out, long before the lease is over where that is possible.
func (s *session) watch(ctx context.Context) error {
	allowed := min(missedHeartbeats*s.interval+time.Second, max(s.lease*2/3, 2*s.interval))
	check := time.NewTicker(max(s.interval/2, minHeartbeat))
	defer check.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-check.C:
			if time.Since(s.beats.answered()) > allowed {
				return ErrSilence
			}
		}
	}
}
