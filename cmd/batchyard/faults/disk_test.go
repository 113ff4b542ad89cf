//go:build linux

package faults

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/diskspace"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// healing is how soon after there is room again work must go on.
const healing = 30 * time.Second

// smallDisk is a file system of its own with so many MiB, until the test ends.
func smallDisk(t *testing.T, mib int) string {
	if os.Getuid() != 0 {
		lacking(t, "a file system of its own, for which it has to run as root")
	}
	dir := t.TempDir()
	require.NoError(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)))
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, 0)) })
	return dir
}

// fill takes every byte that is left; the caller removes the file.
func fill(t *testing.T, dir string) (file string) {
	file = filepath.Join(dir, "filler")
	f, err := os.Create(file)
	require.NoError(t, err)
	defer f.Close()
	for chunk := make([]byte, 1<<20); len(chunk) > 0; {
		if _, err := f.Write(chunk); err != nil {
			require.ErrorIs(t, err, syscall.ENOSPC)
			chunk = chunk[:len(chunk)/2]
		}
	}
	return file
}

// requireAlive: recovery that needs a restart is none.
func (p *process) requireAlive() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.Signal(0)), "%s is still the same process", p.name)
}

// A coordinator whose disk is full adds nothing and says so, answers, lets tasks end, and goes on by itself when there is room.
func TestFullDiskOfACoordinator(t *testing.T) {
	disk := smallDisk(t, 250)
	c := newCluster(t, options{members: 1, nodes: 1, slots: 2, state: disk, tuning: []string{"--disk-reserve", "32"}})
	release := filepath.Join(c.dir, "release")
	c.must("job", "create", "job", "--pool", "pool")
	c.must("job", "create", "old", "--pool", "pool")
	c.must("task", "add", "job", "--id", "before", "--shell", "--", "touch "+release+".begun; until [ -e "+release+" ]; do sleep 0.05; done")
	c.eventually(patience, "the task runs", func() bool { return exists(release + ".begun") })

	filler := fill(t, disk)
	out, code := c.run("task", "add", "job", "--id", "refused", "--retry-for", "100ms", "--", "true")
	require.Equal(t, 6, code, out)
	require.Contains(t, out, "disk is nearly full")
	require.Contains(t, out, "of 32 MiB that it keeps free")
	require.Equal(t, "before", strings.TrimSpace(c.must("task", "list", "job", "-q")))
	require.NoError(t, os.WriteFile(release, nil, 0o600))
	c.eventually(patience, "the task's end is recorded", func() bool {
		return strings.Contains(c.must("task", "list", "job"), "completed")
	})
	c.must("job", "delete", "old")

	require.NoError(t, os.Remove(filler))
	c.must("task", "add", "job", "--id", "after", "--retry-for", healing.String(), "--", "true")
	c.eventually(patience, "tasks run again", func() bool {
		return strings.Count(c.must("task", "list", "job"), "success") == 2
	})
	c.members[0].requireAlive()
}

