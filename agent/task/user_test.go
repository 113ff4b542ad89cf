package task

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/batcherr"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func auto(scope apiv1.AutoUserScope, level apiv1.ElevationLevel) *apiv1.UserIdentity {
	return &apiv1.UserIdentity{AutoUser: &apiv1.AutoUserSpecification{Scope: scope, ElevationLevel: level}}
}

func TestWhomATaskRunsAs(t *testing.T) {
	const (
		taskScope, poolScope = apiv1.AutoUserScope_AUTO_USER_SCOPE_TASK, apiv1.AutoUserScope_AUTO_USER_SCOPE_POOL
		admin                = apiv1.ElevationLevel_ELEVATION_LEVEL_ADMIN
	)
	named := []*agentv1.NodeAccount{
		{Name: "Ann", Uid: proto.Uint32(4242), Gid: proto.Uint32(4243)}, {Name: "bob"}, {Name: "boss", Admin: true},
	}
	all := Users{Root: true, Auto: true, Admin: true}
	for _, c := range []struct {
		name   string
		users  Users
		wanted *apiv1.UserIdentity
		user   User
		fault  bool
	}{
		{"nothing said", all, nil, userOf(firstOwn + 7), false},
		{"scope task", all, auto(taskScope, 0), userOf(firstOwn + 7), false},
		{"scope pool", all, auto(poolScope, 0), userOf(poolUser), false},
		{"no scope", all, auto(0, 0), userOf(poolUser), false},
		{"admin", all, auto(taskScope, admin), User{Set: true}, false},
		{"admin is not allowed", Users{Root: true, Auto: true}, auto(poolScope, admin), User{}, true},
		{"admin where all tasks are root", Users{Root: true}, auto(poolScope, admin), User{Set: true}, false},
		{"admin without root", Users{Admin: true}, auto(poolScope, admin), User{}, true},
		{"as the agent", Users{Root: true}, auto(taskScope, 0), User{}, false},
		{"without root", Users{}, nil, User{}, false},
		{"account with numbers", Users{Root: true}, &apiv1.UserIdentity{Username: "ann"}, User{UID: 4242, GID: 4243, Set: true}, false},
		{"admin account", all, &apiv1.UserIdentity{Username: "boss"}, User{Set: true}, false},
		{"account without root", Users{}, &apiv1.UserIdentity{Username: "ann"}, User{}, true},
		{"no such account", all, &apiv1.UserIdentity{Username: "carol"}, User{}, true},
	} {
		user, err := c.users.choose(c.wanted, named, func() (uint32, error) { return firstOwn + 7, nil })
		if c.fault {
			require.True(t, batcherr.HasCode(err, batcherr.CodeTaskSchedulingConstraintFailed), "%s: %v", c.name, err)
			continue
		}
		require.NoError(t, err, c.name)
		require.Equal(t, c.user, user, c.name)
	}
	bob, err := all.choose(&apiv1.UserIdentity{Username: "BOB"}, named, nil)
	require.NoError(t, err)
	again, err := all.choose(&apiv1.UserIdentity{Username: "bob"}, named, nil)
	require.NoError(t, err)
	require.Equal(t, bob, again, "the same account on every node")
	require.GreaterOrEqual(t, bob.UID, uint32(firstAccount))
	require.Less(t, bob.UID, uint32(firstOwn))
}

func TestNumbersAreNobodysElse(t *testing.T) {
	dir, seen := t.TempDir(), map[uint32]bool{}
	for range 3 { // lives of the agent
		n := newNumbers(dir)
		for range numbersBlock + 10 {
			uid, err := n.take()
			require.NoError(t, err)
			require.False(t, seen[uid])
			require.GreaterOrEqual(t, uid, uint32(firstOwn))
			seen[uid] = true
		}
	}
	_, err := newNumbers("/no/such/directory").take()
	require.Error(t, err)
}
