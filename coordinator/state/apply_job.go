package state

import (
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// Short names of the job states.
const (
	jobActive      = apiv1.JobState_JOB_STATE_ACTIVE
	jobDisabling   = apiv1.JobState_JOB_STATE_DISABLING
	jobDisabled    = apiv1.JobState_JOB_STATE_DISABLED
	jobTerminating = apiv1.JobState_JOB_STATE_TERMINATING
	jobCompleted   = apiv1.JobState_JOB_STATE_COMPLETED
	jobDeleting    = apiv1.JobState_JOB_STATE_DELETING
)

// AdvanceStep is how many attempts of a job one command asks nodes to stop.
const AdvanceStep = 1000

func (t *txn) createJob(c *raftlogv1.CreateJob) Result {
	if _, exists := t.job(t.account, c.Job.Id); exists {
		return refused(batcherr.Of(batcherr.CodeJobExists))
	}
	if _, exists := t.jobSchedule(t.account, c.Job.Id); exists {
		return refused(batcherr.Of(batcherr.CodeJobScheduleWithSameIdExists))
	}
	j := t.makeJob(proto.CloneOf(c.Job), t.ownPlace(c.Job.PoolInfo, c.AutoPoolId), 0)
	return written(j.rec.Job.ETag, j.rec.Job.LastModified)
}

// makeJob adds a job; schedule is the number of the job schedule that makes it, 0: a user does.
func (t *txn) makeJob(spec *apiv1.Job, at place, schedule uint64) *job {
	etag, now := t.stamp(nil)
	spec.ETag, spec.LastModified, spec.CreationTime = etag, now, now
	spec.State, spec.StateTransitionTime = jobActive, now
	spec.ExecutionInfo = &apiv1.JobExecutionInfo{StartTime: now, PoolId: at.poolID, SchedulingError: at.failure}
	if at.failure != nil {
		spec.State, spec.ExecutionInfo.EndTime = jobCompleted, now
	}
	j := newJob(&raftlogv1.JobRecord{Job: spec, Account: t.account, Uid: t.uid(), NextTask: 1, AutoPool: at.own, JobSchedule: schedule})
	t.jobs.ReplaceOrInsert(j)
	t.jobByUID[j.rec.Uid] = j
	t.linkJob(j)
	t.setJob(j, j.rec)
	t.counts(j)
	if manager := spec.JobManagerTask; manager != nil && at.failure == nil {
		t.addTo(j, [][]byte{encode(lifecycle.ManagerTask(spec))}, []*raftlogv1.NewTask{{Id: manager.Id, DisplayName: manager.DisplayName}})
	}
	return j
}

// changeableJob finds a job that the conditions allow to change.
func (t *txn) changeableJob(id string, c *apiv1.Conditions) (*job, *batcherr.Error) {
	j, ok := t.job(t.account, id)
	if !ok {
		return nil, batcherr.Of(batcherr.CodeJobNotFound)
	}
	if err := lifecycle.CheckConditions(c, j.rec.Job.ETag, j.rec.Job.LastModified, false); err != nil {
		return nil, err
	}
	return j, nil
}

func (t *txn) openJobFor(id string, c *apiv1.Conditions) (*job, *batcherr.Error) {
	j, err := t.changeableJob(id, c)
	if err == nil {
		err = closedError(j.rec.Job.State)
	}
	return j, err
}

// editJob changes a copy of the job's record and stamps it.
func (t *txn) editJob(j *job, edit func(rec *raftlogv1.JobRecord)) Result {
	rec := proto.CloneOf(j.rec)
	edit(rec)
	rec.Job.ETag, rec.Job.LastModified = t.stamp(rec.Job.LastModified)
	t.setJob(j, rec)
	return written(rec.Job.ETag, rec.Job.LastModified)
}

func (t *txn) setJobState(rec *raftlogv1.JobRecord, to apiv1.JobState) {
	if rec.Job.State == to {
		return
	}
	rec.Job.PreviousState, rec.Job.PreviousStateTransitionTime = rec.Job.State, rec.Job.StateTransitionTime
	rec.Job.State, rec.Job.StateTransitionTime = to, at2pb(t.now)
}

func (t *txn) updateJob(c *raftlogv1.UpdateJob) Result {
	j, err := t.openJobFor(c.JobId, c.Conditions)
	if err != nil {
		return refused(err)
	}
	u := c.Update
	if err := checkJobUpdate(j.rec.Job, u); err != nil {
		return refused(err)
	}
	moved := u.PoolInfo != nil && u.PoolInfo.AutoPoolSpecification == nil && !proto.Equal(u.PoolInfo, j.rec.Job.PoolInfo)
	if moved {
		t.unlinkJob(j)
		t.dropAutoPool(j)
	}
	result := t.editJob(j, func(rec *raftlogv1.JobRecord) { mergeJob(rec.Job, u, c.Cleared) })
	if moved {
		t.linkJob(j)
	}
	t.wakePool(j)
	idle := j.counts.Active == 0 && j.counts.Running == 0
	if idle && u.OnAllTasksComplete != nil && *u.OnAllTasksComplete == apiv1.AllTasksCompleteMode_ALL_TASKS_COMPLETE_MODE_TERMINATE_JOB {
		t.startTermination(j, "AllTasksComplete")
		t.settle(j)
	}
	return result
}

func checkJobUpdate(current *apiv1.Job, u *apiv1.JobUpdateOptions) *batcherr.Error {
	if u.OnAllTasksComplete != nil && *u.OnAllTasksComplete == apiv1.AllTasksCompleteMode_ALL_TASKS_COMPLETE_MODE_NO_ACTION &&
		current.OnAllTasksComplete == apiv1.AllTasksCompleteMode_ALL_TASKS_COMPLETE_MODE_TERMINATE_JOB {
		return batcherr.InvalidProperty("onAllTasksComplete", "noaction", "terminatejob can't be taken back")
	}
	return checkMove(current, u.PoolInfo)
}

func mergeJob(job *apiv1.Job, u *apiv1.JobUpdateOptions, cleared []string) {
	if u.Priority != nil {
		job.Priority = u.Priority
	}
	if u.AllowTaskPreemption != nil {
		job.AllowTaskPreemption = u.AllowTaskPreemption
	}
	if u.MaxParallelTasks != nil {
		job.MaxParallelTasks = u.MaxParallelTasks
	}
	if u.Constraints != nil {
		job.Constraints = lifecycle.JobConstraints(u.Constraints)
	}
	if u.PoolInfo != nil {
		mergePoolInfo(job, u.PoolInfo)
	}
	if u.OnAllTasksComplete != nil {
		job.OnAllTasksComplete = *u.OnAllTasksComplete
	}
	if u.NetworkConfiguration != nil {
		job.NetworkConfiguration = u.NetworkConfiguration
	}
	if len(u.Metadata) > 0 || slices.Contains(cleared, "metadata") {
		job.Metadata = u.Metadata
	}
}

// unlinkJob takes the job off the list of its pool.
func (h *hot) unlinkJob(j *job) {
	if p, ok := h.pool(j.rec.Account, j.poolID()); ok {
		delete(p.jobs, j.rec.Uid)
	}
}

func (t *txn) disableJob(c *raftlogv1.DisableJob) Result {
	j, err := t.openJobFor(c.JobId, c.Conditions)
	if err != nil {
		return refused(err)
	}
	t.startDisabling(j, c.Option)
	result := t.editJob(j, func(*raftlogv1.JobRecord) {})
	t.settle(j)
	return result
}

// startDisabling stops the job's tasks as the option says; nothing more is scheduled.
func (t *txn) startDisabling(j *job, option apiv1.DisableJobOption) {
	if closedError(j.rec.Job.State) != nil {
		return
	}
	rec := proto.CloneOf(j.rec)
	rec.DisableOption = option
	t.setJobState(rec, jobDisabling)
	t.setJob(j, rec)
	t.wakePool(j) // nodes may have been kept for a task of it
	t.advance(j, AdvanceStep)
}

func (t *txn) enableJob(c *raftlogv1.EnableJob) Result {
	j, err := t.openJobFor(c.JobId, c.Conditions)
	if err != nil {
		return refused(err)
	}
	result := t.editJob(j, func(rec *raftlogv1.JobRecord) { t.setJobState(rec, jobActive) })
	t.wakePool(j)
	t.settle(j)
	return result
}

func (t *txn) terminateJob(c *raftlogv1.TerminateJob) Result {
	j, err := t.openJobFor(c.JobId, c.Conditions)
	if err != nil {
		return refused(err)
	}
	t.startTermination(j, c.Reason)
	result := t.editJob(j, func(*raftlogv1.JobRecord) {})
	t.settle(j)
	return result
}

// startTermination ends the job's running tasks; those still active stay so for ever.
func (t *txn) startTermination(j *job, reason string) {
	if closedError(j.rec.Job.State) != nil {
		return
	}
	rec := proto.CloneOf(j.rec)
	rec.PendingReason = reason
	t.setJobState(rec, jobTerminating)
	t.setJob(j, rec)
	t.wakePool(j)
	t.advance(j, AdvanceStep)
}

func (t *txn) deleteJob(c *raftlogv1.DeleteJob) Result {
	j, err := t.changeableJob(c.JobId, c.Conditions)
	if err != nil {
		return refused(err)
	}
	if j.rec.Job.State == jobDeleting {
		return refused(batcherr.Of(batcherr.CodeJobBeingDeleted))
	}
	return t.startJobDeletion(j)
}

// startJobDeletion begins to delete a job. It is gone at the next step, not in this one: clients look for the state deleting.
func (t *txn) startJobDeletion(j *job) Result {
	result := t.editJob(j, func(rec *raftlogv1.JobRecord) { t.setJobState(rec, jobDeleting) })
	t.wakePool(j)
	t.advance(j, AdvanceStep)
	return result
}

func (t *txn) advanceJob(c *raftlogv1.AdvanceJob) Result {
	j := t.jobByUID[c.Job]
	if j == nil {
		return Result{}
	}
	t.advance(j, int(c.Limit))
	t.settle(j)
	return Result{}
}

// advance asks nodes to stop up to limit attempts of a job that is disabling, terminating or deleting.
func (t *txn) advance(j *job, limit int) {
	state := j.rec.Job.State
	if state != jobDisabling && state != jobTerminating && state != jobDeleting {
		return
	}
	for _, key := range sortedTasks(j.held) {
		if limit <= 0 {
			return
		}
		if t.stopFor(j, key, state) {
			limit--
			t.events.job(j) // who takes the next step looks again
		}
	}
	if len(j.held) == 0 && state != jobDisabling {
		t.windUp(j, limit)
	}
}

// stopFor stops one held task in the way that the job's state asks for; false if there was nothing to do.
func (t *txn) stopFor(j *job, key TaskKey, state apiv1.JobState) bool {
	var live *held
	for _, uid := range j.held[key] {
		if h := t.nodes[uid].held[key]; !h.Stopping {
			live = h
		}
	}
	if live == nil {
		return false
	}
	// What the job itself does to its tasks is no failure for it to act on.
	const mode = apiv1.TaskFailureMode_TASK_FAILURE_MODE_NO_ACTION
	switch {
	case state == jobDeleting || live.unstarted():
		t.stopHeld(j, key)
	case state == jobTerminating:
		t.endTask(j, key, lifecycle.EndedFailure("The job was terminated"), mode)
	case j.rec.DisableOption == apiv1.DisableJobOption_DISABLE_JOB_OPTION_TERMINATE:
		t.endTask(j, key, lifecycle.EndedFailure("The job was disabled and its running tasks terminated"), mode)
	case j.rec.DisableOption == apiv1.DisableJobOption_DISABLE_JOB_OPTION_WAIT:
		return false
	default:
		t.stopHeld(j, key)
	}
	return true
}

// settle moves a job on when nothing of it is left to wait for.
func (t *txn) settle(j *job) {
	spec := j.rec.Job
	switch {
	case spec.State == jobActive:
		done := j.counts.Active == 0 && j.counts.Running == 0 && j.counts.Completed > 0
		if done && spec.OnAllTasksComplete == apiv1.AllTasksCompleteMode_ALL_TASKS_COMPLETE_MODE_TERMINATE_JOB {
			t.startTermination(j, "AllTasksComplete")
			t.settle(j)
		}
	case spec.State == jobDisabling && len(j.held) == 0:
		t.changeState(j, jobDisabled)
	case spec.State == jobTerminating && j.wound():
		t.completeJob(j)
	case spec.State == jobDeleting && j.wound():
		t.removeJob(j)
	}
}

func (t *txn) changeState(j *job, to apiv1.JobState) {
	rec := proto.CloneOf(j.rec)
	t.setJobState(rec, to)
	t.setJob(j, rec)
}

func (t *txn) completeJob(j *job) {
	rec := proto.CloneOf(j.rec)
	t.setJobState(rec, jobCompleted)
	rec.Job.ExecutionInfo.EndTime = at2pb(t.now)
	rec.Job.ExecutionInfo.TerminateReason = rec.PendingReason
	rec.PendingReason = ""
	t.setJob(j, rec)
	t.forgetSites(j)
	t.dropAutoPool(j)
	t.scheduledJobEnded(j)
}

// removeJob deletes everything of a job, one range a table.
func (t *txn) removeJob(j *job) {
	if p, ok := t.pool(j.rec.Account, j.poolID()); ok {
		t.events.cleanJob(p, j)
	}
	t.unlinkJob(j)
	t.forgetSites(j)
	t.jobs.Delete(j)
	delete(t.jobByUID, j.rec.Uid)
	t.delete(keyNumber(tableJob, j.rec.Uid))
	for _, table := range jobTables {
		t.deleteRange(keyNumber(table, j.rec.Uid))
	}
	t.events.job(j)
	t.dropAutoPool(j)
	t.scheduledJobEnded(j)
}

func timeOf(ts *timestamppb.Timestamp) int64 {
	if ts == nil {
		return 0
	}
	return ts.AsTime().UnixNano()
}

// cleanJob tells the nodes of the job's pool to delete its directory.
func (e events) cleanJob(p *pool, j *job) {
	p.nodes.Ascend(func(n *node) bool {
		e.clean(n, TaskKey{Job: j.rec.Uid}, 0, j.rec.Job.Id, "")
		return true
	})
}
