package mount

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/batchyard/batchyard/storage/storagetest"
)

// A container of Azure Storage is mounted by a signature: what is in it can be read, and what is written is there once it is unmounted.
func TestContainerIsMounted(t *testing.T) {
	b := newBench(t)
	if _, err := exec.LookPath("rclone"); err != nil {
		require.NotEqual(t, "true", os.Getenv("CI"), "rclone is not installed")
		t.Skip("rclone is not installed")
	}
	server := storagetest.Azurite(t)
	container := server.Container(t, "data")
	_, err := container.NewBlockBlobClient("deep/in.txt").UploadBuffer(t.Context(), []byte("from Azure"), nil)
	require.NoError(t, err)
	base, query := server.SAS(t)
	b.cfg.BlobURL = func(account string) string {
		require.Equal(t, "devstoreaccount1", account)
		return base
	}
	mount := func(container string) *apiv1.MountConfiguration {
		return &apiv1.MountConfiguration{AzureBlobFileSystemConfiguration: &apiv1.AzureBlobFileSystemConfiguration{
			AccountName: "devstoreaccount1", ContainerName: container, SasKey: "?" + query, RelativeMountPath: container, BlobfuseOptions: "-o allow_other",
		}}
	}
	failures := b.want(mount("data"), mount("nosuch"))
	require.Len(t, failures, 1, "%v", failures)
	require.Equal(t, "nosuch", failures[0].GetPath())
	require.NotContains(t, failures[0].GetMessage(), "sig=")
	text, err := os.ReadFile(filepath.Join(b.cfg.Dir, "data", "deep", "in.txt"))
	require.NoError(t, err)
	require.Equal(t, "from Azure", string(text))
	const size = 20 << 20
	require.NoError(t, os.WriteFile(filepath.Join(b.cfg.Dir, "data", "out"), make([]byte, size), 0o644))
	require.NoError(t, b.Clear())
	properties, err := container.NewBlobClient("out").GetProperties(t.Context(), nil)
	require.NoError(t, err)
	require.EqualValues(t, size, *properties.ContentLength)

	// What serves a mount dies: it is mounted anew.
	require.Empty(t, b.want(mount("data")))
	served := b.served(wanted{entry: entry{Path: "data"}})
	require.True(t, served)
	require.NoError(t, exec.Command("fusermount3", "-u", "-z", filepath.Join(b.cfg.Dir, "data")).Run())
	require.Eventually(t, func() bool { return !b.served(wanted{entry: entry{Path: "data"}}) }, time.Minute, poll)
	require.Empty(t, b.want(mount("data")))
	require.FileExists(t, filepath.Join(b.cfg.Dir, "data", "out"))
}
