package azure

import (
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"google.golang.org/protobuf/proto"
)

// messages are the messages that requests and answers are made of.
func messages() []proto.Message {
	return []proto.Message{
		&apiv1.Pool{}, &apiv1.PoolUpdateOptions{}, &apiv1.PoolReplaceOptions{}, &apiv1.PoolResizeOptions{},
		&apiv1.NodeRemoveOptions{}, &apiv1.PoolEnableAutoScaleOptions{}, &apiv1.PoolEvaluateAutoScaleOptions{},
		&apiv1.PoolNodeCounts{}, &apiv1.PoolUsageMetrics{}, &apiv1.SupportedImage{}, &apiv1.AutoScaleRun{},
		&apiv1.Job{}, &apiv1.JobUpdateOptions{}, &apiv1.JobDisableOptions{}, &apiv1.JobTerminateOptions{},
		&apiv1.JobPreparationAndReleaseTaskStatus{}, &apiv1.TaskCountsResult{},
		&apiv1.JobSchedule{}, &apiv1.JobScheduleUpdateOptions{},
		&apiv1.Task{}, &apiv1.Subtask{},
		&apiv1.Node{}, &apiv1.NodeDisableSchedulingOptions{}, &apiv1.NodeRebootOptions{}, &apiv1.NodeReimageOptions{},
		&apiv1.NodeDeallocateOptions{}, &apiv1.NodeUserCreateOptions{}, &apiv1.NodeUserUpdateOptions{},
		&apiv1.NodeRemoteLoginSettings{}, &apiv1.UploadBatchServiceLogsOptions{}, &apiv1.UploadBatchServiceLogsResult{},
		&apiv1.NodeVMExtension{}, &apiv1.NodeFile{}, &apiv1.Application{}, &apiv1.TaskAddResult{},
	}
}

// shapes are the request bodies whose properties differ from their message's.
type shapes struct {
	poolCreate      *shape
	jobCreate       *shape
	jobReplace      *shape
	poolReplace     *shape
	scheduleCreate  *shape
	scheduleReplace *shape
	taskCreate      *shape
	taskReplace     *shape
}

func newShapes(c *codec) *shapes {
	return &shapes{
		poolCreate: c.shapeWith(&apiv1.Pool{}, "id*", "displayName", "vmSize*", "virtualMachineConfiguration", "resizeTimeout",
			"targetDedicatedNodes", "targetLowPriorityNodes", "enableAutoScale", "autoScaleFormula", "autoScaleEvaluationInterval",
			"enableInterNodeCommunication", "networkConfiguration", "startTask", "applicationPackageReferences",
			"taskSlotsPerNode", "taskSchedulingPolicy", "userAccounts", "metadata", "mountConfiguration", "upgradePolicy"),
		// The contract requires both lists, but to refuse their absence would help nobody: they are removed.
		poolReplace: c.shapeWith(&apiv1.PoolReplaceOptions{}, "startTask", "applicationPackageReferences", "metadata"),
		jobCreate: c.shapeWith(&apiv1.Job{}, "id*", "displayName", "usesTaskDependencies", "priority", "allowTaskPreemption",
			"maxParallelTasks", "constraints", "jobManagerTask", "jobPreparationTask", "jobReleaseTask",
			"commonEnvironmentSettings", "poolInfo*", "onAllTasksComplete", "onTaskFailure", "networkConfiguration", "metadata"),
		jobReplace: c.shapeWith(&apiv1.Job{}, "priority", "allowTaskPreemption", "maxParallelTasks", "constraints", "poolInfo*",
			"onAllTasksComplete", "metadata"),
		scheduleCreate:  c.shapeWith(&apiv1.JobSchedule{}, "id*", "displayName", "schedule*", "jobSpecification*", "metadata"),
		scheduleReplace: c.shapeWith(&apiv1.JobSchedule{}, "schedule", "jobSpecification*", "metadata"),
		taskCreate: c.shapeWith(&apiv1.Task{}, "id*", "displayName", "exitConditions", "commandLine*", "containerSettings",
			"resourceFiles", "outputFiles", "environmentSettings", "affinityInfo", "constraints", "requiredSlots",
			"userIdentity", "multiInstanceSettings", "dependsOn", "applicationPackageReferences",
			"authenticationTokenSettings"),
		taskReplace: c.shapeWith(&apiv1.Task{}, "constraints"),
	}
}
