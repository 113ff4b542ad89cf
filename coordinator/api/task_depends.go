package api

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

const (
	// maxRanges is how many ranges of ids a task may depend on.
	maxRanges = 1000
	// maxEdges bounds the search for cycles; calls with more dependencies among their own tasks are not searched.
	maxEdges = 1 << 20
)

// checkDependencies says what is wrong with a task's dependencies, taken alone.
func checkDependencies(t *raftlogv1.NewTask, job *apiv1.Job) error {
	d := t.DependsOn
	if !job.GetUsesTaskDependencies() {
		return batcherr.Of(batcherr.CodeTaskDependenciesNotSpecifiedOnJob)
	}
	total := 0
	for i, id := range d.TaskIds {
		here := path("dependsOn.taskIds").index(i)
		if !lifecycle.ValidID(id) {
			return invalid(here, id, idReason)
		}
		if strings.EqualFold(id, t.Id) {
			return invalid(here, id, "A task can't depend on itself.")
		}
		total += len(id)
	}
	if total > lifecycle.MaxDependencyIDs {
		return batcherr.Of(batcherr.CodeTaskDependencyListTooLong)
	}
	if len(d.TaskIdRanges) > maxRanges {
		return batcherr.Of(batcherr.CodeTaskDependencyRangesTooLong)
	}
	own, numeric := numericID(t.Id)
	for i, r := range d.TaskIdRanges {
		here := path("dependsOn.taskIdRanges").index(i)
		switch {
		case r.Start < 0:
			return invalidNumber(here.at("start"), r.Start, "Numbers of tasks are not negative.")
		case r.Start > r.End:
			return invalidNumber(here.at("start"), r.Start, "A range starts at or before its end.")
		case numeric && r.Start <= own && own <= r.End:
			return invalidNumber(here.at("start"), r.Start, "A task can't depend on itself.")
		}
	}
	return nil
}

// numericID is the number that an id stands for in ranges: all digits, at most the largest int32.
func numericID(id string) (int32, bool) {
	if id == "" || strings.Trim(id, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(id, 10, 32)
	return int32(n), err == nil
}

// cyclic finds the tasks of one call that wait for each other in a circle, so that none of them could ever run.
func cyclic(tasks []*raftlogv1.NewTask) map[int]bool {
	needs, ok := edgesAmong(tasks)
	if !ok {
		return nil
	}
	left := make(map[int]bool, len(needs))
	for i := range needs {
		left[i] = true
	}
	// Take away, again and again, tasks that wait for none of those left, then those that none of those left waits for: circles remain,
	// and what lies between two of them.
	neededBy := map[int][]int{}
	for i, list := range needs {
		for _, n := range list {
			neededBy[n] = append(neededBy[n], i)
		}
	}
	peel(left, needs, neededBy)
	peel(left, neededBy, needs)
	return left
}

// peel takes out of left what has no successor in left, until all have one.
func peel(left map[int]bool, successors, predecessors map[int][]int) {
	count := make(map[int]int, len(left))
	var ready []int
	for i := range left {
		for _, n := range successors[i] {
			if left[n] {
				count[i]++
			}
		}
		if count[i] == 0 {
			ready = append(ready, i)
		}
	}
	for len(ready) > 0 {
		i := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		delete(left, i)
		for _, p := range predecessors[i] {
			if count[p]--; count[p] == 0 && left[p] {
				ready = append(ready, p)
			}
		}
	}
}

// edgesAmong lists for each task that has dependencies which others of the call it waits for. ok is false if these are too many to look at.
func edgesAmong(tasks []*raftlogv1.NewTask) (needs map[int][]int, ok bool) {
	if !slices.ContainsFunc(tasks, func(t *raftlogv1.NewTask) bool { return t.DependsOn != nil }) {
		return nil, true
	}
	byID := make(map[string]int, len(tasks))
	var numbers []numbered
	for i, t := range tasks {
		byID[lifecycle.IDKey(t.Id)] = i
		if n, numeric := numericID(t.Id); numeric {
			numbers = append(numbers, numbered{n, i})
		}
	}
	slices.SortFunc(numbers, func(a, b numbered) int { return cmp.Compare(a.number, b.number) })
	needs = map[int][]int{}
	edges := 0
	for i, t := range tasks {
		for _, id := range t.DependsOn.GetTaskIds() {
			if n, found := byID[lifecycle.IDKey(id)]; found {
				needs[i] = append(needs[i], n)
			}
		}
		for _, r := range t.DependsOn.GetTaskIdRanges() {
			if edges+len(needs[i]) > maxEdges {
				return nil, false
			}
			at, _ := slices.BinarySearchFunc(numbers, r.Start, func(n numbered, start int32) int { return cmp.Compare(n.number, start) })
			for ; at < len(numbers) && numbers[at].number <= r.End; at++ {
				needs[i] = append(needs[i], numbers[at].task)
			}
		}
		if edges += len(needs[i]); edges > maxEdges {
			return nil, false
		}
	}
	return needs, true
}

// numbered is a task whose id is a number.
type numbered struct {
	number int32
	task   int
}
