package state

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// start is when the tests' clock begins.
var start = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano()

const tick = int64(time.Second)

// farm drives a store as the log does: every entry at the next index, a second later than the one before.
type farm struct {
	t     require.TestingT
	s     *Store
	index uint64
	now   int64
}

func openStore(t require.TestingT, dir string) *Store {
	s, err := Open(dir, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return s
}

func newFarm(t testing.TB) *farm {
	t.Helper()
	s := openStore(t, filepath.Join(t.TempDir(), "state"))
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return &farm{t: t, s: s, now: start}
}

// command makes a command of the account "acct" at the next second.
func (f *farm) command(kind any) *raftlogv1.Command {
	f.now += tick
	return command(f.now, kind)
}

func command(now int64, kind any) *raftlogv1.Command {
	cmd := &raftlogv1.Command{Now: now, Account: "acct"}
	name := kind.(proto.Message).ProtoReflect().Descriptor().FullName()
	oneof := cmd.ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range oneof.Len() {
		if field := oneof.Get(i); field.Message().FullName() == name {
			cmd.ProtoReflect().Set(field, protoValue(kind.(proto.Message)))
			return cmd
		}
	}
	panic(fmt.Sprintf("no command %T", kind))
}

func marshal(t require.TestingT, cmd *raftlogv1.Command) []byte {
	raw, err := proto.Marshal(cmd)
	require.NoError(t, err)
	return raw
}

// do applies commands as one entry and checks the invariants after it.
func (f *farm) do(kinds ...any) []Result {
	raw := make([][]byte, len(kinds))
	for i, kind := range kinds {
		raw[i] = marshal(f.t, f.command(kind))
	}
	f.index++
	answers, _ := f.s.Apply(f.index, raw)
	results := make([]Result, len(answers))
	for i, a := range answers {
		results[i] = a.(Result)
	}
	checkInvariants(f.t, f.s)
	return results
}

// ok applies one command that must be accepted.
func (f *farm) ok(kind any) Result {
	r := f.do(kind)[0]
	if r.Err != nil {
		require.FailNow(f.t, "refused", "%T: %v", kind, r.Err)
	}
	return r
}

// refuse applies one command that must be refused with the code, and change nothing but the digest chain.
func (f *farm) refuse(code string, kind any) {
	before := dump(f.s)
	r := f.do(kind)[0]
	require.NotNil(f.t, r.Err, "%T was accepted", kind)
	require.Equal(f.t, code, r.Err.Code)
	require.Equal(f.t, before, dump(f.s), "a refused command has changed something")
}

func (f *farm) pool(id string, edits ...func(*apiv1.Pool)) {
	slots := int32(4)
	p := &apiv1.Pool{Id: id, TaskSlotsPerNode: &slots}
	for _, edit := range edits {
		edit(p)
	}
	f.ok(&raftlogv1.CreatePool{Pool: p})
}

// node makes a node that is ready and returns its number.
func (f *farm) node(pool, id string) uint64 {
	f.ok(&raftlogv1.CreateNodes{PoolId: pool, NodeIds: []string{id}, Dedicated: true, Provider: "test"})
	r := f.ok(&raftlogv1.NodeHello{PoolId: pool, NodeId: id, Facts: &agentv1.NodeFacts{Hostname: id}})
	return r.Node.Uid
}

func (f *farm) job(id string, edits ...func(*apiv1.Job)) uint64 {
	uses := true
	j := &apiv1.Job{Id: id, PoolInfo: &apiv1.PoolInfo{PoolId: "p"}, UsesTaskDependencies: &uses}
	for _, edit := range edits {
		edit(j)
	}
	f.ok(&raftlogv1.CreateJob{Job: j})
	info, ok := f.s.Job("acct", id)
	require.True(f.t, ok)
	return info.Uid
}

// taskSpec is a serialised specification.
func taskSpec(edits ...func(*apiv1.Task)) []byte {
	one := int32(1)
	spec := &apiv1.Task{RequiredSlots: &one, Constraints: &apiv1.TaskConstraints{RetentionTime: durationpb.New(time.Hour)}}
	for _, edit := range edits {
		edit(spec)
	}
	return encode(spec)
}

func withSlots(n int32) func(*apiv1.Task) { return func(t *apiv1.Task) { t.RequiredSlots = &n } }

func withInstances(n int32) func(*apiv1.Task) {
	return func(t *apiv1.Task) { t.MultiInstanceSettings = &apiv1.MultiInstanceSettings{NumberOfInstances: &n} }
}

func withRetries(n int32) func(*apiv1.Task) {
	return func(t *apiv1.Task) { t.Constraints.MaxTaskRetryCount = &n }
}

func withExit(c *apiv1.ExitConditions) func(*apiv1.Task) {
	return func(t *apiv1.Task) { t.ExitConditions = c }
}

// add adds tasks that share a plain specification; all must be accepted.
func (f *farm) add(job string, ids ...string) {
	f.addSpec(job, taskSpec(), ids...)
}

func (f *farm) addSpec(job string, spec []byte, ids ...string) {
	cmd := &raftlogv1.AddTasks{JobId: job, Specs: [][]byte{spec}}
	for _, id := range ids {
		cmd.Tasks = append(cmd.Tasks, &raftlogv1.NewTask{Id: id, CommandLine: "run " + id})
	}
	for _, r := range f.ok(cmd).Tasks {
		require.Equal(f.t, apiv1.TaskAddStatus_TASK_ADD_STATUS_SUCCESS, r.Status, r.Error)
	}
}

// addAfter adds a task that depends on others.
func (f *farm) addAfter(job, id string, d *apiv1.TaskDependencies) {
	r := f.ok(&raftlogv1.AddTasks{JobId: job, Specs: [][]byte{taskSpec()}, Tasks: []*raftlogv1.NewTask{{Id: id, DependsOn: d}}})
	require.Equal(f.t, apiv1.TaskAddStatus_TASK_ADD_STATUS_SUCCESS, r.Tasks[0].Status, r.Tasks[0].Error)
}

func after(ids ...string) *apiv1.TaskDependencies { return &apiv1.TaskDependencies{TaskIds: ids} }

func afterRange(first, last int32) *apiv1.TaskDependencies {
	return &apiv1.TaskDependencies{TaskIdRanges: []*apiv1.TaskIdRange{{Start: first, End: last}}}
}

func (f *farm) task(job, id string) TaskInfo {
	info, _, found, err := f.s.Task("acct", job, id)
	require.NoError(f.t, err)
	require.True(f.t, found, "task %s of %s", id, job)
	return info
}

func (f *farm) key(job, id string) AttemptKey {
	info := f.task(job, id)
	return AttemptKey{info.Key, info.Attempt}
}

// assign gives a task to a node.
func (f *farm) assign(node uint64, job string, ids ...string) {
	n, _ := f.s.NodeByUID(node)
	plan := &raftlogv1.NodePlan{Node: node, Incarnation: n.Incarnation}
	for _, id := range ids {
		key := f.key(job, id)
		plan.Tasks = append(plan.Tasks, &raftlogv1.PlannedTask{Job: key.Job, Task: key.Task})
	}
	f.ok(&raftlogv1.AssignTasks{Nodes: []*raftlogv1.NodePlan{plan}})
}

// report says something of the newest attempt of a task.
func (f *farm) report(node uint64, job, id string, r *agentv1.AttemptReport) {
	r.Ref = f.key(job, id).Ref()
	f.send(node, r)
}

func (f *farm) send(node uint64, reports ...*agentv1.AttemptReport) {
	n, _ := f.s.NodeByUID(node)
	f.ok(&raftlogv1.ReportAttempts{Node: node, Incarnation: n.Incarnation, Reports: reports})
}

// Reports of one attempt.
func began() *agentv1.AttemptReport {
	return &agentv1.AttemptReport{Phase: agentv1.AttemptPhase_ATTEMPT_PHASE_RUNNING, StartTime: 1}
}

func exited(code int32) *agentv1.AttemptReport {
	return &agentv1.AttemptReport{
		Phase: agentv1.AttemptPhase_ATTEMPT_PHASE_ENDED, StartTime: start, EndTime: start + 1, ExitCode: &code,
		FailureStage: agentv1.FailureStage_FAILURE_STAGE_COMMAND, UserCpu: 5, KernelCpu: 6,
	}
}

func failedIn(stage agentv1.FailureStage, code *int32) *agentv1.AttemptReport {
	return &agentv1.AttemptReport{
		Phase: agentv1.AttemptPhase_ATTEMPT_PHASE_ENDED, ExitCode: code, FailureStage: stage,
		Failure: &apiv1.TaskFailureInfo{Code: "Broken", Category: apiv1.ErrorSourceCategory_ERROR_SOURCE_CATEGORY_SERVER_ERROR},
	}
}

func phase(p agentv1.AttemptPhase) *agentv1.AttemptReport { return &agentv1.AttemptReport{Phase: p} }

func released() *agentv1.AttemptReport { return phase(agentv1.AttemptPhase_ATTEMPT_PHASE_RELEASED) }

func returned() *agentv1.AttemptReport { return phase(agentv1.AttemptPhase_ATTEMPT_PHASE_RETURNED) }

func lost() *agentv1.AttemptReport { return phase(agentv1.AttemptPhase_ATTEMPT_PHASE_LOST) }

// run runs a task on a node to an exit code.
func (f *farm) run(node uint64, job, id string, code int32) {
	f.assign(node, job, id)
	f.report(node, job, id, exited(code))
}

func (f *farm) state(job, id string) apiv1.TaskState { return f.task(job, id).Task.State }

func (f *farm) jobInfo(id string) JobInfo {
	j, ok := f.s.Job("acct", id)
	require.True(f.t, ok, "job %s", id)
	return j
}

// queued says whether a task is ready to run.
func (f *farm) queued(job, id string) bool {
	key := f.key(job, id)
	_, ok := f.s.jobByUID[key.Job].queue.find(key.Task)
	return ok
}
