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

// adding is one AddTasks command on its way.
type adding struct {
	*txn
	job   *job
	rec   *raftlogv1.JobRecord
	given [][]byte
	// specs are the numbers of those that have been stored; 0: not yet.
	specs []uint32
	// fresh is a run of tasks that are ready and not queued yet.
	fresh Run
}

func (t *txn) addTasks(c *raftlogv1.AddTasks) Result {
	j, err := t.openJob(c.JobId)
	if err != nil {
		return refused(err)
	}
	return t.addTo(j, c.Specs, c.Tasks)
}

// addTo adds tasks to a job that takes them.
func (t *txn) addTo(j *job, specs [][]byte, tasks []*raftlogv1.NewTask) Result {
	rec := shallow(j.rec) // only numbers change
	a := &adding{txn: t, job: j, rec: rec, given: specs, specs: make([]uint32, len(specs))}
	etag, modified := ETag(t.now), at2pb(t.now)
	out := make([]*apiv1.TaskAddResult, len(tasks))
	for i, task := range tasks {
		if err := a.add(task); err != nil {
			out[i] = addFailure(task.Id, err)
			continue
		}
		out[i] = &apiv1.TaskAddResult{Status: apiv1.TaskAddStatus_TASK_ADD_STATUS_SUCCESS, TaskId: task.Id, Etag: etag, LastModified: modified}
	}
	a.queue()
	if rec.NextTask != j.rec.NextTask {
		t.setJob(j, rec)
		t.put(keyNumber(tableLastID, rec.Uid), []byte(j.lastID))
	}
	return Result{Tasks: out}
}

func (a *adding) add(task *raftlogv1.NewTask) *batcherr.Error {
	if int(task.Spec) >= len(a.given) {
		return batcherr.Invalid(batcherr.CodeInvalidInput, "task %q names spec %d of %d", task.Id, task.Spec, len(a.given))
	}
	if task.DependsOn != nil && !a.rec.Job.GetUsesTaskDependencies() {
		return batcherr.Of(batcherr.CodeTaskDependenciesNotSpecifiedOnJob)
	}
	id := lifecycle.IDKey(task.Id)
	if p := a.rec.Job.JobPreparationTask; p != nil && lifecycle.IDKey(p.Id) == id {
		return batcherr.Of(batcherr.CodeTaskIdSameAsJobPreparationTask)
	}
	if r := a.rec.Job.JobReleaseTask; r != nil && lifecycle.IDKey(r.Id) == id {
		return batcherr.Of(batcherr.CodeTaskIdSameAsJobReleaseTask)
	}
	if a.job.arrays.byID[id] != nil {
		return batcherr.Of(batcherr.CodeTaskExists)
	}
	if !idAfter(id, a.job.lastID) {
		if _, exists := a.taskNumber(a.job, task.Id); exists {
			return batcherr.Of(batcherr.CodeTaskExists)
		}
	}
	if err := a.circle(a.job, task.Id, task.DependsOn); err != nil {
		return err
	}
	number := a.specs[task.Spec]
	if number == 0 {
		var err *batcherr.Error
		if number, err = a.intern(a.given[task.Spec]); err != nil {
			return err
		}
		a.specs[task.Spec] = number
	}
	if idAfter(id, a.job.lastID) {
		a.job.lastID = id
	}
	r := a.runOf(a.job, a.rec.NextTask, number)
	r.Fresh = true
	a.rec.NextTask++
	if !a.store(r, task) {
		return nil
	}
	if a.fresh.Last+1 == r.First && sameClass(a.fresh, r) {
		a.fresh.Last = r.Last
		return nil
	}
	a.queue()
	a.fresh = r
	return nil
}

// queue queues the run of ready tasks.
func (a *adding) queue() {
	if a.fresh.First != 0 {
		a.enqueueRun(a.job, a.fresh)
	}
	a.fresh = Run{}
}

// store stores a task; it says whether the task is ready to run.
func (a *adding) store(r Run, task *raftlogv1.NewTask) bool {
	key := TaskKey{a.rec.Uid, r.First}
	a.put(keyTaskID(key.Job, task.Id), binary.BigEndian.AppendUint64(nil, key.Task))
	a.putProto(keyTask(tableEntry, key.Job, key.Task), &raftlogv1.TaskEntry{
		Id: task.Id, DisplayName: task.DisplayName, CommandLine: task.CommandLine,
		Spec: r.Spec, CreationTime: a.now, DependsOn: task.DependsOn,
	})
	counts := a.counts(a.job)
	counts.Active++
	counts.ActiveSlots += int64(r.Slots)
	if task.DependsOn == nil {
		return true
	}
	open, blocked := a.waitFor(a.job, key.Task, task.DependsOn)
	if open == 0 {
		return true
	}
	counts.Waiting++
	exec := &raftlogv1.TaskExecution{Phase: waiting, WaitingFor: open}
	a.execs[key] = &execution{rec: exec, changed: true}
	if blocked {
		a.setBlocked(a.job, exec, true)
		a.spread(a.job, task.Id, true)
	}
	return false
}

