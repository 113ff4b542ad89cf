package state

import (
	"encoding/binary"
	"fmt"

	"github.com/google/btree"
)

// Run is a run of queued tasks of one job, First to Last, that share a spec. Fresh ones have never been attempted, so that a million queued
// tasks are one run of a few bytes. Slots is what each task needs, so that scheduling need not read the spec.
type Run struct {
	First, Last uint64
	Spec        uint32
	Slots       int32
	Fresh       bool
	// Exclusive ones need a node for themselves, Dedicated ones a dedicated node.
	Exclusive, Dedicated bool
	// Instances is on how many nodes at once each task runs; 0: it is no multi-instance task.
	Instances int32
	// Array is the first number of the task array that the tasks are elements of; 0: of none.
	Array uint64
	// Affinity is the node on which the tasks are best run, by its id in lower case; empty: any.
	Affinity string
}

// queue holds the runs of a job in the order of task numbers, and counts their tasks.
type queue struct {
	runs  *btree.BTreeG[Run]
	count uint64
	// places is how many nodes the tasks would run on if all ran.
	places uint64
	// touched maps the first tasks of runs that were changed to whether such a run is on disk, until the changes are written.
	touched map[uint64]bool
}

func newQueue() *queue {
	return &queue{runs: btree.NewG(32, func(a, b Run) bool { return a.First < b.First })}
}

// add queues First to Last of r, joining it to neighbours of the same class.
func (q *queue) add(r Run) {
	q.enter(r)
	if before, ok := q.atOrBefore(r.First); ok && before.Last+1 == r.First && sameClass(before, r) {
		r.First = before.First
	}
	if after, ok := q.runs.Get(Run{First: r.Last + 1}); ok && sameClass(after, r) {
		q.drop(after)
		r.Last = after.Last
	}
	q.put(r)
}

// enter counts the tasks of a run.
func (q *queue) enter(r Run) {
	tasks := r.Last - r.First + 1
	q.count += tasks
	q.places += tasks * uint64(max(1, r.Instances))
}

// remove takes one task out; it returns the run that held it.
func (q *queue) remove(task uint64) (Run, bool) {
	held, ok := q.find(task)
	if !ok {
		return Run{}, false
	}
	q.count--
	q.places -= uint64(max(1, held.Instances))
	if task > held.First {
		left := held
		left.Last = task - 1
		q.put(left)
	} else {
		q.drop(held)
	}
	if task < held.Last {
		right := held
		right.First = task + 1
		q.put(right)
	}
	return held, true
}

func (q *queue) put(r Run) {
	_, replaced := q.runs.ReplaceOrInsert(r)
	q.touch(r.First, replaced)
}

func (q *queue) drop(r Run) {
	q.runs.Delete(r)
	q.touch(r.First, true)
}

func (q *queue) touch(first uint64, existed bool) {
	if q.touched == nil {
		q.touched = map[uint64]bool{}
	}
	if _, before := q.touched[first]; !before {
		q.touched[first] = existed
	}
}

// flush hands out what has changed since the last call: runs to write, and first tasks of runs to delete.
func (q *queue) flush(write func(Run), remove func(first uint64)) {
	for first, stored := range q.touched {
		if r, ok := q.runs.Get(Run{First: first}); ok {
			write(r)
		} else if stored {
			remove(first)
		}
	}
	q.touched = nil
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

func sameClass(a, b Run) bool {
	a.First, a.Last, b.First, b.Last = 0, 0, 0, 0
	return a == b
}

// Flags of a run on disk.
const (
	runFresh = 1 << iota
	runExclusive
	runDedicated
	runInstances // their number follows the flags
	runAffinity  // the node's id is the rest
)

func encodeRun(r Run) []byte {
	flags := byte(0)
	if r.Fresh {
		flags |= runFresh
	}
	if r.Exclusive {
		flags |= runExclusive
	}
	if r.Dedicated {
		flags |= runDedicated
	}
	if r.Instances > 0 {
		flags |= runInstances
	}
	if r.Affinity != "" {
		flags |= runAffinity
	}
	b := binary.AppendUvarint(make([]byte, 0, 16+len(r.Affinity)), r.Last-r.First)
	b = binary.AppendUvarint(b, uint64(r.Spec))
	b = binary.AppendUvarint(b, uint64(r.Slots))
	if b = append(b, flags); r.Instances > 0 {
		b = binary.AppendUvarint(b, uint64(r.Instances))
	}
	return append(b, r.Affinity...)
}

func decodeRun(first uint64, b []byte) (Run, error) {
	var fields [3]uint64
	for i := range fields {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return Run{}, fmt.Errorf("run of queued tasks at %d: field %d is malformed", first, i)
		}
		fields[i], b = v, b[n:]
	}
	if len(b) == 0 {
		return Run{}, fmt.Errorf("run of queued tasks at %d: it has no flags", first)
	}
	flags, b := b[0], b[1:]
	instances := uint64(0)
	if flags&runInstances != 0 {
		v, n := binary.Uvarint(b)
		instances, b = v, b[max(n, 0):]
	}
	affinity := ""
	if flags&runAffinity != 0 {
		affinity, b = string(b), nil
	}
	if len(b) != 0 {
		return Run{}, fmt.Errorf("run of queued tasks at %d: %d bytes are left", first, len(b))
	}
	return Run{
		First: first, Last: first + fields[0], Spec: uint32(fields[1]), Slots: int32(fields[2]), Instances: int32(instances), Affinity: affinity,
		Fresh: flags&runFresh != 0, Exclusive: flags&runExclusive != 0, Dedicated: flags&runDedicated != 0,
	}, nil
}
