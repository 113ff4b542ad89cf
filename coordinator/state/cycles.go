package state

import (
	"strconv"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// maxCycleSteps bounds the search for a circle of dependencies; one that is longer is not seen.
const maxCycleSteps = 10_000

// circle says that a new task, or array, would wait for one that waits for it. Only one whose id is waited for already can close a circle, which is rare:
// dependencies are mostly added first.
func (t *txn) circle(j *job, id string, on *apiv1.TaskDependencies) *batcherr.Error {
	if on == nil || !j.awaited(id) {
		return nil
	}
	s := &search{txn: t, job: j, id: lifecycle.IDKey(id), seen: map[string]bool{}, left: maxCycleSteps}
	s.number, s.numeric = numericID(id)
	if !s.reaches(on) {
		return nil
	}
	return batcherr.InvalidProperty("dependsOn", id, "Tasks that it depends on wait for it: none of them could ever run.")
}

// awaited says whether tasks wait for the id.
func (j *job) awaited(id string) bool {
	if len(j.deps.byID[lifecycle.IDKey(id)]) > 0 {
		return true
	}
	n, numeric := numericID(id)
	return numeric && j.deps.index.holds(n)
}

// search follows open dependencies from task to task.
type search struct {
	*txn
	job     *job
	id      string
	number  int32
	numeric bool
	seen    map[string]bool
	left    int
}

func (s *search) reaches(on *apiv1.TaskDependencies) bool {
	for work := []*apiv1.TaskDependencies{on}; len(work) > 0; {
		d := work[len(work)-1]
		work = work[:len(work)-1]
		for _, id := range d.GetTaskIds() {
			key := lifecycle.IDKey(id)
			if key == s.id {
				return true
			}
			work = s.follow(work, key)
		}
		for _, r := range d.GetTaskIdRanges() {
			if s.numeric && r.Start <= s.number && s.number <= r.End {
				return true
			}
			for n := range s.job.deps.done.missing(r.Start, r.End) {
				if s.left <= 0 {
					break
				}
				work = s.follow(work, strconv.Itoa(int(n)))
			}
		}
	}
	return false
}

// follow adds what the task with the id waits for, once.
func (s *search) follow(work []*apiv1.TaskDependencies, id string) []*apiv1.TaskDependencies {
	if s.left--; s.left < 0 || s.seen[id] {
		return work
	}
	s.seen[id] = true
	if a := s.job.arrays.byID[id]; a != nil {
		if a.rec.WaitingFor > 0 {
			work = append(work, a.rec.DependsOn)
		}
		return work
	}
	number, ok := s.taskNumber(s.job, id)
	if !ok {
		return work
	}
	key := TaskKey{s.job.rec.Uid, number}
	a := s.job.arrays.of(number)
	if s.execution(key).Phase == waiting || a != nil && a.rec.WaitingFor > 0 {
		work = append(work, s.entry(key).DependsOn)
	}
	return work
}
