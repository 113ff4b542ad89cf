package lifecycle

import (
	"time"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Limits and defaults of Azure Batch.
const (
	MaxDisplayName      = 1024
	MaxTasksPerAdd      = 10_000
	MaxDependencyIDs    = 64_000 // characters of all task ids together
	MaxSlotsPerNode     = 256
	MaxInstances        = 1000 // of a multi-instance task; Azure Batch has no pools with more nodes for them
	MaxNodesPerRemoval  = 100
	MaxPoolPackages     = 10
	MinPriority         = -1000
	MaxPriority         = 1000
	MaxPoolNodes        = 100_000 // of one kind; Azure Batch leaves it open
	MinResizeTimeout    = 5 * time.Minute
	DefaultResizeTime   = 15 * time.Minute
	DefaultRetention    = 7 * 24 * time.Hour
	MaxReleaseWallClock = 15 * time.Minute
	MaxTaskLife         = 180 * 24 * time.Hour

	MinAutoScaleInterval     = 5 * time.Minute
	MaxAutoScaleInterval     = 168 * time.Hour
	DefaultAutoScaleInterval = 15 * time.Minute
	MinEnableAutoScaleGap    = 30 * time.Second
)

// FillPool writes the defaults into a pool that is to be created.
func FillPool(p *apiv1.Pool) {
	if p.ResizeTimeout == nil && !p.GetEnableAutoScale() {
		p.ResizeTimeout = durationpb.New(DefaultResizeTime)
	}
	setDefault(&p.TargetDedicatedNodes, 0)
	setDefault(&p.TargetLowPriorityNodes, 0)
	setDefault(&p.EnableAutoScale, false)
	if p.GetEnableAutoScale() && p.AutoScaleEvaluationInterval == nil {
		p.AutoScaleEvaluationInterval = durationpb.New(DefaultAutoScaleInterval)
	}
	setDefault(&p.EnableInterNodeCommunication, false)
	setDefault(&p.TaskSlotsPerNode, 1)
	FillStartTask(p.StartTask)
	if p.TaskSchedulingPolicy == nil {
		p.TaskSchedulingPolicy = &apiv1.TaskSchedulingPolicy{}
	}
	if p.TaskSchedulingPolicy.NodeFillType == apiv1.NodeFillType_NODE_FILL_TYPE_UNSPECIFIED {
		p.TaskSchedulingPolicy.NodeFillType = apiv1.NodeFillType_NODE_FILL_TYPE_SPREAD
	}
	if ref := p.GetVirtualMachineConfiguration().GetImageReference(); ref != nil && ref.Version == "" && ref.VirtualMachineImageId == "" {
		ref.Version = "latest"
	}
}

// FillJob writes the defaults into a job that is to be created.
func FillJob(j *apiv1.Job) {
	setDefault(&j.Priority, 0)
	setDefault(&j.MaxParallelTasks, -1)
	setDefault(&j.AllowTaskPreemption, false)
	setDefault(&j.UsesTaskDependencies, false)
	FillPoolInfo(j.PoolInfo)
	j.Constraints = JobConstraints(j.Constraints)
	fillJobTasks(j)
	if j.OnAllTasksComplete == apiv1.AllTasksCompleteMode_ALL_TASKS_COMPLETE_MODE_UNSPECIFIED {
		j.OnAllTasksComplete = apiv1.AllTasksCompleteMode_ALL_TASKS_COMPLETE_MODE_NO_ACTION
	}
	if j.OnTaskFailure == apiv1.TaskFailureMode_TASK_FAILURE_MODE_UNSPECIFIED {
		j.OnTaskFailure = apiv1.TaskFailureMode_TASK_FAILURE_MODE_NO_ACTION
	}
}

// JobConstraints fills in a job's constraints; no wall-clock limit stays absent.
func JobConstraints(c *apiv1.JobConstraints) *apiv1.JobConstraints {
	if c == nil {
		c = &apiv1.JobConstraints{}
	}
	setDefault(&c.MaxTaskRetryCount, 0)
	return c
}

// FillTask writes the defaults into a task that is to be added to the job.
func FillTask(t *apiv1.Task, job *apiv1.Job) {
	t.Constraints = TaskConstraints(t.Constraints, job)
	setDefault(&t.RequiredSlots, 1)
	if t.MultiInstanceSettings != nil {
		setDefault(&t.MultiInstanceSettings.NumberOfInstances, 1)
	}
	t.UserIdentity = filledUser(t.UserIdentity, apiv1.AutoUserScope_AUTO_USER_SCOPE_TASK)
}

// FirstTaskUser is the first of the numbers that nodes give to users of tasks. No system hands them out.
const FirstTaskUser = 1_900_000_000

// filledUser is the user of a task with defaults filled in: of this scope where none is asked for, as for a user without a scope it is the pool's.
func filledUser(id *apiv1.UserIdentity, scope apiv1.AutoUserScope) *apiv1.UserIdentity {
	if id == nil {
		id = &apiv1.UserIdentity{AutoUser: &apiv1.AutoUserSpecification{Scope: scope}}
	}
	if u := id.AutoUser; u != nil {
		if u.Scope == apiv1.AutoUserScope_AUTO_USER_SCOPE_UNSPECIFIED {
			u.Scope = apiv1.AutoUserScope_AUTO_USER_SCOPE_POOL
		}
		if u.ElevationLevel == apiv1.ElevationLevel_ELEVATION_LEVEL_UNSPECIFIED {
			u.ElevationLevel = apiv1.ElevationLevel_ELEVATION_LEVEL_NON_ADMIN
		}
	}
	return id
}

// TaskConstraints fills in a task's constraints from its job; no wall-clock limit stays absent.
func TaskConstraints(c *apiv1.TaskConstraints, job *apiv1.Job) *apiv1.TaskConstraints {
	if c == nil {
		c = &apiv1.TaskConstraints{}
	}
	if c.RetentionTime == nil {
		c.RetentionTime = durationpb.New(DefaultRetention)
	}
	setDefault(&c.MaxTaskRetryCount, job.GetConstraints().GetMaxTaskRetryCount())
	return c
}

func setDefault[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}
