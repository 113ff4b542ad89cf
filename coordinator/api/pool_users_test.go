package api

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func TestCheckAccounts(t *testing.T) {
	ids := func(uid, gid *int32) []*apiv1.UserAccount {
		return []*apiv1.UserAccount{{Name: "ann", LinuxUserConfiguration: &apiv1.LinuxUserConfiguration{Uid: uid, Gid: gid}}}
	}
	var many []*apiv1.UserAccount
	for i := range maxAccounts + 1 {
		many = append(many, &apiv1.UserAccount{Name: fmt.Sprint(i)})
	}
	for _, c := range []struct {
		name     string
		accounts []*apiv1.UserAccount
		fine     bool
	}{
		{"none", nil, true},
		{"as many as there may be", many[:maxAccounts], true},
		{"too many", many, false},
		{"numbers", ids(proto.Int32(1000), proto.Int32(lifecycle.FirstTaskUser-1)), true},
		{"one number", ids(proto.Int32(1000), nil), false},
		{"root", ids(proto.Int32(0), proto.Int32(0)), false},
		{"a group of the system", ids(proto.Int32(1000), proto.Int32(4)), false},
		{"the user of a task", ids(proto.Int32(lifecycle.FirstTaskUser), proto.Int32(1000)), false},
		{"no name", []*apiv1.UserAccount{{Name: " "}}, false},
		{"a name of 20 characters", []*apiv1.UserAccount{{Name: "äöüäöüäöüäöüäöüäöüäö"}}, true},
		{"a name of 21 characters", []*apiv1.UserAccount{{Name: "123456789012345678901"}}, false},
		{"twice the same", []*apiv1.UserAccount{{Name: "Ann"}, {Name: "aNN"}}, false},
	} {
		err := checkAccounts("userAccounts", c.accounts)
		require.Equal(t, c.fine, err == nil, "%s: %v", c.name, err)
	}
}

func TestSecretsOfAccountsAreNotKept(t *testing.T) {
	a := &apiv1.UserAccount{Name: "ann", Password: "one", LinuxUserConfiguration: &apiv1.LinuxUserConfiguration{SshPrivateKey: "two"}}
	require.NoError(t, checkAccounts("userAccounts", []*apiv1.UserAccount{a}))
	require.Empty(t, a.Password)
	require.Empty(t, a.LinuxUserConfiguration.SshPrivateKey)
}
