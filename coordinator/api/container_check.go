package api

import (
	"strings"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

const (
	maxImages     = 1000
	maxRegistries = 100
)

// checkContainers says what is wrong with a pool's container configuration.
func checkContainers(at path, c *apiv1.ContainerConfiguration) error {
	if c == nil {
		return nil
	}
	if c.Type != apiv1.ContainerType_CONTAINER_TYPE_DOCKER_COMPATIBLE {
		return invalid(at.at("type"), "", "Nodes run containers by engines with Docker's interface: the type is dockerCompatible.")
	}
	if len(c.ContainerImageNames) > maxImages || len(c.ContainerRegistries) > maxRegistries {
		return invalid(at, "", "A pool has at most 1000 container images and 100 registries.")
	}
	for i, name := range c.ContainerImageNames {
		if err := checkImage(at.at("containerImageNames").index(i), name); err != nil {
			return err
		}
	}
	for i, r := range c.ContainerRegistries {
		if err := checkRegistry(at.at("containerRegistries").index(i), r); err != nil {
			return err
		}
	}
	return nil
}

// checkContainer says what is wrong with a task's container settings. The run options are the node's to judge: it depends on its agent what they may be.
func checkContainer(at path, c *apiv1.TaskContainerSettings) error {
	if c == nil {
		return nil
	}
	if err := checkImage(at.at("imageName"), c.ImageName); err != nil {
		return err
	}
	for i, m := range c.ContainerHostBatchBindMounts {
		if m.GetSource() == 0 {
			return batcherr.MissingProperty(string(at.at("containerHostBatchBindMounts").index(i).at("source")))
		}
	}
	return checkRegistry(at.at("registry"), c.Registry)
}

// checkImage leaves to the node what a name means.
func checkImage(at path, name string) error {
	if name == "" {
		return batcherr.MissingProperty(string(at))
	}
	if len(name) > 1024 || strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return invalid(at, name, "The name of an image has up to 1024 characters, none of which is blank.")
	}
	return nil
}

func checkRegistry(at path, r *apiv1.ContainerRegistryReference) error {
	if r == nil {
		return nil
	}
	if r.Password != "" && r.Username == "" {
		return batcherr.MissingProperty(string(at.at("username")))
	}
	if strings.ContainsFunc(r.RegistryServer, func(c rune) bool { return c <= ' ' || c > '~' || c == '@' }) {
		return invalid(at.at("registryServer"), "", "A registry's server is a host, with a port where it is not the usual one.")
	}
	return nil
}

// checkContained holds a task against its pool: in one with a container configuration all tasks have container settings, and in others none.
func checkContained(at path, t *apiv1.Task, pool *apiv1.Pool) error {
	if pool == nil {
		return nil
	}
	contains := pool.GetVirtualMachineConfiguration().GetContainerConfiguration() != nil
	switch {
	case contains && t.GetContainerSettings() == nil:
		return invalid(at, "", "The pool has a containerConfiguration: its tasks have containerSettings.")
	case !contains && t.GetContainerSettings() != nil:
		return invalid(at, "", "The pool has no containerConfiguration.")
	}
	return nil
}

// poolOf finds the pool that a job runs on; nil if there is none yet.
func (c *core) poolOf(g grant, job *apiv1.Job) *apiv1.Pool {
	id := job.GetPoolInfo().GetPoolId()
	if id == "" {
		id = job.GetExecutionInfo().GetPoolId()
	}
	pool, ok := c.State.Pool(g.Account, id)
	if !ok {
		return nil
	}
	return pool.GetPool()
}
