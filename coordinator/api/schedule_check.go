package api

import (
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// checkJobSchedule says what is wrong with a new job schedule, and normalises its limits.
func (c *core) checkJobSchedule(s *apiv1.JobSchedule) error {
	if err := checkID("id", s.Id); err != nil {
		return err
	}
	if err := c.rules.check(s, ""); err != nil {
		return err
	}
	if err := checkDisplayName("displayName", s.DisplayName); err != nil {
		return err
	}
	if s.Schedule == nil {
		return batcherr.MissingProperty("schedule")
	}
	if s.JobSpecification == nil {
		return batcherr.MissingProperty("jobSpecification")
	}
	return c.checkJobScheduleParts(s.Schedule, s.JobSpecification, s.Metadata)
}

// checkJobScheduleParts checks what new and changed job schedules have in common; each part may be absent.
func (c *core) checkJobScheduleParts(times *apiv1.JobScheduleConfiguration, spec *apiv1.JobSpecification, metadata []*apiv1.MetadataItem) error {
	if err := checkTimes("schedule", times); err != nil {
		return err
	}
	if spec != nil {
		job := lifecycle.JobOf(spec)
		if err := c.checkJob(job, true); err != nil {
			return batcherr.Under("jobSpecification", err)
		}
	}
	return checkMetadata("metadata", metadata)
}

func checkTimes(at path, times *apiv1.JobScheduleConfiguration) error {
	if err := checkAtLeast(at.at("startWindow"), times.GetStartWindow(), lifecycle.MinRecurrence); err != nil {
		return err
	}
	if err := checkAtLeast(at.at("recurrenceInterval"), times.GetRecurrenceInterval(), lifecycle.MinRecurrence); err != nil {
		return err
	}
	from, to := times.GetDoNotRunUntil(), times.GetDoNotRunAfter()
	if from != nil && to != nil && to.AsTime().Before(from.AsTime()) {
		return invalid(at.at("doNotRunAfter"), to.AsTime().Format(timeFormat), "It is before doNotRunUntil: no job would ever be made.")
	}
	return nil
}

const timeFormat = "2006-01-02T15:04:05.9999999Z"

// checkPoolInfo says what is wrong with where a job runs. scheduled: it is a job schedule's.
func (c *core) checkPoolInfo(at path, info *apiv1.PoolInfo, isNew, scheduled bool) error {
	auto := info.AutoPoolSpecification
	switch {
	case auto == nil:
		return checkID(at.at("poolId"), info.PoolId)
	case info.PoolId != "":
		return invalid(at, "", "A job has either a poolId or an autoPoolSpecification.")
	}
	at = at.at("autoPoolSpecification")
	if p := auto.AutoPoolIdPrefix; p != "" && (!lifecycle.ValidID(p) || len(p) > lifecycle.MaxAutoPoolPrefix) {
		return invalid(at.at("autoPoolIdPrefix"), p, "A prefix has at most 20 characters, all of them letters, digits, - or _.")
	}
	if isNew && !scheduled && auto.PoolLifetimeOption == apiv1.PoolLifetimeOption_POOL_LIFETIME_OPTION_JOB_SCHEDULE {
		return invalid(at.at("poolLifetimeOption"), "jobschedule", "Only the jobs of a job schedule have one.")
	}
	if auto.Pool == nil {
		if isNew {
			return batcherr.MissingProperty(string(at.at("pool")))
		}
		return nil
	}
	return batcherr.Under(string(at.at("pool")), c.checkPool(lifecycle.PoolOf(auto.Pool)))
}
