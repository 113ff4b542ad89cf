package state

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

func woken(w *Watcher) bool {
	select {
	case <-w.C():
		return true
	default:
		return false
	}
}

func TestChangesCoalesce(t *testing.T) {
	f, n1, n2, uid := yard(t)
	early, late := f.s.Watch(), f.s.Watch()
	defer early.Close()
	defer late.Close()
	require.False(t, woken(early))
	f.add("j", "a", "b")
	require.True(t, woken(early))
	c := early.Take()
	require.Equal(t, map[PoolKey]bool{{"acct", "p"}: true}, c.Rooms)
	require.Empty(t, c.Pools, "the pool and its nodes are what they were")
	require.Equal(t, map[uint64]bool{uid: true}, c.Jobs)
	require.Empty(t, c.Nodes)
	f.assign(n1, "j", "a")
	f.assign(n2, "j", "b")
	a := f.key("j", "a")
	f.ok(&raftlogv1.TerminateTask{JobId: "j", TaskId: "a"})
	f.report(n1, "j", "a", released())
	require.True(t, woken(late), "once, however much there is")
	require.False(t, woken(late))
	c = late.Take()
	require.Equal(t, []AttemptKey{a}, c.Nodes[n1].Assigned)
	require.Equal(t, []AttemptKey{a}, c.Nodes[n1].Stopping)
	require.True(t, c.Nodes[n1].Released)
	require.False(t, c.Nodes[n2].Released)
	require.Len(t, c.Nodes[n2].Assigned, 1)
	require.Empty(t, late.Take().Nodes, "taken once")
	late.Close()
	f.add("j", "c")
	require.False(t, woken(late))
	require.Empty(t, late.Take().Jobs)
}

// What makes nodes follows a pool's record and its nodes; the tasks that come and go on them must not wake it.
func TestTasksWakePoolsOnlyWhereNodesLeave(t *testing.T) {
	f, n1, n2, _ := yard(t)
	f.add("j", "a", "b")
	f.assign(n1, "j", "a")
	f.assign(n2, "j", "b")
	w := f.s.Watch()
	defer w.Close()
	f.report(n1, "j", "a", exited(0))
	c := w.Take()
	require.NotEmpty(t, c.Rooms)
	require.Empty(t, c.Pools)
	f.ok(&raftlogv1.LeaveNodes{PoolId: "p", NodeIds: []string{"n2"}})
	w.Take()
	f.report(n2, "j", "b", released())
	require.NotEmpty(t, w.Take().Pools, "the node holds nothing any more: its machine can go")
}

func TestRefusedCommandsWakeNobody(t *testing.T) {
	f, _, _, _ := yard(t)
	w := f.s.Watch()
	defer w.Close()
	f.refuse("JobNotFound", &raftlogv1.TerminateJob{JobId: "none"})
	c := w.Take()
	require.Empty(t, c.Pools)
	require.Empty(t, c.Jobs)
}

func TestTooManyChangesMeanResync(t *testing.T) {
	f, n1, _, uid := yard(t)
	w := f.s.Watch()
	defer w.Close()
	const batch = 5000
	for i := range maxNodeChanges/batch + 1 {
		cmd := &raftlogv1.AddTasks{JobId: "j", Specs: [][]byte{taskSpec()}}
		plan := &raftlogv1.NodePlan{Node: n1, Incarnation: 1}
		for k := range batch {
			cmd.Tasks = append(cmd.Tasks, &raftlogv1.NewTask{Id: fmt.Sprint(i*batch + k)})
			plan.Tasks = append(plan.Tasks, &raftlogv1.PlannedTask{Job: uid, Task: uint64(i*batch + k + 1)})
		}
		f.index++
		f.s.Apply(f.index, [][]byte{
			marshal(t, f.command(cmd)), marshal(t, f.command(&raftlogv1.AssignTasks{Nodes: []*raftlogv1.NodePlan{plan}})),
		})
	}
	c := w.Take().Nodes[n1]
	require.True(t, c.Resync)
	require.Empty(t, c.Assigned)
	later := &NodeChanges{Assigned: []AttemptKey{{}}, Clean: []Clean{{}}}
	c.Merge(later)
	require.True(t, c.Resync)
	require.Empty(t, c.Assigned, "whoever reads everything needs no list")
	held, err := f.s.Held(n1)
	require.NoError(t, err)
	require.Len(t, held, maxNodeChanges+batch)
}

func TestRestoreTellsWatchers(t *testing.T) {
	f, n1, _, _ := yard(t)
	f.add("j", "a")
	f.assign(n1, "j", "a")
	dir := filepath.Join(t.TempDir(), "copy")
	require.NoError(t, f.s.Checkpoint(dir))
	f.report(n1, "j", "a", exited(0))
	w := f.s.Watch()
	defer w.Close()
	require.NoError(t, f.s.Restore(dir))
	require.True(t, woken(w))
	require.True(t, w.Take().Reset)
	require.Equal(t, active, f.state("j", "a"))
	require.EqualValues(t, 1, f.jobInfo("j").Held)
	checkInvariants(t, f.s)
}
