package state

import (
	"github.com/batchyard/batchyard/internal/batcherr"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

func (t *txn) putAccount(c *raftlogv1.PutAccount) Result {
	id := c.Record.Account.Id
	_, exists := t.accounts[id]
	switch {
	case c.Create && exists:
		return refused(batcherr.Of(batcherr.CodeAccountExists))
	case !c.Create && !exists:
		return refused(batcherr.Of(batcherr.CodeAccountNotFound))
	}
	t.accounts[id] = c.Record
	t.putProto(keyName(tableAccount, id), c.Record)
	return Result{}
}

func (t *txn) deleteAccount() Result {
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
	if used {
		return refused(batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState, "the account still has pools or jobs: delete them first"))
	}
	delete(t.accounts, t.account)
	t.delete(keyName(tableAccount, t.account))
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

func (t *txn) putApplication(c *raftlogv1.PutApplication) Result {
	key := keyApp(t.account, c.Record.Application.Id)
	if c.Create && t.get(key) != nil {
		return refused(batcherr.Conflict(batcherr.CodeResourceAlreadyExists, "the account has an application %q", c.Record.Application.Id))
	}
	t.putProto(key, c.Record)
	return Result{}
}

func (t *txn) deleteApplication(c *raftlogv1.DeleteApplication) Result {
	key := keyApp(t.account, c.ApplicationId)
	if t.get(key) == nil {
		return refused(batcherr.Of(batcherr.CodeApplicationNotFound))
	}
	t.delete(key)
	return Result{}
}
