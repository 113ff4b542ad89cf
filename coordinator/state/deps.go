package state

import (
	"encoding/binary"
	"sort"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// dependencies of a job's tasks that are still open. Edges that are satisfied are gone from here and from the tables.
type dependencies struct {
	// byID maps a task id (lower case) to the tasks that wait for it.
	byID map[string][]uint64
	// ranges are the tasks that wait for ranges of numeric ids, by task number.
	ranges map[uint64][]*apiv1.TaskIdRange
	// done holds the numeric ids that are satisfied: leading zeros do not matter, and the first task with a number counts.
	done numberSet
}

func newDependencies() dependencies {
	return dependencies{byID: map[string][]uint64{}, ranges: map[uint64][]*apiv1.TaskIdRange{}}
}

// numericID is the number that a task id stands for in ranges: ids that are all digits, up to the largest int32.
func numericID(id string) (int32, bool) {
	if id == "" || strings.Trim(id, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(id, 10, 32)
	return int32(n), err == nil
}

// numberSet is a set of numbers as sorted runs that do not touch.
type numberSet struct{ runs []numberRun }

type numberRun struct{ first, last int32 }

// add puts n in. It returns the run that now holds it and the first numbers of the runs that this one replaced; ok is false if n was there.
func (s *numberSet) add(n int32) (run numberRun, replaced []int32, ok bool) {
	i := sort.Search(len(s.runs), func(i int) bool { return s.runs[i].last >= n })
	if i < len(s.runs) && s.runs[i].first <= n {
		return s.runs[i], nil, false
	}
	run = numberRun{n, n}
	lo, hi := i, i
	if i > 0 && s.runs[i-1].last == n-1 {
		lo, run.first = i-1, s.runs[i-1].first
	}
	if i < len(s.runs) && n < s.runs[i].first && s.runs[i].first-1 == n {
		hi, run.last = i+1, s.runs[i].last
	}
	for _, r := range s.runs[lo:hi] {
		replaced = append(replaced, r.first)
	}
	s.runs = append(s.runs[:lo], append([]numberRun{run}, s.runs[hi:]...)...)
	return run, replaced, true
}

// count says how many numbers of first to last are in the set.
func (s *numberSet) count(first, last int32) uint32 {
	var n uint32
	for i := sort.Search(len(s.runs), func(i int) bool { return s.runs[i].last >= first }); i < len(s.runs) && s.runs[i].first <= last; i++ {
		n += uint32(min(last, s.runs[i].last)-max(first, s.runs[i].first)) + 1
	}
	return n
}

func (s *Store) loadDependencies() error {
	err := s.scan([]byte{tableDependent}, func(key, _ []byte) error {
		if j := s.jobByUID[binary.BigEndian.Uint64(key)]; j != nil {
			id := string(key[8 : len(key)-9])
			j.deps.byID[id] = append(j.deps.byID[id], binary.BigEndian.Uint64(key[len(key)-8:]))
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = s.scan([]byte{tableRanges}, func(key, value []byte) error {
		rec := &apiv1.TaskDependencies{}
		if err := proto.Unmarshal(value, rec); err != nil {
			return err
		}
		if j := s.jobByUID[binary.BigEndian.Uint64(key)]; j != nil {
			j.deps.ranges[binary.BigEndian.Uint64(key[8:])] = rec.TaskIdRanges
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.scan([]byte{tableSatisfied}, func(key, value []byte) error {
		if j := s.jobByUID[binary.BigEndian.Uint64(key)]; j != nil {
			first, last := int32(binary.BigEndian.Uint64(key[8:])), int32(binary.BigEndian.Uint64(value))
			j.deps.done.runs = append(j.deps.done.runs, numberRun{first, last})
		}
		return nil
	})
}

// waitFor enters the open dependencies of a task that is being added and returns their number.
func (t *txn) waitFor(j *job, task uint64, d *apiv1.TaskDependencies) (open uint32, blocked bool) {
	seen := map[string]bool{}
	for _, id := range d.GetTaskIds() {
		key := strings.ToLower(id)
		if seen[key] {
			continue
		}
		seen[key] = true
		done, failed := t.dependencyState(j, id)
		blocked = blocked || failed
		if done {
			continue
		}
		open++
		j.deps.byID[key] = append(j.deps.byID[key], task)
		t.put(binary.BigEndian.AppendUint64(keyDependentPrefix(j.rec.Uid, id), task), nil)
	}
	var waiting []*apiv1.TaskIdRange
	for _, r := range d.GetTaskIdRanges() {
		if missing := uint32(r.End-r.Start) + 1 - j.deps.done.count(r.Start, r.End); missing > 0 {
			open += missing
			waiting = append(waiting, r)
		}
	}
	if len(waiting) > 0 {
		j.deps.ranges[task] = waiting
		t.putProto(keyTask(tableRanges, j.rec.Uid, task), &apiv1.TaskDependencies{TaskIdRanges: waiting})
	}
	return open, blocked
}

// dependencyState says whether the task with the id has satisfied its dependents, or completed without.
func (t *txn) dependencyState(j *job, id string) (done, failed bool) {
	number, ok := t.taskNumber(j.rec.Uid, id)
	if !ok {
		return false, false
	}
	exec := t.execution(TaskKey{j.rec.Uid, number})
	completed := exec.Phase == raftlogv1.TaskPhase_TASK_PHASE_COMPLETED
	return completed && exec.Satisfied, completed && !exec.Satisfied
}

// release tells the dependents of a completed task about it.
func (t *txn) release(j *job, task uint64, satisfied bool) {
	entry := t.entry(TaskKey{j.rec.Uid, task})
	key := strings.ToLower(entry.Id)
	for _, dependent := range j.deps.byID[key] {
		t.resolve(j, dependent, satisfied)
		if satisfied {
			t.delete(binary.BigEndian.AppendUint64(keyDependentPrefix(j.rec.Uid, key), dependent))
		}
	}
	if satisfied {
		delete(j.deps.byID, key)
	}
	if n, ok := numericID(entry.Id); ok {
		t.releaseNumber(j, n, satisfied)
	}
}

func (t *txn) releaseNumber(j *job, n int32, satisfied bool) {
	if satisfied {
		run, replaced, added := j.deps.done.add(n)
		if !added {
			return
		}
		for _, first := range replaced {
			t.delete(keyTask(tableSatisfied, j.rec.Uid, uint64(first)))
		}
		t.put(keyTask(tableSatisfied, j.rec.Uid, uint64(run.first)), binary.BigEndian.AppendUint64(nil, uint64(run.last)))
	}
	var waiting []uint64
	for task, ranges := range j.deps.ranges {
		for _, r := range ranges {
			if r.Start <= n && n <= r.End {
				waiting = append(waiting, task)
			}
		}
	}
	sort.Slice(waiting, func(a, b int) bool { return waiting[a] < waiting[b] })
	for _, task := range waiting {
		t.resolve(j, task, satisfied)
	}
}

// resolve takes one dependency off a waiting task, and queues the task when it was the last; a failed one blocks the task.
func (t *txn) resolve(j *job, task uint64, satisfied bool) {
	key := TaskKey{j.rec.Uid, task}
	if t.execution(key).Phase != raftlogv1.TaskPhase_TASK_PHASE_WAITING {
		return
	}
	exec := t.change(key)
	if !satisfied {
		t.setBlocked(j, exec, true)
		return
	}
	exec.WaitingFor--
	if exec.WaitingFor > 0 {
		return
	}
	t.setBlocked(j, exec, false)
	t.dropRanges(j, task)
	t.move(j, key, exec, raftlogv1.TaskPhase_TASK_PHASE_QUEUED)
	t.enqueue(j, key, t.entry(key).Spec, false)
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
		delete(j.deps.ranges, task)
		t.delete(keyTask(tableRanges, j.rec.Uid, task))
	}
}

// forget removes the open dependencies of a waiting task that is deleted or ended.
func (t *txn) forget(j *job, task uint64, d *apiv1.TaskDependencies) {
	t.dropRanges(j, task)
	for _, id := range d.GetTaskIds() {
		key := strings.ToLower(id)
		waiting := j.deps.byID[key]
		kept := waiting[:0:0]
		for _, w := range waiting {
			if w != task {
				kept = append(kept, w)
			}
		}
		if len(kept) == len(waiting) {
			continue
		}
		j.deps.byID[key] = kept
		t.delete(binary.BigEndian.AppendUint64(keyDependentPrefix(j.rec.Uid, id), task))
	}
}
