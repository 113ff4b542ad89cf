package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/batchyard/batchyard/coordinator/state"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

var testNow = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// yard is a state that commands change at once, as they do with one coordinator.
type yard struct {
	t     *testing.T
	store *state.Store

	mu    sync.Mutex
	index uint64
	now   time.Time
	seen  map[uint64]time.Time // when nodes were last heard of
	// What the loops have proposed, in words.
	proposed []string
	refuse   error
}

func newYard(t *testing.T) *yard {
	t.Helper()
	store, err := state.Open(filepath.Join(t.TempDir(), "state"), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	y := &yard{t: t, store: store, now: testNow, seen: map[uint64]time.Time{}}
	y.do(&raftlogv1.Command{Kind: &raftlogv1.Command_CreatePool{CreatePool: &raftlogv1.CreatePool{Pool: &apiv1.Pool{Id: "p"}}}})
	return y
}

func (y *yard) loops() *Loops {
	return &Loops{
		State: y.store, Proposer: y, Liveness: y, Lease: 40 * time.Second, Grace: 10 * time.Second, Now: y.clock, Logger: slog.New(slog.DiscardHandler),
	}
}

// Propose implements Proposer.
func (y *yard) Propose(_ context.Context, cmd *raftlogv1.Command) (state.Result, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.refuse != nil {
		return state.Result{}, y.refuse
	}
	switch c := cmd.Kind.(type) {
	case *raftlogv1.Command_NodeLost:
		y.proposed = append(y.proposed, "lost "+c.NodeLost.NodeId)
	case *raftlogv1.Command_TerminateJob:
		y.proposed = append(y.proposed, "terminate "+c.TerminateJob.JobId+" "+c.TerminateJob.Reason)
	case *raftlogv1.Command_AdvanceJob:
		y.proposed = append(y.proposed, "advance")
	default:
		y.proposed = append(y.proposed, fmt.Sprintf("%T", c))
	}
	return y.apply(cmd), nil
}

func (y *yard) apply(cmd *raftlogv1.Command) state.Result {
	raw, err := proto.Marshal(cmd)
	require.NoError(y.t, err)
	y.index++
	results, _ := y.store.Apply(y.index, [][]byte{raw})
	return results[0].(state.Result)
}

// LastSeen implements Liveness.
func (y *yard) LastSeen(uid uint64) (time.Time, bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	at, ok := y.seen[uid]
	return at, ok
}

func (y *yard) clock() time.Time {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.now
}

func (y *yard) pass(d time.Duration) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.now = y.now.Add(d)
}

func (y *yard) take() []string {
	y.mu.Lock()
	defer y.mu.Unlock()
	out := y.proposed
	y.proposed = nil
	return out
}

// do applies a command of a user or a node.
func (y *yard) do(cmd *raftlogv1.Command) state.Result {
	y.t.Helper()
	y.mu.Lock()
	defer y.mu.Unlock()
	cmd.Now, cmd.Account = y.now.UnixNano(), "acct"
	result := y.apply(cmd)
	require.Nil(y.t, result.Err, "%v", result.Err)
	return result
}

// node makes a node that has begun to work.
func (y *yard) node(id string) uint64 {
	y.do(&raftlogv1.Command{Kind: &raftlogv1.Command_CreateNodes{CreateNodes: &raftlogv1.CreateNodes{PoolId: "p", NodeIds: []string{id}}}})
	r := y.do(&raftlogv1.Command{Kind: &raftlogv1.Command_NodeHello{NodeHello: &raftlogv1.NodeHello{PoolId: "p", NodeId: id, Facts: &agentv1.NodeFacts{}}}})
	return r.Node.Uid
}

func (y *yard) job(id string, limit time.Duration) state.JobInfo {
	j := &apiv1.Job{Id: id, PoolInfo: &apiv1.PoolInfo{PoolId: "p"}}
	if limit > 0 {
		j.Constraints = &apiv1.JobConstraints{MaxWallClockTime: durationpb.New(limit)}
	}
	y.do(&raftlogv1.Command{Kind: &raftlogv1.Command_CreateJob{CreateJob: &raftlogv1.CreateJob{Job: j}}})
	info, ok := y.store.Job("acct", id)
	require.True(y.t, ok)
	return info
}

