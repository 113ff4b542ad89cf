package state

import (
	"math"

	"github.com/batchyard/batchyard/internal/lifecycle"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// ArrayInfo is a task array as users see it.
type ArrayInfo struct {
	*raftlogv1.TaskArrayRecord
	Counts *raftlogv1.JobCounts
	// Size is how many elements there are.
	Size uint64
	// Held is how many of them are with nodes.
	Held int
}

// Tasks are the elements from one index to another.
func (a ArrayInfo) Tasks(first, last int64) TaskSpan {
	first, last = max(first, a.FirstIndex), min(last, a.FirstIndex+int64(a.TaskArrayRecord.Size-1)*a.Step)
	from := a.FirstTask + uint64((first-a.FirstIndex+a.Step-1)/a.Step)
	to := a.FirstTask - 1
	if last >= a.FirstIndex {
		to = a.FirstTask + uint64((last-a.FirstIndex)/a.Step)
	}
	if first > last || from > to {
		return TaskSpan{After: math.MaxUint64 - 1, Last: 1} // nothing
	}
	return TaskSpan{After: from - 1, Last: to}
}

func (a *array) info() ArrayInfo {
	return ArrayInfo{TaskArrayRecord: a.rec, Counts: a.counts, Size: a.end() - a.rec.FirstTask - a.gone.count, Held: a.held}
}

// Array returns a task array of a job.
func (s *Store) Array(jobUID uint64, id string) (ArrayInfo, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	j := s.jobByUID[jobUID]
	if j == nil {
		return ArrayInfo{}, false
	}
	a := j.arrays.byID[lifecycle.IDKey(id)]
	if a == nil {
		return ArrayInfo{}, false
	}
	return a.info(), true
}

// Arrays returns up to limit task arrays of a job in the order in which they were added, those after the one with the first number given.
func (s *Store) Arrays(jobUID, after uint64, limit int) []ArrayInfo {
	s.mu.RLock()
	defer s.mu.RUnlock()
	j := s.jobByUID[jobUID]
	if j == nil {
		return nil
	}
	var out []ArrayInfo
	for _, a := range j.arrays.from(after) {
		if len(out) == limit {
			break
		}
		if a.rec.FirstTask > after {
			out = append(out, a.info())
		}
	}
	return out
}
