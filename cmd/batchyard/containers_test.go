package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func TestContainerFlags(t *testing.T) {
	l := newLab(t)
	l.ok("pool", "create", "boxes", "--container-image", "box:1", "--container-image", "box:2")
	configuration := last[*apiv1.CreatePoolRequest](l.farm).GetPool().GetVirtualMachineConfiguration().GetContainerConfiguration()
	equalProto(t, &apiv1.ContainerConfiguration{
		Type: apiv1.ContainerType_CONTAINER_TYPE_DOCKER_COMPATIBLE, ContainerImageNames: []string{"box:1", "box:2"},
	}, configuration)
	l.ok("pool", "create", "empty", "--containers")
	require.NotNil(t, last[*apiv1.CreatePoolRequest](l.farm).GetPool().GetVirtualMachineConfiguration().GetContainerConfiguration())

	l.ok("job", "create", "work", "--pool", "boxes")
	l.ok("task", "add", "work", "--id", "a", "--container", "box:1", "--container-options", "--env A=b", "--", "echo", "hello")
	task := last[*apiv1.AddTasksRequest](l.farm).GetTasks()[0]
	equalProto(t, &apiv1.TaskContainerSettings{ImageName: "box:1", ContainerRunOptions: "--env A=b"}, task.GetContainerSettings())
	require.Equal(t, "echo hello", task.GetCommandLine())
	l.ok("task", "add", "work", "--id", "b", "--container", "box:1")
	require.Empty(t, last[*apiv1.AddTasksRequest](l.farm).GetTasks()[0].GetCommandLine(), "the image's own")
	require.Contains(t, l.fails(batcherr.ExitInvalid, "task", "add", "work", "--id", "c", "--container-options", "--rm", "--", "true"), "--container too")
}
