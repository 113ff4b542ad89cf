package stage

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/batchyard/batchyard/storage"
)

const (
	always    = apiv1.OutputFileUploadCondition_OUTPUT_FILE_UPLOAD_CONDITION_TASK_COMPLETION
	onSuccess = apiv1.OutputFileUploadCondition_OUTPUT_FILE_UPLOAD_CONDITION_TASK_SUCCESS
	onFailure = apiv1.OutputFileUploadCondition_OUTPUT_FILE_UPLOAD_CONDITION_TASK_FAILURE
)

func to(pattern, container, path string, when apiv1.OutputFileUploadCondition) *apiv1.OutputFile {
	return &apiv1.OutputFile{
		FilePattern:   pattern,
		Destination:   &apiv1.OutputFileDestination{Container: &apiv1.OutputFileBlobContainerDestination{ContainerUrl: container, Path: path}},
		UploadOptions: &apiv1.OutputFileUploadConfig{UploadCondition: when},
	}
}

func env(name string) (string, bool) {
	v, ok := map[string]string{"NAME": "result", "JOB": "job"}[name]
	return v, ok
}

// objects lists a bucket.
func (f *farm) objects(t testing.TB, bucket string) []string {
	t.Helper()
	var keys []string
	for o, err := range f.stores.stores[bucket].List(t.Context(), "") {
		require.NoError(t, err)
		keys = append(keys, o.Key)
	}
	slices.Sort(keys)
	return keys
}

func TestOutputsOfEveryKind(t *testing.T) {
	f := newFarm(t)
	f.stores.make(t, "out")
	f.stores.make(t, "web")
	for _, name := range []string{"stdout.txt", "stderr.txt", "wd/result.txt", "wd/a.csv", "wd/.hidden.csv", "wd/d/b.csv", "wd/d/e/c.csv", "fileuploadout.txt"} {
		f.write(t, name, name)
	}
	outputs := []*apiv1.OutputFile{
		to("../std*.txt", "s3://out", "logs/t1", always),
		to("$NAME.txt", "s3://out/base", "renamed.txt", always),
		to("${NAME}.txt", "https://store.example:9000/out", "", onSuccess),
		to("**/*.csv", "s3://out", "all", always),
		to("d/**/*.csv", "s3://out", "", always),
		to(filepath.Join(f.dirs.Work, "a.csv"), "s3://out", "/abs/a.csv/", always),
		to("../*.txt", "s3://out", "every", always),
		to("a.csv", "https://example.com/put?X-Amz-Signature=SECRET", "", always),
		to("none/*", "s3://nowhere", "", always),
		to("*.txt", "s3://out", "failed", onFailure),
	}
	require.NoError(t, f.Outputs(t.Context(), f.dirs, outputs, env, true))
	require.Equal(t, []string{
		"abs/a.csv", "all/a.csv", "all/d/b.csv", "all/d/e/c.csv", "b.csv", "base/renamed.txt", "e/c.csv", "every/stderr.txt", "every/stdout.txt",
		"logs/t1/stderr.txt", "logs/t1/stdout.txt", "result.txt",
	}, f.objects(t, "out"))
	require.Equal(t, "wd/d/e/c.csv", f.object(t, "out", "all/d/e/c.csv"))
	require.Equal(t, "wd/result.txt", f.object(t, "out", "base/renamed.txt"))
	require.Equal(t, "wd/a.csv", f.object(t, "web", "put"))
	log := f.read(t, "fileuploadout.txt")
	require.Contains(t, log, `uploaded "wd/result.txt" to s3://out/base/renamed.txt (13 bytes)`)
	require.Contains(t, log, `"none/*" matches 0 files`)
	require.NotContains(t, log, "SECRET")
	require.Empty(t, f.read(t, "fileuploaderr.txt"))
}

