package process

import (
	"context"
	"errors"
	"time"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

// takeOver ends what a predecessor left running, and takes its unacknowledged attempts.
func (s *supervisor) takeOver(ctx context.Context) error {
	records, err := readJournal(s.cfg.StateDir)
	if err != nil {
		return err
	}
	header, order, left := replay(records)
	var strays []stray
	for _, id := range order {
		h := left[id]
		if h == nil || s.attempts[id] != nil {
			continue
		}
		a := &attempt{id: id, gone: make(chan struct{}), start: h.started, failure: h.failed, exit: h.exited}
		close(a.gone)
		s.attempts[id] = a
		if a.over() {
			continue
		}
		strays = append(strays, stray{intent: h.intent, started: h.started})
		a.why = agentv1.ProcessEnd_PROCESS_END_LOST
		a.exit = a.exited(exit{code: exitUnknown, at: time.Now().UnixNano()})
	}
	if s.machine, err = newMachine(s.log); err != nil {
		return err
	}
	if header != nil {
		if len(strays) > 0 {
			s.log.Warn("an earlier supervisor left attempts behind; ending them", "attempts", len(strays))
		}
		if err := s.machine.killStrays(ctx, header, strays); err != nil {
			return errors.Join(err, s.machine.close())
		}
	}
	s.machine.openGroups(s.cfg)
	if s.journal, err = newJournal(s.cfg.StateDir, s.snapshot()); err != nil {
		return errors.Join(err, s.machine.close())
	}
	return nil
}

// stray is an attempt of a predecessor that may still run; each part may be missing.
type stray struct {
	intent  *agentv1.ProcessIntent
	started *agentv1.ProcessStarted
}

// close lets go of what the supervisor holds outside its memory.
func (s *supervisor) close() error {
	return errors.Join(s.journal.close(), s.machine.close())
}
