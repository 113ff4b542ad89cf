package coordinator

import (
	"context"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/batchyard/batchyard/internal/batcherr"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// nodeLogs has nodes upload their logs to their accounts' buckets.
type nodeLogs struct{ *Coordinator }

// nodeLogsPrefix is where in an account's bucket the logs of nodes in quarantine are.
const nodeLogsPrefix = "node-logs"

// Save implements reconcile.NodeLogs. Saved again, the logs of a quarantine are at the same place.
func (c nodeLogs) Save(ctx context.Context, node *raftlogv1.NodeRecord) (url string, files int32, err error) {
	access, err := c.api.Store(node.Account)
	if err != nil {
		return "", 0, err
	}
	if access == nil {
		return "", 0, batcherr.Unavailable("the account has no store")
	}
	container := "s3://" + access.Bucket
	at := strconv.FormatInt(node.Quarantine.Time, 36)
	prefix := strings.Join([]string{nodeLogsPrefix, strings.ToLower(node.PoolId), strings.ToLower(node.Node.Id), at}, "/")
	order := &agentv1.NodeOrder{Order: &agentv1.NodeOrder_UploadLogs{UploadLogs: &agentv1.UploadNodeLogs{
		ContainerUrl: container, Prefix: prefix, StartTime: &timestamppb.Timestamp{}, Store: access, Directories: node.Quarantine.Directories,
	}}}
	err = c.dispatch.Order(ctx, node.Uid, order, func(chunk *agentv1.TransferChunk) error {
		if n, ok := chunk.Content.(*agentv1.TransferChunk_Uploaded); ok {
			files = n.Uploaded
		}
		return nil
	})
	return container + "/" + prefix + "/", files, err
}
