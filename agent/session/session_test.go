package session

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/batchyard/batchyard/internal/batcherr"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

func TestRegistrationAndAssignments(t *testing.T) {
	c := startCoordinator(t)
	a := startAgent(t, func(k *Keeper) {
		k.Tasks.(*fakeTasks).held = []*agentv1.AttemptRef{{Job: 1, Task: 2, Attempt: 3}}
	}, c.address)
	s := get(t, c.sessions)
	require.Equal(t, "here", s.hello.GetFacts().GetHostname())
	require.Len(t, s.hello.GetHeld(), 1)
	s.assign(true, 7)
	require.Equal(t, uint64(7), get(t, s.in).GetAssignmentsTaken())
	s.assign(false, 8)
	require.Equal(t, uint64(8), get(t, s.in).GetAssignmentsTaken())
	s.assign(true, 9) // begins anew within the session
	require.Equal(t, uint64(9), get(t, s.in).GetAssignmentsTaken())
	a.tasks.mu.Lock()
	defer a.tasks.mu.Unlock()
	require.Len(t, a.tasks.assigned, 3)
	require.Equal(t, int32(4), a.tasks.slots)
}

func TestAGapBeginsANewSession(t *testing.T) {
	for name, spoil := range map[string]func(a *agent, s *fakeSession){
		"missing increment": func(_ *agent, s *fakeSession) { s.assign(true, 1); s.assign(false, 3) },
		"no complete set":   func(_ *agent, s *fakeSession) { s.assign(false, 1) },
		"repeated":          func(_ *agent, s *fakeSession) { s.assign(true, 1); s.assign(false, 1) },
		"unknown spec": func(a *agent, s *fakeSession) {
			a.tasks.mu.Lock()
			a.tasks.fail = errors.New("unknown spec")
			a.tasks.mu.Unlock()
			s.assign(true, 1)
		},
		"second welcome": func(_ *agent, s *fakeSession) {
			s.send(&agentv1.CoordinatorMessage{Message: &agentv1.CoordinatorMessage_Welcome{Welcome: &agentv1.Welcome{}}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := startCoordinator(t)
			a := startAgent(t, nil, c.address)
			first := get(t, c.sessions)
			spoil(a, first)
			get(t, first.over)
			s := get(t, c.sessions)
			s.assign(true, 1)
			require.Equal(t, uint64(1), get(t, s.in).GetAssignmentsTaken())
		})
	}
}

func TestLeaseCountsFromWhenTheHeartbeatWasSent(t *testing.T) {
	c := startCoordinator(t)
	before := time.Now()
	a := startAgent(t, nil, c.address)
	get(t, c.sessions)
	a.eventually(func() bool { _, renewals := a.tasks.lease(); return renewals >= 3 })
	until, _ := a.tasks.lease()
	require.True(t, until.After(before.Add(testLease)))
	require.False(t, until.After(time.Now().Add(testLease)))
}

func TestSilenceEndsTheSession(t *testing.T) {
	c := startCoordinator(t)
	c.mute = true
	a := startAgent(t, nil, c.address)
	s := get(t, c.sessions)
	get(t, s.beats)
	get(t, s.over)
	get(t, c.sessions)
	until, renewals := a.tasks.lease()
	require.LessOrEqual(t, renewals, 2, "each session renews once, with its hello")
	require.False(t, until.After(time.Now().Add(testLease)))
}

func TestReportsAreSentAgainUntilCommitted(t *testing.T) {
	c := startCoordinator(t)
	a := startAgent(t, nil, c.address)
	first := get(t, c.sessions)
	a.reports.put(1, 2)
	m := get(t, first.in).GetReports()
	require.Len(t, m.GetReports(), 2)
	require.Equal(t, uint64(1), m.GetBatch())
	first.committed(m.GetBatch())
	a.eventually(func() bool { a.reports.mu.Lock(); defer a.reports.mu.Unlock(); return len(a.reports.committed) == 1 })
	a.reports.put(3)
	require.Equal(t, uint64(2), get(t, first.in).GetReports().GetBatch())
	first.end <- status.Error(codes.Unavailable, "no longer the leader")

	second := get(t, c.sessions)
	again := get(t, second.in).GetReports()
	require.Equal(t, uint64(1), again.GetBatch(), "batches count anew in a session")
	require.Equal(t, uint64(3), again.GetReports()[0].GetRef().GetTask())
}

func TestReportsGatherWhileBatchesAreOnTheirWay(t *testing.T) {
	c := startCoordinator(t)
	a := startAgent(t, nil, c.address)
	s := get(t, c.sessions)
	for batch := range uint64(maxInFlight) {
		a.reports.put(batch)
		require.Equal(t, batch+1, get(t, s.in).GetReports().GetBatch())
	}
	a.reports.put(100)
	a.reports.put(101)
	get(t, s.beats) // time passes
	require.Empty(t, s.in)
	s.committed(1)
	require.Len(t, get(t, s.in).GetReports().GetReports(), 2)
}

func TestFiles(t *testing.T) {
	c := startCoordinator(t)
	a := startAgent(t, func(k *Keeper) { k.Tasks.(*fakeTasks).ended = make(chan struct{}) }, c.address)
	s := get(t, c.sessions)
	ask := func(req *agentv1.FileRequest) {
		s.send(&agentv1.CoordinatorMessage{Message: &agentv1.CoordinatorMessage_File{File: req}})
	}
	ask(&agentv1.FileRequest{Id: "follow", Name: "log", Follow: true, Attempt: &agentv1.AttemptRef{Job: 1}})
	ask(&agentv1.FileRequest{Id: "panic", Name: "panic"})
	ask(&agentv1.FileRequest{Id: "plain", Name: "file"})
	require.Equal(t, "plain", get(t, c.ended), "a follower holds up nobody")
	c.mu.Lock()
	require.Equal(t, "file", string(c.transfers["plain"][0].GetData()))
	require.Empty(t, c.transfers["follow"])
	c.mu.Unlock()
	close(a.tasks.ended)
	require.Equal(t, "follow", get(t, c.ended))
}

func TestTheLeaderIsFollowed(t *testing.T) {
	leader := startCoordinator(t)
	withInfo, err := status.New(codes.FailedPrecondition, "not the leader").
		WithDetails(&errdetails.ErrorInfo{Reason: "NotLeader", Metadata: map[string]string{"leader": leader.address}})
	require.NoError(t, err)
	for name, refusal := range map[string]error{
		"error value":     batcherr.Unavailable("not the leader").With("leader", leader.address),
		"users' value":    batcherr.Unavailable("not the leader").With("LeaderAddress", leader.address),
		"ErrorInfo":       withInfo.Err(),
		"without address": status.Error(codes.Unavailable, "not the leader"),
		"nonsense":        batcherr.Unavailable("not the leader").With("leader", "nowhere"),
	} {
		t.Run(name, func(t *testing.T) {
			follower := startCoordinator(t)
			follower.refuse(refusal)
			learned := make(chan []string, 10)
			startAgent(t, func(k *Keeper) { k.Learned = func(all []string) { learned <- all } }, follower.address, leader.address)
			get(t, leader.sessions)
			require.Equal(t, []string{follower.address, leader.address}, get(t, learned))
		})
	}
}

func TestALostCoordinatorIsReplaced(t *testing.T) {
	one, two := startCoordinator(t), startCoordinator(t)
	startAgent(t, nil, one.address, two.address)
	s := get(t, one.sessions)
	one.refuse(status.Error(codes.Unavailable, "ending"))
	s.end <- status.Error(codes.Unavailable, "ending")
	get(t, two.sessions)
}

func TestReconnect(t *testing.T) {
	c := startCoordinator(t)
	a := startAgent(t, nil, c.address)
	first := get(t, c.sessions)
	a.eventually(func() bool { return a.keeper.Conn() != nil })
	a.keeper.Reconnect()
	get(t, first.over)
	get(t, c.sessions)
}

func TestEndsThatAreFinal(t *testing.T) {
	c := startCoordinator(t)
	for want, configure := range map[error]func(k *Keeper){
		ErrRemoved: func(*Keeper) {
			c.refuse(batcherr.Of(batcherr.CodeNodeNotFound))
		},
		ErrOrphaned: func(k *Keeper) {
			c.refuse(status.Error(codes.Unavailable, "for ever"))
			k.Orphan = 50 * time.Millisecond
		},
	} {
		t.Run(want.Error(), func(t *testing.T) {
			k := &Keeper{}
			a := startAgent(t, func(made *Keeper) { configure(made); k = made }, c.address)
			require.Same(t, k, a.keeper)
			err := get(t, a.done)
			require.ErrorIs(t, err, want)
			a.done <- nil
		})
	}
	require.Error(t, (&Keeper{}).Run(context.Background(), nil), "without an address")
}
