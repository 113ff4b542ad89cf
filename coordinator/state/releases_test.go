package state

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// fewReleases has one entry tell few dependents, so that small jobs need several.
func fewReleases(t testing.TB) {
	before := releasesAtOnce
	releasesAtOnce = 2
	t.Cleanup(func() { releasesAtOnce = before })
}

func (c *chooser) advanceReleases() any {
	return &raftlogv1.AdvanceReleases{Job: c.jobUID(), Limit: rapid.Uint32Range(0, 3).Draw(c.T, "limit")}
}

// A task on which many wait tells them in steps, those that name it and those that name a range; who comes meanwhile does not wait at all.
func TestReleasesAreBounded(t *testing.T) {
	fewReleases(t)
	f, n1, _, job := yard(t, func(j *apiv1.Job) { j.UsesTaskDependencies = proto.Bool(true) })
	f.add("j", "7")
	for i := range 5 {
		f.addAfter("j", fmt.Sprint("a", i), after("7"))
		f.addAfter("j", fmt.Sprint("b", i), afterRange(6, 7))
	}
	f.addAfter("j", "twice", &apiv1.TaskDependencies{TaskIdRanges: []*apiv1.TaskIdRange{{Start: 7, End: 7}, {Start: 6, End: 8}}})
	f.run(n1, "j", "7", 0)
	queuedNow := func() uint64 { return f.jobInfo("j").Queued }
	require.EqualValues(t, 2, queuedNow())
	require.True(t, f.jobInfo("j").Releasing)
	f.addAfter("j", "late", after("7"))
	require.True(t, f.queued("j", "late"))
	step := func() { f.ok(&raftlogv1.AdvanceReleases{Job: job, Limit: 2}) }
	step()
	require.EqualValues(t, 5, queuedNow())
	f.ok(&raftlogv1.DeleteTask{JobId: "j", TaskId: "a4"})
	f.ok(&raftlogv1.DeleteTask{JobId: "j", TaskId: "7"})
	f.add("j", "7") // another, for which nobody has to wait who was promised the first
	f.addAfter("j", "new", after("7"))
	for range 8 {
		step()
	}
	require.False(t, f.jobInfo("j").Releasing)
	require.EqualValues(t, 6, queuedNow(), "late, a0 to a3 and the new 7")
	require.False(t, f.queued("j", "new"))
	f.add("j", "6")
	f.run(n1, "j", "6", 0)
	for range 8 {
		step()
	}
	for i := range 5 {
		require.True(t, f.queued("j", fmt.Sprint("b", i)))
	}
	require.False(t, f.queued("j", "twice"), "it also waits for 8")
	f.add("j", "8")
	f.run(n1, "j", "8", 0)
	require.True(t, f.queued("j", "twice"))
}

// That a task has failed reaches those who wait for it, and those who wait for them, in steps; what changes meanwhile counts.
func TestHopelessnessSpreadsInSteps(t *testing.T) {
	fewReleases(t)
	f, n1, _, job := yard(t, func(j *apiv1.Job) { j.UsesTaskDependencies = proto.Bool(true) })
	f.add("j", "7")
	for i := range 5 {
		f.addAfter("j", fmt.Sprint("a", i), after("7"))
		f.addAfter("j", fmt.Sprint("b", i), afterRange(7, 8))
		f.addAfter("j", fmt.Sprint("c", i), after(fmt.Sprint("a", i)))
	}
	step := func() { f.ok(&raftlogv1.AdvanceReleases{Job: job, Limit: 2}) }
	settle := func() {
		for range 40 {
			step()
		}
		require.False(t, f.jobInfo("j").Releasing)
	}
	f.run(n1, "j", "7", 1)
	require.EqualValues(t, 2, f.blocked("j"))
	settle()
	require.EqualValues(t, 15, f.blocked("j"))
	f.ok(&raftlogv1.ReactivateTask{JobId: "j", TaskId: "7"})
	step()
	f.run(n1, "j", "7", 1) // before all have heard that it runs again
	step()
	f.ok(&raftlogv1.TerminateTask{JobId: "j", TaskId: "a2"})
	settle()
	require.EqualValues(t, 14, f.blocked("j"))
	f.ok(&raftlogv1.ReactivateTask{JobId: "j", TaskId: "7"})
	settle()
	require.EqualValues(t, 1, f.blocked("j"), "c2, whose a2 was ended")
	f.run(n1, "j", "7", 0)
	settle()
	require.True(t, f.queued("j", "a4"))
}
