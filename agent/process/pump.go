package process

import (
	"context"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

// pump carries events to the journal and then to the clients, so that no client knows what a new supervisor would not.
// What comes meanwhile travels together.
func (s *supervisor) pump(ctx context.Context) {
	for {
		select {
		case <-s.pumpWake:
			s.flush()
		case <-ctx.Done():
			s.flush()
			return
		}
	}
}

func (s *supervisor) flush() {
	s.mu.Lock()
	outbox, acked := s.outbox, s.acked
	s.outbox, s.acked = nil, nil
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	s.record(outbox, acked)
	for len(outbox) > 0 {
		only, n := outbox[0].only, 1
		for n < len(outbox) && outbox[n].only == only && n < maxBatch && !alone(outbox[n-1]) && !alone(outbox[n]) {
			n++
		}
		if only != nil {
			s.send([]*conn{only}, outbox[:n])
		} else {
			s.send(conns, outbox[:n])
		}
		outbox = outbox[n:]
	}
}

// alone says that an event has a frame of its own.
func alone(o outgoing) bool { return o.event.GetList() != nil }

// maxBatch is how many events travel in one frame.
const maxBatch = 4096

// record writes to the journal what it does not hold yet.
func (s *supervisor) record(outbox []outgoing, acked []string) {
	records := make([]*agentv1.SupervisorRecord, 0, len(outbox)+1)
	for _, o := range outbox {
		if !o.again {
			records = append(records, eventRecord(o.event))
		}
	}
	if len(acked) > 0 {
		records = append(records, &agentv1.SupervisorRecord{Record: &agentv1.SupervisorRecord_Ack{
			Ack: &agentv1.AckProcesses{AttemptIds: acked},
		}})
	}
	if len(records) > 0 {
		if err := s.journal.append(records...); err != nil {
			s.log.Error("cannot record events", "error", err)
		}
	}
	if s.journal.due() {
		if err := s.journal.rewrite(s.snapshot); err != nil {
			s.log.Error("cannot rewrite the journal", "error", err)
		}
	}
}

// snapshot is a journal that holds only what is still needed.
func (s *supervisor) snapshot() []*agentv1.SupervisorRecord {
	s.mu.Lock()
	defer s.mu.Unlock()
	records := []*agentv1.SupervisorRecord{s.machine.header()}
	for _, a := range s.attempts {
		records = append(records, a.records()...)
	}
	return records
}

func (s *supervisor) send(to []*conn, batch []outgoing) {
	if len(to) == 0 {
		return
	}
	frame := &agentv1.SupervisorEvents{Events: make([]*agentv1.SupervisorEvent, len(batch))}
	for i, o := range batch {
		frame.Events[i] = o.event
	}
	b, err := appendFrame(nil, frame)
	if err != nil {
		s.log.Error("cannot send events", "error", err)
		return
	}
	for _, c := range to {
		if !c.out.push(b) {
			s.log.Warn("a client does not read its events; cutting it off")
			_ = c.Close()
		}
	}
}
