package state

import (
	"bytes"

	"github.com/batchyard/batchyard/internal/batcherr"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

func (t *txn) putAccount(c *raftlogv1.PutAccount) Result {
	id := c.Record.Account.Id
	before, exists := t.accounts[id]
	switch {
	case c.Create && exists:
		return refused(batcherr.Of(batcherr.CodeAccountExists))
	case !c.Create && !exists:
		return refused(batcherr.Of(batcherr.CodeAccountNotFound))
	}
	if exists && !bytes.Equal(before.SealedStore, c.Record.SealedStore) {
		t.tellNodes(id)
	}
	t.accounts[id] = c.Record
	t.putProto(keyName(tableAccount, id), c.Record)
	return Result{}
}

// tellNodes makes the account's nodes look at what they know of their account.
func (t *txn) tellNodes(account string) {
	t.pools.AscendGreaterOrEqual(&pool{key: account + "\x00"}, func(p *pool) bool {
		if p.rec.Account != account {
			return false
		}
		p.nodes.Ascend(func(n *node) bool {
			t.events.node(p, n)
			return true
		})
		return true
	})
}

func (t *txn) deleteAccount(c *raftlogv1.DeleteAccount) Result {
	if _, exists := t.accounts[t.account]; !exists {
		return refused(batcherr.Of(batcherr.CodeAccountNotFound))
	}
	used := false
	t.pools.AscendGreaterOrEqual(&pool{key: t.account + "\x00"}, func(p *pool) bool {
		used = p.rec.Account == t.account
		return false
	})
	t.jobs.AscendGreaterOrEqual(&job{key: t.account + "\x00"}, func(j *job) bool {
		used = used || j.rec.Account == t.account
		return false
	})
	t.schedules.AscendGreaterOrEqual(&jobSchedule{key: t.account + "\x00"}, func(s *jobSchedule) bool {
		used = used || s.rec.Account == t.account
		return false
	})
	if used {
		return refused(batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState,
			"the account still has pools, jobs or job schedules: delete them first"))
	}
	delete(t.accounts, t.account)
	t.delete(keyName(tableAccount, t.account))
	for id, token := range t.tokens {
		if c.WithJoinTokens && token.Account == t.account {
			delete(t.tokens, id)
			t.delete(keyName(tableToken, id))
		}
	}
	t.deleteRange(append(keyName(tableApp, t.account), 0))
	return Result{}
}

func (t *txn) putMember(c *raftlogv1.PutMember) Result {
	t.members[c.Record.Member.Id] = c.Record
	t.putProto(keyName(tableMember, c.Record.Member.Id), c.Record)
	return Result{}
}

func (t *txn) deleteMember(c *raftlogv1.DeleteMember) Result {
	delete(t.members, c.Id)
	t.delete(keyName(tableMember, c.Id))
	return Result{}
}
