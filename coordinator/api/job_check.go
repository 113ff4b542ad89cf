package api

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// checkJob says what is wrong with a new job but its id, and normalises its limits. scheduled: a job schedule is to make it.
func (c *core) checkJob(j *apiv1.Job, scheduled bool) error {
	if err := c.rules.check(j, ""); err != nil {
		return err
	}
	if err := checkDisplayName("displayName", j.DisplayName); err != nil {
		return err
	}
	if j.PoolInfo == nil {
		return batcherr.MissingProperty("poolInfo")
	}
	if err := checkJobTasks(j); err != nil {
		return err
	}
	if err := checkEnvironment("commonEnvironmentSettings", j.CommonEnvironmentSettings); err != nil {
		return err
	}
	if err := c.checkPoolInfo("poolInfo", j.PoolInfo, true, scheduled); err != nil {
		return err
	}
	return checkJobCommon(jobCommon{j.Priority, j.MaxParallelTasks, j.Constraints, j.Metadata})
}

// checkJobUpdate says what is wrong with a change of a job, and normalises its limits. cleared are the lists that it empties.
func (c *core) checkJobUpdate(u *apiv1.JobUpdateOptions, cleared []string) error {
	if err := c.rules.check(u, ""); err != nil {
		return err
	}
	if err := checkCleared(cleared, "metadata"); err != nil {
		return err
	}
	if u.PoolInfo != nil {
		if err := c.checkPoolInfo("poolInfo", u.PoolInfo, false, false); err != nil {
			return err
		}
	}
	return checkJobCommon(jobCommon{u.Priority, u.MaxParallelTasks, u.Constraints, u.Metadata})
}

// jobCommon are the properties that new and changed jobs have in common.
type jobCommon struct {
	priority, maxParallelTasks *int32
	constraints                *apiv1.JobConstraints
	metadata                   []*apiv1.MetadataItem
}

func checkJobCommon(j jobCommon) (err error) {
	if p := j.priority; p != nil && (*p < lifecycle.MinPriority || *p > lifecycle.MaxPriority) {
		return batcherr.Of(batcherr.CodeOutOfRangePriority).
			With(batcherr.ValuePropertyName, "priority").With(batcherr.ValuePropertyValue, strconv.Itoa(int(*p))).
			With(batcherr.ValueReason, "A priority is from -1000 to 1000.")
	}
	if n := j.maxParallelTasks; n != nil && *n != -1 && *n < 1 {
		return invalidNumber("maxParallelTasks", *n, "The number of tasks is -1 (unlimited), 1 or more.")
	}
	if c := j.constraints; c != nil {
		if c.MaxWallClockTime, err = limitOf("constraints.maxWallClockTime", c.MaxWallClockTime); err != nil {
			return err
		}
		if err := checkRetryCount("constraints.maxTaskRetryCount", c.MaxTaskRetryCount); err != nil {
			return err
		}
	}
	return checkMetadata("metadata", j.metadata)
}

func checkReason(at path, reason string) error {
	if len(reason) > maxReason && utf8.RuneCountInString(reason) > maxReason || strings.IndexByte(reason, 0) >= 0 {
		return invalid(at, "", "A reason has at most 1024 characters, none of them NUL.")
	}
	return nil
}
