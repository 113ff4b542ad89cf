package state

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

func change(to any) *raftlogv1.ChangeApplication {
	c := &raftlogv1.ChangeApplication{ApplicationId: "APP"}
	switch to := to.(type) {
	case *apiv1.UpdateApplicationRequest:
		c.Change = &raftlogv1.ChangeApplication_Properties{Properties: to}
	case *raftlogv1.ActivatePackage:
		c.Change = &raftlogv1.ChangeApplication_ActivatePackage{ActivatePackage: to}
	case *raftlogv1.AddPackage:
		c.Change = &raftlogv1.ChangeApplication_AddPackage{AddPackage: to}
	case string:
		c.Change = &raftlogv1.ChangeApplication_DeleteVersion{DeleteVersion: to}
	}
	return c
}

func upload(version, key string) *raftlogv1.AddPackage {
	return &raftlogv1.AddPackage{AtMost: 3, Package: &apiv1.ApplicationPackage{
		ApplicationId: "app", Version: version, StorageKey: key, State: apiv1.PackageState_PACKAGE_STATE_PENDING,
	}}
}

func activate(version, key string) *raftlogv1.ActivatePackage {
	return &raftlogv1.ActivatePackage{Version: version, StorageKey: key, Sha256: "sum", Size: 7}
}

// versions writes what an application has: +, if it is active, a version, * for the default one.
func (f *farm) versions() string {
	rec, err := f.s.Application("acct", "app")
	require.NoError(f.t, err)
	var out []string
	for _, p := range rec.GetApplication().GetPackages() {
		text := p.Version
		if p.State == apiv1.PackageState_PACKAGE_STATE_ACTIVE {
			text = "+" + text
		}
		if strings.EqualFold(p.Version, rec.Application.DefaultVersion) {
			text += "*"
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

func TestChangesOfAnApplication(t *testing.T) {
	f := newFarm(t)
	updates := func(v bool) *apiv1.UpdateApplicationRequest {
		return &apiv1.UpdateApplicationRequest{AllowUpdates: proto.Bool(v)}
	}
	standard := func(v string) *apiv1.UpdateApplicationRequest {
		return &apiv1.UpdateApplicationRequest{DefaultVersion: &v}
	}
	refusal := func(cmd any) string {
		if err := f.do(cmd)[0].Err; err != nil {
			return err.Code
		}
		return ""
	}
	const conflict, missing = batcherr.CodeOperationInvalidForCurrentState, batcherr.CodeApplicationPackageNotFound
	require.Equal(t, batcherr.CodeApplicationNotFound, refusal(change("1")))
	f.ok(&raftlogv1.PutApplication{Create: true, Record: &raftlogv1.ApplicationRecord{Account: "acct", Application: &apiv1.ApplicationDetail{
		Id: "app", AllowUpdates: proto.Bool(true),
	}}})
	for _, step := range []struct {
		do      any
		refused string
		then    string
	}{
		{upload("1a", "k1"), "", "1a"},
		{activate("1A", "other"), conflict, "1a"}, // the archive of another upload
		{activate("2", "k1"), missing, "1a"},
		{activate("1A", "k1"), "", "+1a"},
		{standard("9"), batcherr.CodeInvalidPropertyValue, "+1a"},
		{standard("1A"), "", "+1a*"},
		{upload("2", "k2"), "", "+1a* 2"},
		{upload("3", "k3"), "", "+1a* 2 3"},
		{upload("4", "k4"), conflict, "+1a* 2 3"}, // one too many
		{updates(false), "", "+1a* 2 3"},
		{upload("1A", "k5"), conflict, "+1a* 2 3"}, // active ones may not be replaced
		{upload("2", "k6"), "", "+1a* 2 3"},        // one that never was active may
		{activate("2", "k2"), conflict, "+1a* 2 3"},
		{"2", conflict, "+1a* 2 3"},
		{updates(true), "", "+1a* 2 3"},
		{upload("1a", "k7"), "", "1a* 2 3"},
		{"1A", "", "2 3"},
		{"1a", missing, "2 3"},
		{standard("3"), "", "2 3*"},
		{standard(""), "", "2 3"},
		{nil, batcherr.CodeInvalidInput, "2 3"},
	} {
		require.Equal(t, step.refused, refusal(change(step.do)), "%v", step.do)
		require.Equal(t, step.then, f.versions(), "%v", step.do)
	}
	require.Equal(t, conflict, refusal(&raftlogv1.DeleteApplication{ApplicationId: "app", IfEmpty: true}))
	f.ok(change("2"))
	f.ok(change("3"))
	f.ok(&raftlogv1.DeleteApplication{ApplicationId: "app", IfEmpty: true})
}
