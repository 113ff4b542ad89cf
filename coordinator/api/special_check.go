package api

import (
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// maxStartTask is the largest start task of Azure Batch, in bytes.
const maxStartTask = 32_768

// basics are what the tasks that pools and jobs name have in common with others.
type basics interface {
	GetCommandLine() string
	GetResourceFiles() []*apiv1.ResourceFile
	GetEnvironmentSettings() []*apiv1.EnvironmentSetting
	GetUserIdentity() *apiv1.UserIdentity
	GetContainerSettings() *apiv1.TaskContainerSettings
}

func checkBasics(at path, t basics) error {
	if err := checkCommandLine(at.at("commandLine"), t.GetCommandLine(), t.GetContainerSettings() != nil); err != nil {
		return err
	}
	if err := checkContainer(at.at("containerSettings"), t.GetContainerSettings()); err != nil {
		return err
	}
	if err := checkEnvironment(at.at("environmentSettings"), t.GetEnvironmentSettings()); err != nil {
		return err
	}
	for i, f := range t.GetResourceFiles() {
		if err := checkResourceFile(at.at("resourceFiles").index(i), f); err != nil {
			return err
		}
	}
	return checkUser(at.at("userIdentity"), t.GetUserIdentity())
}

func checkStartTask(at path, t *apiv1.StartTask) error {
	if t == nil {
		return nil
	}
	if n := proto.Size(t); n > maxStartTask {
		return batcherr.Of(batcherr.CodeRequestEntityTooLarge).
			With(batcherr.ValueReason, "A start task takes at most 32768 characters, not "+strconv.Itoa(n)+".")
	}
	if err := checkRetryCount(at.at("maxTaskRetryCount"), t.MaxTaskRetryCount); err != nil {
		return err
	}
	return checkBasics(at, t)
}

// checkJobTasks says what is wrong with the tasks that a new job itself names.
func checkJobTasks(j *apiv1.Job) error {
	if err := checkPreparation("jobPreparationTask", j.JobPreparationTask); err != nil {
		return err
	}
	if err := checkRelease("jobReleaseTask", j.JobReleaseTask); err != nil {
		return err
	}
	if err := checkManager("jobManagerTask", j.JobManagerTask); err != nil {
		return err
	}
	preparation, release := idOr(j.JobPreparationTask, lifecycle.DefaultPreparationID), idOr(j.JobReleaseTask, lifecycle.DefaultReleaseID)
	switch manager := lifecycle.IDKey(j.JobManagerTask.GetId()); {
	case j.JobReleaseTask != nil && j.JobPreparationTask == nil:
		return invalid("jobReleaseTask", "", "A job with a release task has a preparation task.")
	case j.JobReleaseTask != nil && preparation == release:
		return invalid("jobReleaseTask.id", j.JobReleaseTask.Id, "The preparation and the release task have different ids.")
	case j.JobManagerTask == nil:
	case j.JobPreparationTask != nil && manager == preparation:
		return batcherr.Of(batcherr.CodeTaskIdSameAsJobPreparationTask)
	case j.JobReleaseTask != nil && manager == release:
		return batcherr.Of(batcherr.CodeTaskIdSameAsJobReleaseTask)
	}
	return nil
}

func idOr(t interface{ GetId() string }, other string) string {
	if id := t.GetId(); id != "" {
		return lifecycle.IDKey(id)
	}
	return other
}

func checkOptionalID(at path, id string) error {
	if id == "" {
		return nil
	}
	return checkID(at, id)
}

func checkPreparation(at path, t *apiv1.JobPreparationTask) error {
	if t == nil {
		return nil
	}
	if err := checkOptionalID(at.at("id"), t.Id); err != nil {
		return err
	}
	if err := checkTaskConstraints(at.at("constraints"), t.Constraints); err != nil {
		return err
	}
	return checkBasics(at, t)
}

func checkRelease(at path, t *apiv1.JobReleaseTask) error {
	if t == nil {
		return nil
	}
	if err := checkOptionalID(at.at("id"), t.Id); err != nil {
		return err
	}
	if err := checkReleaseTime(at.at("maxWallClockTime"), t.MaxWallClockTime); err != nil {
		return err
	}
	return checkBasics(at, t)
}

func checkReleaseTime(at path, d *durationpb.Duration) error {
	if d == nil {
		return nil
	}
	if d.AsDuration() <= 0 || d.AsDuration() > lifecycle.MaxReleaseWallClock {
		return invalid(at, lifecycle.FormatDuration(d.AsDuration()), "A release task runs for at most 15 minutes.")
	}
	return nil
}

func checkManager(at path, t *apiv1.JobManagerTask) error {
	if t == nil {
		return nil
	}
	if err := checkID(at.at("id"), t.Id); err != nil {
		return err
	}
	if err := checkDisplayName(at.at("displayName"), t.DisplayName); err != nil {
		return err
	}
	if err := checkTaskConstraints(at.at("constraints"), t.Constraints); err != nil {
		return err
	}
	if s := t.RequiredSlots; s != nil && (*s < 1 || *s > lifecycle.MaxSlotsPerNode) {
		return invalidNumber(at.at("requiredSlots"), *s, "A task needs 1 to 256 slots.")
	}
	for i, f := range t.OutputFiles {
		if err := checkOutputFile(at.at("outputFiles").index(i), f); err != nil {
			return err
		}
	}
	if err := checkPackages(at.at("applicationPackageReferences"), t.ApplicationPackageReferences); err != nil {
		return err
	}
	if err := checkToken(at.at("authenticationTokenSettings"), t.AuthenticationTokenSettings); err != nil {
		return err
	}
	return checkBasics(at, t)
}

// checkToken holds the access that a task's token is to give against what there is.
func checkToken(at path, t *apiv1.AuthenticationTokenSettings) error {
	for i, access := range t.GetAccess() {
		if access != "job" {
			return invalid(at.at("access").index(i), access, "A task's token gives access to its job only.")
		}
	}
	return nil
}
