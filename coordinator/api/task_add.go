package api

import (
	"context"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// Limits of one AddTasks call, and of the commands that it is cut into: a command that is too large would hold up the log for all others.
const (
	maxAddBytes     = 4 << 20
	maxCommandTasks = 2000
	maxCommandBytes = 1 << 20
)

func (s *taskService) AddTasks(ctx context.Context, req *apiv1.AddTasksRequest) (*apiv1.AddTasksResponse, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	if n := len(req.GetTasks()); n > lifecycle.MaxTasksPerAdd {
		return nil, batcherr.Of(batcherr.CodeRequestBodyTooLarge).With(batcherr.ValueReason, "A call adds at most 10000 tasks, not "+strconv.Itoa(n)+".")
	}
	if proto.Size(req) > maxAddBytes {
		return nil, batcherr.Of(batcherr.CodeRequestBodyTooLarge).With(batcherr.ValueReason, "A call takes at most 4 MiB.")
	}
	info, err := s.job(ctx, g, req.GetJobId())
	if err != nil {
		return nil, err
	}
	b := newAddition(s.core, info.Job, req.Tasks)
	b.pool = s.poolOf(g, info.Job)
	if err := b.sortOut(); err != nil {
		return nil, err
	}
	if err := s.proposeAll(ctx, g, info.Job.Id, b); err != nil {
		return nil, err
	}
	return &apiv1.AddTasksResponse{Results: b.results}, nil
}

// proposeAll proposes the good tasks in order. Once some are in, what goes wrong is the result of the tasks that it hits: the caller tries those again.
func (s *taskService) proposeAll(ctx context.Context, g grant, jobID string, b *addition) error {
	some := false
	for from := 0; from < len(b.tasks); {
		cmd, places, next := b.command(from)
		from = next
		if len(places) == 0 {
			continue
		}
		cmd.JobId = jobID
		result, err := s.propose(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_AddTasks{AddTasks: cmd}})
		if err == nil && len(result.Tasks) != len(places) {
			err = batcherr.Internal(nil)
		}
		if err != nil && !some {
			return err
		}
		some = true
		for i, place := range places {
			if err != nil {
				b.results[place] = addResult(b.tasks[place].Id, err)
			} else {
				b.results[place] = result.Tasks[i]
			}
		}
	}
	return nil
}

// addResult is the outcome for a task that could not be added.
func addResult(id string, err error) *apiv1.TaskAddResult {
	known := batcherr.From(err)
	out := &apiv1.TaskAddResult{
		Status: apiv1.TaskAddStatus_TASK_ADD_STATUS_CLIENT_ERROR, TaskId: id,
		Error: &apiv1.Error{Code: known.Code, Message: known.Message},
	}
	switch known.Kind {
	case batcherr.KindInternal, batcherr.KindUnavailable, batcherr.KindTimeout, batcherr.KindCanceled, batcherr.KindTooMany:
		out.Status = apiv1.TaskAddStatus_TASK_ADD_STATUS_SERVER_ERROR
	}
	for _, v := range known.Values {
		out.Error.Values = append(out.Error.Values, &apiv1.NameValuePair{Name: v.Key, Value: v.Value})
	}
	return out
}

// addition is the tasks of one call, taken apart into what each has for itself and the specifications that they share.
type addition struct {
	core  *core
	job   *apiv1.Job
	pool  *apiv1.Pool // that the job runs on; nil: there is none yet
	given []*apiv1.Task
	tasks []*raftlogv1.NewTask
	// results has an entry for each task; nil for those that are still to be proposed.
	results []*apiv1.TaskAddResult
	specs   []*sharedSpec
	byKey   map[string]uint32 // serialised specification as given → its place in specs
	buf     []byte
}

// sharedSpec is a specification that tasks of the call have in common.
type sharedSpec struct {
	task *apiv1.Task
	err  error // what is wrong with it
	// tasks have it, and the first one's command line; differ says that another has another line.
	tasks  int
	line   string
	differ bool
	bytes  []byte
}

func newAddition(c *core, job *apiv1.Job, given []*apiv1.Task) *addition {
	return &addition{
		core: c, job: job, given: given,
		tasks: make([]*raftlogv1.NewTask, len(given)), results: make([]*apiv1.TaskAddResult, len(given)), byKey: map[string]uint32{},
	}
}

// sortOut checks all tasks and finds the specifications that they share.
func (b *addition) sortOut() error {
	for i, t := range b.given {
		task, err := b.takeApart(t)
		b.tasks[i] = task
		if err != nil {
			b.results[i] = addResult(task.Id, err)
		}
	}
	for i := range cyclic(b.tasks) {
		if b.results[i] == nil {
			b.results[i] = addResult(b.tasks[i].Id, invalid("dependsOn", "", "The tasks of this call wait for each other in a circle."))
		}
	}
	for i, task := range b.tasks {
		if b.results[i] == nil {
			b.specs[task.Spec].count(task.CommandLine)
		}
	}
	return b.finishSpecs()
}

