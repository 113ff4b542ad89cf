package stage

import (
	"archive/zip"
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/batcherr"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	"github.com/batchyard/batchyard/storage"
)

func zipOf(t testing.TB, contents map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for name, text := range contents {
		f, err := w.Create(name)
		require.NoError(t, err)
		_, err = f.Write([]byte(text))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

func deploy(t testing.TB, f *farm, locations ...*agentv1.PackageLocation) []Package {
	t.Helper()
	packages, err := f.Packages(t.Context(), locations)
	require.NoError(t, err)
	return packages
}

func TestPackagesAreDeployedOncePerNode(t *testing.T) {
	f := newFarm(t)
	at := f.packed(t, "Blender", "2.7", zipOf(t, map[string]string{"bin/blender": "#!"}))
	at.IsDefault = true
	other := f.packed(t, "tools", "1", zipOf(t, map[string]string{"x": "x"}))
	var tasks sync.WaitGroup
	for range 8 {
		tasks.Go(func() {
			if packages, err := f.Packages(t.Context(), []*agentv1.PackageLocation{at, other, at}); err != nil || len(packages) != 2 {
				t.Error(packages, err)
			}
		})
	}
	tasks.Wait()
	require.EqualValues(t, 2, f.stores.stores["account"].opened.Load())

	packages := deploy(t, f, at, other)
	require.Equal(t, Package{ID: "Blender", Version: "2.7", Default: true, Dir: filepath.Join(f.dirs.Root, "applications/Blender/2.7", at.GetSha256()[:16])}, packages[0])
	text, err := os.ReadFile(filepath.Join(packages[0].Dir, "bin/blender"))
	require.NoError(t, err)
	require.Equal(t, "#!", string(text))
	info, err := os.Stat(filepath.Join(packages[0].Dir, "bin/blender"))
	require.NoError(t, err)
	require.EqualValues(t, 0o755, info.Mode().Perm())

	again, err := New(f.cfg)
	require.NoError(t, err)
	_, err = again.Packages(t.Context(), []*agentv1.PackageLocation{at})
	require.NoError(t, err)
	require.NoError(t, again.Close())
	require.EqualValues(t, 2, f.stores.stores["account"].opened.Load(), "used again after a restart")
}

func TestAVersionUploadedAnewDoesNotChangeUnderTheOldTasks(t *testing.T) {
	f := newFarm(t)
	old := deploy(t, f, f.packed(t, "app", "1", zipOf(t, map[string]string{"x": "old"})))[0]
	anew := deploy(t, f, f.packed(t, "app", "1", zipOf(t, map[string]string{"x": "new"})))[0]
	for dir, want := range map[string]string{old.Dir: "old", anew.Dir: "new"} {
		text, err := os.ReadFile(filepath.Join(dir, "x"))
		require.NoError(t, err)
		require.Equal(t, want, string(text))
	}
}

func TestPackageFailuresLeaveNothing(t *testing.T) {
	for what, c := range map[string]struct {
		change func(*farm, *agentv1.PackageLocation)
		code   string
	}{
		"fault":          {func(_ *farm, at *agentv1.PackageLocation) { at.Fault = "the version is none" }, batcherr.CodeApplicationPackageError},
		"missing":        {func(_ *farm, at *agentv1.PackageLocation) { at.StorageKey = "none" }, batcherr.CodeApplicationPackageError},
		"other contents": {func(_ *farm, at *agentv1.PackageLocation) { at.Sha256 = strings.Repeat("0", 64) }, batcherr.CodeApplicationPackageError},
		"other size":     {func(_ *farm, at *agentv1.PackageLocation) { at.Size++ }, batcherr.CodeApplicationPackageError},
		"no checksum":    {func(_ *farm, at *agentv1.PackageLocation) { at.Sha256 = "" }, batcherr.CodeApplicationPackageError},
		"id leads out":   {func(_ *farm, at *agentv1.PackageLocation) { at.ApplicationId = ".." }, batcherr.CodeApplicationPackageError},
		"id with slash":  {func(_ *farm, at *agentv1.PackageLocation) { at.ApplicationId = "a/b" }, batcherr.CodeApplicationPackageError},
		"version out":    {func(_ *farm, at *agentv1.PackageLocation) { at.Version = "../.." }, batcherr.CodeApplicationPackageError},
		"huge":           {func(_ *farm, at *agentv1.PackageLocation) { at.Size = 1 << 60 }, batcherr.CodeDiskFull},
		"disk full": {func(f *farm, _ *agentv1.PackageLocation) {
			f.stores.stores["account"].before = func(op, key string) error {
				return &storage.Error{Op: op, Key: key, Kind: storage.ErrNoSpace, Err: syscall.ENOSPC}
			}
		}, batcherr.CodeDiskFull},
		"hostile": {func(f *farm, at *agentv1.PackageLocation) {
			evil := f.packed(t, "app", "1", zipOf(t, map[string]string{"good": "", "../../evil": ""}))
			at.Sha256, at.Size = evil.GetSha256(), evil.GetSize()
		}, batcherr.CodeApplicationPackageError},
		"no archive": {func(f *farm, at *agentv1.PackageLocation) {
			text := f.packed(t, "app", "1", []byte("no archive"))
			at.Sha256, at.Size = text.GetSha256(), text.GetSize()
		}, batcherr.CodeApplicationPackageError},
	} {
		t.Run(what, func(t *testing.T) {
			f := newFarm(t)
			at := f.packed(t, "app", "1", zipOf(t, map[string]string{"x": "x"}))
			c.change(f, at)
			_, err := f.Packages(t.Context(), []*agentv1.PackageLocation{at})
			failed(t, err, c.code)
			require.NoError(t, filepath.WalkDir(filepath.Join(f.dirs.Root, "applications"), func(path string, e fs.DirEntry, err error) error {
				if os.IsNotExist(err) {
					return nil
				}
				require.True(t, e.IsDir(), path)
				return err
			}))
			entries, err := os.ReadDir(filepath.Join(f.dirs.Root, "applications", unfinished))
			require.True(t, err == nil || os.IsNotExist(err))
			require.Empty(t, entries)
		})
	}
}

func TestInterruptedDeploymentsAreClearedAtStart(t *testing.T) {
	f := newFarm(t)
	left := filepath.Join(f.dirs.Root, applications, unfinished, "123", "package")
	require.NoError(t, os.MkdirAll(left, 0o755))
	again, err := New(f.cfg)
	require.NoError(t, err)
	require.NoError(t, again.Close())
	require.NoDirExists(t, left)
}

func TestPackagesStopWithTheContext(t *testing.T) {
	f := newFarm(t)
	at := f.packed(t, "app", "1", zipOf(t, map[string]string{"x": "x"}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := f.Packages(ctx, []*agentv1.PackageLocation{at})
	require.ErrorIs(t, err, context.Canceled)
}

func TestDistinctKeepsTheDefault(t *testing.T) {
	named, byDefault := &agentv1.PackageLocation{ApplicationId: "App", Version: "1"}, &agentv1.PackageLocation{ApplicationId: "app", Version: "1", IsDefault: true}
	other := &agentv1.PackageLocation{ApplicationId: "app", Version: "2"}
	require.Equal(t, []*agentv1.PackageLocation{byDefault, other}, distinct([]*agentv1.PackageLocation{named, other, byDefault, named}))
	require.Equal(t, []*agentv1.PackageLocation{byDefault}, distinct([]*agentv1.PackageLocation{byDefault, named}))
}

func TestPackageEnv(t *testing.T) {
	packages := []Package{{ID: "Agent-linux-x64", Version: "1.1.46.0", Dir: "/a"}, {ID: "blender", Version: "2.7", Dir: "/b", Default: true}}
	require.Equal(t, []string{
		"AZ_BATCH_APP_PACKAGE_Agent_linux_x64_1_1_46_0=/a",
		"AZ_BATCH_APP_PACKAGE_agent_linux_x64_1_1_46_0=/a",
		"AZ_BATCH_APP_PACKAGE_blender=/b",
		"AZ_BATCH_APP_PACKAGE_blender_2_7=/b",
	}, packageEnv(packages, false))
	require.Equal(t, []string{
		"AZ_BATCH_APP_PACKAGE_AGENT-LINUX-X64#1.1.46.0=/a",
		"AZ_BATCH_APP_PACKAGE_BLENDER#2.7=/b",
		"AZ_BATCH_APP_PACKAGE_BLENDER=/b",
	}, packageEnv(packages, true))
	require.Empty(t, PackageEnv(nil))
}
