package state

import (
	"fmt"
	"maps"
	"slices"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

func storedElement(t require.TestingT, s *Store, j *job, a *array, task uint64) *storedTask {
	e, err := s.elementOf(j, task)
	require.NoError(t, err)
	require.Equal(t, a.rec.Id, e.Array)
	if a.rec.HasItems {
		require.Equal(t, []string{fmt.Sprint(e.Index)}, e.Values, "an element has another's item")
	}
	stored := freshTask(t, s, j, a.entry(task))
	stored.waits, stored.blocked = a.rec.WaitingFor > 0, a.rec.Blocked
	return stored
}

// checkArrays checks the counts of arrays, and that no two tasks have the same id.
func checkArrays(t require.TestingT, s *Store, j *job, tasks map[uint64]*storedTask) {
	require.Equal(t, len(j.arrays.inOrder), len(j.arrays.byID))
	require.Equal(t, len(j.arrays.inOrder), len(j.arrays.byStem))
	ids, failed := map[string]bool{}, []uint64{}
	for n, task := range tasks {
		require.False(t, ids[task.entry.Id], "two tasks are %s", task.entry.Id)
		ids[task.entry.Id] = true
		if task.exec.Phase == completed && !task.exec.Succeeded {
			failed = append(failed, n)
		}
	}
	slices.Sort(failed)
	w, err := s.walk(j, TaskSpan{Failed: true})
	require.NoError(t, err)
	defer w.close()
	listed := []uint64{}
	for w.next() {
		listed = append(listed, w.task)
	}
	require.NoError(t, w.err)
	require.Equal(t, failed, listed)
	checkWalk(t, s, j, tasks)
	for _, a := range j.arrays.inOrder {
		own, held := map[uint64]*storedTask{}, 0
		for n, task := range tasks {
			if j.arrays.of(n) == a {
				own[n] = task
			}
		}
		for key := range j.held {
			if j.arrays.of(key.Task) == a {
				held++
			}
		}
		checkCounts(t, "array "+a.rec.Id, true, a.counts, own)
		require.Equal(t, held, a.held)
		require.Less(t, a.gone.count, a.rec.Size)
		require.False(t, ids[a.rec.Id], "a task and an array are %s", a.rec.Id)
	}
}

// checkWalk lists all tasks.
func checkWalk(t require.TestingT, s *Store, j *job, tasks map[uint64]*storedTask) {
	w, err := s.walk(j, TaskSpan{})
	require.NoError(t, err)
	defer w.close()
	var listed []uint64
	for w.next() {
		require.Equal(t, tasks[w.task].entry.Id, w.entry.Id)
		listed = append(listed, w.task)
	}
	require.NoError(t, w.err)
	require.Equal(t, slices.Sorted(maps.Keys(tasks)), listed)
}

func (c *chooser) addArray() any {
	rec := &raftlogv1.TaskArrayRecord{
		Id: c.among("array", "sweep", "a", "x"), IdPrefix: c.among("prefix", "", "sweep-", "sweep-", "0"), IdWidth: rapid.Int32Range(0, 2).Draw(c.T, "width"),
		FirstIndex: rapid.Int64Range(0, 3).Draw(c.T, "first index"), Step: rapid.Int64Range(0, 3).Draw(c.T, "step"),
		Size: rapid.Uint64Range(0, 5).Draw(c.T, "size"), MaxParallel: rapid.Int32Range(0, 2).Draw(c.T, "parallel"),
	}
	if c.chance("depends", 2) {
		rec.DependsOn = c.dependencies()
	}
	cmd := &raftlogv1.AddTaskArray{JobId: c.jobID(), Array: rec, Spec: rapid.SampledFrom(c.specs()).Draw(c.T, "spec")}
	if c.chance("items", 3) {
		rec.HasItems, rec.FirstIndex, rec.Step = true, 0, 1
		cmd.Items = someItems(0, rapid.IntRange(0, 4).Draw(c.T, "items"))
	}
	return cmd
}

// someItems are items that are their own places.
func someItems(from, n int) []*raftlogv1.ElementItem {
	var out []*raftlogv1.ElementItem
	for i := range n {
		out = append(out, &raftlogv1.ElementItem{Values: []string{fmt.Sprint(from + i)}})
	}
	return out
}

func (c *chooser) addItems() any {
	offset := rapid.IntRange(0, 4).Draw(c.T, "offset")
	if c.chance("limit", 4) {
		return &raftlogv1.UpdateTaskArray{JobId: c.jobID(), ArrayId: c.among("array", "sweep", "a", "x"), MaxParallel: 1}
	}
	return &raftlogv1.AddTaskArrayItems{
		JobId: c.jobID(), ArrayId: c.among("array", "sweep", "a", "x"), Offset: uint64(offset), Items: someItems(offset, rapid.IntRange(0, 3).Draw(c.T, "items")),
	}
}
