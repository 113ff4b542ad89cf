package replica

import (
	"sync"
	"time"
)

// watchdogTicks is how often a running operation must be seen before it counts as stalled. Counting sightings rather than
// time keeps a process that was itself paused from blaming its disk.
const watchdogTicks = 20

// watchdog reports operations that do not end within a limit.
type watchdog struct {
	limit time.Duration
	stall func(error)

	mu      sync.Mutex
	running map[*watched]struct{} // guarded by mu

	stop chan struct{}
	done sync.WaitGroup
}

type watched struct {
	name string
	seen int // by the watchdog's goroutine
}

func startWatchdog(limit time.Duration, stall func(error)) *watchdog {
	w := &watchdog{limit: limit, stall: stall, running: map[*watched]struct{}{}, stop: make(chan struct{})}
	w.done.Go(w.run)
	return w
}

// watch notes that an operation begins; the returned function ends it.
func (w *watchdog) watch(name string) (end func()) {
	op := &watched{name: name}
	w.mu.Lock()
	w.running[op] = struct{}{}
	w.mu.Unlock()
	return func() {
		w.mu.Lock()
		delete(w.running, op)
		w.mu.Unlock()
	}
}

func (w *watchdog) run() {
	ticker := time.NewTicker(max(w.limit/watchdogTicks, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-ticker.C:
			for _, name := range w.look() {
				w.stall(&StallError{Operation: name, Limit: w.limit.String()})
			}
		}
	}
}

// look returns the operations that have just reached the limit.
func (w *watchdog) look() (stalled []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for op := range w.running {
		if op.seen++; op.seen == watchdogTicks {
			stalled = append(stalled, op.name)
		}
	}
	return stalled
}

func (w *watchdog) close() {
	close(w.stop)
	w.done.Wait()
}
