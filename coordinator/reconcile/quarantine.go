package reconcile

import (
	"context"
	"fmt"
	"time"

	"github.com/batchyard/batchyard/coordinator/state"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// NodeLogs saves what a node has of logs, with the ends of the outputs in directories of it, in its account's storage.
type NodeLogs interface {
	Save(ctx context.Context, node *raftlogv1.NodeRecord) (url string, files int32, err error)
}

const (
	quarantineEvery = 500 * time.Millisecond
	// A node's logs are asked for until it has answered, but not for longer than logsPatience, and one request takes logsTime at most.
	logsPatience = 10 * time.Minute
	logsTime     = time.Minute
	logsEvery    = 2 * time.Second
)

// quarantine takes nodes out of service that break what they are given.
func (l *Loops) quarantine(ctx context.Context) error {
	if l.Quarantine.Failures == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	return every(ctx, quarantineEvery, nil, func() error {
		for _, pool := range l.State.FailingPools() {
			for _, s := range l.Quarantine.judge(pool.Nodes, l.Now()) {
				if err := l.isolate(ctx, pool.Key, s); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (l *Loops) isolate(ctx context.Context, key state.PoolKey, s suspect) error {
	var directories []string
	for _, key := range s.tasks {
		if directory := l.State.TaskDirectory(key); directory != "" {
			directories = append(directories, directory)
		}
	}
	result, err := l.Proposer.Propose(ctx, &raftlogv1.Command{
		Now: l.Now().UnixNano(), Account: key.Account,
		Kind: &raftlogv1.Command_QuarantineNode{QuarantineNode: &raftlogv1.QuarantineNode{
			PoolId: key.ID, NodeId: s.node.ID, Incarnation: s.node.Incarnation,
			Quarantine: &raftlogv1.Quarantine{Reason: s.reason(), Attempts: s.attempts, Jobs: s.jobs, Directories: directories},
		}},
	})
	if err == nil && result.Err == nil {
		l.Logger.Warn("a node is taken out of service", "account", key.Account, "pool", key.ID, "node", s.node.ID, "why", s.reason())
	}
	return err
}

// saveLogs saves the logs of nodes in quarantine, one node after the other.
func (l *Loops) saveLogs(ctx context.Context) error {
	return every(ctx, logsEvery, nil, func() error {
		for _, rec := range l.State.Quarantined() {
			if err := l.saveLog(ctx, rec); err != nil {
				return err
			}
		}
		return nil
	})
}

func (l *Loops) saveLog(ctx context.Context, rec *raftlogv1.NodeRecord) error {
	saving, cancel := context.WithTimeout(ctx, logsTime)
	defer cancel()
	url, files, err := l.Logs.Save(saving, rec)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	record := &raftlogv1.RecordNodeLogs{PoolId: rec.PoolId, NodeId: rec.Node.Id, Since: rec.Quarantine.Time, Url: url, Files: files}
	if err != nil {
		if l.Now().Sub(time.Unix(0, rec.Quarantine.Time)) < logsPatience {
			return nil
		}
		l.Logger.Warn("the logs of a node in quarantine can't be saved", "account", rec.Account, "pool", rec.PoolId, "node", rec.Node.Id, "err", err)
		record.Url, record.Error = "", fmt.Sprintf("The logs could not be saved: %v", err)
	}
	_, err = l.Proposer.Propose(ctx, &raftlogv1.Command{
		Now: l.Now().UnixNano(), Account: rec.Account, Kind: &raftlogv1.Command_RecordNodeLogs{RecordNodeLogs: record},
	})
	return err
}
