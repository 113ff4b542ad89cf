//go:build linux

package devfarm_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// mountFarm is a farm whose nodes can mount, and find tools for kernels' file systems that note what they are called with and mount memory.
func mountFarm(t *testing.T) *farm {
	_, rclone := exec.LookPath("rclone")
	_, fuse := exec.LookPath("fusermount3")
	_, device := os.Stat("/dev/fuse")
	if os.Geteuid() != 0 || rclone != nil || fuse != nil || device != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("mounting needs root, rclone, fuse3 and /dev/fuse")
		}
		t.Skip("mounting needs root, rclone, fuse3 and /dev/fuse")
	}
	f := &farm{t: t, dir: t.TempDir()}
	require.NoError(t, os.Chmod(filepath.Dir(f.dir), 0o711))
	bin := filepath.Join(f.dir, "bin")
	require.NoError(t, os.MkdirAll(bin, 0o755))
	for _, name := range []string{"mount.nfs", "mount.cifs"} {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+
			`[ ! -e "$0.down" ] || { echo "server is down" >&2; exit 32; }`+"\n"+
			`echo "$@" >> "$0.said"; [ -z "$PASSWD_FD" ] || head -1 <&3 >> "$0.secret"`+"\n"+
			`exec mount -t tmpfs -o nosuid,nodev,mode=1777 none "$2"`+"\n"), 0o755))
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	f.start("--nodes", "0", "--task-users")
	t.Cleanup(func() {
		f.stop()
		require.Empty(t, f.mounted(), "nothing is left mounted")
	})
	return f
}

// mounted are the lines of the kernel's list that are of the farm.
func (f *farm) mounted() (out []string) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(f.t, err)
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, f.dir) {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

// agent is the process of the pool's only node.
func (f *farm) agentPID() (pid int) {
	entries, err := os.ReadDir("/proc")
	require.NoError(f.t, err)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && bytes.Contains(b, []byte("\x00agent\x00")) && bytes.Contains(b, []byte(f.dir)) {
			_, err = fmt.Sscan(e.Name(), &pid)
			require.NoError(f.t, err)
		}
	}
	return pid
}

// A bucket and a share are there before the start task and for every task, through the death of the agent and a reboot, until the node leaves.
func TestPoolMountsFileSystems(t *testing.T) {
	f := mountFarm(t)
	f.write("in.txt", "from the bucket\n")
	f.ok("file", "upload", filepath.Join(f.dir, "in.txt"), "--to", "data/")
	f.ok("pool", "create", "--file", f.write("pool.yaml", `
id: mounting
vmSize: local
taskSlotsPerNode: 2
targetDedicatedNodes: 1
startTask:
  commandLine: /bin/sh -c 'cat $AZ_BATCH_NODE_MOUNTS_DIR/bucket/data/in.txt && echo started > $AZ_BATCH_NODE_MOUNTS_DIR/bucket/data/start.txt'
mountConfiguration:
  - s3MountConfiguration: {prefix: data, relativeMountPath: bucket/data}
  - cifsMountConfiguration: {source: //server/share, username: me, password: "secret,canary", relativeMountPath: share, mountOptions: "-o vers=3.0"}
`), "--wait", "--timeout", "1m")
	shown := f.ok("pool", "show", "mounting", "-o", "json")
	require.Contains(t, shown, `"relativeMountPath": "bucket/data"`)
	require.NotContains(t, shown, "canary")
	f.ok("job", "create", "work", "--pool", "mounting")
	words := f.runIn("work", "first", "", "cd $AZ_BATCH_NODE_MOUNTS_DIR; ls bucket/data; id -u; cat bucket/data/in.txt; echo mine > bucket/data/out.txt; echo mine > share/out.txt; chmod 644 share/out.txt")
	require.Equal(t, []string{"in.txt", "start.txt"}, words[:2])
	require.Regexp(t, "^2[0-9]{9}$", words[2], "the task is nobody special")
	require.Equal(t, []string{"from", "the", "bucket"}, words[3:])
	require.Eventually(t, func() bool {
		out, code := f.run("file", "list", "data/out.txt")
		return code == 0 && strings.Contains(out, "5 B")
	}, time.Minute, 50*time.Millisecond, "what a task writes is in the bucket")
	mounted := f.mounted()
	require.Len(t, mounted, 2)
	for _, line := range mounted {
		require.Contains(t, line, "nosuid,nodev")
	}
	f.noSecrets()

	// The agent dies: its mounts stay, and the next one finds them.
	pid := f.agentPID()
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	require.Eventually(t, func() bool { next := f.agentPID(); return next != 0 && next != pid }, time.Minute, 50*time.Millisecond)
	require.Equal(t, []string{"mine", "mine"}, f.runIn("work", "second", "", "cd $AZ_BATCH_NODE_MOUNTS_DIR; cat bucket/data/out.txt share/out.txt"))
	require.Equal(t, mounted, f.mounted())
	f.ok("node", "reboot", "mounting", f.node("mounting").ID)
	f.until("mounting", "idle")
	require.Len(t, f.mounted(), 2, "a reboot mounts anew")
	require.Equal(t, []string{"in.txt", "out.txt", "start.txt"}, f.runIn("work", "third", "", "cd $AZ_BATCH_NODE_MOUNTS_DIR; ls bucket/data; ls share"))

	// The node goes, with all that an agent that was killed has left; what is in the bucket stays.
	require.NoError(t, syscall.Kill(f.agentPID(), syscall.SIGKILL))
	f.ok("pool", "delete", "mounting")
	require.Eventually(t, func() bool { _, code := f.run("pool", "show", "mounting"); return code != 0 }, 2*time.Minute, 100*time.Millisecond)
	require.Empty(t, f.mounted())
	kept := f.ok("file", "list", "data/")
	for _, name := range []string{"in.txt", "out.txt", "start.txt"} {
		require.Contains(t, kept, name)
	}
}

