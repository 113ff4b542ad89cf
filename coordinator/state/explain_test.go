package state

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func TestSituation(t *testing.T) {
	f, n1, _, _ := yard(t, func(j *apiv1.Job) { j.UsesTaskDependencies = proto.Bool(true) })
	f.add("j", "a", "b", "7", "c")
	f.addAfter("j", "last", &apiv1.TaskDependencies{TaskIds: []string{"A", "b", "none"}, TaskIdRanges: []*apiv1.TaskIdRange{{Start: 6, End: 8}}})
	f.assign(n1, "j", "a")
	s := f.situation("j", "a")
	require.Equal(t, assigned, s.Phase)
	require.Equal(t, "n1", s.Holder)
	require.Equal(t, uint64(2), f.situation("j", "c").AheadInJob, "b and 7; a is with a node")

	s = f.situation("j", "last")
	require.Equal(t, waiting, s.Phase)
	require.Equal(t, []string{"A", "b", "none", "6", "7", "8"}, s.Open)
	require.Equal(t, int64(6), s.OpenCount)

	f.report(n1, "j", "a", exited(0))
	f.assign(n1, "j", "b")
	f.report(n1, "j", "b", exited(1))
	f.assign(n1, "j", "7")
	f.report(n1, "j", "7", exited(0))
	s = f.situation("j", "last")
	require.Equal(t, []string{"none", "6", "8"}, s.Open)
	require.Equal(t, []string{"b"}, s.Failed)
	require.Len(t, s.Nodes, 2)

	_, found, err := f.s.Situation("acct", "j", "nothing")
	require.NoError(t, err)
	require.False(t, found)
}

func (f *farm) situation(job, task string) Situation {
	s, found, err := f.s.Situation("acct", job, task)
	require.NoError(f.t, err)
	require.True(f.t, found)
	return s
}

func TestMissingNumbers(t *testing.T) {
	s := numberSet{runs: []numberRun{{2, 4}, {7, 7}}}
	for _, c := range []struct {
		first, last int32
		want        []int32
	}{
		{0, 9, []int32{0, 1, 5, 6, 8, 9}}, {2, 4, nil}, {3, 5, []int32{5}}, {7, 8, []int32{8}}, {9, 8, nil}, {2147483646, 2147483647, []int32{2147483646, 2147483647}},
	} {
		require.Equal(t, c.want, slices.Collect(s.missing(c.first, c.last)), c)
	}
}
