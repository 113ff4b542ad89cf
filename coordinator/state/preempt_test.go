package state

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

func withAffinity(id string) func(*apiv1.Task) {
	return func(t *apiv1.Task) { t.AffinityInfo = &apiv1.AffinityInfo{AffinityId: id} }
}

func (c *chooser) preempt() any {
	uid, _ := c.someNode(func(n *node) bool { return len(n.held) > 0 })
	return &raftlogv1.PreemptTasks{Attempts: []*agentv1.AttemptRef{c.someAttempt(uid)}}
}

func lowly(j *apiv1.Job) { j.Priority, j.AllowTaskPreemption = proto.Int32(-5), proto.Bool(true) }

func TestPreemption(t *testing.T) {
	f, n1, n2, low := yard(t, lowly)
	firm := f.job("firm")
	f.add("j", "early", "late", "unbegun")
	f.add("firm", "t")
	f.assign(n1, "j", "early")
	f.report(n1, "j", "early", began())
	f.assign(n2, "j", "late", "unbegun")
	f.report(n2, "j", "late", began())
	f.assign(n2, "firm", "t")
	f.report(n2, "firm", "t", began())

	key := PoolKey{"acct", "p"}
	room, _ := f.s.Room(key, 10)
	require.True(t, room.Preemptible)
	require.EqualValues(t, -5, room.Lowest)
	require.True(t, room.Preempts(-4))
	require.False(t, room.Preempts(-5))
	var ids []string
	victims := f.s.Victims(key, 0, 100)
	for _, v := range victims {
		require.Equal(t, low, v.Job)
		require.EqualValues(t, -5, v.Priority)
		ids = append(ids, f.idOf(v.TaskKey))
	}
	require.Equal(t, []string{"unbegun", "late", "early"}, ids, "what lost least comes first")
	require.Empty(t, f.s.Victims(key, -5, 100))

	refs := []*agentv1.AttemptRef{
		victims[1].Ref(), f.key("firm", "t").Ref(), {Job: low, Task: victims[2].Task, Attempt: 7}, {Job: firm + 77, Task: 1, Attempt: 1},
	}
	f.ok(&raftlogv1.PreemptTasks{Attempts: refs})
	require.Len(t, f.s.Victims(key, 0, 100), 2, "what is being stopped does not give way again")
	room, _ = f.s.Room(key, 10)
	require.Equal(t, []int32{0, 1}, []int32{room.Nodes[0].Stopping, room.Nodes[1].Stopping})
	require.Equal(t, runs, f.state("firm", "t"))

	f.report(n2, "j", "late", released())
	require.True(t, f.queued("j", "late"))
	info := f.task("j", "late").Task.ExecutionInfo
	require.EqualValues(t, 1, info.RequeueCount)
	require.NotNil(t, info.LastRequeueTime)
	require.Zero(t, info.RetryCount)

	f.ok(&raftlogv1.UpdateJob{JobId: "j", Update: &apiv1.JobUpdateOptions{AllowTaskPreemption: proto.Bool(false)}})
	f.ok(&raftlogv1.PreemptTasks{Attempts: []*agentv1.AttemptRef{victims[2].Ref()}})
	room, _ = f.s.Room(key, 10)
	require.Zero(t, room.Nodes[0].Stopping, "the job does not allow it any more")
}

func (f *farm) idOf(key TaskKey) string {
	tasks, _, err := f.s.Tasks(key.Job, TaskSpan{After: key.Task - 1}, 1)
	require.NoError(f.t, err)
	return tasks[0].Task.Id
}

// A manager task stays where its job's other tasks give way.
func TestAManagerTaskDoesNotGiveWay(t *testing.T) {
	f, n1, _, _ := yard(t, lowly, func(j *apiv1.Job) {
		j.JobManagerTask = &apiv1.JobManagerTask{Id: "manager", RunExclusive: proto.Bool(false)}
	})
	f.add("j", "t")
	f.assign(n1, "j", "manager", "t")
	victims := f.s.Victims(PoolKey{"acct", "p"}, 0, 100)
	require.Len(t, victims, 1)
	require.Equal(t, "t", f.idOf(victims[0].TaskKey))
	manager := f.key("j", "manager")
	f.ok(&raftlogv1.PreemptTasks{Attempts: []*agentv1.AttemptRef{manager.Ref()}})
	require.Zero(t, f.s.nodes[n1].stopping)
}

func TestAffinityOfRuns(t *testing.T) {
	for id, want := range map[string]string{"TVM:Node-1": "node-1", "tvm:n": "n", "TVM:": "", "n1": "", "": "", "XYZ:n1": ""} {
		require.Equal(t, want, affinityOf(&apiv1.Task{AffinityInfo: &apiv1.AffinityInfo{AffinityId: id}}), id)
	}
	f, n1, _, job := yard(t)
	f.addSpec("j", taskSpec(withAffinity("TVM:n2"), withRetries(1)), "a", "b")
	run, ok := f.s.jobByUID[job].queue.find(1)
	require.True(t, ok)
	require.Equal(t, "n2", run.Affinity)
	require.EqualValues(t, 2, run.Last)
	f.run(n1, "j", "a", 1)
	run, _ = f.s.jobByUID[job].queue.find(1)
	require.Equal(t, "n2", run.Affinity, "a task that is tried again asks for it again")
}
