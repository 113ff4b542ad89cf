package mount

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/mountinfo"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// bench is a node's directories, with tools for mounting that note what they are called with and mount an empty file system in memory.
type bench struct {
	*Mounter
	t   *testing.T
	dir string
}

const tool = `#!/bin/sh
printf '%s\n' "$@" >> "$0.said"
[ -z "$PASSWD_FD" ] || head -1 <&3 >> "$0.secret"
cat "$0.fails" >&2 2>/dev/null && exit 32
[ ! -e "$0.careless" ] || exec mount -t tmpfs none "$2"
exec mount -t tmpfs -o "nosuid,nodev" none "$2"
`

func newBench(t *testing.T) *bench {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("only root can mount")
		}
		t.Skip("only root can mount")
	}
	b := &bench{t: t, dir: t.TempDir()}
	bin := filepath.Join(b.dir, "bin")
	require.NoError(t, os.MkdirAll(bin, 0o755))
	for _, name := range []string{"mount.nfs", "mount.cifs"} {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte(tool), 0o755))
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	root := filepath.Join(b.dir, "root")
	require.NoError(t, os.MkdirAll(root, 0o755))
	b.Mounter = New(Config{Root: root, Dir: filepath.Join(root, "fsmounts"), StateDir: filepath.Join(b.dir, "state", "mounts"), Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() {
		require.NoError(t, b.Clear())
		require.Empty(t, b.mounted())
	})
	return b
}

// mounted are the paths of what is mounted on the node.
func (b *bench) mounted() (out []string) {
	list, err := mountinfo.List()
	require.NoError(b.t, err)
	for _, m := range mountinfo.Under(list, b.cfg.Root) {
		out = append(out, strings.TrimPrefix(m.Point, b.cfg.Dir+"/"))
	}
	return out
}

func (b *bench) want(list ...*apiv1.MountConfiguration) []*agentv1.MountFailure {
	return b.Want(b.t.Context(), list, nil)
}

func (b *bench) note(name string) string {
	text, err := os.ReadFile(filepath.Join(b.dir, "bin", name))
	require.NoError(b.t, err)
	return string(text)
}

func nfs(path, options string) *apiv1.MountConfiguration {
	return &apiv1.MountConfiguration{NfsMountConfiguration: &apiv1.NfsMountConfiguration{Source: "h:/e", RelativeMountPath: path, MountOptions: options}}
}

func smb(path, password string) *apiv1.MountConfiguration {
	return &apiv1.MountConfiguration{CifsMountConfiguration: &apiv1.CifsMountConfiguration{Source: "//h/s", Username: "me", Password: password, RelativeMountPath: path}}
}

func TestWant(t *testing.T) {
	b := newBench(t)
	require.Empty(t, b.want(nfs("a/b", "vers=4"), smb("c", canary)))
	require.ElementsMatch(t, []string{"a/b", "c"}, b.mounted())
	require.Equal(t, canary+"\n", b.note("mount.cifs.secret"))
	require.NotContains(t, b.note("mount.cifs.said"), "canary")
	require.Equal(t, strings.Join([]string{"h:/e", filepath.Join(b.cfg.Dir, "a/b"), "-o", "vers=4,nosuid,nodev", ""}, "\n"), b.note("mount.nfs.said"))

	// The next life of the agent finds them; what is wanted otherwise is mounted anew, what is not wanted goes.
	require.NoError(t, os.WriteFile(filepath.Join(b.cfg.Dir, "a/b/kept"), nil, 0o600))
	b.Mounter = New(b.cfg)
	require.Empty(t, b.want(nfs("a/b", "vers=4"), smb("c", "another")))
	require.FileExists(t, filepath.Join(b.cfg.Dir, "a/b/kept"))
	require.Equal(t, canary+"\nanother\n", b.note("mount.cifs.secret"))
	require.Empty(t, b.want(smb("c", "another")))
	require.Equal(t, []string{"c"}, b.mounted())
	require.NoDirExists(t, filepath.Join(b.cfg.Dir, "a"), "its empty directories go with it")

	// One that somebody has unmounted comes back.
	require.NoError(t, mountinfo.Unmount(filepath.Join(b.cfg.Dir, "c"), false))
	require.Empty(t, b.want(smb("c", "another")))
	require.Equal(t, []string{"c"}, b.mounted())
	require.Empty(t, b.want())
	require.Empty(t, b.mounted())
}

