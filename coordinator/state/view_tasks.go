package state

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/protobuf/proto"

	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// TaskSpan says which tasks of a job are listed: those after a number, up to another (0: to the end), all or those that have failed.
type TaskSpan struct {
	After, Last uint64
	Failed      bool
}

// Tasks returns up to limit tasks of a job in the order in which they were added. more says whether others follow.
func (s *Store) Tasks(jobUID uint64, span TaskSpan, limit int) (out []TaskInfo, more bool, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	j, ok := s.jobByUID[jobUID]
	if !ok {
		return nil, false, nil
	}
	w, err := s.walk(j, span)
	if err != nil {
		return nil, false, err
	}
	defer w.close()
	for w.next() {
		if len(out) == limit {
			return out, true, nil
		}
		key := TaskKey{jobUID, w.task}
		exec, err := executionAt(w.execs, key)
		if err != nil {
			return nil, false, err
		}
		info, err := s.compose(j, key, w.entry, exec)
		if err != nil {
			return nil, false, err
		}
		out = append(out, info)
	}
	return out, false, w.err
}

// walker goes through tasks in the order of their numbers: those of the tables, and elements of arrays, which are in none.
type walker struct {
	job  *job
	last uint64
	// numbers are the keys of the tasks that have an entry of their own, or of those that have failed.
	numbers, execs *pebble.Iterator
	failed         bool
	store          *Store

	task  uint64 // where it is
	entry *raftlogv1.TaskEntry
	err   error
}

func (s *Store) walk(j *job, span TaskSpan) (*walker, error) {
	w := &walker{job: j, last: span.Last, failed: span.Failed, store: s, task: span.After}
	if w.last == 0 {
		w.last = math.MaxUint64
	}
	table := byte(tableEntry)
	if span.Failed {
		table = tableFailed
	}
	var err error
	if w.numbers, err = s.tasksOf(table, j, span.After+1); err != nil {
		return nil, err
	}
	if w.execs, err = s.tasksOf(tableExecution, j, span.After+1); err != nil {
		_ = w.numbers.Close()
		return nil, err
	}
	w.numbers.First()
	w.execs.First()
	return w, nil
}

func (s *Store) tasksOf(table byte, j *job, first uint64) (*pebble.Iterator, error) {
	return s.db.NewIter(&pebble.IterOptions{LowerBound: keyTask(table, j.rec.Uid, first), UpperBound: prefixEnd(keyNumber(table, j.rec.Uid))})
}

func (w *walker) close() {
	_ = w.numbers.Close()
	_ = w.execs.Close()
}

// next goes to the next task.
func (w *walker) next() bool {
	if w.failed {
		return w.nextFailed()
	}
	element := w.nextElement()
	switch {
	case w.numbers.Valid() && (element == 0 || binary.BigEndian.Uint64(w.numbers.Key()[9:]) < element):
		w.task, w.entry = binary.BigEndian.Uint64(w.numbers.Key()[9:]), &raftlogv1.TaskEntry{}
		if w.err = proto.Unmarshal(w.numbers.Value(), w.entry); w.err != nil {
			w.err = fmt.Errorf("task %d of job %d: %w", w.task, w.job.rec.Uid, w.err)
			return false
		}
		w.numbers.Next()
	case element != 0:
		w.task, w.entry = element, w.job.arrays.of(element).entry(element)
	default:
		w.err = w.numbers.Error()
		return false
	}
	return w.task <= w.last
}

// nextElement is the first element after the present task; 0: there is none.
func (w *walker) nextElement() uint64 {
	at := w.task + 1
	for _, a := range w.job.arrays.from(at) {
		at = max(at, a.rec.FirstTask)
		if gone, ok := a.gone.at(at); ok {
			at = gone.last + 1
		}
		if at < a.end() {
			return at
		}
	}
	return 0
}

func (w *walker) nextFailed() bool {
	if !w.numbers.Valid() {
		w.err = w.numbers.Error()
		return false
	}
	w.task = binary.BigEndian.Uint64(w.numbers.Key()[9:])
	w.numbers.Next()
	if w.task > w.last {
		return false
	}
	w.entry, w.err = w.store.entryOf(w.job, w.task)
	return w.err == nil
}

// entryOf is the unchanging part of a task that is there.
func (s *Store) entryOf(j *job, task uint64) (*raftlogv1.TaskEntry, error) {
	if a := j.arrays.of(task); a != nil {
		return a.entry(task), nil
	}
	b, err := s.read(keyTask(tableEntry, j.rec.Uid, task))
	if err != nil {
		return nil, err
	}
	entry := &raftlogv1.TaskEntry{}
	return entry, proto.Unmarshal(b, entry)
}
