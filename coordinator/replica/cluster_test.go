package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func others(peers []*peer, not *peer) (rest []*peer) {
	for _, p := range peers {
		if p != not {
			rest = append(rest, p)
		}
	}
	return rest
}

// crash stops a peer without any farewell to the others.
func (p *peer) crash() {
	p.t.Helper()
	require.NoError(p.t, p.raft.Shutdown().Error())
	p.shut()
}

func TestThreeReplicasSurviveALeaderCrash(t *testing.T) {
	peers := cluster(t, 3)
	want := peers[0].proposeMany("first", 100)
	peers[0].crash()
	leader := awaitLeader(t, peers[1:]...)
	want = append(want, leader.proposeMany("second", 100)...)
	peers[0].restart()
	awaitEqual(t, peers, want)
	_, err := others(peers, leader)[0].Propose(t.Context(), []byte("x"))
	var detail *NotLeaderError
	require.ErrorAs(t, err, &detail)
	require.Equal(t, leader.cfg.ID, detail.LeaderID)
	require.Equal(t, leader.cfg.Advertise, detail.LeaderAddr)
}

func TestCloseHandsLeadershipOver(t *testing.T) {
	peers := cluster(t, 3, func(c *Config) {
		c.Timeouts.Heartbeat, c.Timeouts.Election, c.Timeouts.Lease = 20*time.Second, 20*time.Second, 10*time.Second
	})
	began := time.Now()
	peers[0].shut()
	awaitLeader(t, peers[1:]...)
	require.Less(t, time.Since(began), 10*time.Second, "it took an election timeout")
}

func TestFollowerRestartCatchesUpFromTheLog(t *testing.T) {
	peers := cluster(t, 3)
	want := peers[0].proposeMany("first", 50)
	awaitEqual(t, peers, want)
	peers[2].crash()
	want = append(want, peers[0].proposeMany("second", 50)...)
	peers[2].restart()
	awaitEqual(t, peers, want)
	_, restores := peers[2].journal.counts()
	require.Zero(t, restores)
}

// forgetfulStore really lacks what was truncated. raft-wal still returns it until a whole segment can go, and followers
// catch up from there.
type forgetfulStore struct{ store }

func (s forgetfulStore) GetLog(index uint64, entry *raft.Log) error {
	if first, err := s.FirstIndex(); err != nil || index < first {
		return errors.Join(raft.ErrLogNotFound, err)
	}
	return s.store.GetLog(index, entry)
}

func TestLaggingFollowerGetsASnapshot(t *testing.T) {
	peers := cluster(t, 3, func(c *Config) {
		c.Snapshots.Trailing = 5
		c.wrapStore = func(s store) store { return forgetfulStore{s} }
	})
	peers[2].crash()
	var want []string
	for i := range 5 {
		want = append(want, peers[0].proposeMany(fmt.Sprint(i), 50)...)
	}
	for i := range 20 {
		peers[0].propose(fmt.Sprint("alone-", i))
	}
	require.NoError(t, peers[0].Snapshot())
	first, err := peers[0].store.FirstIndex()
	require.NoError(t, err)
	require.Greater(t, first, uint64(10), "the log was not cut")
	peers[2].restart()
	awaitEqual(t, peers, want)
	_, restores := peers[2].journal.counts()
	require.Equal(t, 1, restores)
	want = append(want, peers[0].proposeMany("later", 20)...)
	awaitEqual(t, peers, want)
	peers[2].crash()
	peers[2].restart()
	awaitEqual(t, peers, want)
	_, restores = peers[2].journal.counts()
	require.Zero(t, restores, "the state was newer than the snapshot")
}

