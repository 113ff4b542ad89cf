package state

import (
	"encoding/binary"
	"slices"
	"sort"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/lifecycle"
	"github.com/batchyard/batchyard/internal/sweep"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// A task array is a record, a run of queued tasks, and nothing else until its elements are given to nodes: their entries and their numbers follow from
// the record. What was deleted of it is kept as runs of numbers.

// array is a task array of a job.
type array struct {
	rec    *raftlogv1.TaskArrayRecord
	ids    sweep.IDs
	counts *raftlogv1.JobCounts
	// gone are the task numbers of elements that were deleted.
	gone *runSet
	// held is how many of its elements are with nodes.
	held int
}

func newArray(rec *raftlogv1.TaskArrayRecord) *array {
	return &array{rec: rec, ids: sweep.IDs{Prefix: rec.IdPrefix, Width: int(rec.IdWidth)}, counts: &raftlogv1.JobCounts{}, gone: newRunSet()}
}

// end is the first task number after those of the elements that are there.
func (a *array) end() uint64 {
	if a.rec.HasItems {
		return a.rec.FirstTask + a.rec.ItemsThere
	}
	return a.rec.FirstTask + a.rec.Size
}

func (a *array) has(task uint64) bool {
	return task >= a.rec.FirstTask && task < a.end() && !a.gone.has(task)
}

func (a *array) index(task uint64) int64 {
	return a.rec.FirstIndex + int64(task-a.rec.FirstTask)*a.rec.Step
}

// task is the number of the element with an id; 0: there is none.
func (a *array) task(id string) uint64 {
	index, ok := a.ids.Index(id)
	if !ok || index < a.rec.FirstIndex || (index-a.rec.FirstIndex)%a.rec.Step != 0 {
		return 0
	}
	if task := a.rec.FirstTask + uint64((index-a.rec.FirstIndex)/a.rec.Step); a.has(task) {
		return task
	}
	return 0
}

// entry is the unchanging part of an element.
func (a *array) entry(task uint64) *raftlogv1.TaskEntry {
	return &raftlogv1.TaskEntry{Id: a.ids.ID(a.index(task)), DisplayName: a.rec.DisplayName, Spec: a.rec.Spec, CreationTime: a.rec.CreationTime, DependsOn: a.rec.DependsOn}
}

// room is how many more elements may be with nodes; -1: no limit. Elements are queued while the array waits for dependencies: nothing more is to be done
// when the last of them is satisfied.
func (a *array) room() int {
	switch {
	case a.rec.WaitingFor > 0:
		return 0
	case a.rec.MaxParallel == 0:
		return -1
	}
	return max(0, int(a.rec.MaxParallel)-a.held)
}

// standing is what an array is to the tasks that depend on it as a whole: done when all its elements have satisfied their dependents, hopeless when one never
// will as things are.
type standing struct{ done, hopeless bool }

func (a *array) standing() standing {
	size := int64(a.rec.Size - a.gone.count)
	return standing{size > 0 && a.counts.Satisfied == size, a.rec.Blocked || a.counts.Completed > a.counts.Satisfied}
}

// standing is the array that a task is an element of, and how that stands; nil: it is none.
func (j *job) standing(task uint64) (*array, standing) {
	if a := j.arrays.of(task); a != nil {
		return a, a.standing()
	}
	return nil, standing{}
}

// waitingAt is the array that waits for dependencies under the number of its first element; nil: there is none.
func (j *job) waitingAt(task uint64) *array {
	if a := j.arrays.of(task); a != nil && a.rec.FirstTask == task && a.rec.WaitingFor > 0 {
		return a
	}
	return nil
}

// waits says whether the run is of an array that waits for dependencies.
func (j *job) waits(r Run) bool { return r.Array != 0 && j.waitingAt(r.Array) != nil }

// ready is how many queued tasks could run, and on how many nodes: without elements of arrays that wait for dependencies.
func (j *job) ready() (tasks, places uint64) {
	tasks, places = j.queue.count, j.queue.places
	for _, a := range j.arrays.inOrder {
		if a.rec.WaitingFor == 0 {
			continue
		}
		j.queue.runs.AscendRange(Run{First: a.rec.FirstTask}, Run{First: a.rec.FirstTask + a.rec.Size}, func(r Run) bool {
			n := uint64(a.counts.Active) // none of them is with a node
			tasks -= n
			places -= n * uint64(max(1, r.Instances))
			return false
		})
	}
	return tasks, places
}

// resolveArray takes one dependency off a waiting array; its elements may run when it was the last.
func (t *txn) resolveArray(j *job, a *array) {
	before := a.standing()
	left := a.rec.WaitingFor - 1
	if a.rec.Blocked && (left == 0 || !t.hopelessFor(j, a.rec.FirstTask, a.rec.DependsOn)) {
		t.blockArray(j, a, false)
	}
	if left == 0 {
		t.counts(j).Waiting -= a.counts.Active
		t.dropRanges(j, a.rec.FirstTask)
		t.wakePool(j)
	}
	t.editArray(j, a, func() { a.rec.WaitingFor = left })
	t.tell(j, a, before)
}

func (t *txn) blockArray(j *job, a *array, blocked bool) {
	n := a.counts.Active
	if !blocked {
		n = -n
	}
	t.counts(j).Blocked += n
	t.editArray(j, a, func() { a.rec.Blocked = blocked })
}

// tell tells those who depend on an array how it stands now, where that has changed.
func (t *txn) tell(j *job, a *array, before standing) {
	if a == nil {
		return
	}
	now := a.standing()
	if now.done && !before.done {
		t.releaseNamed(j, a.rec.Id)
	}
	if now.hopeless != before.hopeless {
		t.spread(j, a.rec.Id, now.hopeless)
	}
}

// arrays are those of a job.
type arrays struct {
	inOrder []*array          // of their numbers
	byID    map[string]*array // id in lower case
	byStem  map[string]*array // what its elements' ids begin with, see sweep.Stem
}

func newArrays() arrays { return arrays{byID: map[string]*array{}, byStem: map[string]*array{}} }

// add adds an array whose numbers come after those of all others.
func (s *arrays) add(a *array) {
	s.inOrder = append(s.inOrder, a)
	s.byID[lifecycle.IDKey(a.rec.Id)] = a
	s.byStem[sweep.Stem(a.rec.IdPrefix)] = a
}

func (s *arrays) remove(a *array) {
	s.inOrder = slices.DeleteFunc(s.inOrder, func(other *array) bool { return other == a })
	delete(s.byID, lifecycle.IDKey(a.rec.Id))
	delete(s.byStem, sweep.Stem(a.rec.IdPrefix))
}

// from are the arrays whose numbers end at the one given or after it.
func (s *arrays) from(task uint64) []*array {
	return s.inOrder[sort.Search(len(s.inOrder), func(i int) bool { return s.inOrder[i].rec.FirstTask+s.inOrder[i].rec.Size > task }):]
}

// of is the array that has the number, whether or not its element is there; nil: none.
func (s *arrays) of(task uint64) *array {
	if later := s.from(task); len(later) > 0 && task >= later[0].rec.FirstTask {
		return later[0]
	}
	return nil
}

// element is the number of the element with an id; 0: there is none.
func (s *arrays) element(id string) uint64 {
	if a := s.byStem[sweep.Stem(id)]; a != nil {
		return a.task(id)
	}
	return 0
}

// number finds a task by its id; false: there is none.
func (s *Store) number(j *job, id string) (uint64, bool, error) {
	if task := j.arrays.element(id); task != 0 {
		return task, true, nil
	}
	b, err := s.read(keyTaskID(j.rec.Uid, id))
	if err != nil || b == nil {
		return 0, false, err
	}
	return binary.BigEndian.Uint64(b), true, nil
}

// elementOf is what a task has for itself as an element of an array; nil: it is none.
func (s *Store) elementOf(j *job, task uint64) (*sweep.Element, error) {
	a := j.arrays.of(task)
	if a == nil {
		return nil, nil
	}
	e := &sweep.Element{Array: a.rec.Id, Index: a.index(task), Columns: a.rec.Columns}
	if !a.rec.HasItems {
		return e, nil
	}
	var err error
	e.Values, err = s.item(j.rec.Uid, task)
	return e, err
}

// item reads the item of an element.
func (s *Store) item(job, task uint64) ([]string, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: keyNumber(tableItems, job), UpperBound: prefixEnd(keyNumber(tableItems, job))})
	if err != nil {
		return nil, err
	}
	defer it.Close()
	if !it.SeekLT(keyTask(tableItems, job, task+1)) {
		return nil, it.Error()
	}
	first, rec := binary.BigEndian.Uint64(it.Key()[9:]), &raftlogv1.ItemsRecord{}
	if err := proto.Unmarshal(it.Value(), rec); err != nil || task-first >= uint64(len(rec.Items)) {
		return nil, err
	}
	return rec.Items[task-first].Values, nil
}

