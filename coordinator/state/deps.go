package state

import (
	"encoding/binary"
	"iter"
	"math/bits"
	"slices"
	"sort"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// dependencies of a job's tasks that are still open. Edges that are satisfied are gone from here and from the tables.
type dependencies struct {
	// byID maps a task id (lower case) to the tasks that wait for it, in the order of their numbers.
	byID map[string][]uint64
	// ranges are the tasks that wait for ranges of numeric ids, by task number.
	ranges map[uint64][]*apiv1.TaskIdRange
	index  rangeIndex
	// done holds the numeric ids that are satisfied: leading zeros do not matter, and the first task with a number counts.
	done numberSet
	// hopeless counts, by numeric id, the tasks that will not satisfy their dependents.
	hopeless map[int32]uint64
	// releases are those that have not come to their end, in their order.
	releases []keptRelease
	// news have not reached all whom they concern.
	news []keptNews
}

func newDependencies() dependencies {
	return dependencies{
		byID: map[string][]uint64{}, ranges: map[uint64][]*apiv1.TaskIdRange{}, index: rangeIndex{}, hopeless: map[int32]uint64{},
	}
}

// waits says whether a task waits for the id (lower case).
func (d *dependencies) waits(id string, task uint64) bool {
	_, ok := slices.BinarySearch(d.byID[id], task)
	return ok
}

func (d *dependencies) addRanges(task uint64, ranges []*apiv1.TaskIdRange) {
	d.ranges[task] = ranges
	for _, r := range ranges {
		d.index.add(task, r)
	}
}

func (d *dependencies) removeRanges(task uint64) {
	for _, r := range d.ranges[task] {
		d.index.remove(task, r)
	}
	delete(d.ranges, task)
}

// hopelessIn says whether a number of the range is not satisfied and a task with it never will satisfy it.
func (d *dependencies) hopelessIn(r *apiv1.TaskIdRange) bool {
	for n := range d.hopeless {
		if r.Start <= n && n <= r.End && d.done.count(n, n) == 0 {
			return true
		}
	}
	return false
}

// numericID is the number that a task id stands for in ranges: ids that are all digits, up to the largest int32.
func numericID(id string) (int32, bool) {
	if id == "" || strings.Trim(id, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(id, 10, 32)
	return int32(n), err == nil
}

// rangeIndex finds the ranges that hold a number. Each range is cut into the fewest segments whose length is a power of two and that begin at a
// multiple of it: at most two of each length, and a number lies in one possible segment of each length. The value counts a task's ranges.
type rangeIndex map[segment]map[uint64]int

type segment struct {
	level uint8
	at    int32
}

func eachSegment(r *apiv1.TaskIdRange, fn func(segment)) {
	for first, end := int64(max(0, r.Start)), int64(r.End)+1; first < end; {
		level := bits.Len64(uint64(end-first)) - 1
		if first != 0 {
			level = min(level, bits.TrailingZeros64(uint64(first)))
		}
		fn(segment{uint8(level), int32(first >> level)})
		first += 1 << level
	}
}

func (x rangeIndex) add(task uint64, r *apiv1.TaskIdRange) {
	eachSegment(r, func(s segment) {
		if x[s] == nil {
			x[s] = map[uint64]int{}
		}
		x[s][task]++
	})
}

func (x rangeIndex) remove(task uint64, r *apiv1.TaskIdRange) {
	eachSegment(r, func(s segment) {
		if x[s][task]--; x[s][task] == 0 {
			delete(x[s], task)
		}
		if len(x[s]) == 0 {
			delete(x, s)
		}
	})
}

// holds says whether a task waits for n.
func (x rangeIndex) holds(n int32) bool {
	for level := uint8(0); len(x) > 0 && level <= 31; level++ {
		if len(x[segment{level, n >> level}]) > 0 {
			return true
		}
	}
	return false
}

// tasks returns the tasks that wait for n in order, each as often as its ranges hold n.
func (x rangeIndex) tasks(n int32) []uint64 {
	var out []uint64
	for level := uint8(0); len(x) > 0 && level <= 31; level++ {
		for task, times := range x[segment{level, n >> level}] {
			for range times {
				out = append(out, task)
			}
		}
	}
	slices.Sort(out)
	return out
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
	if i < len(s.runs) && s.runs[i].first-1 == n {
		hi, run.last = i+1, s.runs[i].last
	}
	for _, r := range s.runs[lo:hi] {
		replaced = append(replaced, r.first)
	}
	s.runs = slices.Replace(s.runs, lo, hi, run)
	return run, replaced, true
}

// count says how many numbers of first to last are in the set.
func (s *numberSet) count(first, last int32) int64 {
	var n int64
	if first > last {
		return 0
	}
	for i := sort.Search(len(s.runs), func(i int) bool { return s.runs[i].last >= first }); i < len(s.runs) && s.runs[i].first <= last; i++ {
		n += int64(min(last, s.runs[i].last)) - int64(max(first, s.runs[i].first)) + 1
	}
	return n
}

// missing yields the numbers of first to last that are not in the set.
func (s *numberSet) missing(first, last int32) iter.Seq[int32] {
	return func(yield func(int32) bool) {
		next := int64(first)
		i := sort.Search(len(s.runs), func(i int) bool { return s.runs[i].last >= first })
		for ; next <= int64(last); next++ {
			for i < len(s.runs) && int64(s.runs[i].last) < next {
				i++
			}
			if i < len(s.runs) && int64(s.runs[i].first) <= next {
				next = int64(s.runs[i].last)
				continue
			}
			if !yield(int32(next)) {
				return
			}
		}
	}
}

func (s *Store) loadDependencies() error {
	for table, load := range map[byte]func(j *job, key, value []byte) error{
		tableDependent: func(j *job, key, _ []byte) error {
			id := string(key[:len(key)-9])
			j.deps.byID[id] = append(j.deps.byID[id], binary.BigEndian.Uint64(key[len(key)-8:]))
			return nil
		},
		tableRanges: func(j *job, key, value []byte) error {
			rec := &apiv1.TaskDependencies{}
			if err := proto.Unmarshal(value, rec); err != nil {
				return err
			}
			j.deps.addRanges(binary.BigEndian.Uint64(key), rec.TaskIdRanges)
			return nil
		},
		tableSatisfied: func(j *job, key, value []byte) error {
			run := numberRun{int32(binary.BigEndian.Uint64(key)), int32(binary.BigEndian.Uint64(value))}
			j.deps.done.runs = append(j.deps.done.runs, run)
			return nil
		},
		tableHopeless: func(j *job, key, value []byte) error {
			j.deps.hopeless[int32(binary.BigEndian.Uint64(key))] = binary.BigEndian.Uint64(value)
			return nil
		},
	} {
		err := s.scan([]byte{table}, func(key, value []byte) error {
			if j := s.jobByUID[binary.BigEndian.Uint64(key)]; j != nil {
				return load(j, key[8:], value)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