func TestMembership(t *testing.T) {
	peers := cluster(t, 3)
	leader := peers[0]
	members, err := leader.Members()
	require.NoError(t, err)
	require.Len(t, members, 3)
	for i, m := range members {
		require.Equal(t, Member{ID: peers[i].cfg.ID, Addr: peers[i].cfg.Advertise, Voter: true, Leader: i == 0}, m)
	}
	require.NoError(t, leader.AddVoter(t.Context(), "b", peers[1].cfg.Advertise), "again")
	require.ErrorContains(t, leader.AddVoter(t.Context(), "d", peers[1].cfg.Advertise), "address")
	require.ErrorIs(t, peers[1].RemoveServer(t.Context(), "c"), ErrNotLeader)

	require.NoError(t, leader.RemoveServer(t.Context(), "c"))
	members, err = leader.Members()
	require.NoError(t, err)
	require.Len(t, members, 2)
	want := leader.proposeMany("two", 10)
	awaitEqual(t, peers[:2], want)

	d := newPeer(t, "d")
	join(t, leader, d)
	want = append(want, leader.proposeMany("three", 10)...)
	awaitEqual(t, []*peer{peers[0], peers[1], d}, want)

	require.NoError(t, leader.RemoveServer(t.Context(), "a"), "the leader itself")
	next := awaitLeader(t, peers[1], d)
	next.proposeMany("without a", 5)
	require.False(t, leader.IsLeader())
}

func TestJoinerThatCannotBeReachedNeverVotes(t *testing.T) {
	p := alone(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := p.AddVoter(ctx, "b", "127.0.0.1:1")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	p.propose("still works")
	require.NoError(t, p.Barrier(t.Context()))
	members, err := p.Members()
	require.NoError(t, err)
	require.Len(t, members, 2)
	require.False(t, members[1].Voter)
}

func TestTransferLeadership(t *testing.T) {
	peers := cluster(t, 3)
	changed := peers[0].LeaderChanged()
	require.NoError(t, peers[0].TransferLeadership(t.Context()))
	<-changed
	next := awaitLeader(t, peers[1:]...)
	next.propose("x")
	require.ErrorIs(t, peers[0].TransferLeadership(t.Context()), ErrNotLeader)
}

func TestIsolatedLeaderAnswersNeitherReadsNorWrites(t *testing.T) {
	cables := map[string]*cable{}
	peers := cluster(t, 3, func(c *Config) {
		cables[c.ID] = newCable()
		cables[c.ID].install(c)
	})
	old := peers[0]
	old.propose("before")
	require.NoError(t, old.Barrier(t.Context()))
	last := old.Status().LastIndex
	require.NoError(t, old.Barrier(t.Context()))
	require.Equal(t, last, old.Status().LastIndex, "barriers must not grow the log")

	cables["a"].pull()
	var wg sync.WaitGroup
	var barrier, propose error
	wg.Go(func() { barrier = old.Barrier(t.Context()) })
	wg.Go(func() { _, propose = old.Propose(t.Context(), []byte("lost")) })
	wg.Wait()
	require.ErrorIs(t, barrier, ErrNotLeader)
	require.True(t, errors.Is(propose, ErrUnknownOutcome) || errors.Is(propose, ErrNotLeader), "%v", propose)

	next := awaitLeader(t, peers[1:]...)
	want := next.proposeMany("after", 10)
	require.NoError(t, next.Barrier(t.Context()))
	requireContains(t, next.journal.all(), want)
	cables["a"].plug()
	awaitEqual(t, peers, append(want, "before"))
	require.NotContains(t, old.journal.all(), "lost")
}

func TestBarriersShareRounds(t *testing.T) {
	var rounds int
	release := make(chan struct{})
	q := startReadRounds(func(context.Context) error {
		rounds++
		<-release
		return nil
	})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if err := q.wait(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	// The first to come is served alone or with some others; all who wait by the end of its round share the next.
	require.Eventually(t, func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return len(q.waiting) > 0 && len(q.wake) > 0
	}, time.Minute, time.Millisecond)
	close(release)
	wg.Wait()
	q.close()
	require.Less(t, rounds, 50)
}

func TestCloseLeavesNothingRunning(t *testing.T) {
	before := goleak.IgnoreCurrent()
	peers := cluster(t, 3)
	peers[0].proposeMany("x", 20)
	for _, p := range peers {
		p.shut()
	}
	goleak.VerifyNone(t, before)
}
