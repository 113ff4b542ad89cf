package schedule

import (
	"context"
	"time"

	"github.com/batchyard/batchyard/coordinator/state"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// retract asks tasks back that sit on a busy node while another of the pool has room for them.
func (l *Loop) retract(ctx context.Context, key state.PoolKey, room state.PoolRoom, now time.Time) error {
	free := 0
	for _, n := range room.Nodes {
		free += max(0, int(n.Slots-n.Used))
		if n.Used > n.Slots {
			l.watched[key] = true
		}
	}
	if free == 0 || !l.watched[key] {
		return nil
	}
	for _, n := range room.Nodes {
		if free == 0 || !l.pace.stuck(n, now) {
			continue
		}
		tasks := l.State.Unstarted(n.UID, min(free, int(n.Used-n.Slots)))
		if len(tasks) == 0 {
			continue
		}
		free -= len(tasks)
		refs := make([]*agentv1.AttemptRef, len(tasks))
		for i, k := range tasks {
			refs[i] = k.Ref()
		}
		cmd := &raftlogv1.Command{Now: now.UnixNano(), Kind: &raftlogv1.Command_RetractTasks{
			RetractTasks: &raftlogv1.RetractTasks{Node: n.UID, Attempts: refs},
		}}
		if _, err := l.Proposer.Propose(ctx, cmd); err != nil {
			return err
		}
	}
	return nil
}
