package state

import (
	"strings"

	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// affinityPrefix is what a node's affinity id has before the node's id.
const affinityPrefix = "TVM:"

// maxNodeID is longer than the id of any node.
const maxNodeID = 128

func affinityID(node string) string { return affinityPrefix + node }

// affinityOf is the node that tasks with the specification are best run on; empty where they name none, or what can't be a node.
func affinityOf(spec *apiv1.Task) string {
	id := spec.GetAffinityInfo().GetAffinityId()
	if len(id) <= len(affinityPrefix) || len(id) > len(affinityPrefix)+maxNodeID || !strings.EqualFold(id[:len(affinityPrefix)], affinityPrefix) {
		return ""
	}
	return lifecycle.IDKey(id[len(affinityPrefix):])
}
