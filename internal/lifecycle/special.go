package lifecycle

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// Default ids of the tasks that run on every node of a job.
const (
	DefaultPreparationID = "jobpreparation"
	DefaultReleaseID     = "jobrelease"
)

// keepForever is the retention of directories that go with their node or job.
const keepForever = 100 * 365 * 24 * time.Hour

// FillStartTask writes the defaults into a start task.
func FillStartTask(t *apiv1.StartTask) {
	if t == nil {
		return
	}
	setDefault(&t.MaxTaskRetryCount, 0)
	setDefault(&t.WaitForSuccess, true)
	t.UserIdentity = filledUser(t.UserIdentity, apiv1.AutoUserScope_AUTO_USER_SCOPE_TASK)
}

// fillJobTasks writes the defaults into the tasks that the job itself names.
func fillJobTasks(j *apiv1.Job) {
	if p := j.JobPreparationTask; p != nil {
		if p.Id == "" {
			p.Id = DefaultPreparationID
		}
		// Its directory serves the job's tasks: unless the user says so, it does not go before the job.
		if p.Constraints.GetRetentionTime() == nil {
			p.Constraints = withRetention(p.Constraints, keepForever)
		}
		setDefault(&p.Constraints.MaxTaskRetryCount, 0)
		setDefault(&p.WaitForSuccess, true)
		setDefault(&p.RerunOnNodeRebootAfterSuccess, true)
		p.UserIdentity = filledUser(p.UserIdentity, apiv1.AutoUserScope_AUTO_USER_SCOPE_POOL)
	}
	if r := j.JobReleaseTask; r != nil {
		if r.Id == "" {
			r.Id = DefaultReleaseID
		}
		if r.MaxWallClockTime == nil {
			r.MaxWallClockTime = durationpb.New(MaxReleaseWallClock)
		}
		if r.RetentionTime == nil {
			r.RetentionTime = durationpb.New(DefaultRetention)
		}
		r.UserIdentity = filledUser(r.UserIdentity, apiv1.AutoUserScope_AUTO_USER_SCOPE_POOL)
	}
	if m := j.JobManagerTask; m != nil {
		m.Constraints = TaskConstraints(m.Constraints, j)
		setDefault(&m.RequiredSlots, 1)
		setDefault(&m.KillJobOnCompletion, true)
		setDefault(&m.RunExclusive, true)
		setDefault(&m.AllowLowPriorityNode, true)
		m.UserIdentity = filledUser(m.UserIdentity, apiv1.AutoUserScope_AUTO_USER_SCOPE_TASK)
	}
}

func withRetention(c *apiv1.TaskConstraints, d time.Duration) *apiv1.TaskConstraints {
	if c == nil {
		c = &apiv1.TaskConstraints{}
	}
	c.RetentionTime = durationpb.New(d)
	return c
}

// StartTask is the start task in the form in which nodes are given tasks.
func StartTask(t *apiv1.StartTask) *apiv1.Task {
	return &apiv1.Task{
		CommandLine: t.GetCommandLine(), ContainerSettings: t.GetContainerSettings(), ResourceFiles: t.GetResourceFiles(),
		EnvironmentSettings: t.GetEnvironmentSettings(), UserIdentity: t.GetUserIdentity(), Constraints: withRetention(nil, keepForever),
	}
}

// PrefetchTask brings a pool's container images, in the form in which nodes are given tasks.
func PrefetchTask() *apiv1.Task {
	return &apiv1.Task{Constraints: withRetention(nil, keepForever)}
}

// PreparationTask is the job's preparation task in the form in which nodes are given tasks.
func PreparationTask(j *apiv1.Job) *apiv1.Task {
	t := j.GetJobPreparationTask()
	return &apiv1.Task{
		CommandLine: t.GetCommandLine(), ContainerSettings: t.GetContainerSettings(), ResourceFiles: t.GetResourceFiles(),
		EnvironmentSettings: t.GetEnvironmentSettings(), UserIdentity: t.GetUserIdentity(), Constraints: t.GetConstraints(),
	}
}

// ReleaseTask is the job's release task in the form in which nodes are given tasks.
func ReleaseTask(j *apiv1.Job) *apiv1.Task {
	t := j.GetJobReleaseTask()
	return &apiv1.Task{
		CommandLine: t.GetCommandLine(), ContainerSettings: t.GetContainerSettings(), ResourceFiles: t.GetResourceFiles(),
		EnvironmentSettings: t.GetEnvironmentSettings(), UserIdentity: t.GetUserIdentity(),
		Constraints: &apiv1.TaskConstraints{MaxWallClockTime: t.GetMaxWallClockTime(), RetentionTime: t.GetRetentionTime()},
	}
}

// ManagerTask is the job's manager task as a task of the job.
func ManagerTask(j *apiv1.Job) *apiv1.Task {
	t := j.GetJobManagerTask()
	return &apiv1.Task{
		CommandLine: t.GetCommandLine(), ContainerSettings: t.GetContainerSettings(), ResourceFiles: t.GetResourceFiles(), OutputFiles: t.GetOutputFiles(),
		EnvironmentSettings: t.GetEnvironmentSettings(), UserIdentity: t.GetUserIdentity(), Constraints: t.GetConstraints(),
		RequiredSlots: t.RequiredSlots, ApplicationPackageReferences: t.GetApplicationPackageReferences(),
		AuthenticationTokenSettings: t.GetAuthenticationTokenSettings(),
	}
}
