//go:build linux

package devfarm_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/batchyard/batchyard/storage"
)

// archives are the keys of an application's archives in the account's store.
func (a *tenant) archives() (keys []string) {
	for object, err := range a.bucket("").List(a.f.t.Context(), "applications/") {
		require.NoError(a.f.t, err)
		keys = append(keys, object.Key)
	}
	return keys
}

// TestApplications takes an application through its life: versions that are uploaded at the same time, used with and without a version, replaced and deleted.
func TestApplications(t *testing.T) {
	f := startFarm(t)
	admin := f.connect("")
	model := func(version string) string {
		dir := filepath.Join(f.dir, "model-"+version)
		require.NoError(t, os.MkdirAll(dir, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "run"), []byte("#!/bin/sh\necho model "+version+"\n"), 0o755))
		return dir
	}
	versions := []string{"1", "2.0", "3", "4", "5", "6"}
	var all sync.WaitGroup
	failed := make([]string, len(versions))
	for i, version := range versions {
		dir := model(version)
		all.Go(func() {
			if out, code := f.run("app", "upload", "model", version, dir); code != 0 {
				failed[i] = out
			}
		})
	}
	all.Wait()
	require.Empty(t, strings.Join(failed, ""))
	list, code := f.run("app", "list")
	require.Zero(t, code)
	for _, version := range versions {
		require.Regexp(t, "model +"+version+" +active", list)
	}
	require.Len(t, admin.archives(), len(versions))

	f.useVersions()
	f.replaceVersion(admin, model("replaced"))

	out, code := f.run("app", "delete", "model")
	require.Equal(t, batcherr.ExitConflict, code, out)
	require.Contains(t, out, "still has packages")
	for i, version := range append(versions, "7") {
		out, code = f.run("app", "delete", "MODEL", version)
		require.Zero(t, code, out)
		require.Len(t, admin.archives(), len(versions)+1-i, "a version's archive goes with it")
		if version == "2.0" {
			out, code = f.run("app", "show", "model", "-o", "json")
			require.Zero(t, code)
			require.NotContains(t, out, "defaultVersion", "the default version is gone")
		}
	}
	out, code = f.run("app", "delete", "model")
	require.Zero(t, code, out)
	require.Empty(t, admin.archives())
	out, code = f.run("app", "show", "model")
	require.Equal(t, batcherr.ExitNotFound, code, out)
}

// TestPackageVariables runs tasks that print the variables of their packages: those of the pool and their own, with a version and without one.
func TestPackageVariables(t *testing.T) {
	f := startFarm(t, "--nodes", "0")
	for app, versions := range map[string][]string{"Agent-linux-x64": {"1.1.46.0", "2.0-beta_1"}, "blender": {"2.7", "4"}, "only_pool": {"1"}} {
		for _, version := range versions {
			dir := filepath.Join(f.dir, "of-"+app+version)
			require.NoError(t, os.MkdirAll(dir, 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "which"), []byte(app+" "+version), 0o644))
			f.ok("app", "upload", app, version, dir)
		}
	}
	f.ok("app", "update", "blender", "--default", "2.7")
	f.ok("app", "update", "agent-LINUX-x64", "--default", "1.1.46.0")
	f.ok("pool", "create", "packed", "--nodes", "1", "--app", "blender:2.7", "--app", "only_pool:1", "--start-task", "/bin/sh -c 'env > $AZ_BATCH_NODE_SHARED_DIR/start'")
	f.ok("job", "create", "work", "--pool", "packed")
	const list = `env | grep ^AZ_BATCH_APP_PACKAGE_ | sort | while IFS== read -r name dir; do echo "$name: $(cat $dir/which)"; done`
	variables := func(id string, apps ...string) map[string]string {
		args := []string{"task", "add", "work", "--id", id}
		for _, app := range apps {
			args = append(args, "--app", app)
		}
		f.ok(append(args, "--", "/bin/sh", "-c", list)...)
		f.ok("job", "wait", "work")
		out := map[string]string{}
		for line := range strings.Lines(f.ok("task", "logs", "work", id)) {
			name, which, ok := strings.Cut(strings.TrimSpace(line), ": ")
			require.True(t, ok, line)
			out[strings.TrimPrefix(name, "AZ_BATCH_APP_PACKAGE_")] = which
		}
		return out
	}
	ofPool := map[string]string{"blender_2_7": "blender 2.7", "only_pool_1": "only_pool 1"}
	require.Equal(t, ofPool, variables("none"), "a version that is named has its suffix, also where it is the default")
	withAgent := maps.Clone(ofPool)
	for _, spelling := range []string{"Agent_linux_x64", "agent_linux_x64"} {
		withAgent[spelling], withAgent[spelling+"_1_1_46_0"], withAgent[spelling+"_2_0_beta_1"] =
			"Agent-linux-x64 1.1.46.0", "Agent-linux-x64 1.1.46.0", "Agent-linux-x64 2.0-beta_1"
	}
	require.Equal(t, withAgent, variables("own", "AGENT-linux-x64", "agent-linux-x64:2.0-BETA_1"), "as it was made and in lower case, however it is named")
	withBlender := maps.Clone(ofPool)
	withBlender["blender"], withBlender["blender_4"] = "blender 2.7", "blender 4"
	require.Equal(t, withBlender, variables("both", "blender", "blender:4"), "the pool's by its version, the task's as the default")
	start := f.runIn("work", "start", "", "cat $AZ_BATCH_NODE_SHARED_DIR/start")
	require.Contains(t, strings.Join(start, " "), "AZ_BATCH_APP_PACKAGE_only_pool_1=", "the start task has the pool's")
}

