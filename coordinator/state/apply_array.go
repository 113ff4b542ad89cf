package state

import (
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	"github.com/batchyard/batchyard/internal/sweep"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

const (
	// maxArrays is how many arrays a job has at once.
	maxArrays = 10_000
	// maxLookalikes bounds the search for tasks whose ids an array would take.
	maxLookalikes = 10_000
	// itemsPerRecord is how many items are stored, and read, together.
	itemsPerRecord = 64
)

// wholeArray says whether a record numbers its elements, within what numbers can hold.
func wholeArray(a *raftlogv1.TaskArrayRecord) bool {
	const most = 1 << 40
	return a.GetSize() > 0 && a.Size <= 1<<32 && a.Step > 0 && a.Step <= most && a.FirstIndex >= 0 && a.FirstIndex <= most &&
		uint64(a.Step) <= most/a.Size*2
}

// addTaskArray adds an array whole: what it costs does not depend on how many elements it has.
func (t *txn) addTaskArray(c *raftlogv1.AddTaskArray) Result {
	j, err := t.openJob(c.JobId)
	if err != nil {
		return refused(err)
	}
	array := newArray(proto.CloneOf(c.Array))
	if err := t.arrayFits(j, array); err != nil {
		return refused(err)
	}
	if uint64(len(c.Items)) > array.rec.Size {
		return refused(tooManyItems(array))
	}
	if c.Array.DependsOn != nil && !j.rec.Job.GetUsesTaskDependencies() {
		return refused(batcherr.Of(batcherr.CodeTaskDependenciesNotSpecifiedOnJob))
	}
	if err := t.circle(j, c.Array.Id, c.Array.DependsOn); err != nil {
		return refused(err)
	}
	a := &adding{txn: t, job: j, rec: shallow(j.rec)}
	spec, err := a.intern(c.Spec)
	if err != nil {
		return refused(err)
	}
	rec := array.rec
	rec.FirstTask, rec.Spec, rec.CreationTime, rec.ItemsThere = a.rec.NextTask, spec, t.now, 0
	rec.WaitingFor, rec.Blocked = 0, false
	a.rec.NextTask += rec.Size
	if last := lifecycle.IDKey(array.lastID()); idAfter(last, j.lastID) {
		j.lastID = last
	}
	j.arrays.add(array)
	t.arrayCounts(j, array)
	if rec.DependsOn != nil {
		rec.WaitingFor, rec.Blocked = t.waitFor(j, rec.FirstTask, rec.DependsOn)
		rec.Blocked = rec.Blocked && rec.WaitingFor > 0
	}
	if rec.HasItems {
		t.putItems(j, array, c.Items)
	} else {
		t.queueElements(j, array, rec.FirstTask)
	}
	t.putProto(keyTask(tableArray, j.rec.Uid, rec.FirstTask), array.rec)
	t.setJob(j, a.rec)
	t.put(keyNumber(tableLastID, j.rec.Uid), []byte(j.lastID))
	if array.rec.Blocked {
		t.spread(j, array.rec.Id, true)
	}
	return written(ETag(t.now), at2pb(t.now))
}

func tooManyItems(a *array) *batcherr.Error {
	return batcherr.Invalid(batcherr.CodeInvalidInput, "the array %q has %d items, and no more", a.rec.Id, a.rec.Size)
}

// lastID is the last of the ids of all elements.
func (a *array) lastID() string { return a.ids.ID(a.rec.FirstIndex + int64(a.rec.Size-1)*a.rec.Step) }

// arrayFits says why an array can't be added beside what the job has.
func (t *txn) arrayFits(j *job, a *array) *batcherr.Error {
	taken := func(id string) *batcherr.Error {
		return batcherr.Of(batcherr.CodeTaskExists).With(batcherr.ValueReason, "The job has a task or an array whose id is "+id+".")
	}
	id := lifecycle.IDKey(a.rec.Id)
	if _, number := numericID(id); number { // it would stand for a task in ranges of dependencies
		return batcherr.InvalidProperty("id", a.rec.Id, "The id of an array is not a number.")
	}
	if _, exists := t.taskNumber(j, id); exists || j.arrays.byID[id] != nil || a.holds(id) {
		return taken(a.rec.Id)
	}
	if other := j.arrays.byStem[sweep.Stem(a.rec.IdPrefix)]; other != nil {
		return batcherr.Of(batcherr.CodeTaskExists).With(batcherr.ValueReason, "The ids of the elements begin like those of the array "+other.rec.Id+".")
	}
	if len(j.arrays.byID) >= maxArrays {
		return batcherr.Invalid(batcherr.CodeInvalidInput, "the job has %d task arrays, and can't have more", maxArrays)
	}
	for other := range j.arrays.byID {
		if a.holds(other) {
			return taken(other)
		}
	}
	for _, special := range []string{j.rec.Job.GetJobPreparationTask().GetId(), j.rec.Job.GetJobReleaseTask().GetId()} {
		if a.holds(special) {
			return taken(special)
		}
	}
	if idAfter(lifecycle.IDKey(a.ids.ID(a.rec.FirstIndex)), j.lastID) {
		return nil
	}
	return t.lookalike(j, a)
}

// holds says whether an element has the id, or would have it if it were there.
func (a *array) holds(id string) bool {
	index, ok := a.ids.Index(id)
	at := index - a.rec.FirstIndex
	return ok && at >= 0 && at%a.rec.Step == 0 && uint64(at/a.rec.Step) < a.rec.Size
}

// lookalike looks for a task that has the id of an element, among those whose ids begin like it.
func (t *txn) lookalike(j *job, a *array) *batcherr.Error {
	prefix := append(keyNumber(tableTaskID, j.rec.Uid), lifecycle.IDKey(a.ids.Prefix)...)
	first, end := string(prefix)+"0", string(prefix)+":" // the character after 9
	skip := len(prefix) - len(a.ids.Prefix)
	taken := func(key string) *batcherr.Error {
		if !a.holds(key[skip:]) {
			return nil
		}
		return batcherr.Of(batcherr.CodeTaskExists).With(batcherr.ValueReason, "The job has a task whose id is "+key[skip:]+".")
	}
	for key, value := range t.writes {
		if value != nil && key >= first && key < end {
			if err := taken(key); err != nil {
				return err
			}
		}
	}
	it, err := t.db.NewIter(&pebble.IterOptions{LowerBound: []byte(first), UpperBound: []byte(end)})
	if err != nil {
		panic(err)
	}
	defer it.Close()
	seen := 0
	for it.First(); it.Valid(); it.Next() {
		if seen++; seen > maxLookalikes {
			return batcherr.Of(batcherr.CodeTaskExists).With(batcherr.ValueReason, "The job has too many tasks whose ids begin with "+a.ids.Prefix+": choose other ids.")
		}
		key := string(it.Key())
		if value, changed := t.writes[key]; changed && value == nil {
			continue
		}
		if err := taken(key); err != nil {
			return err
		}
	}
	return nil
}

// queueElements makes the elements from a number on ready to run.
func (t *txn) queueElements(j *job, a *array, first uint64) {
	r := t.runOf(j, first, a.rec.Spec)
	r.Last, r.Fresh = a.end()-1, true
	fresh := &raftlogv1.TaskExecution{Phase: queued}
	n := int64(r.Last - first + 1)
	t.count(j, first, fresh, n, n*int64(r.Slots))
	t.enqueueRun(j, r)
}

func (t *txn) addTaskArrayItems(c *raftlogv1.AddTaskArrayItems) Result {
	j, a, err := t.openArray(c.JobId, c.ArrayId)
	if err != nil {
		return refused(err)
	}
	there, items := a.rec.ItemsThere, c.Items
	switch {
	case !a.rec.HasItems:
		return refused(batcherr.Invalid(batcherr.CodeInvalidInput, "the elements of the array %q have no items", a.rec.Id))
	case c.Offset > there:
		return refused(batcherr.Invalid(batcherr.CodeInvalidInput, "the array %q has %d items: those from %d on come next", a.rec.Id, there, there))
	case c.Offset+uint64(len(items)) > a.rec.Size:
		return refused(tooManyItems(a))
	}
	items = items[min(there-c.Offset, uint64(len(items))):]
	t.editArray(j, a, func() { t.putItems(j, a, items) })
	return written(ETag(t.now), at2pb(t.now))
}

// editArray changes an array's record.
func (t *txn) editArray(j *job, a *array, edit func()) {
	a.rec = proto.CloneOf(a.rec)
	edit()
	a.rec.LastModified = t.now
	t.putProto(keyTask(tableArray, j.rec.Uid, a.rec.FirstTask), a.rec)
}

// putItems stores the items that come next, and queues their elements. The array's record is to be written afterwards.
func (t *txn) putItems(j *job, a *array, items []*raftlogv1.ElementItem) {
	if len(items) == 0 {
		return
	}
	first := a.end()
	for at, rest := first, items; len(rest) > 0; {
		n := min(len(rest), itemsPerRecord)
		t.putProto(keyTask(tableItems, j.rec.Uid, at), &raftlogv1.ItemsRecord{Items: rest[:n]})
		at, rest = at+uint64(n), rest[n:]
	}
	a.rec.ItemsThere += uint64(len(items))
	t.queueElements(j, a, first)
}

func (t *txn) updateTaskArray(c *raftlogv1.UpdateTaskArray) Result {
	j, a, err := t.openArray(c.JobId, c.ArrayId)
	if err != nil {
		return refused(err)
	}
	t.editArray(j, a, func() { a.rec.MaxParallel = c.MaxParallel })
	t.wakePool(j)
	return written(ETag(t.now), at2pb(t.now))
}

// openArray finds an array of a job that takes tasks.
func (t *txn) openArray(jobID, id string) (*job, *array, *batcherr.Error) {
	j, err := t.openJob(jobID)
	if err != nil {
		return nil, nil, err
	}
	a := j.arrays.byID[lifecycle.IDKey(id)]
	if a == nil {
		return nil, nil, batcherr.Of(batcherr.CodeTaskNotFound).With(batcherr.ValueReason, "The job has no task array "+id+".")
	}
	return j, a, nil
}

// dropElement forgets an element, and the array with the last of them.
func (t *txn) dropElement(j *job, a *array, task uint64) {
	run, dropped := a.gone.add(task)
	if a.gone.count < a.rec.Size {
		if dropped != 0 {
			t.delete(keyTask(tableGone, j.rec.Uid, dropped))
		}
		t.put(keyTask(tableGone, j.rec.Uid, run.first), binary.BigEndian.AppendUint64(nil, run.last))
		return
	}
	first, end := a.rec.FirstTask, a.rec.FirstTask+a.rec.Size
	for _, table := range []byte{tableArray, tableItems, tableGone, tableArrayCounts} {
		t.deleteSpan(keyTask(table, j.rec.Uid, first), keyTask(table, j.rec.Uid, end))
	}
	if a.rec.WaitingFor > 0 {
		t.forget(j, first, a.rec.DependsOn)
	}
	j.arrays.remove(a)
}

// exists says whether there is a task with the number.
func (t *txn) exists(j *job, task uint64) bool {
	if a := j.arrays.of(task); a != nil {
		return a.has(task)
	}
	return t.get(keyTask(tableEntry, j.rec.Uid, task)) != nil
}

// arrayNumber is the first number of the array that a task is an element of; 0: it is none.
func (j *job) arrayNumber(task uint64) uint64 {
	if a := j.arrays.of(task); a != nil {
		return a.rec.FirstTask
	}
	return 0
}