// takeApart checks a task and leaves of it, in t, what it may share with others.
func (b *addition) takeApart(t *apiv1.Task) (*raftlogv1.NewTask, error) {
	task := &raftlogv1.NewTask{Id: t.GetId(), DisplayName: t.GetDisplayName(), CommandLine: t.GetCommandLine(), DependsOn: t.GetDependsOn()}
	if t == nil {
		return task, batcherr.MissingProperty("id")
	}
	if len(task.DependsOn.GetTaskIds()) == 0 && len(task.DependsOn.GetTaskIdRanges()) == 0 {
		task.DependsOn = nil
	}
	clearTask(t)
	if err := checkOwn(task, b.job, t.ContainerSettings != nil); err != nil {
		return task, err
	}
	var err error
	task.Spec, err = b.spec(t)
	return task, err
}

// clearTask removes from a new task what the service sets, and what tasks do not share.
func clearTask(t *apiv1.Task) {
	t.Id, t.DisplayName, t.CommandLine, t.DependsOn = "", "", "", nil
	t.Url, t.ETag, t.LastModified, t.CreationTime = "", "", nil, nil
	t.State, t.StateTransitionTime, t.PreviousState, t.PreviousStateTransitionTime = 0, nil, 0, nil
	t.ExecutionInfo, t.NodeInfo, t.Stats = nil, nil, nil
}

// checkOwn says what is wrong with what a task has for itself.
func checkOwn(task *raftlogv1.NewTask, job *apiv1.Job, contained bool) error {
	if err := checkID("id", task.Id); err != nil {
		return err
	}
	if err := checkDisplayName("displayName", task.DisplayName); err != nil {
		return err
	}
	if err := checkCommandLine("commandLine", task.CommandLine, contained); err != nil {
		return err
	}
	if task.DependsOn == nil {
		return nil
	}
	task.DependsOn.ProtoReflect().SetUnknown(nil)
	return checkDependencies(task, job)
}

// spec finds the specification among those of the call, or checks and adds it.
func (b *addition) spec(t *apiv1.Task) (uint32, error) {
	var err error
	if b.buf, err = (proto.MarshalOptions{Deterministic: true}).MarshalAppend(b.buf[:0], t); err != nil {
		return 0, invalid("id", "", "The task can't be stored.")
	}
	if at, known := b.byKey[string(b.buf)]; known {
		return at, b.specs[at].err
	}
	spec := &sharedSpec{task: t}
	at := uint32(len(b.specs))
	b.byKey[string(b.buf)] = at
	b.specs = append(b.specs, spec)
	if spec.err = b.core.checkSpec(t, b.job); spec.err == nil {
		spec.err = checkContained("containerSettings", t, b.pool)
	}
	if spec.err == nil {
		lifecycle.FillTask(t, b.job)
	}
	return at, spec.err
}

func (s *sharedSpec) count(line string) {
	if s.tasks == 0 {
		s.line = line
	}
	s.tasks++
	s.differ = s.differ || line != s.line
}

// ownLine says whether the command line is part of the specification. That of a single task is not, so that tasks that come one by one share theirs.
func (s *sharedSpec) ownLine() bool { return s.tasks > 1 && !s.differ }

// finishSpecs serialises what is to be stored.
func (b *addition) finishSpecs() error {
	for _, s := range b.specs {
		if s.tasks == 0 {
			continue
		}
		if s.ownLine() {
			s.task.CommandLine = s.line
		}
		var err error
		if s.bytes, err = (proto.MarshalOptions{Deterministic: true}).Marshal(s.task); err != nil {
			return batcherr.Internal(err)
		}
	}
	return nil
}

// command makes the next command, from the task at from on; places are those of its tasks, next is where the following one begins.
func (b *addition) command(from int) (cmd *raftlogv1.AddTasks, places []int, next int) {
	cmd = &raftlogv1.AddTasks{}
	specs := map[uint32]uint32{}
	size := 0
	for next = from; next < len(b.tasks) && len(places) < maxCommandTasks; next++ {
		if b.results[next] != nil {
			continue
		}
		task := b.tasks[next]
		spec := b.specs[task.Spec]
		at, known := specs[task.Spec]
		cost := len(task.Id) + len(task.DisplayName) + len(task.CommandLine) + 16
		if task.DependsOn != nil {
			cost += proto.Size(task.DependsOn)
		}
		if !known {
			cost += len(spec.bytes)
		}
		if size += cost; size > maxCommandBytes && len(places) > 0 {
			return cmd, places, next
		}
		if !known {
			at = uint32(len(cmd.Specs))
			specs[task.Spec] = at
			cmd.Specs = append(cmd.Specs, spec.bytes)
		}
		if spec.ownLine() {
			task.CommandLine = ""
		}
		task.Spec = at
		cmd.Tasks = append(cmd.Tasks, task)
		places = append(places, next)
	}
	return cmd, places, next
}
