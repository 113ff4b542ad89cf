package stage

import (
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/batchyard/batchyard/storage"
	"github.com/batchyard/batchyard/storage/storagetest"
)

// TestContainersOfAzureStorage moves files both ways through signatures, as tasks of a mixed farm do.
func TestContainersOfAzureStorage(t *testing.T) {
	container := storagetest.Azurite(t).Container(t, "mixed")
	for key, text := range map[string]string{"in/a.txt": "first", "in/deep/b.txt": "second", "other": "no"} {
		_, err := container.NewBlockBlobClient(key).UploadBuffer(t.Context(), []byte(text), nil)
		require.NoError(t, err)
	}
	sign := func(p sas.ContainerPermissions, ends time.Duration) string {
		text, err := container.GetSASURL(p, time.Now().Add(ends), nil)
		require.NoError(t, err)
		return text
	}
	f := newFarm(t, func(c *Config) {
		c.Stores = NewStores(storage.DialPolicy{})
		c.Access = func() *apiv1.StoreAccess { return nil }
	})
	readable := sign(sas.ContainerPermissions{Read: true, List: true}, time.Hour)
	group := &apiv1.ResourceFile{StorageContainerUrl: readable, BlobPrefix: "in/", FilePath: "files"}
	bare, signature, _ := strings.Cut(readable, "?")
	single := from(bare+"/in/a.txt?"+signature, "alone.txt")
	require.NoError(t, f.Inputs(t.Context(), f.dirs, []*apiv1.ResourceFile{group, single}, Owner{}))
	require.Equal(t, "first", f.read(t, "wd/files/in/a.txt"))
	require.Equal(t, "second", f.read(t, "wd/files/in/deep/b.txt"))
	require.Equal(t, "first", f.read(t, "wd/alone.txt"))
	require.NoFileExists(t, f.dirs.Task+"/wd/files/other")

	f.write(t, "wd/out/one.csv", "1")
	f.write(t, "wd/out/two.csv", "2")
	writable := sign(sas.ContainerPermissions{Create: true, Write: true}, time.Hour)
	require.NoError(t, f.Outputs(t.Context(), f.dirs, []*apiv1.OutputFile{to("out/*.csv", writable, "results", always)}, env, true))
	for key, want := range map[string]string{"results/one.csv": "1", "results/two.csv": "2"} {
		got := make([]byte, 1)
		_, err := container.NewBlobClient(key).DownloadBuffer(t.Context(), got, nil)
		require.NoError(t, err, key)
		require.Equal(t, want, string(got))
	}
	require.NotContains(t, f.read(t, uploadLog), "sig=")

	late := sign(sas.ContainerPermissions{Read: true, List: true}, -time.Minute)
	err := f.Inputs(t.Context(), f.dirs, []*apiv1.ResourceFile{{StorageContainerUrl: late}}, Owner{})
	failed(t, err, batcherr.CodeBlobAccessDenied)
	require.NotContains(t, err.Error(), "sig=")
	failed(t, f.Outputs(t.Context(), f.dirs, []*apiv1.OutputFile{to("out/*.csv", readable, "", always)}, env, true), batcherr.CodeFileUploadAccessDenied)
	gone, _, _ := strings.Cut(writable, "?")
	gone = strings.TrimSuffix(gone, "mixed") + "none?" + strings.SplitN(writable, "?", 2)[1]
	require.Error(t, f.Outputs(t.Context(), f.dirs, []*apiv1.OutputFile{to("out/*.csv", gone, "", always)}, env, true))
}