// fillElement makes of an array's task that of one element.
func (s *Store) fillElement(j *job, task uint64, t *apiv1.Task) (*apiv1.Task, error) {
	e, err := s.elementOf(j, task)
	if err != nil || e == nil {
		return t, err
	}
	return e.Task(t)
}

// loadArrays comes before queues and what nodes hold, which belong to arrays.
func (s *Store) loadArrays() error {
	err := scanRecords(s, tableArray, func() *raftlogv1.TaskArrayRecord { return new(raftlogv1.TaskArrayRecord) },
		func(key []byte, rec *raftlogv1.TaskArrayRecord) error {
			if j := s.jobByUID[binary.BigEndian.Uint64(key)]; j != nil {
				j.arrays.add(newArray(rec))
			}
			return nil
		})
	if err != nil {
		return err
	}
	err = scanRecords(s, tableArrayCounts, func() *raftlogv1.JobCounts { return new(raftlogv1.JobCounts) },
		func(key []byte, rec *raftlogv1.JobCounts) error {
			if a := s.arrayAt(key); a != nil {
				a.counts = rec
			}
			return nil
		})
	if err != nil {
		return err
	}
	return s.scan([]byte{tableGone}, func(key, value []byte) error {
		if a := s.arrayAt(key); a != nil {
			a.gone.load(binary.BigEndian.Uint64(key[8:]), binary.BigEndian.Uint64(value))
		}
		return nil
	})
}

// arrayAt is the array that a key of its tables belongs to.
func (h *hot) arrayAt(key []byte) *array {
	j := h.jobByUID[binary.BigEndian.Uint64(key)]
	if j == nil {
		return nil
	}
	return j.arrays.of(binary.BigEndian.Uint64(key[8:]))
}
