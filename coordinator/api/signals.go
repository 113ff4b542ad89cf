package api

import (
	"sync"

	"github.com/batchyard/batchyard/coordinator/state"
)

// jobSignals tells those who watch jobs that something of theirs has changed. All share one watch of the state, which lasts as long as anyone
// watches: its cost to those who change the state does not grow with the number of watchers.
type jobSignals struct {
	store *state.Store

	mu   sync.Mutex
	subs map[*jobSignal]bool
	run  *signalRun // nil while nobody watches
}

// signalRun is a goroutine that watches the state.
type signalRun struct{ stop, done chan struct{} }

type jobSignal struct {
	job  uint64
	wake chan struct{}
}

func newJobSignals(store *state.Store) *jobSignals {
	return &jobSignals{store: store, subs: map[*jobSignal]bool{}}
}

// watch gives a channel that receives after changes of the job or of its tasks. The caller reads the state after this call, and calls cancel at the end.
func (s *jobSignals) watch(job uint64) (changed <-chan struct{}, cancel func()) {
	sub := &jobSignal{job: job, wake: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subs[sub] = true
	if s.run == nil {
		run, watcher := &signalRun{make(chan struct{}), make(chan struct{})}, s.store.Watch()
		s.run = run
		go func() {
			defer close(run.done)
			defer watcher.Close()
			s.pass(watcher, run.stop)
		}()
	}
	return sub.wake, func() { s.unwatch(sub) }
}

func (s *jobSignals) unwatch(sub *jobSignal) {
	s.mu.Lock()
	delete(s.subs, sub)
	run := s.run
	if len(s.subs) > 0 {
		run = nil
	} else {
		s.run = nil
	}
	s.mu.Unlock()
	if run != nil {
		close(run.stop)
		<-run.done
	}
}

// pass hands on what the watcher sees.
func (s *jobSignals) pass(watcher *state.Watcher, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-watcher.C():
		}
		changes := watcher.Take()
		s.mu.Lock()
		for sub := range s.subs {
			if changes.Reset || changes.Jobs[sub.job] {
				select {
				case sub.wake <- struct{}{}:
				default:
				}
			}
		}
		s.mu.Unlock()
	}
}
