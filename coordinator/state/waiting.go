package state

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// waitFor enters the open dependencies of a task that is being added. It returns their number, and whether one of them will never be satisfied as
// things are.
func (t *txn) waitFor(j *job, task uint64, d *apiv1.TaskDependencies) (open uint32, blocked bool) {
	seen := map[string]bool{}
	var sum int64
	for _, id := range d.GetTaskIds() {
		key := lifecycle.IDKey(id)
		if seen[key] {
			continue
		}
		seen[key] = true
		done, hopeless := t.dependencyState(j, id)
		blocked = blocked || hopeless
		if done {
			continue
		}
		sum++
		j.deps.byID[key] = append(j.deps.byID[key], task)
		t.put(keyDependent(j.rec.Uid, key, task), nil)
	}
	var waiting []*apiv1.TaskIdRange
	for _, r := range d.GetTaskIdRanges() {
		missing := int64(r.End) - int64(r.Start) + 1 - j.deps.done.count(r.Start, r.End)
		if missing <= 0 {
			continue
		}
		sum += missing
		waiting = append(waiting, r)
		blocked = blocked || j.deps.hopelessIn(r)
	}
	if len(waiting) > 0 {
		j.deps.addRanges(task, waiting)
		t.putProto(keyTask(tableRanges, j.rec.Uid, task), &apiv1.TaskDependencies{TaskIdRanges: waiting})
	}
	return uint32(min(sum, math.MaxUint32)), blocked
}

// dependencyState says whether the task with the id has satisfied its dependents, or never will as things are.
func (t *txn) dependencyState(j *job, id string) (done, hopeless bool) {
	if a := j.arrays.byID[lifecycle.IDKey(id)]; a != nil {
		s := a.standing()
		return s.done, s.hopeless
	}
	number, ok := t.taskNumber(j, id)
	if !ok {
		return false, false
	}
	switch exec := t.execution(TaskKey{j.rec.Uid, number}); exec.Phase {
	case completed:
		return exec.Satisfied, !exec.Satisfied
	case waiting:
		return false, exec.Blocked
	}
	return false, false
}

// resolve takes one dependency off a waiting task, and queues the task when it was the last.
func (t *txn) resolve(j *job, task uint64) {
	if a := j.waitingAt(task); a != nil {
		t.resolveArray(j, a)
		return
	}
	key := TaskKey{j.rec.Uid, task}
	if t.execution(key).Phase != waiting {
		return
	}
	exec := t.change(key)
	exec.WaitingFor--
	if exec.Blocked && (exec.WaitingFor == 0 || !t.hopeless(j, key)) {
		t.setBlocked(j, exec, false)
		t.spread(j, t.entry(key).Id, false)
	}
	if exec.WaitingFor > 0 {
		return
	}
	t.dropRanges(j, task)
	spec := t.specNumber(j, key)
	t.move(j, key.Task, exec, queued, slotsOf(t.spec(j, spec)))
	t.enqueue(j, key, spec)
}

func (t *txn) countHopeless(j *job, n int32, more bool) {
	count := j.deps.hopeless[n]
	if more {
		count++
	} else {
		count--
	}
	key := keyTask(tableHopeless, j.rec.Uid, uint64(n))
	if count == 0 {
		delete(j.deps.hopeless, n)
		t.delete(key)
		return
	}
	j.deps.hopeless[n] = count
	t.put(key, binary.BigEndian.AppendUint64(nil, count))
}

// hopeless says whether an open dependency of a waiting task will never be satisfied as things are.
func (t *txn) hopeless(j *job, key TaskKey) bool {
	return t.hopelessFor(j, key.Task, t.entry(key).DependsOn)
}

func (t *txn) hopelessFor(j *job, task uint64, on *apiv1.TaskDependencies) bool {
	for _, id := range on.GetTaskIds() {
		if j.deps.waits(lifecycle.IDKey(id), task) {
			if _, hopeless := t.dependencyState(j, id); hopeless {
				return true
			}
		}
	}
	return slices.ContainsFunc(j.deps.ranges[task], j.deps.hopelessIn)
}

func (t *txn) setBlocked(j *job, exec *raftlogv1.TaskExecution, blocked bool) {
	if exec.Blocked == blocked {
		return
	}
	exec.Blocked = blocked
	if blocked {
		t.counts(j).Blocked++
	} else {
		t.counts(j).Blocked--
	}
}

func (t *txn) dropRanges(j *job, task uint64) {
	if _, ok := j.deps.ranges[task]; ok {
		j.deps.removeRanges(task)
		t.delete(keyTask(tableRanges, j.rec.Uid, task))
	}
}

// forget removes the open dependencies of a waiting task that is deleted or ended.
func (t *txn) forget(j *job, task uint64, d *apiv1.TaskDependencies) {
	t.dropRanges(j, task)
	for _, id := range d.GetTaskIds() {
		key := lifecycle.IDKey(id)
		waiting := j.deps.byID[key]
		at, ok := slices.BinarySearch(waiting, task)
		if !ok {
			continue
		}
		if len(waiting) == 1 {
			delete(j.deps.byID, key)
		} else {
			j.deps.byID[key] = slices.Delete(waiting, at, at+1)
		}
		t.delete(keyDependent(j.rec.Uid, key, task))
	}
}
