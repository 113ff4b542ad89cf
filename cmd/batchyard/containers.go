package main

import (
	"github.com/spf13/pflag"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// containerFlags are about the container that a task runs in.
type containerFlags struct {
	image, options string
}

func (c *containerFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&c.image, "container", "", "run it in a container of this image, on a pool for containers")
	flags.StringVar(&c.options, "container-options", "", "options for the container, as docker create takes them")
}

// settings are those of the task; nil for one without a container.
func (c *containerFlags) settings() (*apiv1.TaskContainerSettings, error) {
	if c.image == "" {
		if c.options != "" {
			return nil, usagef("--container-options are for a container: give --container too")
		}
		return nil, nil
	}
	return &apiv1.TaskContainerSettings{ImageName: c.image, ContainerRunOptions: c.options}, nil
}

// forContainers makes a pool one whose tasks run in containers, with the images on every node beforehand.
func forContainers(pool *apiv1.Pool, images []string) {
	vm := pool.VirtualMachineConfiguration
	if vm == nil {
		// Nodes are what they are: the names say nothing.
		vm = &apiv1.VirtualMachineConfiguration{ImageReference: &apiv1.ImageReference{Publisher: "any", Offer: "any", Sku: "any"}, NodeAgentSkuId: "any"}
		pool.VirtualMachineConfiguration = vm
	}
	if vm.ContainerConfiguration == nil {
		vm.ContainerConfiguration = &apiv1.ContainerConfiguration{Type: apiv1.ContainerType_CONTAINER_TYPE_DOCKER_COMPATIBLE}
	}
	vm.ContainerConfiguration.ContainerImageNames = append(vm.ContainerConfiguration.ContainerImageNames, images...)
}
