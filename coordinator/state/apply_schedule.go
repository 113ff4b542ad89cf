package state

import (
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// Short names of the states of job schedules.
const (
	scheduleActive      = apiv1.JobScheduleState_JOB_SCHEDULE_STATE_ACTIVE
	scheduleCompleted   = apiv1.JobScheduleState_JOB_SCHEDULE_STATE_COMPLETED
	scheduleDisabled    = apiv1.JobScheduleState_JOB_SCHEDULE_STATE_DISABLED
	scheduleTerminating = apiv1.JobScheduleState_JOB_SCHEDULE_STATE_TERMINATING
	scheduleDeleting    = apiv1.JobScheduleState_JOB_SCHEDULE_STATE_DELETING
)

// AdvanceJobs is how many jobs of a job schedule one command begins to delete.
const AdvanceJobs = 20

// scheduledID is the id of a schedule's job. No other job's id has a colon.
func scheduledID(schedule string, number uint64) string {
	return schedule + ":job-" + strconv.FormatUint(number, 10)
}

func (t *txn) createJobSchedule(c *raftlogv1.CreateJobSchedule) Result {
	if _, exists := t.jobSchedule(t.account, c.Schedule.Id); exists {
		return refused(batcherr.Of(batcherr.CodeJobScheduleExists))
	}
	if _, exists := t.job(t.account, c.Schedule.Id); exists {
		return refused(batcherr.Of(batcherr.CodeJobWithSameIdExists))
	}
	spec := proto.CloneOf(c.Schedule)
	etag, now := t.stamp(nil)
	spec.ETag, spec.LastModified, spec.CreationTime = etag, now, now
	spec.State, spec.StateTransitionTime = scheduleActive, now
	spec.ExecutionInfo = &apiv1.JobScheduleExecutionInfo{}
	s := newJobSchedule(&raftlogv1.JobScheduleRecord{
		Schedule: spec, Account: t.account, Uid: t.uid(), NextJob: 1, FirstRun: c.FirstRun, NextRun: c.FirstRun,
	})
	t.schedules.ReplaceOrInsert(s)
	t.scheduleByUID[s.rec.Uid] = s
	t.setJobSchedule(s, s.rec)
	if c.Due {
		t.runSchedule(s, c.FirstRun, lifecycle.RecurrenceOf(spec.Schedule, c.FirstRun).Next(c.FirstRun), c.AutoPoolId)
	}
	return written(etag, now)
}

// runSchedule makes the next job of a schedule.
func (t *txn) runSchedule(s *jobSchedule, due, next int64, autoPoolID string) {
	rec := proto.CloneOf(s.rec)
	job := proto.CloneOf(lifecycle.JobOf(rec.Schedule.JobSpecification))
	job.Id = scheduledID(rec.Schedule.Id, rec.NextJob)
	rec.RecentJob = t.makeJob(job, t.schedulePlace(rec, autoPoolID), rec.Uid).rec.Uid
	rec.NextJob++
	rec.LastRun, rec.NextRun = due, next
	t.setJobSchedule(s, rec)
}

// schedulePlace is the pool of a schedule's next job; it enters a pool that it makes for the whole schedule into the record.
func (t *txn) schedulePlace(rec *raftlogv1.JobScheduleRecord, autoPoolID string) place {
	info := rec.Schedule.JobSpecification.GetPoolInfo()
	if info.GetAutoPoolSpecification() == nil || lifecycle.OwnPool(info) {
		return t.ownPlace(info, autoPoolID)
	}
	p, ok := t.pool(rec.Account, rec.AutoPoolId)
	if !ok || p.rec.Uid != rec.AutoPool || p.rec.Pool.State != apiv1.PoolState_POOL_STATE_ACTIVE {
		var failure *apiv1.JobSchedulingError
		if p, failure = t.makeAutoPool(info.AutoPoolSpecification, autoPoolID); failure != nil {
			return place{failure: failure}
		}
	}
	rec.AutoPool, rec.AutoPoolId = p.rec.Uid, p.rec.Pool.Id
	return place{poolID: p.rec.Pool.Id}
}

// changeableSchedule finds a job schedule that the conditions allow to change.
func (t *txn) changeableSchedule(id string, c *apiv1.Conditions) (*jobSchedule, *batcherr.Error) {
	s, ok := t.jobSchedule(t.account, id)
	if !ok {
		return nil, batcherr.Of(batcherr.CodeJobScheduleNotFound)
	}
	if err := lifecycle.CheckConditions(c, s.rec.Schedule.ETag, s.rec.Schedule.LastModified, false); err != nil {
		return nil, err
	}
	if s.rec.Schedule.State == scheduleDeleting {
		return nil, batcherr.Of(batcherr.CodeJobScheduleBeingDeleted)
	}
	return s, nil
}

// openSchedule finds one that has not ended either.
func (t *txn) openSchedule(id string, c *apiv1.Conditions) (*jobSchedule, *batcherr.Error) {
	s, err := t.changeableSchedule(id, c)
	if err != nil {
		return nil, err
	}
	switch s.rec.Schedule.State {
	case scheduleTerminating:
		return nil, batcherr.Of(batcherr.CodeJobScheduleBeingTerminated)
	case scheduleCompleted:
		return nil, batcherr.Of(batcherr.CodeJobScheduleCompleted)
	}
	return s, nil
}

// editSchedule changes a copy of the schedule's record and stamps it.
func (t *txn) editSchedule(s *jobSchedule, edit func(rec *raftlogv1.JobScheduleRecord)) Result {
	rec := proto.CloneOf(s.rec)
	edit(rec)
	rec.Schedule.ETag, rec.Schedule.LastModified = t.stamp(rec.Schedule.LastModified)
	t.setJobSchedule(s, rec)
	return written(rec.Schedule.ETag, rec.Schedule.LastModified)
}

func (t *txn) setScheduleState(rec *raftlogv1.JobScheduleRecord, to apiv1.JobScheduleState) {
	schedule := rec.Schedule
	if schedule.State == to {
		return
	}
	schedule.PreviousState, schedule.PreviousStateTransitionTime = schedule.State, schedule.StateTransitionTime
	schedule.State, schedule.StateTransitionTime = to, at2pb(t.now)
}

func (t *txn) updateJobSchedule(c *raftlogv1.UpdateJobSchedule) Result {
	s, err := t.openSchedule(c.JobScheduleId, c.Conditions)
	if err != nil {
		return refused(err)
	}
	return t.editSchedule(s, func(rec *raftlogv1.JobScheduleRecord) { mergeSchedule(rec, c) })
}

func mergeSchedule(rec *raftlogv1.JobScheduleRecord, c *raftlogv1.UpdateJobSchedule) {
	schedule, u := rec.Schedule, c.Update
	if slices.Contains(c.Cleared, "schedule") || u.Schedule != nil {
		schedule.Schedule = u.Schedule
		rec.FirstRun, rec.NextRun = lifecycle.Replan(u.Schedule, c.FirstRun, rec.LastRun)
	}
	if u.JobSpecification != nil {
		schedule.JobSpecification = u.JobSpecification
	}
	replaceList(&schedule.Metadata, u.Metadata, slices.Contains(c.Cleared, "metadata"))
}

func (t *txn) disableJobSchedule(c *raftlogv1.DisableJobSchedule) Result {
	return t.switchSchedule(c.JobScheduleId, c.Conditions, scheduleDisabled)
}

func (t *txn) enableJobSchedule(c *raftlogv1.EnableJobSchedule) Result {
	return t.switchSchedule(c.JobScheduleId, c.Conditions, scheduleActive)
}

// switchSchedule takes a schedule from active to disabled or back; one that is so already stays so.
func (t *txn) switchSchedule(id string, c *apiv1.Conditions, to apiv1.JobScheduleState) Result {
	s, err := t.openSchedule(id, c)
	if err != nil {
		return refused(err)
	}
	return t.editSchedule(s, func(rec *raftlogv1.JobScheduleRecord) { t.setScheduleState(rec, to) })
}

func (t *txn) terminateJobSchedule(c *raftlogv1.TerminateJobSchedule) Result {
	s, err := t.openSchedule(c.JobScheduleId, c.Conditions)
	if err != nil {
		return refused(err)
	}
	result := t.editSchedule(s, func(rec *raftlogv1.JobScheduleRecord) { t.setScheduleState(rec, scheduleTerminating) })
	j := t.activeJob(s)
	if j == nil {
		t.completeSchedule(s)
		return result
	}
	t.startTermination(j, "TerminateJobSchedule")
	t.settle(j)
	return result
}

func (t *txn) deleteJobSchedule(c *raftlogv1.DeleteJobSchedule) Result {
	s, err := t.changeableSchedule(c.JobScheduleId, c.Conditions)
	if err != nil {
		return refused(err)
	}
	// The schedule is gone at a later step, not in this one: clients look for the state deleting.
	return t.editSchedule(s, func(rec *raftlogv1.JobScheduleRecord) { t.setScheduleState(rec, scheduleDeleting) })
}

// stepJobSchedule does what a leader's clock has decided, if the schedule is still as it was then.
func (t *txn) stepJobSchedule(c *raftlogv1.StepJobSchedule) Result {
	s := t.scheduleByUID[c.JobSchedule]
	if s == nil || s.rec.Account != t.account || s.rec.Schedule.State != scheduleActive ||
		s.rec.NextJob != c.SeenNextJob || s.rec.NextRun != c.SeenNextRun {
		return Result{}
	}
	idle := t.activeJob(s) == nil
	switch {
	case c.Run != 0 && idle:
		t.runSchedule(s, c.Run, c.NextRun, c.AutoPoolId)
	case c.Run == 0 && c.NextRun != s.rec.NextRun:
		rec := proto.CloneOf(s.rec)
		rec.NextRun = c.NextRun
		t.setJobSchedule(s, rec)
	}
	if c.Complete && idle {
		t.completeSchedule(s)
	}
	return Result{}
}

// activeJob is the schedule's job that is not completed, nil if there is none.
func (h *hot) activeJob(s *jobSchedule) *job {
	if j := h.jobByUID[s.rec.RecentJob]; j != nil && j.rec.Job.State != jobCompleted {
		return j
	}
	return nil
}

func (t *txn) completeSchedule(s *jobSchedule) {
	rec := proto.CloneOf(s.rec)
	t.setScheduleState(rec, scheduleCompleted)
	rec.NextRun = 0
	rec.Schedule.ExecutionInfo.EndTime = at2pb(t.now)
	t.setJobSchedule(s, rec)
	t.dropSchedulePool(s)
}

func (t *txn) dropSchedulePool(s *jobSchedule) {
	t.dropPool(s.rec.Account, s.rec.AutoPoolId, s.rec.AutoPool, s.rec.Schedule.JobSpecification.GetPoolInfo().GetAutoPoolSpecification())
}

// scheduledJobEnded takes in that a job is completed or gone.
func (t *txn) scheduledJobEnded(j *job) {
	s := t.scheduleByUID[j.rec.JobSchedule]
	if s == nil {
		return
	}
	t.events.jobSchedule(s)
	if s.rec.Schedule.State == scheduleTerminating && t.activeJob(s) == nil {
		t.completeSchedule(s)
	}
}

// advanceJobSchedule begins to delete jobs of a schedule that is being deleted, and removes it when none is left.
func (t *txn) advanceJobSchedule(c *raftlogv1.AdvanceJobSchedule) Result {
	s := t.scheduleByUID[c.JobSchedule]
	if s == nil || s.rec.Account != t.account || s.rec.Schedule.State != scheduleDeleting {
		return Result{}
	}
	jobs, some := t.jobsToDelete(s, int(c.Limit))
	for _, j := range jobs {
		t.startJobDeletion(j)
	}
	if len(jobs) > 0 {
		t.events.jobSchedule(s) // who takes the next step looks again
	}
	if !some {
		t.dropSchedulePool(s)
		t.schedules.Delete(s)
		delete(t.scheduleByUID, s.rec.Uid)
		t.delete(keyNumber(tableSchedule, s.rec.Uid))
		t.events.jobSchedule(s)
	}
	return Result{}
}

// jobsToDelete finds up to limit jobs of a schedule that do not go yet, and says whether it has any job at all.
func (h *hot) jobsToDelete(s *jobSchedule, limit int) (jobs []*job, some bool) {
	h.eachJob(s, func(j *job) bool {
		some = true
		if j.rec.Job.State != jobDeleting && len(jobs) < limit {
			jobs = append(jobs, j)
		}
		return len(jobs) < limit
	})
	return jobs, some
}

// eachJob goes through a schedule's jobs, which follow each other since they are named after it.
func (h *hot) eachJob(s *jobSchedule, fn func(*job) bool) {
	h.jobs.AscendGreaterOrEqual(&job{key: s.key + ":"}, func(j *job) bool {
		return j.rec.JobSchedule == s.rec.Uid && fn(j)
	})
}