func TestConditionsAndLogs(t *testing.T) {
	f := newFarm(t)
	f.write(t, "wd/x", "x")
	require.NoError(t, f.Outputs(t.Context(), f.dirs, []*apiv1.OutputFile{to("x", "s3://account", "yes", onSuccess)}, env, false))
	require.NoFileExists(t, filepath.Join(f.dirs.Task, uploadLog))
	require.NoFileExists(t, filepath.Join(f.dirs.Task, uploadErrorLog))
	require.NoError(t, f.Outputs(t.Context(), f.dirs, []*apiv1.OutputFile{
		to("x", "s3://account", "yes", onSuccess), to("x", "s3://account", "no", onFailure), to("x", "s3://account", "always", 0),
	}, env, false))
	require.Equal(t, []string{"always", "no"}, f.objects(t, "account"))
	require.FileExists(t, filepath.Join(f.dirs.Task, uploadErrorLog))
}

func TestOutputFailures(t *testing.T) {
	for what, c := range map[string]struct {
		output *apiv1.OutputFile
		code   string
		user   bool
	}{
		"no bucket":     {to("x", "s3://nowhere", "", always), batcherr.CodeFileUploadContainerNotFound, true},
		"forbidden":     {to("x", "s3://account", "forbidden", always), batcherr.CodeFileUploadAccessDenied, true},
		"broken":        {to("x", "s3://account", "broken", always), batcherr.CodeFileUploadMiscError, false},
		"leads out":     {to("../../../x", "s3://account", "", always), batcherr.CodeFileUploadMiscError, true},
		"absolute":      {to("/etc/passwd", "s3://account", "", always), batcherr.CodeFileUploadMiscError, true},
		"URL for many":  {to("*", "https://example.com/c?X-Amz-Signature=SECRET", "", always), batcherr.CodeFileUploadMiscError, true},
		"bad container": {to("x", "gopher://x?sig=SECRET", "", always), batcherr.CodeFileUploadMiscError, true},
		"file URL":      {to("x", "file:///tmp", "", always), batcherr.CodeFileUploadMiscError, true},
		"no container":  {to("x", "", "", always), batcherr.CodeFileUploadMiscError, true},
		"bad path":      {to("x", "s3://account", "a/../b", always), batcherr.CodeFileUploadMiscError, true},
	} {
		t.Run(what, func(t *testing.T) {
			f := newFarm(t)
			f.write(t, "wd/x", "x")
			f.write(t, "wd/y", "y")
			f.stores.stores["account"].before = func(op, key string) error {
				if kind := map[string]error{"forbidden": storage.ErrForbidden, "broken": storage.ErrTemporary}[key]; kind != nil {
					return &storage.Error{Op: op, Key: key, Kind: kind}
				}
				return nil
			}
			err := f.Outputs(t.Context(), f.dirs, []*apiv1.OutputFile{c.output, to("y", "s3://account", "other", always)}, env, true)
			failure := failed(t, err, c.code)
			require.Equal(t, c.user, failure.GetCategory() == apiv1.ErrorSourceCategory_ERROR_SOURCE_CATEGORY_USER_ERROR)
			require.Equal(t, "y", f.object(t, "account", "other"), "the others are uploaded all the same")
			require.Contains(t, f.read(t, uploadErrorLog), c.code)
			require.NotContains(t, f.read(t, uploadErrorLog), "SECRET")
		})
	}
}

func TestLinksAndSpecialFilesAreNotUploaded(t *testing.T) {
	f := newFarm(t)
	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "canary.txt"), []byte("SECRET"), 0o644))
	f.write(t, "wd/real.txt", "real")
	require.NoError(t, os.Symlink(filepath.Join(outside, "canary.txt"), filepath.Join(f.dirs.Work, "link.txt")))
	require.NoError(t, os.Symlink("real.txt", filepath.Join(f.dirs.Work, "inner.txt")))
	require.NoError(t, os.Symlink(outside, filepath.Join(f.dirs.Work, "dir")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(f.dirs.Work, "fifo.txt"), 0o600))
	require.NoError(t, f.Outputs(t.Context(), f.dirs, []*apiv1.OutputFile{
		to("*.txt", "s3://account", "a", always), to("**/*.txt", "s3://account", "b", always), to("dir/canary.txt", "s3://account", "c", always),
		to("link.txt", "s3://account", "d", always), to("fifo.txt", "s3://account", "e", always),
	}, env, true))
	require.Equal(t, []string{"a/real.txt", "b/real.txt"}, f.objects(t, "account"))
	require.Equal(t, 2, strings.Count(f.read(t, uploadLog), `"wd/fifo.txt" left out`)-1)
}

