package schedule

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/batchyard/batchyard/coordinator/state"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// Proposer puts a command into the log and waits until it is applied.
type Proposer interface {
	Propose(ctx context.Context, cmd *raftlogv1.Command) (state.Result, error)
}

// Loop is the goroutine on the leader that owns placement. It holds no queue of its own: it derives every plan from the state, and events only say which
// pools to look at.
type Loop struct {
	State    *state.Store
	Proposer Proposer
	// Connected says whether a node has a session; others are given nothing.
	Connected func(node uint64) bool
	Now       func() time.Time
	Logger    *slog.Logger

	pace  *pace
	turn  int
	dirty map[state.PoolKey]bool
	// Pools with nodes that sit on tasks ahead of their slots.
	watched map[state.PoolKey]bool
	// When what runs in a pool was last looked at for what gives way.
	preempted map[state.PoolKey]time.Time
}

// Run places tasks until ctx ends. An error is one of the proposer and ends the term.
func (l *Loop) Run(ctx context.Context) error {
	w := l.State.Watch()
	defer w.Close()
	l.pace, l.dirty, l.watched, l.preempted = newPace(), map[state.PoolKey]bool{}, map[state.PoolKey]bool{}, map[state.PoolKey]time.Time{}
	l.markAll()
	tick := time.NewTicker(stuckAfter)
	defer tick.Stop()
	for {
		if err := l.pass(ctx); err != nil {
			return err
		}
		if len(l.dirty) > 0 {
			l.mark(w.Take())
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.C():
			l.mark(w.Take())
		case <-tick.C:
			for key := range l.watched {
				l.dirty[key] = true
			}
		}
	}
}

func (l *Loop) markAll() {
	for _, key := range l.State.PoolKeys() {
		l.dirty[key] = true
	}
}

func (l *Loop) mark(c *state.Changes) {
	if c.Reset {
		l.markAll()
	}
	for key := range c.Rooms {
		l.dirty[key] = true
	}
}

// pass plans all dirty pools and proposes the plans as one command.
func (l *Loop) pass(ctx context.Context) error {
	now := l.Now()
	l.turn++
	var cmd raftlogv1.AssignTasks
	var several raftlogv1.AssignInstances
	again := map[state.PoolKey]bool{}
	for key := range l.dirty {
		room, ok := l.State.Room(key, maxTasksPerPass)
		delete(l.watched, key)
		if !ok || len(room.Nodes) == 0 && len(room.Jobs) == 0 {
			continue
		}
		room.Nodes = slices.DeleteFunc(room.Nodes, func(n state.NodeRoom) bool { return !l.Connected(n.UID) })
		p := place(room, l.pace.observe(room.Nodes, now), l.turn)
		plans, instances := p.result(), p.several
		several.Tasks = append(several.Tasks, instances...)
		placed := 0
		for _, plan := range instances {
			placed += len(plan.Nodes)
		}
		for _, plan := range plans {
			placed += len(plan.Tasks)
			l.pace.gave(plan.Node, len(plan.Tasks))
		}
		cmd.Nodes = append(cmd.Nodes, plans...)
		if placed >= maxTasksPerPass {
			again[key] = true
		}
		if err := l.retract(ctx, key, room, now); err != nil {
			return err
		}
		if err := l.preempt(ctx, room, p, now); err != nil {
			return err
		}
	}
	l.dirty = again
	if len(several.Tasks) > 0 {
		_, err := l.Proposer.Propose(ctx, &raftlogv1.Command{Now: now.UnixNano(), Kind: &raftlogv1.Command_AssignInstances{AssignInstances: &several}})
		if err != nil {
			return err
		}
	}
	if len(cmd.Nodes) == 0 {
		return nil
	}
	_, err := l.Proposer.Propose(ctx, &raftlogv1.Command{Now: now.UnixNano(), Kind: &raftlogv1.Command_AssignTasks{AssignTasks: &cmd}})
	return err
}
