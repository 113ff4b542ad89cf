package state

import (
	"crypto/sha256"
	"encoding/binary"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// Short names of the phases.
const (
	waiting   = raftlogv1.TaskPhase_TASK_PHASE_WAITING
	queued    = raftlogv1.TaskPhase_TASK_PHASE_QUEUED
	assigned  = raftlogv1.TaskPhase_TASK_PHASE_ASSIGNED
	preparing = raftlogv1.TaskPhase_TASK_PHASE_PREPARING
	running   = raftlogv1.TaskPhase_TASK_PHASE_RUNNING
	completed = raftlogv1.TaskPhase_TASK_PHASE_COMPLETED
)

// specHashSize is enough of a SHA-256 to tell the specifications of one job apart.
const specHashSize = 16

func (t *txn) addTasks(c *raftlogv1.AddTasks) Result {
	j, err := t.openJob(c.JobId)
	if err != nil {
		return refused(err)
	}
	specs := make([]uint32, len(c.Specs))
	known := make([]bool, len(c.Specs))
	rec := proto.CloneOf(j.rec)
	out := make([]*apiv1.TaskAddResult, len(c.Tasks))
	w := queueWriter{t, j.rec.Uid}
	var fresh Run
	for i, task := range c.Tasks {
		if int(task.Spec) >= len(c.Specs) {
			out[i] = addFailure(task.Id, batcherr.Invalid(batcherr.CodeInvalidInput, "task %q names spec %d of %d", task.Id, task.Spec, len(c.Specs)))
			continue
		}
		if _, exists := t.taskNumber(j.rec.Uid, task.Id); exists {
			out[i] = addFailure(task.Id, batcherr.Of(batcherr.CodeTaskExists))
			continue
		}
		if !known[task.Spec] {
			specs[task.Spec], known[task.Spec] = t.internSpec(rec, c.Specs[task.Spec]), true
		}
		number := rec.NextTask
		rec.NextTask++
		slots := t.spec(j, specs[task.Spec]).GetRequiredSlots()
		if ready := t.addTask(j, number, specs[task.Spec], task, slots); ready {
			if fresh.First != 0 && fresh.Last+1 == number && fresh.Spec == specs[task.Spec] {
				fresh.Last = number
			} else {
				if fresh.First != 0 {
					j.queue.add(fresh, w)
				}
				fresh = Run{First: number, Last: number, Spec: specs[task.Spec], Fresh: true}
			}
		}
		etag, modified := ETag(t.now), at2pb(t.now)
		out[i] = &apiv1.TaskAddResult{Status: apiv1.TaskAddStatus_TASK_ADD_STATUS_SUCCESS, TaskId: task.Id, Etag: etag, LastModified: modified}
	}
	if fresh.First != 0 {
		j.queue.add(fresh, w)
	}
	if rec.NextTask != j.rec.NextTask {
		t.setJob(j, rec)
		t.events.poolOf(j)
	}
	return Result{Tasks: out}
}

// addTask stores one task; it says whether the task is ready to run.
func (t *txn) addTask(j *job, number uint64, spec uint32, task *raftlogv1.NewTask, slots int32) bool {
	key := TaskKey{j.rec.Uid, number}
	t.put(keyTaskID(key.Job, task.Id), binary.BigEndian.AppendUint64(nil, number))
	t.putProto(keyTask(tableEntry, key.Job, number), &raftlogv1.TaskEntry{
		Id: task.Id, DisplayName: task.DisplayName, CommandLine: task.CommandLine,
		Spec: spec, CreationTime: t.now, DependsOn: task.DependsOn,
	})
	counts := t.counts(j)
	counts.Active++
	counts.ActiveSlots += int64(slots)
	if task.DependsOn == nil {
		return true
	}
	open, blocked := t.waitFor(j, number, task.DependsOn)
	if open == 0 {
		return true
	}
	counts.Waiting++
	exec := &raftlogv1.TaskExecution{Phase: waiting, WaitingFor: open}
	t.execs[key] = &execution{rec: exec, changed: true}
	t.setBlocked(j, exec, blocked)
	return false
}

// internSpec finds or stores a serialised specification of the job and returns its number.
func (t *txn) internSpec(rec *raftlogv1.JobRecord, spec []byte) uint32 {
	sum := sha256.Sum256(spec)
	hashKey := keySpecHash(rec.Uid, sum[:specHashSize])
	if b := t.get(hashKey); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	rec.NextSpec++
	t.put(hashKey, binary.BigEndian.AppendUint32(nil, rec.NextSpec))
	t.put(keySpec(rec.Uid, rec.NextSpec), spec)
	return rec.NextSpec
}

func addFailure(id string, err *batcherr.Error) *apiv1.TaskAddResult {
	out := &apiv1.TaskAddResult{
		Status: apiv1.TaskAddStatus_TASK_ADD_STATUS_CLIENT_ERROR, TaskId: id,
		Error: &apiv1.Error{Code: err.Code, Message: err.Message},
	}
	for _, v := range err.Values {
		out.Error.Values = append(out.Error.Values, &apiv1.NameValuePair{Name: v.Key, Value: v.Value})
	}
	return out
}

// openJob finds a job that takes tasks.
func (t *txn) openJob(id string) (*job, *batcherr.Error) {
	j, ok := t.job(t.account, id)
	if !ok {
		return nil, batcherr.Of(batcherr.CodeJobNotFound)
	}
	return j, closedError(j.rec.Job.State)
}

// closedError is why a job in the state cannot be changed any more; nil if it can.
func closedError(s apiv1.JobState) *batcherr.Error {
	switch s {
	case apiv1.JobState_JOB_STATE_TERMINATING:
		return batcherr.Of(batcherr.CodeJobBeingTerminated)
	case apiv1.JobState_JOB_STATE_COMPLETED:
		return batcherr.Of(batcherr.CodeJobCompleted)
	case apiv1.JobState_JOB_STATE_DELETING:
		return batcherr.Of(batcherr.CodeJobBeingDeleted)
	}
	return nil
}

// findTask finds a task of a job that is not being deleted.
func (t *txn) findTask(jobID, taskID string, c *apiv1.Conditions) (*job, TaskKey, *batcherr.Error) {
	j, ok := t.job(t.account, jobID)
	if !ok {
		return nil, TaskKey{}, batcherr.Of(batcherr.CodeJobNotFound)
	}
	if j.rec.Job.State == apiv1.JobState_JOB_STATE_DELETING {
		return nil, TaskKey{}, batcherr.Of(batcherr.CodeJobBeingDeleted)
	}
	number, ok := t.taskNumber(j.rec.Uid, taskID)
	if !ok {
		return nil, TaskKey{}, batcherr.Of(batcherr.CodeTaskNotFound)
	}
	key := TaskKey{j.rec.Uid, number}
	at := t.taskModified(key)
	return j, key, lifecycle.CheckConditions(c, ETag(at), at2pb(at), false)
}

func (t *txn) taskModified(key TaskKey) int64 {
	if at := t.execution(key).LastModified; at != 0 {
		return at
	}
	return t.entry(key).CreationTime
}

// touch records a change by a user.
func (t *txn) touch(key TaskKey, exec *raftlogv1.TaskExecution) Result {
	etag, modified := t.stamp(timestamppb.New(at2pb(t.taskModified(key)).AsTime()))
	exec.LastModified = modified.AsTime().UnixNano()
	return written(etag, modified)
}

func (t *txn) updateTask(c *raftlogv1.UpdateTask) Result {
	j, key, err := t.findTask(c.JobId, c.TaskId, c.Conditions)
	if err != nil {
		return refused(err)
	}
	if t.execution(key).Phase == completed {
		return refused(batcherr.Of(batcherr.CodeTaskCompleted))
	}
	exec := t.change(key)
	exec.Constraints = c.Constraints
	t.persistFresh(j, key, exec)
	return t.touch(key, exec)
}

// persistFresh takes a queued task that is about to get an execution record out of the runs of fresh ones.
func (t *txn) persistFresh(j *job, key TaskKey, exec *raftlogv1.TaskExecution) {
	if exec.Phase != queued {
		return
	}
	if r, ok := j.queue.find(key.Task); ok && r.Fresh {
		t.dequeue(j, key.Task)
		t.enqueue(j, key, r.Spec, false)
	}
}

func (t *txn) terminateTask(c *raftlogv1.TerminateTask) Result {
	j, key, err := t.findTask(c.JobId, c.TaskId, c.Conditions)
	if err != nil {
		return refused(err)
	}
	if t.execution(key).Phase == completed {
		return refused(batcherr.Of(batcherr.CodeTaskCompleted))
	}
	t.endTask(j, key, lifecycle.EndedFailure("The task was ended by user request"))
	result := t.touch(key, t.change(key))
	t.settle(j)
	return result
}

// endTask completes a task that is not completed, as failed, wherever it is; what a node holds of it is to be stopped.
func (t *txn) endTask(j *job, key TaskKey, failure *apiv1.TaskFailureInfo) {
	t.withdraw(j, key)
	t.stopHeld(j, key, false)
	spec := t.spec(j, t.entry(key).Spec)
	exec := t.change(key)
	exec.EndTime = t.now
	end := lifecycle.AttemptEnd{Failure: failure, Retries: exec.RetryCount}
	t.finish(j, key, exec, lifecycle.Decide(end, &apiv1.TaskConstraints{}, spec.ExitConditions, j.rec.Job.OnTaskFailure))
}

// withdraw takes a task that has not been assigned out of the queue or from what it waits for.
func (t *txn) withdraw(j *job, key TaskKey) {
	switch exec := t.execution(key); exec.Phase {
	case waiting:
		t.forget(j, key.Task, t.entry(key).DependsOn)
		if exec.Blocked {
			t.setBlocked(j, t.change(key), false)
		}
	case queued:
		t.dequeue(j, key.Task)
	}
}

func (t *txn) deleteTask(c *raftlogv1.DeleteTask) Result {
	j, key, err := t.findTask(c.JobId, c.TaskId, c.Conditions)
	if err != nil {
		return refused(err)
	}
	t.withdraw(j, key)
	t.stopHeld(j, key, false)
	exec, entry := t.execution(key), t.entry(key)
	t.countOut(j, exec, int64(t.spec(j, entry.Spec).GetRequiredSlots()))
	for _, uid := range j.held[key] {
		t.nodes[uid].held[key].exec = nil
	}
	t.events.clean(t.nodes[exec.Node], key, exec.Attempt, j.rec.Job.Id, entry.Id)
	delete(t.execs, key)
	t.delete(keyTask(tableEntry, key.Job, key.Task))
	t.delete(keyTask(tableExecution, key.Job, key.Task))
	t.delete(keyTaskID(key.Job, entry.Id))
	t.settle(j)
	return Result{Written: &apiv1.Written{}}
}

func (t *txn) reactivateTask(c *raftlogv1.ReactivateTask) Result {
	j, key, err := t.findTask(c.JobId, c.TaskId, c.Conditions)
	if err == nil {
		err = closedError(j.rec.Job.State)
	}
	if err != nil {
		return refused(err)
	}
	exec := t.execution(key)
	if exec.Phase != completed {
		return refused(batcherr.Of(batcherr.CodeTaskNotCompleted))
	}
	if exec.Succeeded {
		return refused(batcherr.Of(batcherr.CodeTaskSucceeded))
	}
	exec = t.change(key)
	t.move(j, key, exec, queued)
	exec.RetryCount, exec.LastRetryTime = 0, 0
	exec.ExitCode, exec.Failure = nil, nil
	exec.StartTime, exec.EndTime, exec.UserCpu, exec.KernelCpu = 0, 0, 0, 0
	exec.Satisfied = false
	t.enqueue(j, key, t.entry(key).Spec, false)
	return t.touch(key, exec)
}
