package state

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// TaskInfo is a task as users see it, with its numbers.
type TaskInfo struct {
	Key     TaskKey
	Attempt uint32
	// Number of the node of the newest attempt, 0: none.
	Node uint64
	Task *apiv1.Task
}

// Task returns a task of a job; found says whether the job and the task exist.
func (s *Store) Task(account, jobID, taskID string) (info TaskInfo, jobFound, found bool, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.task(account, jobID, taskID)
}

func (s *Store) task(account, jobID, taskID string) (info TaskInfo, jobFound, found bool, err error) {
	j, ok := s.job(account, jobID)
	if !ok {
		return TaskInfo{}, false, false, nil
	}
	number, found, err := s.number(j, taskID)
	if err != nil || !found {
		return TaskInfo{}, true, false, err
	}
	key := TaskKey{j.rec.Uid, number}
	entry, err := s.entryOf(j, number)
	if err != nil {
		return TaskInfo{}, true, false, err
	}
	exec, err := s.readExecution(key)
	if err != nil {
		return TaskInfo{}, true, false, err
	}
	info, err = s.compose(j, key, entry, exec)
	return info, true, err == nil, err
}

// executionAt moves the iterator up to the task and reads its execution; nil if it has none.
func executionAt(it *pebble.Iterator, key TaskKey) (*raftlogv1.TaskExecution, error) {
	for it.Valid() && binary.BigEndian.Uint64(it.Key()[9:]) < key.Task {
		it.Next()
	}
	if !it.Valid() || binary.BigEndian.Uint64(it.Key()[9:]) != key.Task {
		return nil, it.Error()
	}
	rec := &raftlogv1.TaskExecution{}
	return rec, proto.Unmarshal(it.Value(), rec)
}

// specOf reads a job's specification.
func (s *Store) specOf(j *job, number uint32) (*apiv1.Task, error) {
	// The cache is filled while commands are applied only: readers share the lock.
	if spec, ok := j.specs[number]; ok {
		return spec, nil
	}
	b, err := s.read(keySpec(j.rec.Uid, number))
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, fmt.Errorf("job %d has no spec %d", j.rec.Uid, number)
	}
	spec := &apiv1.Task{}
	return spec, proto.Unmarshal(b, spec)
}

// compose makes the task that users see from its parts. exec is nil for a task that was never attempted.
func (s *Store) compose(j *job, key TaskKey, entry *raftlogv1.TaskEntry, exec *raftlogv1.TaskExecution) (TaskInfo, error) {
	shared, err := s.specOf(j, entry.Spec)
	if err != nil {
		return TaskInfo{}, err
	}
	t := proto.CloneOf(shared)
	t.Id, t.DisplayName, t.DependsOn = entry.Id, entry.DisplayName, entry.DependsOn
	if entry.CommandLine != "" {
		t.CommandLine = entry.CommandLine
	}
	created := at2pb(entry.CreationTime)
	t.CreationTime, t.LastModified, t.ETag = created, created, ETag(entry.CreationTime)
	t.State, t.StateTransitionTime = apiv1.TaskState_TASK_STATE_ACTIVE, created
	t.ExecutionInfo = &apiv1.TaskExecutionInfo{}
	if t, err = s.fillElement(j, key.Task, t); err != nil {
		return TaskInfo{}, err
	}
	info := TaskInfo{Key: key, Task: t}
	if exec != nil {
		info.Attempt, info.Node = exec.Attempt, exec.Node
		showExecution(t, exec)
		s.showNode(j, t, exec.Node)
	}
	return info, nil
}

func showExecution(t *apiv1.Task, exec *raftlogv1.TaskExecution) {
	if exec.Constraints != nil {
		t.Constraints = exec.Constraints
	}
	if exec.LastModified != 0 {
		t.LastModified, t.ETag = at2pb(exec.LastModified), ETag(exec.LastModified)
	}
	t.State = taskState(exec.Phase)
	if exec.StateTime != 0 {
		t.StateTransitionTime = at2pb(exec.StateTime)
	}
	if previous := taskState(exec.PreviousPhase); exec.PreviousPhase != 0 && previous != t.State {
		t.PreviousState = previous
		t.PreviousStateTransitionTime = t.CreationTime
		if exec.PreviousStateTime != 0 {
			t.PreviousStateTransitionTime = at2pb(exec.PreviousStateTime)
		}
	}
	info := t.ExecutionInfo
	info.RetryCount, info.RequeueCount = exec.RetryCount, exec.RequeueCount
	info.LastRetryTime, info.LastRequeueTime = optionalTime(exec.LastRetryTime), optionalTime(exec.LastRequeueTime)
	if exec.Phase == running || exec.Phase == completed {
		info.StartTime = optionalTime(exec.StartTime)
	}
	if exec.Phase != completed {
		return
	}
	info.EndTime, info.ExitCode, info.FailureInfo = optionalTime(exec.EndTime), exec.ExitCode, exec.Failure
	info.ContainerInfo = exec.Container
	info.Result = apiv1.TaskExecutionResult_TASK_EXECUTION_RESULT_FAILURE
	if exec.Succeeded {
		info.Result = apiv1.TaskExecutionResult_TASK_EXECUTION_RESULT_SUCCESS
	}
}

func (s *Store) showNode(j *job, t *apiv1.Task, uid uint64) {
	n := s.nodes[uid]
	if n == nil || t.State == apiv1.TaskState_TASK_STATE_ACTIVE {
		return
	}
	t.NodeInfo = &apiv1.NodeInfo{
		AffinityId: n.rec.Node.AffinityId, PoolId: n.rec.PoolId, NodeId: n.rec.Node.Id,
		TaskRootDirectory: lifecycle.TaskDirectory(j.rec.Job.Id, t.Id),
	}
}

func taskState(p raftlogv1.TaskPhase) apiv1.TaskState {
	switch p {
	case preparing:
		return apiv1.TaskState_TASK_STATE_PREPARING
	case running:
		return apiv1.TaskState_TASK_STATE_RUNNING
	case completed:
		return apiv1.TaskState_TASK_STATE_COMPLETED
	}
	return apiv1.TaskState_TASK_STATE_ACTIVE
}

func optionalTime(nanos int64) *timestamppb.Timestamp {
	if nanos == 0 {
		return nil
	}
	return at2pb(nanos)
}
