package state

import (
	"encoding/binary"
	"fmt"

	"github.com/google/btree"
)

// Run is a run of queued tasks of one job, First to Last, that share a spec. Fresh ones have never been attempted, so that a million queued
// tasks are one run of a few bytes.
type Run struct {
	First, Last uint64
	Spec        uint32
	Fresh       bool
}

// queue holds the runs of a job in the order of task numbers, and counts their tasks.
type queue struct {
	runs  *btree.BTreeG[Run]
	count uint64
}

func newQueue() *queue {
	return &queue{runs: btree.NewG(32, func(a, b Run) bool { return a.First < b.First })}
}

// runWriter stores changes of runs.
type runWriter interface {
	putRun(Run)
	deleteRun(first uint64)
}

// add queues First to Last of r, joining it to a neighbour of the same class.
func (q *queue) add(r Run, w runWriter) {
	q.count += r.Last - r.First + 1
	if before, ok := q.atOrBefore(r.First); ok && before.Last+1 == r.First && sameClass(before, r) {
		r.First = before.First
	}
	if after, ok := q.runs.Get(Run{First: r.Last + 1}); ok && sameClass(after, r) {
		q.runs.Delete(after)
		w.deleteRun(after.First)
		r.Last = after.Last
	}
	q.runs.ReplaceOrInsert(r)
	w.putRun(r)
}

// remove takes one task out; it returns the run that held it.
func (q *queue) remove(task uint64, w runWriter) (Run, bool) {
	held, ok := q.atOrBefore(task)
	if !ok || task > held.Last {
		return Run{}, false
	}
	q.count--
	q.runs.Delete(held)
	if task > held.First {
		left := held
		left.Last = task - 1
		q.runs.ReplaceOrInsert(left)
		w.putRun(left)
	} else {
		w.deleteRun(held.First)
	}
	if task < held.Last {
		right := held
		right.First = task + 1
		q.runs.ReplaceOrInsert(right)
		w.putRun(right)
	}
	return held, true
}

func (q *queue) find(task uint64) (Run, bool) {
	r, ok := q.atOrBefore(task)
	return r, ok && task <= r.Last
}

func (q *queue) atOrBefore(task uint64) (found Run, ok bool) {
	q.runs.DescendLessOrEqual(Run{First: task}, func(r Run) bool {
		found, ok = r, true
		return false
	})
	return found, ok
}

func sameClass(a, b Run) bool { return a.Spec == b.Spec && a.Fresh == b.Fresh }

func encodeRun(r Run) []byte {
	fresh := byte(0)
	if r.Fresh {
		fresh = 1
	}
	b := binary.AppendUvarint(nil, r.Last-r.First)
	b = binary.AppendUvarint(b, uint64(r.Spec))
	return append(b, fresh)
}

func decodeRun(first uint64, b []byte) (Run, error) {
	length, n := binary.Uvarint(b)
	if n <= 0 {
		return Run{}, fmt.Errorf("run of queued tasks at %d: bad length", first)
	}
	spec, m := binary.Uvarint(b[n:])
	if m <= 0 || len(b) != n+m+1 {
		return Run{}, fmt.Errorf("run of queued tasks at %d: bad spec", first)
	}
	return Run{First: first, Last: first + length, Spec: uint32(spec), Fresh: b[n+m] == 1}, nil
}
