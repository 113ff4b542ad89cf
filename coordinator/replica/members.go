package replica

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// Member is a replica in the cluster's configuration.
type Member struct {
	ID     string
	Addr   string
	Voter  bool
	Leader bool
}

// Members returns the latest configuration that this replica knows.
func (r *Replica) Members() ([]Member, error) {
	future := r.raft.GetConfiguration()
	if err := future.Error(); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	leader, _, _ := r.Leader()
	var members []Member
	for _, s := range future.Configuration().Servers {
		members = append(members, Member{
			ID: string(s.ID), Addr: string(s.Address),
			Voter: s.Suffrage == raft.Voter, Leader: string(s.ID) == leader,
		})
	}
	return members, nil
}

func (r *Replica) voters() []string {
	var ids []string
	for _, s := range r.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage == raft.Voter {
			ids = append(ids, string(s.ID))
		}
	}
	return ids
}

// Bootstrap makes this replica a cluster of one. It is for the first replica of a new cluster only; on one that belongs to a
// cluster it returns ErrBootstrapped.
func (r *Replica) Bootstrap() error {
	self := raft.Server{ID: raft.ServerID(r.cfg.ID), Address: raft.ServerAddress(r.cfg.Advertise)}
	err := r.raft.BootstrapCluster(raft.Configuration{Servers: []raft.Server{self}}).Error()
	if errors.Is(err, raft.ErrCantBootstrap) {
		return ErrBootstrapped
	}
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	return r.electAlone()
}

// electAlone spares a cluster of one the wait for a leader that cannot exist: shortening the heartbeat timeout, by however
// little, makes the library look at it at once.
func (r *Replica) electAlone() error {
	if voters := r.voters(); len(voters) != 1 || voters[0] != r.cfg.ID {
		return nil
	}
	now := r.raft.ReloadableConfig()
	now.HeartbeatTimeout--
	if err := r.raft.ReloadConfig(now); err != nil {
		return fmt.Errorf("hasten election: %w", err)
	}
	return nil
}

// AddVoter adds a replica, or changes its address. The new one first receives the log without a vote, so that the cluster
// never waits for it, and votes once it has caught up; when ctx ends before that, calling again carries on. Leader only.
func (r *Replica) AddVoter(ctx context.Context, id, addr string) error {
	members, err := r.Members()
	if err != nil {
		return err
	}
	for _, m := range members {
		if m.ID == id && m.Addr == addr && m.Voter {
			return r.notLeader()
		}
		if m.ID != id && m.Addr == addr {
			return fmt.Errorf("add replica %s: %s has address %s already", id, m.ID, addr)
		}
	}
	r.acks.forget(id)
	err = r.await(ctx, func() raft.Future {
		return r.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(addr), 0, 0)
	})
	if err != nil {
		return fmt.Errorf("add replica %s: %w", id, err)
	}
	if err := r.awaitCaughtUp(ctx, id, r.raft.LastIndex()); err != nil {
		return fmt.Errorf("replica %s joins without a vote so far: %w", id, err)
	}
	err = r.await(ctx, func() raft.Future {
		return r.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(addr), 0, 0)
	})
	if err != nil {
		return fmt.Errorf("give replica %s a vote: %w", id, err)
	}
	return nil
}

// awaitCaughtUp waits until the replica holds the log up to index, which it gets only after all before it.
func (r *Replica) awaitCaughtUp(ctx context.Context, id string, index uint64) error {
	for {
		acked, led := r.acks.changed.next(), r.leaders.changed.next()
		if err := r.notLeader(); err != nil {
			return err
		}
		if r.acks.match(r.raft.CurrentTerm(), id) >= index {
			return nil
		}
		select {
		case <-acked:
		case <-led:
		case <-ctx.Done():
			return ctx.Err()
		case <-r.closing:
			return ErrClosed
		}
	}
}

// RemoveServer removes a replica from the cluster; one that is not in it is no error. A leader that removes itself stays
// leader until the removal is committed. Leader only.
func (r *Replica) RemoveServer(ctx context.Context, id string) error {
	err := r.await(ctx, func() raft.Future { return r.raft.RemoveServer(raft.ServerID(id), 0, 0) })
	if err != nil {
		return fmt.Errorf("remove replica %s: %w", id, err)
	}
	r.acks.forget(id)
	return nil
}

// await makes a request of the library, which may block, and waits for its future, in the terms of this package. After ctx
// the request lives on until the library answers it.
func (r *Replica) await(ctx context.Context, request func() raft.Future) error {
	done := make(chan error, 1)
	go func() { done <- request().Error() }()
	select {
	case err := <-done:
		if err != nil {
			return outcomeOfChange(err, r.notLeader)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, ctx.Err())
	case <-r.closing:
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, ErrClosed)
	}
}

// outcomeOfChange is outcomeError for changes of the configuration, which the library may also refuse.
func outcomeOfChange(err error, notLeader func() error) error {
	for _, unknown := range []error{raft.ErrNotLeader, raft.ErrLeadershipTransferInProgress, raft.ErrLeadershipLost, raft.ErrRaftShutdown} {
		if errors.Is(err, unknown) {
			return outcomeError(err, notLeader)
		}
	}
	return err
}