// One that fails does not keep the others from being mounted, and says why, without its secret.
func TestFailureIsTold(t *testing.T) {
	b := newBench(t)
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, "bin", "mount.cifs.fails"), []byte("mount error(13):\n  Permission denied for "+canary), 0o600))
	failures := b.want(smb("share", canary), nfs("ok", ""))
	require.Len(t, failures, 1)
	require.Equal(t, "share", failures[0].GetPath())
	require.Contains(t, failures[0].GetMessage(), "SMB //h/s: mount.cifs: mount error(13): Permission denied for ***")
	require.Equal(t, []string{"ok"}, b.mounted())
	require.NoError(t, os.Remove(filepath.Join(b.dir, "bin", "mount.cifs.fails")))
	require.Empty(t, b.want(smb("share", canary), nfs("ok", "")), "it is tried again")

	b.cfg.Refuse = "Not here."
	require.Equal(t, "Not here.", b.want(nfs("other", ""))[0].GetMessage())
}

func TestMissingToolIsNamed(t *testing.T) {
	b := newBench(t)
	t.Setenv("PATH", filepath.Join(b.dir, "empty"))
	saved := sbin
	sbin = nil
	t.Cleanup(func() { sbin = saved })
	require.Equal(t, "NFS h:/e: the node has no mount.nfs: install nfs-common, or nfs-utils.", b.want(nfs("x", ""))[0].GetMessage())
	bucket := &apiv1.MountConfiguration{S3MountConfiguration: &apiv1.S3MountConfiguration{Bucket: "b", Endpoint: "https://h", AccessKey: "a", SecretKey: "s", RelativeMountPath: "x"}}
	require.Contains(t, b.want(bucket)[0].GetMessage(), "the node has no rclone: install rclone and fuse3.")
}

// Whatever a task that was root has put in the way, nothing outside the node's directory of mounts is mounted over.
func TestNothingInTheWayIsFollowed(t *testing.T) {
	b := newBench(t)
	outside := filepath.Join(b.dir, "outside")
	require.NoError(t, os.MkdirAll(outside, 0o755))
	require.NoError(t, os.MkdirAll(b.cfg.Dir, 0o755))
	require.NoError(t, os.Symlink(outside, filepath.Join(b.cfg.Dir, "link")))
	require.NoError(t, os.Symlink("..", filepath.Join(b.cfg.Dir, "up")))
	require.NoError(t, os.WriteFile(filepath.Join(b.cfg.Dir, "file"), nil, 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(b.cfg.Dir, "theirs"), 0o777))
	require.NoError(t, os.Chown(filepath.Join(b.cfg.Dir, "theirs"), 12345, 12345))
	require.NoError(t, os.Mkdir(filepath.Join(b.cfg.Dir, "taken"), 0o755))
	require.NoError(t, exec.Command("mount", "-t", "tmpfs", "none", filepath.Join(b.cfg.Dir, "taken")).Run())
	t.Cleanup(func() { require.NoError(t, mountinfo.Unmount(filepath.Join(b.cfg.Dir, "taken"), true)) })
	failures := b.want(nfs("link", ""), nfs("link/x", ""))
	require.Len(t, failures, 2, "one inside the other")
	failures = b.want(nfs("link/x", ""), nfs("up/y", ""), nfs("file", ""), nfs("theirs/z", ""), nfs("taken", ""))
	require.Len(t, failures, 5)
	require.Equal(t, []string{"taken"}, b.mounted(), "what others have mounted stays")
	require.NoFileExists(t, filepath.Join(b.dir, "bin", "mount.nfs.said"))
}

// A tool that mounts without the options that keep the node safe is not believed.
func TestCarelessToolIsNotBelieved(t *testing.T) {
	b := newBench(t)
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, "bin", "mount.nfs.careless"), nil, 0o600))
	require.Contains(t, b.want(nfs("x", ""))[0].GetMessage(), "not mounted with nosuid and nodev")
	require.Empty(t, b.mounted())
}

// A directory that something still uses is taken away from those who come later.
func TestBusyMountGoes(t *testing.T) {
	b := newBench(t)
	require.Empty(t, b.want(nfs("x", "")))
	f, err := os.Create(filepath.Join(b.cfg.Dir, "x", "open"))
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, b.Clear())
	require.Empty(t, b.mounted())
	_, err = f.WriteString("still there for who has it open")
	require.NoError(t, err)
}

// The real mount.cifs reads the password from the descriptor that it is given; a kernel that has no such file system is not asked.
func TestRealToolTakesThePassword(t *testing.T) {
	path, err := find("mount.cifs")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("cifs-utils is not installed")
		}
		t.Skip("cifs-utils is not installed")
	}
	c, err := commandOf(planOf(t, smb("x", canary)), place{target: t.TempDir()})
	require.NoError(t, err)
	c.args[0] = "//127.0.0.1/share"
	out := filepath.Join(t.TempDir(), "said")
	cmd := exec.Command("sh", "-c", `exec "$0" "$@" >`+out+` 2>&1`, path)
	cmd.Args = append(append(cmd.Args, c.args...), "-f", "-v")
	cmd.Env = append(os.Environ(), c.env...)
	require.NoError(t, call(t.Context(), cmd, c.secret))
	text, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Contains(t, string(text), "pass=****")
}