func TestTheLogsReplaceWhateverIsInTheirPlace(t *testing.T) {
	f := newFarm(t)
	canary := filepath.Join(t.TempDir(), "canary")
	require.NoError(t, os.WriteFile(canary, []byte("as it was"), 0o644))
	require.NoError(t, os.Symlink(canary, filepath.Join(f.dirs.Task, uploadLog)))
	f.write(t, uploadErrorLog+"/full/of/things", "")
	f.write(t, "wd/x", "x")
	require.NoError(t, f.Outputs(t.Context(), f.dirs, []*apiv1.OutputFile{to("x", "s3://account", "", always)}, env, true))
	require.Contains(t, f.read(t, uploadLog), "uploaded")
	require.Empty(t, f.read(t, uploadErrorLog))
	text, err := os.ReadFile(canary)
	require.NoError(t, err)
	require.Equal(t, "as it was", string(text))
	info, err := os.Lstat(filepath.Join(f.dirs.Task, uploadLog))
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o644), info.Mode())
}

func TestUploadsAreRetriedAndStopWithTheContext(t *testing.T) {
	f := newFarm(t)
	f.write(t, "wd/x", "x")
	tries := 0
	f.stores.stores["account"].before = func(op, key string) error {
		if tries++; tries < 3 {
			return &storage.Error{Op: op, Key: key, Kind: storage.ErrTemporary}
		}
		return nil
	}
	output := []*apiv1.OutputFile{to("x", "s3://account", "", always)}
	require.NoError(t, f.Outputs(t.Context(), f.dirs, output, env, true))
	require.Equal(t, "x", f.object(t, "account", "x"))

	ctx, cancel := context.WithCancel(t.Context())
	f.stores.stores["account"].before = func(op, key string) error {
		cancel()
		return &storage.Error{Op: op, Key: key, Kind: storage.ErrTemporary}
	}
	require.ErrorIs(t, f.Outputs(ctx, f.dirs, output, env, true), context.Canceled)
}

func TestUploadHeaders(t *testing.T) {
	got := putOptions([]*apiv1.OutputFileUploadHeader{{Name: "Content-Type", Value: "text/csv"}, {Name: "x-ms-meta-owner", Value: "me"}, {Name: "x-amz-meta-run", Value: "7"}})
	require.Equal(t, storage.PutOptions{ContentType: "text/csv", Metadata: map[string]string{"owner": "me", "run": "7"}}, got)
}

func TestClean(t *testing.T) {
	f := newFarm(t)
	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "canary"), nil, 0o644))
	f.write(t, "wd/a/b/c", "x")
	require.NoError(t, os.Symlink(outside, filepath.Join(f.dirs.Work, "out")))
	require.NoError(t, os.Chmod(filepath.Join(f.dirs.Work, "a"), 0o500))
	require.NoError(t, f.Clean(t.Context(), f.dirs))
	require.NoDirExists(t, f.dirs.Task)
	require.FileExists(t, filepath.Join(outside, "canary"))
	require.NoError(t, f.Clean(t.Context(), f.dirs))
	require.NoError(t, f.Clean(t.Context(), Dirs{Task: filepath.Join(f.dirs.Root, "no/such/task")}))
}

func TestStamps(t *testing.T) {
	log := &transcript{now: func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.FixedZone("", 3600)) }}
	log.line("done %d", 1)
	require.Equal(t, "2026-01-02T02:04:05.006Z done 1\n", log.out.String())
}