// useVersions runs tasks with the default version and with one that is named.
func (f *farm) useVersions() {
	out, code := f.run("run", "--app", "model", "--", "true")
	require.NotZero(f.t, code)
	require.Contains(f.t, out, "no default version")
	out, code = f.run("app", "update", "model", "--default", "2.0")
	require.Zero(f.t, code, out)
	for app, want := range map[string]string{"model": "model 2.0", "model:3": "model 3"} {
		name := strings.NewReplacer(":", "_").Replace("AZ_BATCH_APP_PACKAGE_" + app)
		out, code = f.run("run", "--app", app, "--", "sh", "-c", fmt.Sprintf("$%s/run", name))
		require.Zero(f.t, code, out)
		require.Contains(f.t, out, want)
	}
}

// replaceVersion begins an upload that is not finished, which makes the version unusable until there is an archive.
func (f *farm) replaceVersion(admin *tenant, dir string) {
	t, ctx := f.t, f.t.Context()
	made, err := admin.apps.CreatePackage(ctx, &apiv1.CreatePackageRequest{ApplicationId: "model", Version: "7"})
	require.NoError(t, err)
	_, err = admin.apps.ActivatePackage(ctx, &apiv1.ActivatePackageRequest{ApplicationId: "model", Version: "7", Sha256: strings.Repeat("0", 64), Size: 9})
	require.ErrorContains(t, err, "was not uploaded")
	out, code := f.run("run", "--app", "model:7", "--", "true")
	require.NotZero(t, code)
	require.Contains(t, out, "not activated")
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	_, err = w.Create("empty")
	require.NoError(t, err)
	require.NoError(t, w.Close())
	_, err = admin.bucket("").Put(ctx, made.GetStorageKey(), &archive, int64(archive.Len()), storage.PutOptions{})
	require.NoError(t, err)
	_, err = admin.apps.ActivatePackage(ctx, &apiv1.ActivatePackageRequest{ApplicationId: "model", Version: "7", Sha256: strings.Repeat("0", 64), Size: 9})
	require.ErrorContains(t, err, "bytes")
	out, code = f.run("app", "activate", "model", "7")
	require.Zero(t, code, out)

	require.Len(t, admin.archives(), 7)
	out, code = f.run("app", "upload", "model", "7", dir)
	require.Zero(t, code, out)
	require.Len(t, admin.archives(), 8, "the former archive stays for those that are reading it")
	out, code = f.run("run", "--app", "model:7", "--", "sh", "-c", "$AZ_BATCH_APP_PACKAGE_model_7/run")
	require.Zero(t, code, out)
	require.Contains(t, out, "model replaced")
}
