//go:build unix

package process

import (
	"context"
	"errors"
	"syscall"
	"time"
)

// reap waits for every child, also adopted ones, and reports each, until ctx ends and no child is left.
func (m *machine) reap(ctx context.Context, report func(exit)) {
	for {
		var status syscall.WaitStatus
		var usage syscall.Rusage
		pid, err := syscall.Wait4(-1, &status, 0, &usage)
		switch {
		case err == nil && pid > 0:
			report(exitOf(pid, status, &usage))
		case errors.Is(err, syscall.ECHILD):
			select {
			case <-m.born:
			case <-ctx.Done():
				return
			}
		}
	}
}

func exitOf(pid int, status syscall.WaitStatus, usage *syscall.Rusage) exit {
	e := exit{
		pid: pid, code: status.ExitStatus(),
		user: time.Duration(usage.Utime.Nano()), system: time.Duration(usage.Stime.Nano()),
		maxRSS: int64(usage.Maxrss) * rssUnit, //nolint:unconvert // 32 bits wide on machines of 32 bits
	}
	if status.Signaled() {
		e.signal = int(status.Signal())
		e.code = exitOnSignal + e.signal
	}
	return e
}
