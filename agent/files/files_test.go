package files_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/agent/files"
	"github.com/batchyard/batchyard/internal/batcherr"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

const task = "workitems/job/job-1/t1"

func node(t *testing.T, contents map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range contents {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	return root
}

func openTree(t *testing.T, root, under string) *files.Tree {
	t.Helper()
	tree, err := files.Open(root, under)
	require.NoError(t, err)
	t.Cleanup(tree.Close)
	return tree
}

// answer is what one request was answered with.
type answer struct {
	names []string
	files []*agentv1.TransferChunk_File
	data  string
	code  string
	end   bool
	ids   []string
}

func (a *answer) take(c *agentv1.TransferChunk) error {
	a.ids = append(a.ids, c.GetId())
	switch content := c.GetContent().(type) {
	case *agentv1.TransferChunk_File:
		a.names = append(a.names, content.File.GetName())
		a.files = append(a.files, content)
	case *agentv1.TransferChunk_Data:
		a.data += string(content.Data)
	case *agentv1.TransferChunk_Error:
		a.code = content.Error.GetCode()
	case *agentv1.TransferChunk_End:
		a.end = true
	}
	return nil
}

func ask(t *testing.T, root string, req *agentv1.FileRequest) answer {
	t.Helper()
	var a answer
	req.Id = "request"
	require.NoError(t, files.Serve(t.Context(), root, req, a.take, nil))
	require.Equal(t, "request", a.ids[0])
	require.NotEqual(t, a.code != "", a.end, "either an error or an end")
	return a
}

func TestListsInByteOrderPageByPage(t *testing.T) {
	contents := map[string]string{}
	for _, name := range []string{"stdout.txt", "stderr.txt", "wd/a", "wd/a-b", "wd/a.b/x", "wd/b/c/d", "wd/b/c-", "wd/b0", "certs/x"} {
		contents[task+"/"+name] = name
	}
	root := node(t, contents)
	require.NoError(t, os.Symlink("stdout.txt", filepath.Join(root, task, "link")))
	require.NoError(t, os.Symlink("/etc", filepath.Join(root, task, "wd/etc")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(root, task, "wd/fifo"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(root, task, "wd/bad\xff"), nil, 0o600))

	all := ask(t, root, &agentv1.FileRequest{Operation: agentv1.FileOperation_FILE_OPERATION_LIST, Root: task, Recursive: true})
	require.Equal(t, []string{"certs", "certs/x", "stderr.txt", "stdout.txt", "wd", "wd/a", "wd/a-b", "wd/a.b", "wd/a.b/x",
		"wd/b", "wd/b/c", "wd/b/c-", "wd/b/c/d", "wd/b0"}, all.names)
	require.True(t, slices.IsSorted(all.names))
	flat := ask(t, root, &agentv1.FileRequest{Operation: agentv1.FileOperation_FILE_OPERATION_LIST, Root: task})
	require.Equal(t, []string{"certs", "stderr.txt", "stdout.txt", "wd"}, flat.names)

	for limit := 1; limit <= len(all.names)+1; limit++ {
		var got []string
		for after := ""; ; {
			page := ask(t, root, &agentv1.FileRequest{
				Operation: agentv1.FileOperation_FILE_OPERATION_LIST, Root: task, Recursive: true, After: after, Limit: int32(limit),
			})
			if len(page.names) == 0 {
				break
			}
			got = append(got, page.names...)
			after = got[len(got)-1]
		}
		require.Equal(t, all.names, got, limit)
	}
	for prefix, want := range map[string][]string{
		"std": {"stderr.txt", "stdout.txt"}, "wd/b": {"wd/b", "wd/b/c", "wd/b/c-", "wd/b/c/d", "wd/b0"}, "wd/b/": {"wd/b/c", "wd/b/c-", "wd/b/c/d"},
		"none": nil, "wd/a.b/x": {"wd/a.b/x"},
	} {
		got := ask(t, root, &agentv1.FileRequest{Operation: agentv1.FileOperation_FILE_OPERATION_LIST, Root: task, Recursive: true, Prefix: prefix})
		require.Equal(t, want, got.names, prefix)
	}
}

func TestProperties(t *testing.T) {
	root := node(t, map[string]string{task + "/wd/Out.TXT": "four", task + "/wd/bin": ""})
	tree := openTree(t, root, task)
	file, err := tree.Properties("wd/Out.TXT")
	require.NoError(t, err)
	require.Equal(t, "wd/Out.TXT", file.GetName())
	require.Equal(t, proto.Bool(false), file.IsDirectory)
	require.EqualValues(t, 4, file.GetProperties().GetContentLength())
	require.Equal(t, "text/plain", file.GetProperties().GetContentType())
	require.Equal(t, "0o100644", file.GetProperties().GetFileMode())
	require.WithinDuration(t, time.Now(), file.GetProperties().GetLastModified().AsTime(), time.Minute)
	require.Nil(t, file.GetProperties().GetCreationTime())
	bin, err := tree.Properties("wd/bin")
	require.NoError(t, err)
	require.Equal(t, "application/octet-stream", bin.GetProperties().GetContentType())
	dir, err := tree.Properties("wd")
	require.NoError(t, err)
	require.True(t, dir.GetIsDirectory())
	require.Nil(t, dir.GetProperties())
}

func TestReadsRanges(t *testing.T) {
	text := strings.Repeat("0123456789", 100_000)
	root := node(t, map[string]string{task + "/stdout.txt": text, task + "/empty": ""})
	read := func(name string, offset, length int64) answer {
		return ask(t, root, &agentv1.FileRequest{Operation: agentv1.FileOperation_FILE_OPERATION_READ, Root: task, Name: name, Offset: offset, Length: length})
	}
	for _, c := range []struct {
		offset, length int64
		want           string
	}{{0, 0, text}, {5, 3, "567"}, {999_999, 0, "9"}, {999_990, 1000, text[:10]}, {1, 0, text[1:]}} {
		got := read("stdout.txt", c.offset, c.length)
		require.True(t, got.end)
		require.Equal(t, []string{"stdout.txt"}, got.names)
		require.True(t, c.want == got.data, "%d+%d", c.offset, c.length)
	}
	require.Empty(t, read("empty", 0, 0).data)
	for _, c := range [][2]int64{{1_000_000, 0}, {1_000_001, 1}, {-1, 0}, {0, -1}, {1 << 62, 1 << 62}} {
		got := read("stdout.txt", c[0], c[1])
		require.Equal(t, batcherr.CodeInvalidRange, got.code)
		require.Empty(t, got.names)
	}
	require.Equal(t, batcherr.CodeInvalidRange, read("empty", 1, 0).code)
}

func TestDelete(t *testing.T) {
	root := node(t, map[string]string{task + "/wd/a/b": "", task + "/wd/c": "", "shared/x": ""})
	del := func(under, name string, recursive bool) string {
		return ask(t, root, &agentv1.FileRequest{Operation: agentv1.FileOperation_FILE_OPERATION_DELETE, Root: under, Name: name, Recursive: recursive}).code
	}
	require.Equal(t, batcherr.CodeOperationInvalidForCurrentState, del(task, "wd/a", false))
	require.FileExists(t, filepath.Join(root, task, "wd/a/b"))
	require.Empty(t, del(task, "wd/a", true))
	require.Empty(t, del(task, "wd/c", false))
	require.Equal(t, batcherr.CodeFileNotFound, del(task, "wd/c", false))
	require.Equal(t, batcherr.CodeFileNotFound, del(task, "wd/c", true))
	require.Equal(t, batcherr.CodeOperationInvalidForCurrentState, del("", "shared", true))
	require.Empty(t, del("", "shared/x", false))
}

func TestHostileNamesAndThings(t *testing.T) {
	root := node(t, map[string]string{task + "/wd/x": "x", "volatile/key.pem": "SECRET", task + "/stdout.txt": ""})
	canary := filepath.Join(t.TempDir(), "canary")
	require.NoError(t, os.WriteFile(canary, []byte("SECRET"), 0o600))
	require.NoError(t, os.Symlink(canary, filepath.Join(root, task, "wd/link")))
	require.NoError(t, os.Symlink(filepath.Dir(canary), filepath.Join(root, task, "wd/dirlink")))
	require.NoError(t, os.Symlink("x", filepath.Join(root, task, "wd/inner")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(root, task, "wd/fifo"), 0o600))

	for _, c := range []struct{ under, name, code string }{
		{task, "../t1/wd/x", batcherr.CodeInvalidInput},
		{task, "/etc/passwd", batcherr.CodeInvalidInput},
		{task, "", batcherr.CodeInvalidInput},
		{task, "wd/../stdout.txt", batcherr.CodeInvalidInput},
		{task, "C:/x", batcherr.CodeInvalidInput},
		{task, "wd/x\x00", batcherr.CodeInvalidInput},
		{task, strings.Repeat("a", 300), batcherr.CodeInvalidInput},
		{"../" + filepath.Base(root), "x", batcherr.CodeInvalidInput},
		{"/etc", "passwd", batcherr.CodeInvalidInput},
		{task, "wd/link", batcherr.CodeFileNotFound},
		{task, "wd/inner", batcherr.CodeFileNotFound},
		{task, "wd/dirlink/canary", batcherr.CodeFileNotFound},
		{task + "/wd/dirlink", "canary", batcherr.CodeFileNotFound},
		{task, "wd/fifo", batcherr.CodeFileNotFound},
		{task, "wd/x/y", batcherr.CodeFileNotFound},
		{task, "nothing", batcherr.CodeFileNotFound},
		{"workitems/job/job-1/t2", "stdout.txt", batcherr.CodeTaskFilesUnavailable},
		{"", "volatile/key.pem", batcherr.CodeFileNotFound},
		{"", "Volatile/key.pem", batcherr.CodeFileNotFound},
		{"volatile", "key.pem", batcherr.CodeFileNotFound},
	} {
		for _, op := range []agentv1.FileOperation{agentv1.FileOperation_FILE_OPERATION_READ, agentv1.FileOperation_FILE_OPERATION_PROPERTIES} {
			got := ask(t, root, &agentv1.FileRequest{Operation: op, Root: c.under, Name: c.name})
			require.Equal(t, c.code, got.code, "%s %q %q", op, c.under, c.name)
			require.NotContains(t, got.data, "SECRET")
		}
	}
	dir := ask(t, root, &agentv1.FileRequest{Operation: agentv1.FileOperation_FILE_OPERATION_READ, Root: task, Name: "wd"})
	require.Equal(t, batcherr.CodeOperationInvalidForCurrentState, dir.code)
	all := ask(t, root, &agentv1.FileRequest{Operation: agentv1.FileOperation_FILE_OPERATION_LIST, Recursive: true})
	require.Contains(t, all.names, "volatile")
	require.NotContains(t, all.names, "volatile/key.pem")
	require.Equal(t, batcherr.CodeNotImplemented, ask(t, root, &agentv1.FileRequest{Root: task}).code)
}

func TestFollowsFromBeforeTheFileExistsToTheEnd(t *testing.T) {
	root := t.TempDir()
	done := make(chan struct{})
	got := make(chan string)
	finished := make(chan error, 1)
	go func() {
		defer close(got)
		finished <- files.Serve(t.Context(), root, &agentv1.FileRequest{
			Operation: agentv1.FileOperation_FILE_OPERATION_READ, Root: task, Name: "stdout.txt", Follow: true, Offset: 2,
		}, func(c *agentv1.TransferChunk) error {
			switch {
			case c.GetFile() != nil:
				got <- "properties"
			case c.GetError() != nil:
				got <- c.GetError().GetCode()
			case c.GetEnd():
				got <- "end"
			default:
				got <- string(c.GetData())
			}
			return nil
		}, done)
	}()
	require.NoError(t, os.MkdirAll(filepath.Join(root, task), 0o755))
	f, err := os.Create(filepath.Join(root, task, "stdout.txt"))
	require.NoError(t, err)
	defer f.Close()
	require.Equal(t, "properties", <-got)
	_, err = f.WriteString("0123")
	require.NoError(t, err)
	require.Equal(t, "23", <-got)
	_, err = f.WriteString("45")
	require.NoError(t, err)
	require.Equal(t, "45", <-got)
	_, err = f.WriteString("last words")
	require.NoError(t, err)
	close(done)
	rest := ""
	for text := range got {
		if text != "end" {
			rest += text
		}
	}
	require.Equal(t, "last words", rest)
	require.NoError(t, <-finished)
}

func TestFollowEndsWithItsLengthItsAttemptAndItsContext(t *testing.T) {
	root := node(t, map[string]string{task + "/stdout.txt": "0123456789"})
	req := &agentv1.FileRequest{Operation: agentv1.FileOperation_FILE_OPERATION_READ, Root: task, Name: "stdout.txt", Follow: true, Length: 4}
	live := make(chan struct{})
	var a answer
	require.NoError(t, files.Serve(t.Context(), root, req, a.take, live))
	require.Equal(t, "0123", a.data)

	req.Name = "never"
	over := make(chan struct{})
	close(over)
	a = answer{}
	require.NoError(t, files.Serve(t.Context(), root, req, a.take, over))
	require.Equal(t, batcherr.CodeFileNotFound, a.code)

	req.Name, req.Length = "stdout.txt", 0
	ctx, cancel := context.WithCancel(t.Context())
	err := files.Serve(ctx, root, req, func(c *agentv1.TransferChunk) error {
		if c.GetData() != nil {
			cancel()
		}
		return nil
	}, live)
	require.ErrorIs(t, err, context.Canceled)
}

func TestAFailingSendEndsTheAnswer(t *testing.T) {
	root := node(t, map[string]string{task + "/stdout.txt": strings.Repeat("x", 1<<20)})
	broken := fmt.Errorf("stream broken")
	sent := 0
	err := files.Serve(t.Context(), root, &agentv1.FileRequest{Operation: agentv1.FileOperation_FILE_OPERATION_READ, Root: task, Name: "stdout.txt"},
		func(*agentv1.TransferChunk) error {
			if sent++; sent == 3 {
				return broken
			}
			return nil
		}, nil)
	require.ErrorIs(t, err, broken)
	require.Equal(t, 3, sent)
}
