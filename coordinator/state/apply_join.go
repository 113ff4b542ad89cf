package state

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

func (t *txn) putJoinToken(c *raftlogv1.PutJoinToken) Result {
	t.tokens[c.Record.Id] = c.Record
	t.putProto(keyName(tableToken, c.Record.Id), c.Record)
	// The dead ones go when a new one comes, so that they do not pile up.
	for id, old := range t.tokens {
		if old.ExpiryTime < t.now-int64(24*time.Hour) || old.UsesLeft <= 0 {
			delete(t.tokens, id)
			t.delete(keyName(tableToken, id))
		}
	}
	return Result{}
}

func (t *txn) useJoinToken(c *raftlogv1.UseJoinToken) Result {
	token := t.tokens[c.Id]
	if token == nil || token.UsesLeft <= 0 || token.ExpiryTime <= t.now {
		return refused(batcherr.Unauthenticated("the join token is unknown, used up or expired"))
	}
	t.account = token.Account
	var n *node
	if token.Kind == apiv1.JoinTokenKind_JOIN_TOKEN_KIND_NODE {
		p, ok := t.pool(token.Account, token.PoolId)
		if !ok {
			return refused(batcherr.Of(batcherr.CodePoolNotFound))
		}
		id := token.NodeId
		if id == "" {
			id = c.NewNodeId
		}
		if n, ok = p.node(id); !ok {
			if token.NodeId != "" {
				return refused(batcherr.Of(batcherr.CodeNodeNotFound))
			}
			if p.rec.Pool.State == apiv1.PoolState_POOL_STATE_DELETING {
				return refused(batcherr.Of(batcherr.CodePoolBeingDeleted))
			}
			n = t.newNode(p, id, "", true)
		}
		if !n.rec.Leaving {
			t.editNode(p, n, func(rec *raftlogv1.NodeRecord) { t.setState(rec, apiv1.NodeState_NODE_STATE_STARTING) })
		}
	}
	used := proto.CloneOf(token)
	used.UsesLeft--
	t.tokens[c.Id] = used
	t.putProto(keyName(tableToken, c.Id), used)
	if n == nil {
		return Result{}
	}
	return Result{Node: n.rec}
}
