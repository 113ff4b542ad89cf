package api

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func refusedAt(t *testing.T, err error, code, property string) {
	t.Helper()
	known := batcherr.From(err)
	require.NotNil(t, known)
	require.Equal(t, code, known.Code, "%v", err)
	require.Contains(t, known.Values, batcherr.Value{Key: batcherr.ValuePropertyName, Value: property})
}

func TestContainerSettings(t *testing.T) {
	good := &apiv1.TaskContainerSettings{
		ImageName: "r.example:5000/team/box:1@sha256:00", ContainerRunOptions: "--rm", Registry: &apiv1.ContainerRegistryReference{Username: "ann", Password: "p"},
		ContainerHostBatchBindMounts: []*apiv1.ContainerHostBatchBindMountEntry{{Source: apiv1.ContainerHostDataPath_CONTAINER_HOST_DATA_PATH_TASK}},
	}
	require.NoError(t, checkContainer("c", good))
	require.NoError(t, checkContainer("c", nil))
	for property, c := range map[string]struct {
		settings *apiv1.TaskContainerSettings
		code     string
	}{
		"c.imageName":                              {&apiv1.TaskContainerSettings{}, batcherr.CodeMissingRequiredProperty},
		"c.imageName ":                             {&apiv1.TaskContainerSettings{ImageName: "a box"}, batcherr.CodeInvalidPropertyValue},
		"c.imageName  ":                            {&apiv1.TaskContainerSettings{ImageName: strings.Repeat("a", 1025)}, batcherr.CodeInvalidPropertyValue},
		"c.registry.username":                      {&apiv1.TaskContainerSettings{ImageName: "box", Registry: &apiv1.ContainerRegistryReference{Password: "p"}}, batcherr.CodeMissingRequiredProperty},
		"c.registry.registryServer":                {&apiv1.TaskContainerSettings{ImageName: "box", Registry: &apiv1.ContainerRegistryReference{RegistryServer: "a@b"}}, batcherr.CodeInvalidPropertyValue},
		"c.containerHostBatchBindMounts[0].source": {&apiv1.TaskContainerSettings{ImageName: "box", ContainerHostBatchBindMounts: []*apiv1.ContainerHostBatchBindMountEntry{{}}}, batcherr.CodeMissingRequiredProperty},
	} {
		refusedAt(t, checkContainer("c", c.settings), c.code, strings.TrimSpace(property))
	}
}

func TestContainerConfiguration(t *testing.T) {
	docker := apiv1.ContainerType_CONTAINER_TYPE_DOCKER_COMPATIBLE
	require.NoError(t, checkContainers("c", nil))
	require.NoError(t, checkContainers("c", &apiv1.ContainerConfiguration{Type: docker}))
	refusedAt(t, checkContainers("c", &apiv1.ContainerConfiguration{Type: apiv1.ContainerType_CONTAINER_TYPE_CRI_COMPATIBLE}), batcherr.CodeInvalidPropertyValue, "c.type")
	refusedAt(t, checkContainers("c", &apiv1.ContainerConfiguration{Type: docker, ContainerImageNames: []string{"box", ""}}), batcherr.CodeMissingRequiredProperty, "c.containerImageNames[1]")
	refusedAt(t, checkContainers("c", &apiv1.ContainerConfiguration{Type: docker, ContainerRegistries: []*apiv1.ContainerRegistryReference{{Password: "x"}}}),
		batcherr.CodeMissingRequiredProperty, "c.containerRegistries[0].username")
}

func TestTasksGoWithTheirPool(t *testing.T) {
	for _, c := range []struct{ pool, task, ok bool }{{true, true, true}, {true, false, false}, {false, true, false}, {false, false, true}} {
		pool, task := &apiv1.Pool{}, &apiv1.Task{}
		if c.pool {
			pool.VirtualMachineConfiguration = &apiv1.VirtualMachineConfiguration{ContainerConfiguration: &apiv1.ContainerConfiguration{}}
		}
		if c.task {
			task.ContainerSettings = &apiv1.TaskContainerSettings{ImageName: "box"}
		}
		if err := checkContained("containerSettings", task, pool); c.ok {
			require.NoError(t, err)
		} else {
			refusedAt(t, err, batcherr.CodeInvalidPropertyValue, "containerSettings")
		}
		require.NoError(t, checkContained("containerSettings", task, nil), "there is no pool yet")
	}
}

// Only in a container may a command line be empty: it is then the image's own.
func TestEmptyCommandLines(t *testing.T) {
	require.NoError(t, checkCommandLine("commandLine", "", true))
	refusedAt(t, checkCommandLine("commandLine", "", false), batcherr.CodeMissingRequiredProperty, "commandLine")
	require.Error(t, checkCommandLine("commandLine", " ", true))
}

func TestInstancesDoNotRunInContainers(t *testing.T) {
	task := &apiv1.Task{
		MultiInstanceSettings: &apiv1.MultiInstanceSettings{CoordinationCommandLine: "c"}, ContainerSettings: &apiv1.TaskContainerSettings{ImageName: "box"},
	}
	refusedAt(t, checkInstances("multiInstanceSettings", task), batcherr.CodeUnsupportedProperty, "containerSettings")
}
