package dispatch

import (
	"strings"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/mounts"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// mounts are those of the node's pool, where the node is to have any.
func (s *session) mounts() []*apiv1.MountConfiguration {
	if s.node.Mounts == nil {
		return nil
	}
	pool, _ := s.server.cfg.State.Pool(s.node.Account, s.node.PoolId)
	return pool.GetPool().GetMountConfiguration()
}

// mounted records how the node's mounts fare, unless that is known.
func (s *session) mounted(m *agentv1.MountReport) error {
	errs := mountErrors(m)
	n, ok := s.server.cfg.State.NodeByUID(s.node.Uid)
	if !ok {
		return errIncarnated
	}
	if len(errs) == 0 && n.Mounts.GetPhase() == raftlogv1.MountPhase_MOUNT_PHASE_DONE {
		return nil
	}
	_, err := s.server.cfg.Proposer.Propose(s.ctx, &raftlogv1.Command{
		Now: s.server.cfg.Now().UnixNano(), Account: s.node.Account,
		Kind: &raftlogv1.Command_NodeMounted{NodeMounted: &raftlogv1.NodeMounted{
			PoolId: s.node.PoolId, NodeId: s.node.Node.Id, Incarnation: s.node.Incarnation, BootId: s.node.BootId, Errors: errs,
		}},
	})
	return err
}

// maxMountMessage bounds what is kept of what an agent says.
const maxMountMessage = 2000

func mountErrors(m *agentv1.MountReport) (out []*apiv1.NodeError) {
	for i, f := range m.GetFailures() {
		if i == mounts.MaxPerNode {
			break
		}
		message := f.Message
		if len(message) > maxMountMessage {
			message = strings.ToValidUTF8(message[:maxMountMessage], "")
		}
		out = append(out, &apiv1.NodeError{
			Code: batcherr.CodeMountConfigurationError, Message: message,
			ErrorDetails: []*apiv1.NameValuePair{{Name: "RelativeMountPath", Value: f.Path}},
		})
	}
	return out
}