// noSecrets looks for the password where others could read it.
func (f *farm) noSecrets() {
	require.NotContains(f.t, strings.Join(f.processes(), "\n"), "canary")
	secret, err := os.ReadFile(filepath.Join(f.dir, "bin", "mount.cifs.secret"))
	require.NoError(f.t, err)
	require.Equal(f.t, "secret,canary\n", string(secret))
	said, err := os.ReadFile(filepath.Join(f.dir, "bin", "mount.cifs.said"))
	require.NoError(f.t, err)
	require.Contains(f.t, string(said), "//server/share")
	require.Contains(f.t, string(said), "username=me,vers=3.0,nosuid,nodev")
	require.NotContains(f.t, string(said), "canary")
	logs, err := filepath.Glob(filepath.Join(f.dir, "farm", "nodes", "*", "agent.log"))
	require.NoError(f.t, err)
	require.NotEmpty(f.t, logs)
	for _, name := range logs {
		text, err := os.ReadFile(name)
		require.NoError(f.t, err)
		require.NotContains(f.t, string(text), "canary")
	}
	require.NotContains(f.t, f.log.String(), "canary")
}

// What can't be mounted makes the node unusable, with the reason where people look; it is tried again when the node boots.
func TestMountThatFails(t *testing.T) {
	f := mountFarm(t)
	down := filepath.Join(f.dir, "bin", "mount.nfs.down")
	require.NoError(t, os.WriteFile(down, nil, 0o600))
	f.ok("pool", "create", "broken", "--nodes", "1", "--start-task", "/bin/sh -c 'echo up > $AZ_BATCH_NODE_SHARED_DIR/started'",
		"--mount", "home=nfs://server/home", "--mount", "none=s3://no-such-bucket")
	node := f.until("broken", "unusable")
	require.Nil(t, node.StartTaskInfo, "the start task waits for the mounts")
	told := f.ok("node", "show", "broken", node.ID)
	require.Contains(t, told, "NFS server:/home: mount.nfs: server is down")
	require.Contains(t, told, "S3 s3://no-such-bucket: rclone: ")
	require.Contains(t, told, "MountConfigurationError")
	f.ok("job", "create", "waits", "--pool", "broken")
	f.ok("task", "add", "waits", "--id", "t", "--", "cat", "/no/matter")
	require.Contains(t, f.ok("task", "explain", "waits", "t"), "server is down")
	_, code := f.run("pool", "create", "bad", "--mount", "../up=s3:")
	require.NotZero(t, code)

	f.ok("pool", "create", "mended", "--nodes", "1", "--start-task", "/bin/sh -c 'ls $AZ_BATCH_NODE_MOUNTS_DIR'", "--mount", "home=nfs://server/home")
	node = f.until("mended", "unusable")
	require.NoError(t, os.Remove(down))
	f.ok("node", "reboot", "mended", node.ID)
	node = f.until("mended", "idle")
	require.NotNil(t, node.StartTaskInfo)
	require.NotContains(t, f.ok("node", "show", "mended", node.ID), "MountConfigurationError")
}
