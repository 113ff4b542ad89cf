package dispatch

import (
	"github.com/batchyard/batchyard/coordinator/state"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// containersOf is what nodes need of a pool's container configuration; nil where it has none.
func containersOf(p *apiv1.Pool) *agentv1.ContainerSupport {
	c := p.GetVirtualMachineConfiguration().GetContainerConfiguration()
	if c == nil {
		return nil
	}
	return &agentv1.ContainerSupport{Registries: c.GetContainerRegistries()}
}

// images are those that the node is to bring.
func (s *session) images(task state.HeldTask) []string {
	if task.Spec != state.PrefetchSpec {
		return nil
	}
	pool, _ := s.server.cfg.State.Pool(s.node.Account, s.node.PoolId)
	return pool.GetPool().GetVirtualMachineConfiguration().GetContainerConfiguration().GetContainerImageNames()
}
