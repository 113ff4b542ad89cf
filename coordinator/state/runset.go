package state

import "github.com/google/btree"

// runSet is a set of numbers as runs that do not touch.
type runSet struct {
	runs  *btree.BTreeG[numberSpan]
	count uint64
}

type numberSpan struct{ first, last uint64 }

func newRunSet() *runSet {
	return &runSet{runs: btree.NewG(16, func(a, b numberSpan) bool { return a.first < b.first })}
}

func (s *runSet) load(first, last uint64) {
	s.runs.ReplaceOrInsert(numberSpan{first, last})
	s.count += last - first + 1
}

// at is the run that holds n.
func (s *runSet) at(n uint64) (run numberSpan, ok bool) {
	s.runs.DescendLessOrEqual(numberSpan{first: n}, func(r numberSpan) bool {
		run, ok = r, r.last >= n
		return false
	})
	return run, ok
}

func (s *runSet) has(n uint64) bool {
	if s.runs.Len() == 0 {
		return false
	}
	_, ok := s.at(n)
	return ok
}

// add puts n in, which is not there. It returns the run that holds it now, and the first number of a run that is no more; 0: none.
func (s *runSet) add(n uint64) (run numberSpan, dropped uint64) {
	run = numberSpan{n, n}
	if before, ok := s.at(n - 1); ok {
		run.first = before.first
	}
	if after, ok := s.runs.Get(numberSpan{first: n + 1}); ok {
		s.runs.Delete(after)
		run.last, dropped = after.last, after.first
	}
	s.runs.ReplaceOrInsert(run)
	s.count++
	return run, dropped
}