func (y *yard) incarnation(uid uint64) uint32 {
	n, ok := y.store.NodeByUID(uid)
	require.True(y.t, ok)
	return n.Incarnation
}

// hold gives a node the first task of a job.
func (y *yard) hold(uid uint64, j state.JobInfo) {
	y.t.Helper()
	spec, err := proto.Marshal(&apiv1.Task{})
	require.NoError(y.t, err)
	y.do(&raftlogv1.Command{Kind: &raftlogv1.Command_AddTasks{AddTasks: &raftlogv1.AddTasks{
		JobId: j.Job.Id, Specs: [][]byte{spec}, Tasks: []*raftlogv1.NewTask{{Id: "t", CommandLine: "true"}},
	}}})
	room, _ := y.store.Room(state.PoolKey{Account: "acct", ID: "p"}, 1)
	require.Len(y.t, room.Jobs, 1)
	y.do(&raftlogv1.Command{Kind: &raftlogv1.Command_AssignTasks{AssignTasks: &raftlogv1.AssignTasks{Nodes: []*raftlogv1.NodePlan{{
		Node: uid, Incarnation: y.incarnation(uid), Tasks: []*raftlogv1.PlannedTask{{Job: j.Uid, Task: room.Jobs[0].Runs[0].First}},
	}}}}})
	n, _ := y.store.NodeByUID(uid)
	require.Equal(y.t, 1, n.Held)
}

func TestLost(t *testing.T) {
	begun := testNow
	for _, c := range []struct {
		name  string
		state apiv1.NodeState
		held  int
		seen  time.Duration // after begun; -1: never in this term
		now   time.Duration
		want  bool
	}{
		{"just heard of", apiv1.NodeState_NODE_STATE_IDLE, 0, time.Minute, time.Minute, false},
		{"silent for its lease and grace", apiv1.NodeState_NODE_STATE_IDLE, 0, time.Minute, 110 * time.Second, false},
		{"silent for longer", apiv1.NodeState_NODE_STATE_IDLE, 0, time.Minute, 111 * time.Second, true},
		{"a new leader gives a lease's time", apiv1.NodeState_NODE_STATE_RUNNING, 2, -1, 50 * time.Second, false},
		{"and no more", apiv1.NodeState_NODE_STATE_RUNNING, 2, -1, 51 * time.Second, true},
		{"heard of before this term", apiv1.NodeState_NODE_STATE_RUNNING, 2, -time.Hour, 50 * time.Second, false},
		{"not begun", apiv1.NodeState_NODE_STATE_CREATING, 0, -1, time.Hour, false},
		{"starting", apiv1.NodeState_NODE_STATE_STARTING, 0, -1, time.Hour, false},
		{"given up already", apiv1.NodeState_NODE_STATE_UNKNOWN, 0, -1, time.Hour, false},
		{"given up and holding tasks again", apiv1.NodeState_NODE_STATE_UNKNOWN, 1, -1, time.Hour, true},
		{"leaving with nothing on it", apiv1.NodeState_NODE_STATE_LEAVING_POOL, 0, -1, time.Hour, false},
		{"leaving with tasks", apiv1.NodeState_NODE_STATE_LEAVING_POOL, 1, -1, time.Hour, true},
		{"not usable", apiv1.NodeState_NODE_STATE_UNUSABLE, 0, -1, time.Hour, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			y := &yard{now: begun.Add(c.now), seen: map[uint64]time.Time{}}
			if c.seen != -1 {
				y.seen[7] = begun.Add(c.seen)
			}
			n := state.NodeInfo{NodeRecord: &raftlogv1.NodeRecord{Uid: 7, Node: &apiv1.Node{State: c.state}}, Held: c.held}
			require.Equal(t, c.want, y.loops().lost(n, begun))
		})
	}
}