// intern finds or stores a serialised specification of the job and returns its number.
func (a *adding) intern(raw []byte) (uint32, *batcherr.Error) {
	sum := sha256.Sum256(raw)
	hashKey := keySpecHash(a.rec.Uid, sum[:specHashSize])
	if b := a.get(hashKey); b != nil {
		return binary.BigEndian.Uint32(b), nil
	}
	spec := &apiv1.Task{}
	if err := proto.Unmarshal(raw, spec); err != nil {
		return 0, batcherr.Invalid(batcherr.CodeInvalidInput, "the task's specification does not decode: %v", err)
	}
	a.rec.NextSpec++
	a.put(hashKey, binary.BigEndian.AppendUint32(nil, a.rec.NextSpec))
	a.put(keySpec(a.rec.Uid, a.rec.NextSpec), raw)
	a.job.cacheSpec(a.rec.NextSpec, spec)
	return a.rec.NextSpec, nil
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
	number, ok := t.taskNumber(j, taskID)
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
		t.enqueue(j, key, r.Spec)
	}
}

const endedByUser = "The task was ended by user request"

func (t *txn) terminateTask(c *raftlogv1.TerminateTask) Result {
	j, key, err := t.findTask(c.JobId, c.TaskId, c.Conditions)
	if err != nil {
		return refused(err)
	}
	if t.execution(key).Phase == completed {
		return refused(batcherr.Of(batcherr.CodeTaskCompleted))
	}
	t.endTask(j, key, lifecycle.EndedFailure(endedByUser), j.rec.Job.OnTaskFailure)
	result := t.touch(key, t.change(key))
	t.settle(j)
	return result
}

// endTask completes a task that is not completed, as failed, wherever it is; what a node holds of it is to be stopped. mode says whether the job
// takes notice of the failure.
func (t *txn) endTask(j *job, key TaskKey, failure *apiv1.TaskFailureInfo, mode apiv1.TaskFailureMode) {
	t.withdraw(j, key)
	t.stopHeld(j, key)
	spec := t.spec(j, t.specNumber(j, key))
	exec := t.change(key)
	exec.EndTime = t.now
	end := lifecycle.AttemptEnd{Failure: failure, Retries: exec.RetryCount}
	t.finish(j, key, exec, slotsOf(spec), lifecycle.Decide(end, nil, spec.ExitConditions, mode))
}

// withdraw takes a task that has not been assigned out of the queue or from what it waits for.
func (t *txn) withdraw(j *job, key TaskKey) {
	switch exec := t.execution(key); exec.Phase {
	case waiting:
		entry := t.entry(key)
		t.forget(j, key.Task, entry.DependsOn)
		if exec.Blocked {
			t.setBlocked(j, t.change(key), false)
			t.spread(j, entry.Id, false)
		}
	case queued:
		if r, _ := t.dequeue(j, key.Task); r.Instances > 0 {
			t.wakePool(j) // nodes may have been kept for it
		}
	}
}

func (t *txn) deleteTask(c *raftlogv1.DeleteTask) Result {
	j, key, err := t.findTask(c.JobId, c.TaskId, c.Conditions)
	if err != nil {
		return refused(err)
	}
	t.removeTask(j, key)
	t.settle(j)
	return Result{Written: &apiv1.Written{}}
}

// removeTask deletes a task; what a node holds of it is to be stopped.
func (t *txn) removeTask(j *job, key TaskKey) {
	t.withdraw(j, key)
	t.stopHeld(j, key)
	exec, entry := t.execution(key), t.entry(key)
	spec := t.spec(j, entry.Spec)
	array, before := j.standing(key.Task)
	t.uncountFailure(j, exec.FailureKind)
	t.count(j, key.Task, exec, -1, -int64(slotsOf(spec)))
	t.dropSubtasks(key, instancesOf(spec), j.rec.Job.Id, entry.Id)
	for _, uid := range j.held[key] {
		t.nodes[uid].held[key].exec = nil
	}
	t.events.clean(t.nodes[exec.Node], key, exec.Attempt, j.rec.Job.Id, entry.Id)
	delete(t.execs, key)
	t.delete(keyTask(tableExecution, key.Job, key.Task))
	t.delete(keyTask(tableFailed, key.Job, key.Task))
	if array != nil {
		t.dropElement(j, array, key.Task)
	} else {
		t.delete(keyTask(tableEntry, key.Job, key.Task))
		t.delete(keyTaskID(key.Job, entry.Id))
	}
	if !j.rec.Job.GetUsesTaskDependencies() {
		return
	}
	if exec.Phase == completed && !exec.Satisfied {
		t.spread(j, entry.Id, false)
	}
	t.tell(j, array, before)
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
	return t.touch(key, t.reactivate(j, key))
}
