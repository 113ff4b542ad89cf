package main

import (
	"archive/zip"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func equalProto(t *testing.T, want, got proto.Message) {
	t.Helper()
	require.True(t, proto.Equal(want, got), "want %v\ngot  %v", want, got)
}

func TestPoolCommands(t *testing.T) {
	l := newLab(t)
	require.Equal(t, "pool demo created\n", l.ok("pool", "create", "demo", "--nodes", "2", "--slots", "4", "--fill", "pack", "--app", "blender:4.2", "--app", "model",
		"--metadata", "team=x=y", "--resize-timeout", "PT20M", "--start-task", "true", "--wait"))
	equalProto(t, &apiv1.Pool{
		Id: "demo", TargetDedicatedNodes: proto.Int32(2), TaskSlotsPerNode: proto.Int32(4), ResizeTimeout: durationpb.New(20 * time.Minute),
		TaskSchedulingPolicy:         &apiv1.TaskSchedulingPolicy{NodeFillType: apiv1.NodeFillType_NODE_FILL_TYPE_PACK},
		ApplicationPackageReferences: []*apiv1.ApplicationPackageReference{{ApplicationId: "blender", Version: "4.2"}, {ApplicationId: "model"}},
		Metadata:                     []*apiv1.MetadataItem{{Name: "team", Value: "x=y"}},
		StartTask:                    &apiv1.StartTask{CommandLine: "true"},
	}, last[*apiv1.CreatePoolRequest](l.farm).GetPool())
	require.Contains(t, l.fails(batcherr.ExitConflict, "pool", "create", "demo"), "(PoolExists)")
	require.Contains(t, l.fails(batcherr.ExitInvalid, "pool", "create"), "needs an id")
	require.Contains(t, l.fails(batcherr.ExitInvalid, "pool", "create", "x", "--fill", "sideways"), "spread or pack")
	require.Contains(t, l.fails(batcherr.ExitInvalid, "pool", "create", "x", "--metadata", "novalue"), "NAME=VALUE")

	require.Equal(t, ""+
		"ID    STATE   ALLOCATION  NODES  TARGET  SLOTS  VM SIZE  CREATED\n"+
		"demo  active  steady          2       2      4  -        -\n", l.ok("pool", "list"))
	require.Equal(t, "demo\n", l.ok("pool", "list", "-q"))
	require.Contains(t, l.ok("pool", "show", "demo"), "Dedicated nodes     2 of 2\n")
	require.Contains(t, l.ok("pool", "show", "demo", "-o", "yaml"), "nodeFillType: pack\n")
	require.Contains(t, l.fails(batcherr.ExitNotFound, "pool", "show", "other"), "(PoolNotFound)")

	l.ok("pool", "resize", "demo", "--nodes", "0", "--when-busy", "taskcompletion")
	equalProto(t, &apiv1.PoolResizeOptions{
		TargetDedicatedNodes: proto.Int32(0), NodeDeallocationOption: apiv1.NodeDeallocationOption_NODE_DEALLOCATION_OPTION_TASK_COMPLETION,
	}, last[*apiv1.ResizePoolRequest](l.farm).GetOptions())
	require.Contains(t, l.fails(batcherr.ExitInvalid, "pool", "resize", "demo"), "--nodes")

	l.ok("pool", "autoscale", "enable", "demo", "--formula", "$a=1;$b=2", "--interval", "5m")
	equalProto(t, &apiv1.PoolEnableAutoScaleOptions{AutoScaleFormula: "$a=1;$b=2", AutoScaleEvaluationInterval: durationpb.New(5 * time.Minute)},
		last[*apiv1.EnableAutoScaleRequest](l.farm).GetOptions())
	require.Equal(t, "$a=1\n$b=2\n", l.ok("pool", "autoscale", "evaluate", "demo"), "the pool's own formula")
	require.Equal(t, "$c=3\n", l.ok("pool", "autoscale", "evaluate", "demo", "--formula-file", l.file("formula", "$c=3")))
	require.Contains(t, l.fails(batcherr.ExitInvalid, "pool", "autoscale", "evaluate", "demo", "--formula", "fail"), "no good (Bad): Line 1")
	require.Contains(t, l.fails(batcherr.ExitInvalid, "pool", "autoscale", "enable", "demo"), "--formula")
	require.Contains(t, l.fails(batcherr.ExitInvalid, "pool", "autoscale", "enable", "demo", "--formula", "x", "--formula-file", "-"), "not both")
	l.ok("pool", "autoscale", "disable", "demo")
	require.Equal(t, "demo", last[*apiv1.DisableAutoScaleRequest](l.farm).GetPoolId())
	l.ok("pool", "create", "scaled", "--formula", "x=1", "--autoscale-interval", "1h")
	equalProto(t, &apiv1.Pool{
		Id: "scaled", EnableAutoScale: proto.Bool(true), AutoScaleFormula: "x=1", AutoScaleEvaluationInterval: durationpb.New(time.Hour),
	}, last[*apiv1.CreatePoolRequest](l.farm).GetPool())
	l.ok("pool", "delete", "scaled")

	require.Contains(t, l.ok("node", "list"), "demo  demo-node-0  idle")
	require.Equal(t, "demo-node-0\ndemo-node-1\n", l.ok("node", "list", "demo", "-q"))
	require.Contains(t, l.ok("node", "show", "demo", "demo-node-1"), "ID             demo-node-1\n")
	l.ok("pool", "delete", "demo")
	require.Contains(t, l.fails(batcherr.ExitNotFound, "pool", "delete", "demo"), "pool demo")
}

func TestWhatIsShownCanBeCreated(t *testing.T) {
	l := newLab(t)
	l.ok("pool", "create", "demo", "--nodes", "1", "--slots", "3")
	path := l.file("pool.yaml", l.ok("pool", "show", "demo", "-o", "yaml"))
	l.ok("pool", "create", "copy", "--file", path, "--nodes", "2")
	pool := last[*apiv1.CreatePoolRequest](l.farm).GetPool()
	require.Equal(t, "copy", pool.GetId())
	require.EqualValues(t, 3, pool.GetTaskSlotsPerNode())
	require.EqualValues(t, 2, pool.GetTargetDedicatedNodes())

	l.stdin = `{"id": "three", "taskSlotsPerNode": 2}`
	require.Contains(t, l.ok("pool", "create", "--file", "-", "-o", "json"), `"allocationState": "steady"`)
	text := l.fails(batcherr.ExitInvalid, "pool", "create", "--file", l.file("bad.yaml", "id: x\nslots: 3\n"))
	require.Contains(t, text, `bad.yaml: line 2: Pool has no property "slots"`)
	require.Contains(t, l.fails(batcherr.ExitInvalid, "pool", "create", "--file", "/no/such/file"), "no such file")
}

func TestJobCommands(t *testing.T) {
	l := newLab(t)
	l.ok("job", "create", "work", "--pool", "demo", "--priority", "-5", "--retries", "2", "--max-wall-clock", "2h", "-e", "A=b c", "--dependencies", "--terminate-when-complete")
	equalProto(t, &apiv1.Job{
		Id: "work", PoolInfo: &apiv1.PoolInfo{PoolId: "demo"}, Priority: proto.Int32(-5), UsesTaskDependencies: proto.Bool(true),
		Constraints:               &apiv1.JobConstraints{MaxWallClockTime: durationpb.New(2 * time.Hour), MaxTaskRetryCount: proto.Int32(2)},
		CommonEnvironmentSettings: []*apiv1.EnvironmentSetting{{Name: "A", Value: "b c"}},
		OnAllTasksComplete:        apiv1.AllTasksCompleteMode_ALL_TASKS_COMPLETE_MODE_TERMINATE_JOB,
	}, last[*apiv1.CreateJobRequest](l.farm).GetJob())
	require.Contains(t, l.fails(batcherr.ExitInvalid, "job", "create", "x"), "needs a pool")
	require.Contains(t, l.ok("job", "list"), "work  active  demo        -5")
	require.Contains(t, l.ok("job", "show", "work"), "Tasks              0 active, 0 running, 0 succeeded, 0 failed\n")

	l.ok("job", "disable", "work", "--tasks", "wait")
	require.Equal(t, apiv1.DisableJobOption_DISABLE_JOB_OPTION_WAIT, last[*apiv1.DisableJobRequest](l.farm).GetOptions().GetDisableTasks())
	l.ok("job", "enable", "work")
	l.ok("job", "terminate", "work", "--reason", "enough")
	require.Equal(t, "enough", last[*apiv1.TerminateJobRequest](l.farm).GetOptions().GetTerminateReason())
	l.ok("job", "delete", "work", "--force")
	require.True(t, last[*apiv1.DeleteJobRequest](l.farm).GetForce())
	require.Contains(t, l.fails(batcherr.ExitNotFound, "job", "show", "work"), "(JobNotFound)")
}

func TestTaskAdd(t *testing.T) {
	l := newLab(t)
	l.ok("job", "create", "work", "--pool", "demo")
	require.Equal(t, "task a added\n", l.ok("task", "add", "work", "--id", "a", "--slots", "2", "--retries", "1", "--max-wall-clock", "10m", "--retention", "P1D", "-e", "X=1",
		"--input", "in.csv=data/in.csv", "--input", "https://host/f.bin?sig=a=b", "--input", "models/", "--upload", "*.txt=results/a/", "--upload", "one.txt=s3://other/out/",
		"--depends-on", "p,q", "--app", "model:1", "--", "/bin/echo", "it's", "$HOME", "plain"))
	equalProto(t, &apiv1.Task{
		Id: "a", CommandLine: `/bin/echo 'it'\''s' '$HOME' plain`, RequiredSlots: proto.Int32(2),
		Constraints:         &apiv1.TaskConstraints{MaxWallClockTime: durationpb.New(10 * time.Minute), RetentionTime: durationpb.New(24 * time.Hour), MaxTaskRetryCount: proto.Int32(1)},
		EnvironmentSettings: []*apiv1.EnvironmentSetting{{Name: "X", Value: "1"}},
		ResourceFiles: []*apiv1.ResourceFile{
			{HttpUrl: "s3://dev-bucket/data/in.csv", FilePath: "in.csv"},
			{HttpUrl: "https://host/f.bin?sig=a=b", FilePath: "f.bin"},
			{StorageContainerUrl: "s3://dev-bucket/models/"},
		},
		OutputFiles: []*apiv1.OutputFile{
			uploadTo("*.txt", "s3://dev-bucket", "results/a"),
			uploadTo("one.txt", "s3://other", "out/one.txt"),
		},
		DependsOn:                    &apiv1.TaskDependencies{TaskIds: []string{"p", "q"}},
		ApplicationPackageReferences: []*apiv1.ApplicationPackageReference{{ApplicationId: "model", Version: "1"}},
	}, last[*apiv1.AddTasksRequest](l.farm).GetTasks()[0])

	for want, args := range map[string][]string{
		"a --flag of the command":    {"a --flag of the command"},
		`/bin/sh -c 'a && b'`:        {"--shell", "--", "a", "&&", "b"},
		`prog --id x 'two words' ''`: {"--", "prog", "--id", "x", "two words", ""},
	} {
		l.ok(append([]string{"task", "add", "work", "--id", "b"}, args...)...)
		require.Equal(t, want, last[*apiv1.AddTasksRequest](l.farm).GetTasks()[0].GetCommandLine())
	}
	for want, args := range map[string][]string{
		"needs an id":         {"task", "add", "work", "--", "true"},
		"give a command":      {"task", "add", "work", "--id", "c"},
		"not both":            {"task", "add", "work", "--file", "x", "--", "true"},
		"PATTERN=DESTINATION": {"task", "add", "work", "--id", "c", "--upload", "x", "--", "true"},
		"is not a duration":   {"task", "add", "work", "--id", "c", "--retention", "long", "--", "true"},
	} {
		require.Contains(t, l.fails(batcherr.ExitInvalid, args...), want)
	}
	require.Contains(t, l.fails(batcherr.ExitNotFound, "task", "add", "none", "--id", "c", "--", "true"), "(JobNotFound)")
}

func uploadTo(pattern, container, path string) *apiv1.OutputFile {
	return &apiv1.OutputFile{
		FilePattern:   pattern,
		Destination:   &apiv1.OutputFileDestination{Container: &apiv1.OutputFileBlobContainerDestination{ContainerUrl: container, Path: path}},
		UploadOptions: &apiv1.OutputFileUploadConfig{UploadCondition: apiv1.OutputFileUploadCondition_OUTPUT_FILE_UPLOAD_CONDITION_TASK_COMPLETION},
	}
}

func TestTaskAddFromAFile(t *testing.T) {
	l := newLab(t)
	l.ok("job", "create", "work", "--pool", "demo")
	require.Equal(t, "2 tasks added\n", l.ok("task", "add", "work", "--file", l.file("tasks.json", `[{"id":"a","commandLine":"x"},{"id":"b","commandLine":"y"}]`)))
	text := l.fails(batcherr.ExitInvalid, "task", "add", "work", "--file", l.file("tasks.yaml", "id: c\ncommandLine: \"\"\n"))
	require.Equal(t, "error: task c: A required property was not specified in the request body. (MissingRequiredProperty)\n  PropertyName: commandLine\n", text)
}

func TestTaskListAndShow(t *testing.T) {
	l := newLab(t)
	l.ok("job", "create", "work", "--pool", "demo")
	l.farm.finish = fail(3)
	l.ok("task", "add", "work", "--id", "bad", "--", "false")
	l.farm.finish = func(task *apiv1.Task) {
		succeed(task)
		task.ExecutionInfo.StartTime = timestamppb.New(testNow.Add(-time.Hour))
		task.ExecutionInfo.EndTime = timestamppb.New(testNow.Add(-time.Hour + 90*time.Second))
		task.NodeInfo = &apiv1.NodeInfo{NodeId: "node\x1b[31m-1"}
	}
	l.ok("task", "add", "work", "--id", "good", "--", "true")
	require.Equal(t, ""+
		"ID    STATE      RESULT   EXIT  NODE         STARTED    TOOK   RETRIES  FAILURE\n"+
		"bad   completed  failure     3  -            -          -            0  FailureExitCode\n"+
		"good  completed  success     0  node [31m-1  1h00m ago  1m30s        0  -\n", l.ok("task", "list", "work"))
	l.ok("task", "list", "work", "--failed", "--state", "completed", "--filter", "id eq 'x' or id eq 'y'")
	require.Equal(t, "(id eq 'x' or id eq 'y') and executionInfo/result eq 'failure' and state eq 'completed'", last[*apiv1.ListTasksRequest](l.farm).GetOptions().GetFilter())
	require.Contains(t, l.fails(batcherr.ExitInvalid, "task", "list", "work", "--state", "lost"), "active, preparing")
	shown := l.ok("task", "show", "work", "bad")
	require.Contains(t, shown, "Failure    The task exited with a code that is a failure. (FailureExitCode, usererror)\n")
	require.Contains(t, shown, "Exit code  3\n")

	var tasks []map[string]any
	require.NoError(t, json.Unmarshal([]byte(l.ok("task", "list", "work", "-o", "json")), &tasks))
	require.Len(t, tasks, 2)
	require.NotContains(t, l.ok("task", "list", "work", "-o", "yaml"), "\x1b")
}

func TestListsFollowPages(t *testing.T) {
	l := newLab(t)
	l.ok("job", "create", "work", "--pool", "demo")
	l.farm.pageSize = 2
	l.ok("task", "add", "work", "--file", l.file("t.yaml", "[{id: a, commandLine: c}, {id: b, commandLine: c}, {id: c, commandLine: c}, {id: d, commandLine: c}, {id: e, commandLine: c}]"))
	require.Equal(t, "a\nb\nc\nd\ne\n", l.ok("task", "list", "work", "-q", "--limit", "0"))
	r := l.run("task", "list", "work", "-q", "--limit", "3")
	require.Equal(t, "a\nb\nc\n", r.out)
	require.Contains(t, r.err, "the first 3 are shown")
	require.Equal(t, "[]\n", l.ok("task", "list", "none", "-o", "json"))
	require.Equal(t, "[]\n", l.ok("task", "list", "none", "-o", "yaml"))
}

func TestTaskLogsAndFiles(t *testing.T) {
	l := newLab(t)
	l.farm.files["work/a/stdout.txt"] = "out \x1b[31mred\n"
	l.farm.files["work/a/stderr.txt"] = "err\n"
	l.farm.files["work/a/wd/deep/result.bin"] = "\x00\x01"
	r := l.run("task", "logs", "work", "a", "-f")
	require.Equal(t, result{"out \x1b[31mred\n", "err\n", 0}, r, "as it is into a pipe")
	require.Equal(t, result{"out \x1b[31mred\n", "", 0}, l.run("task", "logs", "work", "a", "--stdout"))
	l.tty = true
	require.Equal(t, "out [31mred\n", l.run("task", "logs", "work", "a").out, "clean on a terminal")
	require.Equal(t, "out \x1b[31mred\n", l.run("task", "logs", "work", "a", "--raw").out)
	l.tty = false

	require.Contains(t, l.ok("task", "files", "work", "a"), "wd/deep/result.bin   2 B")
	to := filepath.Join(t.TempDir(), "new")
	l.ok("task", "download", "work", "a", "--to", to)
	content, err := os.ReadFile(filepath.Join(to, "wd", "deep", "result.bin"))
	require.NoError(t, err)
	require.Equal(t, "\x00\x01", string(content))
	require.Contains(t, l.fails(batcherr.ExitNotFound, "task", "logs", "work", "none"), "(FileNotFound)")
	l.ok("task", "terminate", "work", "a")
}

func TestDownloadStaysInItsDirectory(t *testing.T) {
	l := newLab(t)
	l.farm.files["work/a/../../../escaped"] = "x"
	l.farm.files["work/a/wd/ok"] = "x"
	dir := t.TempDir()
	to := filepath.Join(dir, "in", "here")
	require.Contains(t, l.fails(batcherr.ExitFailure, "task", "download", "work", "a", "--to", to), "leads out")
	_, err := os.Stat(filepath.Join(dir, "escaped"))
	require.ErrorIs(t, err, os.ErrNotExist)

	outside := t.TempDir()
	require.NoError(t, os.Symlink(outside, filepath.Join(to, "wd")))
	require.NotZero(t, l.run("task", "download", "work", "a", "wd/ok", "--to", to).code)
	entries, err := os.ReadDir(outside)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestJobWait(t *testing.T) {
	l := newLab(t)
	l.ok("job", "create", "work", "--pool", "demo")
	l.ok("task", "add", "work", "--id", "a", "--", "true")
	require.Equal(t, "job work: 0 active, 0 running, 1 succeeded, 0 failed\n", l.ok("job", "wait", "work"))
	l.farm.finish = fail(1)
	l.ok("task", "add", "work", "--id", "b", "--", "false")
	require.Contains(t, l.fails(exitTasksFailed, "job", "wait", "work"), "1 task of job work failed")
	l.farm.finish = nil
	l.ok("task", "add", "work", "--id", "c", "--", "sleep 1000")
	require.Contains(t, l.fails(batcherr.ExitTimeout, "job", "wait", "work", "--timeout", "50ms"), "1 active")
	require.Contains(t, l.fails(batcherr.ExitNotFound, "job", "wait", "none"), "(JobNotFound)")
}

func TestFileCommands(t *testing.T) {
	l := newLab(t)
	source := filepath.Join(t.TempDir(), "images")
	require.NoError(t, os.MkdirAll(filepath.Join(source, "sub"), 0o755))
	for name, content := range map[string]string{"a.txt": "alpha", "sub/b.txt": "beta"} {
		require.NoError(t, os.WriteFile(filepath.Join(source, filepath.FromSlash(name)), []byte(content), 0o644))
	}
	require.Contains(t, l.ok("file", "upload", source, "--to", "in/"), "-> in/images/sub/b.txt (4 B)\n")
	l.ok("file", "upload", filepath.Join(source, "a.txt"), "--to", "in/renamed")
	l.ok("file", "upload", filepath.Join(source, "a.txt"))
	require.Equal(t, "a.txt\nin/images/a.txt\nin/images/sub/b.txt\nin/renamed\n", l.ok("file", "list", "-q"))
	require.Contains(t, l.ok("file", "list", "in/im"), "in/images/sub/b.txt   4 B")
	require.Contains(t, l.ok("file", "list", "in/ren", "-o", "json"), `"key": "in/renamed"`)

	to := t.TempDir()
	l.ok("file", "download", "--prefix", "in/", "--to", to)
	l.ok("file", "download", "in/renamed", "--to", to)
	for name, want := range map[string]string{"images/sub/b.txt": "beta", "renamed": "alpha"} {
		got, err := os.ReadFile(filepath.Join(to, filepath.FromSlash(name)))
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
	l.fails(batcherr.ExitNotFound, "file", "download", "none", "--to", to)
	l.fails(batcherr.ExitNotFound, "file", "download", "--prefix", "none/", "--to", to)
	l.fails(batcherr.ExitInvalid, "file", "upload", "/no/such/file")
	l.fails(batcherr.ExitInvalid, "file", "delete", "--prefix", "")
	require.Equal(t, "2 objects deleted\n", l.ok("file", "delete", "--prefix", "in/images/"))
	require.Equal(t, "1 object deleted\n", l.ok("file", "delete", "a.txt"))
	require.Equal(t, "in/renamed\n", l.ok("file", "list", "-q"))
}

func TestAppCommands(t *testing.T) {
	l := newLab(t)
	dir := filepath.Join(t.TempDir(), "model")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "bin"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bin", "run"), []byte("#!/bin/sh\n"), 0o755))
	require.Contains(t, l.ok("app", "upload", "model", "1", dir, "--default"), "application model version 1 uploaded")
	first := last[*apiv1.ActivatePackageRequest](l.farm)

	archive, err := zip.OpenReader(filepath.Join(l.dir, "apps", "model", "1.zip"))
	require.NoError(t, err)
	defer archive.Close()
	require.Len(t, archive.File, 1)
	require.Equal(t, "bin/run", archive.File[0].Name)
	require.Equal(t, os.FileMode(0o755), archive.File[0].Mode())

	l.ok("app", "upload", "model", "2", filepath.Join(l.dir, "apps", "model", "1.zip"))
	second := last[*apiv1.ActivatePackageRequest](l.farm)
	require.Equal(t, first.GetSha256(), second.GetSha256(), "the same files make the same archive")
	listed := l.ok("app", "list")
	require.Contains(t, listed, "model  1        active")
	require.Contains(t, strings.Split(listed, "\n")[1], "yes")
	shown := l.ok("app", "show", "model")
	require.Contains(t, shown, "Default version  1\n")
	require.Contains(t, shown, first.GetSha256())
	require.Contains(t, l.ok("app", "activate", "model", "1"), "version 1 activated")
	equalProto(t, first, last[*apiv1.ActivatePackageRequest](l.farm))
	require.Contains(t, l.fails(batcherr.ExitNotFound, "app", "activate", "model", "9"), "ApplicationPackageNotFound")
	l.ok("app", "update", "model", "--default", "2", "--allow-updates=false")
	equalProto(t, &apiv1.UpdateApplicationRequest{ApplicationId: "model", DefaultVersion: proto.String("2"), AllowUpdates: proto.Bool(false)},
		last[*apiv1.UpdateApplicationRequest](l.farm))
	l.ok("app", "update", "model", "--no-default", "--display-name", "x")
	equalProto(t, &apiv1.UpdateApplicationRequest{ApplicationId: "model", DefaultVersion: proto.String(""), DisplayName: proto.String("x")},
		last[*apiv1.UpdateApplicationRequest](l.farm))
	l.fails(batcherr.ExitInvalid, "app", "update", "model")
	require.Contains(t, l.fails(batcherr.ExitInvalid, "app", "upload", "model", "3", l.file("x.zip", "no archive")), "not a zip archive")
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(dir, "link")))
	require.Contains(t, l.fails(batcherr.ExitInvalid, "app", "upload", "model", "3", dir), "neither a file nor a directory")
}

func TestAccountCommands(t *testing.T) {
	l := newLab(t)
	require.Contains(t, l.ok("account", "create", "acme"), "account acme made, with the bucket acme-bucket")
	equalProto(t, &apiv1.CreateAccountRequest{AccountId: "acme"}, last[*apiv1.CreateAccountRequest](l.farm))
	require.Contains(t, l.fails(batcherr.ExitInvalid, "account", "create", "acme", "--store-bucket", "b"), "BATCHYARD_STORE_ACCESS_KEY")
	require.Equal(t, "acme\ndev\n", l.ok("account", "list", "-q"))
	require.Contains(t, l.ok("account", "list"), "acme  acme-bucket")
	require.Contains(t, l.ok("account", "keys"), "Primary   a2V5+/==\n")
	require.Contains(t, l.ok("account", "regenerate", "acme", "secondary"), "Secondary  second\n")
	require.Equal(t, apiv1.AccountKeyName_ACCOUNT_KEY_NAME_SECONDARY, last[*apiv1.RegenerateAccountKeyRequest](l.farm).GetKey())
	require.Contains(t, l.ok("account", "regenerate", "acme", "store"), "new secret")
	require.Contains(t, l.fails(batcherr.ExitInvalid, "account", "regenerate", "acme", "third"), "primary, secondary or store")
	require.Contains(t, l.fails(batcherr.ExitInvalid, "account", "set-store", "acme"), "no credentials")
	require.Equal(t, "a-token\n", l.ok("account", "token", "acme", "--role", "reader", "--ttl", "8h"))
	equalProto(t, &apiv1.IssueTokenRequest{AccountId: "acme", Role: apiv1.TokenRole_TOKEN_ROLE_READER, Ttl: durationpb.New(8 * time.Hour)},
		last[*apiv1.IssueTokenRequest](l.farm))
	require.Contains(t, l.fails(batcherr.ExitInvalid, "account", "token", "--role", "king"), "user, reader or admin")
	l.ok("account", "delete", "acme")
	require.Equal(t, "acme", last[*apiv1.DeleteAccountRequest](l.farm).GetAccountId())

	l.env["BATCHYARD_STORE_ACCESS_KEY"], l.env["BATCHYARD_STORE_SECRET_KEY"] = "AK", "SK"
	l.ok("account", "set-store", "acme", "--store-endpoint", "https://s3.example.org", "--store-bucket", "b-acme", "--store-ca", l.file("ca.pem", "PEM"))
	equalProto(t, &apiv1.SetStoreRequest{AccountId: "acme", Store: &apiv1.StoreAccess{
		Endpoint: "https://s3.example.org", Bucket: "b-acme", AccessKey: "AK", SecretKey: "SK", CaPem: []byte("PEM"),
	}}, last[*apiv1.SetStoreRequest](l.farm))
	l.ok("account", "create", "other")
	require.Equal(t, "AK", last[*apiv1.CreateAccountRequest](l.farm).GetStore().GetAccessKey())
}

func TestAccessCommands(t *testing.T) {
	l := newLab(t)
	require.Contains(t, l.ok("account", "show"), "Bucket    dev-bucket\n")
	env := l.ok("account", "env")
	require.Contains(t, env, "export AZURE_BATCH_ACCOUNT=dev\nexport AZURE_BATCH_ACCESS_KEY=a2V5+/==\nexport AZURE_BATCH_ENDPOINT=https://127.0.0.1:7443\n")
	require.Contains(t, env, "export AWS_ENDPOINT_URL_S3=https://127.0.0.1:9000\nexport AWS_ACCESS_KEY_ID=AK\n")
	require.Contains(t, env, `export AWS_SECRET_ACCESS_KEY='it'\''s secret'`)
	require.Contains(t, l.ok("cluster", "status"), "m1      leader    10.0.0.1:7444  -      10.0.0.1:7445")
	require.Equal(t, "join-me\n", l.ok("cluster", "token", "--pool", "demo", "--uses", "3", "--ttl", "24h"))
	equalProto(t, &apiv1.CreateJoinTokenRequest{
		Kind: apiv1.JoinTokenKind_JOIN_TOKEN_KIND_NODE, PoolId: "demo", MaxUses: 3, Ttl: durationpb.New(24 * time.Hour),
	}, last[*apiv1.CreateJoinTokenRequest](l.farm))
	require.Contains(t, l.fails(batcherr.ExitInvalid, "cluster", "token"), "--pool")

	require.Contains(t, l.ok("context", "list"), "*        dev")
	require.NotContains(t, l.ok("context", "show", "-o", "json")+l.ok("context", "list", "-o", "json"), "secret")
	require.Contains(t, l.ok("context", "use", "dev"), "current")
	require.Contains(t, l.fails(batcherr.ExitInvalid, "context", "use", "none"), "known: dev")
	require.Contains(t, l.fails(batcherr.ExitInvalid, "pool", "list", "--context", "none"), "known: dev")
}

func TestMistakesOfUse(t *testing.T) {
	l := newLab(t)
	for _, args := range [][]string{
		{"nonsense"}, {"pool", "nonsense"}, {"pool", "show"}, {"pool", "show", "a", "b"}, {"pool", "list", "--nonsense"},
		{"pool", "create", "x", "--nodes", "many"}, {"job", "wait"}, {"pool", "list", "-o", "xml"}, {"run"}, {"submit"},
	} {
		text := l.fails(batcherr.ExitInvalid, args...)
		require.True(t, strings.HasPrefix(text, "error: "), text)
	}
	delete(l.env, "BATCHYARD_CONFIG")
	l.env["HOME"] = t.TempDir()
	require.Contains(t, l.fails(batcherr.ExitInvalid, "pool", "list"), "batchyard dev")
}

func TestNobodyAnswers(t *testing.T) {
	l := newLab(t)
	l.server.Stop()
	text := l.fails(batcherr.ExitUnavailable, "pool", "list", "--retry-for", "10ms")
	require.Contains(t, text, "No coordinator answers at "+l.server.Address)
}

func TestCompletion(t *testing.T) {
	l := newLab(t)
	l.ok("pool", "create", "demo")
	l.ok("pool", "create", "other")
	l.ok("job", "create", "work", "--pool", "demo")
	l.ok("task", "add", "work", "--id", "t1", "--", "true")
	for want, args := range map[string][]string{
		"demo\n:4\n":              {"pool", "show", "d"},
		"demo\nother\n:4\n":       {"job", "create", "--pool", ""},
		"t1\n:4\n":                {"task", "show", "work", ""},
		":4\n":                    {"task", "show", "work", "t1", ""},
		"dev\n:4\n":               {"context", "use", ""},
		"table\njson\nyaml\n:4\n": {"pool", "list", "-o", ""},
	} {
		require.Equal(t, want, l.ok(append([]string{"__complete"}, args...)...))
	}
	require.Contains(t, l.ok("completion", "bash"), "bash completion")
}