func TestJobsMoveOn(t *testing.T) {
	ctx := context.Background()
	y := newYard(t)
	l := y.loops()
	idle, short, ending := y.job("idle", 0), y.job("short", time.Hour), y.job("ending", time.Hour)
	n := y.node("n")
	y.hold(n, ending)
	y.do(&raftlogv1.Command{Kind: &raftlogv1.Command_TerminateJob{TerminateJob: &raftlogv1.TerminateJob{JobId: ending.Job.Id}}})
	require.NoError(t, l.sweep(ctx))
	require.Empty(t, y.take(), "while its task is being stopped there is nothing to do")
	held, err := y.store.Held(n)
	require.NoError(t, err)
	require.Len(t, held, 1)
	require.True(t, held[0].Stopping)
	y.do(&raftlogv1.Command{Kind: &raftlogv1.Command_ReportAttempts{ReportAttempts: &raftlogv1.ReportAttempts{
		Node: n, Incarnation: y.incarnation(n), Reports: []*agentv1.AttemptReport{{
			Ref:   &agentv1.AttemptRef{Job: held[0].Job, Task: held[0].Task, Attempt: held[0].Attempt},
			Phase: agentv1.AttemptPhase_ATTEMPT_PHASE_RELEASED,
		}},
	}}})
	require.NoError(t, l.sweep(ctx))
	require.NoError(t, l.sweep(ctx))
	for _, uid := range []uint64{idle.Uid, short.Uid} {
		j, _ := y.store.JobByUID(uid)
		require.Equal(t, apiv1.JobState_JOB_STATE_ACTIVE, j.Job.State)
	}
	j, _ := y.store.JobByUID(ending.Uid)
	require.Equal(t, apiv1.JobState_JOB_STATE_COMPLETED, j.Job.State)
	y.take()

	y.pass(time.Hour - time.Nanosecond)
	require.NoError(t, l.sweep(ctx))
	require.Empty(t, y.take(), "there is a moment left")
	y.pass(time.Nanosecond)
	require.NoError(t, l.sweep(ctx))
	require.NoError(t, l.sweep(ctx))
	require.Equal(t, []string{"terminate short MaxWallClockTimeExpiry"}, y.take(), "a job without tasks ends at once")
	j, _ = y.store.JobByUID(short.Uid)
	require.Equal(t, apiv1.JobState_JOB_STATE_COMPLETED, j.Job.State)
	require.Equal(t, "MaxWallClockTimeExpiry", j.Job.GetExecutionInfo().GetTerminateReason())

	y.do(&raftlogv1.Command{Kind: &raftlogv1.Command_DeleteJob{DeleteJob: &raftlogv1.DeleteJob{JobId: "idle"}}})
	y.refuse = errors.New("not leading")
	require.ErrorIs(t, l.sweep(ctx), y.refuse)
	y.refuse = nil
	require.NoError(t, l.sweep(ctx))
	require.Equal(t, []string{"advance"}, y.take())
	_, there := y.store.Job("acct", "idle")
	require.False(t, there)
}

// The loops run together: a silent node is given up once, a node that speaks is not, and a job that is deleted goes.
func TestLoops(t *testing.T) {
	y := newYard(t)
	silent, speaking := y.node("silent"), y.node("speaking")
	y.mu.Lock()
	y.seen[silent] = testNow
	y.mu.Unlock()
	l := y.loops()
	l.Lease = 40 * time.Millisecond // the loop looks four times a lease
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	y.job("gone", 0)
	y.do(&raftlogv1.Command{Kind: &raftlogv1.Command_DeleteJob{DeleteJob: &raftlogv1.DeleteJob{JobId: "gone"}}})
	require.Eventually(t, func() bool {
		_, there := y.store.Job("acct", "gone")
		return !there
	}, 30*time.Second, time.Millisecond, "the job is deleted")
	require.Eventually(t, func() bool {
		y.mu.Lock()
		y.now = y.now.Add(time.Second)
		y.seen[speaking] = y.now
		y.mu.Unlock()
		n, ok := y.store.Node("acct", "p", "silent")
		return ok && n.NodeRecord.Node.State == apiv1.NodeState_NODE_STATE_UNKNOWN
	}, 30*time.Second, time.Millisecond, "the silent node is given up")
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	proposed := y.take()
	require.Contains(t, proposed, "lost silent")
	require.NotContains(t, proposed, "lost speaking")

	y.job("going", 0)
	y.do(&raftlogv1.Command{Kind: &raftlogv1.Command_DeleteJob{DeleteJob: &raftlogv1.DeleteJob{JobId: "going"}}})
	y.mu.Lock()
	y.refuse = errors.New("not leading")
	y.mu.Unlock()
	require.ErrorIs(t, l.Run(context.Background()), y.refuse, "a loop that fails ends the others")
}
