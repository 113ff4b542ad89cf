package stage

import (
	"context"
	"time"

	"github.com/batchyard/batchyard/storage"
)

// again repeats a question to a store while its failures are temporary, waiting twice as long every time. Transfers of
// contents repeat themselves.
func (s *Stager) again(ctx context.Context, what string, do func() error) error {
	attempts, wait, most := s.cfg.Retry.Attempts, s.cfg.Retry.Base, s.cfg.Retry.Max
	if attempts <= 0 {
		attempts = 5
	}
	if wait <= 0 {
		wait = 200 * time.Millisecond
	}
	if most <= 0 {
		most = 10 * time.Second
	}
	for attempt := 1; ; attempt++ {
		err := do()
		if err == nil || !storage.Retryable(err) || attempt >= attempts || ctx.Err() != nil {
			return err
		}
		s.log.Warn("store failed, trying again", "source", what, "attempt", attempt, "err", err)
		timer := time.NewTimer(min(wait, most))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		wait *= 2
	}
}
