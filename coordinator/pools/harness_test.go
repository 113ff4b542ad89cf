package pools

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

	"github.com/batchyard/batchyard/coordinator/state"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// yard is a state that commands change at once, as they do with one coordinator.
type yard struct {
	t     *testing.T
	store *state.Store

	mu     sync.Mutex
	index  uint64
	now    time.Time
	seen   []*raftlogv1.Command // what loops have proposed
	refuse error                // of proposals
	cpu    map[uint64]float64
}

func newYard(t *testing.T) *yard {
	t.Helper()
	store, err := state.Open(filepath.Join(t.TempDir(), "state"), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return &yard{t: t, store: store, now: testNow, cpu: map[uint64]float64{}}
}

// Propose implements Proposer.
func (y *yard) Propose(_ context.Context, cmd *raftlogv1.Command) (state.Result, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.refuse != nil {
		return state.Result{}, y.refuse
	}
	y.seen = append(y.seen, cmd)
	return y.apply(cmd)
}

func (y *yard) apply(cmd *raftlogv1.Command) (state.Result, error) {
	raw, err := proto.Marshal(cmd)
	if err != nil {
		return state.Result{}, err
	}
	y.index++
	results, _ := y.store.Apply(y.index, [][]byte{raw})
	return results[0].(state.Result), nil
}

// CPU implements Loads.
func (y *yard) CPU(uid uint64) (float64, bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	percent, ok := y.cpu[uid]
	return percent, ok
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

// do applies a command of a user.
func (y *yard) do(cmd *raftlogv1.Command) state.Result {
	y.t.Helper()
	y.mu.Lock()
	defer y.mu.Unlock()
	cmd.Now, cmd.Account = y.now.UnixNano(), "acct"
	result, err := y.apply(cmd)
	require.NoError(y.t, err)
	require.Nil(y.t, result.Err, "%v", result.Err)
	return result
}

func (y *yard) createPool(edit func(*apiv1.Pool)) {
	y.t.Helper()
	p := &apiv1.Pool{Id: "p"}
	edit(p)
	y.do(&raftlogv1.Command{Kind: &raftlogv1.Command_CreatePool{CreatePool: &raftlogv1.CreatePool{Pool: p}}})
}

func (y *yard) pool() state.PoolInfo {
	y.t.Helper()
	p, ok := y.store.Pool("acct", "p")
	require.True(y.t, ok)
	return p
}

// join makes a node begin to work and returns its number.
func (y *yard) join(id string) uint64 {
	y.t.Helper()
	r := y.do(&raftlogv1.Command{Kind: &raftlogv1.Command_NodeHello{NodeHello: &raftlogv1.NodeHello{
		PoolId: "p", NodeId: id, Facts: &agentv1.NodeFacts{Hostname: id},
	}}})
	return r.Node.Uid
}

// addTasks makes a job with tasks for the pool.
func (y *yard) addTasks(job string, n int) {
	y.t.Helper()
	y.do(&raftlogv1.Command{Kind: &raftlogv1.Command_CreateJob{CreateJob: &raftlogv1.CreateJob{
		Job: &apiv1.Job{Id: job, PoolInfo: &apiv1.PoolInfo{PoolId: "p"}},
	}}})
	one := int32(1)
	spec, err := proto.Marshal(&apiv1.Task{RequiredSlots: &one})
	require.NoError(y.t, err)
	add := &raftlogv1.AddTasks{JobId: job, Specs: [][]byte{spec}}
	for i := range n {
		add.Tasks = append(add.Tasks, &raftlogv1.NewTask{Id: fmt.Sprint("t", i), CommandLine: "true"})
	}
	y.do(&raftlogv1.Command{Kind: &raftlogv1.Command_AddTasks{AddTasks: add}})
}

// proposed takes the kinds of the commands that loops have proposed.
func (y *yard) proposed() (out []string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, cmd := range y.seen {
		field := cmd.ProtoReflect().WhichOneof(cmd.ProtoReflect().Descriptor().Oneofs().ByName("kind"))
		out = append(out, string(field.Name()))
	}
	y.seen = nil
	return out
}

var errNotLeading = errors.New("not leading")