// The log of a coordinator that keeps no reserve finds no room for its next file: what was acknowledged is there, and it writes again when there is room.
func TestLogWithoutRoomForItsNextFile(t *testing.T) {
	const most, perCall, size = 200, 100, 20_000
	disk := smallDisk(t, 400)
	c := newCluster(t, options{members: 1, state: disk, tuning: []string{"--disk-reserve", "0"}})
	c.must("pool", "create", "pool", "--nodes", "0")
	c.must("job", "create", "job", "--pool", "pool")
	conn := c.dial()
	add := func(call int, limit time.Duration) error {
		tasks := make([]*apiv1.Task, perCall)
		for k := range tasks {
			tasks[k] = &apiv1.Task{Id: fmt.Sprintf("t%d-%d", call, k), CommandLine: "/bin/true " + noise(t, size)}
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		results, err := conn.AddTasks(ctx, "job", tasks, nil)
		for _, r := range results {
			if err == nil && r.GetStatus() != apiv1.TaskAddStatus_TASK_ADD_STATUS_SUCCESS {
				err = fmt.Errorf("%s: %s", r.GetTaskId(), r.GetError().GetMessage())
			}
		}
		return err
	}
	filler := fill(t, disk)
	acked := 0
	for ; acked < most; acked++ {
		if err := add(acked, 3*time.Second); err != nil {
			t.Logf("after %d calls: %v", acked, err)
			break
		}
	}
	require.Less(t, acked, most, "the log's file in use is not endless")
	require.NoError(t, os.Remove(filler))
	begun := time.Now()
	require.NoError(t, add(most, healing))
	t.Logf("writes again %v after there is room", time.Since(begun))
	listed := map[string]bool{}
	for id := range strings.FieldsSeq(c.must("task", "list", "job", "-q", "--limit", "0")) {
		listed[id] = true
	}
	for call := range acked {
		for k := range perCall {
			require.True(t, listed[fmt.Sprintf("t%d-%d", call, k)], "what was acknowledged in call %d is there", call)
		}
	}
	c.members[0].requireAlive()
}

// A task fills its node's disk: it fails by its own doing, what needs room fails by name, the others go on, and so does an agent that starts anew.
func TestFullDiskOfANode(t *testing.T) {
	disk := smallDisk(t, 64)
	c := newCluster(t, options{members: 1, nodes: 1, slots: 3, work: disk})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) }))
	defer web.Close()
	release, begun := filepath.Join(c.dir, "release"), filepath.Join(c.dir, "begun")
	c.must("job", "create", "job", "--pool", "pool")
	c.must("task", "add", "job", "--id", "steady", "--shell", "--", "touch "+begun+"; until [ -e "+release+" ]; do sleep 0.05; done")
	c.eventually(patience, "the steady task runs", func() bool { return exists(begun) })

	c.must("task", "add", "job", "--id", "hog", "--shell", "--", "head -c 1000000000 /dev/zero > big")
	hog := c.ended("job", "hog")
	require.Equal(t, apiv1.TaskExecutionResult_TASK_EXECUTION_RESULT_FAILURE, hog.GetResult())
	require.Equal(t, batcherr.CodeFailureExitCode, hog.GetFailureInfo().GetCode())
	c.must("task", "add", "job", "--id", "staged", "--input", "in="+web.URL+"/in", "--", "true")
	staged := c.ended("job", "staged")
	require.Equal(t, batcherr.CodeDiskFull, staged.GetFailureInfo().GetCode(), "%v", staged)
	require.Equal(t, apiv1.ErrorSourceCategory_ERROR_SOURCE_CATEGORY_SERVER_ERROR, staged.GetFailureInfo().GetCategory())

	c.nodes[0].kill()
	c.nodes[0].start()
	require.NoError(t, os.WriteFile(release, nil, 0o600))
	require.Equal(t, apiv1.TaskExecutionResult_TASK_EXECUTION_RESULT_SUCCESS, c.ended("job", "steady").GetResult())

	c.must("task", "delete", "job", "hog")
	c.eventually(healing, "there is room", func() bool {
		left, err := diskspace.Free(disk)
		return err == nil && left > 32<<20
	})
	c.must("task", "add", "job", "--id", "after", "--input", "in="+web.URL+"/in", "--", "test", "-s", "in")
	require.Equal(t, apiv1.TaskExecutionResult_TASK_EXECUTION_RESULT_SUCCESS, c.ended("job", "after").GetResult())
}

// ended waits until a task is completed and says how.
func (c *cluster) ended(job, task string) *apiv1.TaskExecutionInfo {
	c.t.Helper()
	var out *apiv1.Task
	tasks := apiv1.NewTaskServiceClient(c.dial())
	c.eventually(patience, task+" ends", func() bool {
		var err error
		out, err = tasks.GetTask(c.t.Context(), &apiv1.GetTaskRequest{JobId: job, TaskId: task})
		return err == nil && out.GetState() == apiv1.TaskState_TASK_STATE_COMPLETED
	})
	return out.GetExecutionInfo()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// noise is text that nothing can make shorter by half.
func noise(t *testing.T, n int) string {
	b := make([]byte, n/2)
	_, err := rand.Read(b)
	require.NoError(t, err)
	return hex.EncodeToString(b)
}
