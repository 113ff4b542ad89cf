package mount

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/mounts"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

const canary = "pass,word=canary"

func planOf(t *testing.T, c *apiv1.MountConfiguration) *mounts.Plan {
	t.Helper()
	p, fault := mounts.Read(c)
	require.Nil(t, fault)
	return p
}

func TestCommandOf(t *testing.T) {
	at := place{
		target: "/node/fsmounts/x", own: "/own", blobURL: func(account string) string { return "https://" + account + ".example.org" },
		store: &apiv1.StoreAccess{Endpoint: "https://store:1", Region: "r", Bucket: "mine", AccessKey: "ak", SecretKey: canary, SessionToken: "st", CaPem: []byte("ca")},
	}
	for name, c := range map[string]struct {
		m      *apiv1.MountConfiguration
		tool   string
		args   []string // the first of them
		env    []string
		absent []string // names of variables
	}{
		"nfs": {
			m:    &apiv1.MountConfiguration{NfsMountConfiguration: &apiv1.NfsMountConfiguration{Source: "h:/e", RelativeMountPath: "x", MountOptions: "vers=4"}},
			tool: "mount.nfs", args: []string{"h:/e", "/node/fsmounts/x", "-o", "vers=4,nosuid,nodev"},
		},
		"smb": {
			m: &apiv1.MountConfiguration{CifsMountConfiguration: &apiv1.CifsMountConfiguration{
				Source: `\\h\s`, Username: `DOM\me`, Password: canary, RelativeMountPath: "x", MountOptions: "vers=3.0",
			}},
			tool: "mount.cifs", args: []string{"//h/s", "/node/fsmounts/x", "-o", `username=DOM\me,vers=3.0,nosuid,nodev`}, env: []string{"PASSWD_FD=3"},
		},
		"azure files": {
			m: &apiv1.MountConfiguration{AzureFileShareConfiguration: &apiv1.AzureFileShareConfiguration{
				AccountName: "acct", AccountKey: canary, AzureFileUrl: "https://acct.file.core.windows.net/s", RelativeMountPath: "x",
			}},
			tool: "mount.cifs", args: []string{"//acct.file.core.windows.net/s", "/node/fsmounts/x", "-o", "username=acct,nosuid,nodev"}, env: []string{"PASSWD_FD=3"},
		},
		"blob by key": {
			m: &apiv1.MountConfiguration{AzureBlobFileSystemConfiguration: &apiv1.AzureBlobFileSystemConfiguration{
				AccountName: "acct", ContainerName: "c", AccountKey: canary, RelativeMountPath: "x", BlobfuseOptions: "-o ro",
			}},
			tool: "rclone", args: []string{"mount", "BATCHYARD:c", "/node/fsmounts/x"},
			env: []string{"RCLONE_CONFIG_BATCHYARD_TYPE=azureblob", "RCLONE_CONFIG_BATCHYARD_ACCOUNT=acct", "RCLONE_CONFIG_BATCHYARD_KEY=" + canary},
		},
		"blob by signature": {
			m: &apiv1.MountConfiguration{AzureBlobFileSystemConfiguration: &apiv1.AzureBlobFileSystemConfiguration{
				AccountName: "acct", ContainerName: "c", SasKey: "?sig=" + canary, RelativeMountPath: "x",
			}},
			tool: "rclone", args: []string{"mount", "BATCHYARD:c", "/node/fsmounts/x"},
			env:    []string{"RCLONE_CONFIG_BATCHYARD_SAS_URL=https://acct.example.org/c?sig=" + canary},
			absent: []string{"KEY", "ACCOUNT"},
		},
		"the account's bucket": {
			m:    &apiv1.MountConfiguration{S3MountConfiguration: &apiv1.S3MountConfiguration{Prefix: "/in put/", RelativeMountPath: "x"}},
			tool: "rclone", args: []string{"mount", "BATCHYARD:mine/in put", "/node/fsmounts/x"},
			env: []string{"RCLONE_CONFIG_BATCHYARD_SECRET_ACCESS_KEY=" + canary, "RCLONE_CONFIG_BATCHYARD_ENDPOINT=https://store:1", "RCLONE_CONFIG_BATCHYARD_SESSION_TOKEN=st"},
		},
		"another bucket": {
			m: &apiv1.MountConfiguration{S3MountConfiguration: &apiv1.S3MountConfiguration{
				Bucket: "b", Endpoint: "https://other", Region: "eu", AccessKey: "k", SecretKey: canary, RelativeMountPath: "x",
			}},
			tool: "rclone", args: []string{"mount", "BATCHYARD:b", "/node/fsmounts/x"},
			env: []string{
				"RCLONE_CONFIG_BATCHYARD_SECRET_ACCESS_KEY=" + canary, "RCLONE_CONFIG_BATCHYARD_ENDPOINT=https://other", "RCLONE_CONFIG_BATCHYARD_REGION=eu",
			},
			absent: []string{"SESSION_TOKEN"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := commandOf(planOf(t, c.m), at)
			require.NoError(t, err)
			require.Equal(t, c.tool, got.tool)
			require.Equal(t, c.args, got.args[:len(c.args)])
			require.Subset(t, got.env, c.env)
			for _, name := range c.absent {
				require.False(t, slices.ContainsFunc(got.env, func(v string) bool { return strings.HasPrefix(v, "RCLONE_CONFIG_BATCHYARD_"+name+"=") }))
			}
			require.NotContains(t, strings.Join(slices.Concat(got.args, got.probe), " "), "canary", "whoever is on the node can read arguments")
		})
	}
	_, err := commandOf(planOf(t, &apiv1.MountConfiguration{S3MountConfiguration: &apiv1.S3MountConfiguration{RelativeMountPath: "x"}}), place{})
	require.ErrorContains(t, err, "no store")
}
