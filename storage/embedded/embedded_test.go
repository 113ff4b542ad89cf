package embedded_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/storage"
	"github.com/batchyard/batchyard/storage/embedded"
	"github.com/batchyard/batchyard/storage/storagetest"
)

func TestSuite(t *testing.T) {
	o := options(t)
	storagetest.RunS3(t, clientConfig(o, start(t, o)))
}

func TestObjectsOutliveTheProcess(t *testing.T) {
	o := options(t)
	first := start(t, o)
	c := client(t, o, first)
	require.NoError(t, c.EnsureBucket(bounded(t), "kept"))
	require.NoError(t, c.EnsureBucket(bounded(t), "kept"), "a second time")
	_, err := c.Bucket("kept", "").Put(bounded(t), "a/b", strings.NewReader("x"), 1, storage.PutOptions{})
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(first.PID(), syscall.SIGKILL))
	<-first.Done()
	require.Error(t, first.Err())

	second := start(t, o)
	require.NotEqual(t, first.PID(), second.PID())
	c = client(t, o, second)
	names, err := c.Buckets(bounded(t))
	require.NoError(t, err)
	require.Equal(t, []string{"kept"}, names)
	obj, err := c.Bucket("kept", "").Stat(bounded(t), "a/b")
	require.NoError(t, err)
	require.EqualValues(t, 1, obj.Size)
	require.ErrorIs(t, c.RemoveBucket(bounded(t), "kept"), storage.ErrPrecondition)
	require.NoError(t, c.Bucket("kept", "").Delete(bounded(t), "a/b"))
	require.NoError(t, c.RemoveBucket(bounded(t), "kept"))
	require.ErrorIs(t, c.RemoveBucket(bounded(t), "kept"), storage.ErrNoBucket)
}

func TestStopIsCleanAndQuick(t *testing.T) {
	o := options(t)
	c, err := embedded.Start(bounded(t), o)
	require.NoError(t, err)
	require.NoError(t, c.Stop())
	<-c.Done()
	require.NoError(t, c.Err(), "the store ended by itself when it was asked to")
	require.NoError(t, c.Stop(), "a second time")
	gone(t, c.PID())
	require.NoFileExists(t, filepath.Join(o.DataDir, "objectstore.pid"))
}

func TestHungStoreIsKilled(t *testing.T) {
	o := options(t)
	o.Grace = 1
	c, err := embedded.Start(bounded(t), o)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(c.PID(), syscall.SIGSTOP))
	require.NoError(t, c.Stop())
	gone(t, c.PID())
}

// orphan gives the pid of a healthy store whose owner was killed.
func orphan(t *testing.T, o embedded.Options) int {
	t.Helper()
	config, err := json.Marshal(o.Config)
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVar+"=owner")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	_, err = in.Write(config)
	require.NoError(t, err)
	var pid int
	_, err = fmt.Fscan(out, &pid)
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	return pid
}

func TestOrphanIsTakenOver(t *testing.T) {
	o := options(t)
	o.Version = ""
	pid := orphan(t, o)
	c := start(t, o)
	require.Equal(t, pid, c.PID())
	_, err := client(t, o, c).Buckets(bounded(t))
	require.NoError(t, err)
	require.NoError(t, c.Stop())
	<-c.Done()
	gone(t, pid)
}

func TestOrphanThatDiffersIsReplaced(t *testing.T) {
	for name, change := range map[string]func(*embedded.Options){
		"secret":  func(o *embedded.Options) { o.SecretKey = "another-secret-key" },
		"version": func(o *embedded.Options) { o.Version = "v2" },
		"certificate": func(o *embedded.Options) {
			o.CertFile, o.KeyFile, o.RootCAs = storagetest.Certificate(t, t.TempDir())
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			o.Version = ""
			pid := orphan(t, o)
			change(&o)
			c := start(t, o)
			require.NotEqual(t, pid, c.PID())
			gone(t, pid)
			_, err := client(t, o, c).Buckets(bounded(t))
			require.NoError(t, err)
		})
	}
}

func TestHungOrphanIsReplaced(t *testing.T) {
	o := options(t)
	o.Version = ""
	o.Grace = 1
	pid := orphan(t, o)
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	c := start(t, o)
	require.NotEqual(t, pid, c.PID())
	gone(t, pid)
}

// TestStrangersPid checks that a pid file which names a process that is not the store's harms nobody.
func TestStrangersPid(t *testing.T) {
	stranger := exec.Command("sleep", "600")
	require.NoError(t, stranger.Start())
	t.Cleanup(func() {
		require.NoError(t, stranger.Process.Signal(syscall.Signal(0)), "the stranger lives")
		_ = stranger.Process.Kill()
		_ = stranger.Wait()
	})
	for _, text := range []string{
		fmt.Sprintf(`{"pid":%d,"started":"before","address":"127.0.0.1:1","fingerprint":"x"}`, stranger.Process.Pid),
		fmt.Sprintf(`{"pid":%d}`, stranger.Process.Pid), `{"pid":1,"started":"x"}`, `{"pid":-1}`, `damaged`, ``,
	} {
		o := options(t)
		require.NoError(t, os.WriteFile(filepath.Join(o.DataDir, "objectstore.pid"), []byte(text), 0o600))
		c, err := embedded.Start(bounded(t), o)
		require.NoError(t, err, text)
		require.NoError(t, c.Stop())
	}
}

func TestStartSaysWhyItFails(t *testing.T) {
	o := options(t)
	taken := start(t, o)
	second := options(t)
	second.Address = taken.Address()
	_, err := embedded.Start(bounded(t), second)
	require.ErrorContains(t, err, "address already in use")
	bad := options(t)
	bad.Command = []string{filepath.Join(t.TempDir(), "none")}
	_, err = embedded.Start(bounded(t), bad)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestSecretsStayInThePipe(t *testing.T) {
	o := options(t)
	c := start(t, o)
	for _, name := range []string{"cmdline", "environ"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", c.PID(), name))
		require.NoError(t, err)
		require.NotContains(t, string(b), o.SecretKey)
	}
	require.NoError(t, filepath.WalkDir(o.DataDir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		require.NotContains(t, string(b), o.SecretKey, p)
		return err
	}))
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		require.NotContains(t, fmt.Sprintf(format, o.Config), o.SecretKey)
		require.NotContains(t, fmt.Sprintf(format, clientConfig(o, c)), o.SecretKey)
	}
}

func TestReadConfig(t *testing.T) {
	good := `{"data_dir":"/d","address":"127.0.0.1:1","access_key":"a","secret_key":"s"}`
	c, err := embedded.ReadConfig(strings.NewReader(good))
	require.NoError(t, err)
	require.Equal(t, "http://127.0.0.1:1", c.Endpoint())
	for _, text := range []string{"", "{}", "[]", strings.Replace(good, "/d", "d", 1), strings.Replace(good, "127.0.0.1", "host", 1),
		strings.Replace(good, `"s"`, `""`, 1), strings.Replace(good, "{", `{"cert_file":"/c",`, 1), strings.Replace(good, "{", `{"x":1,`, 1)} {
		_, err := embedded.ReadConfig(strings.NewReader(text))
		require.Error(t, err, text)
	}
	_, err = embedded.ReadConfig(io.LimitReader(bytes.NewReader(bytes.Repeat([]byte(" "), 1<<20)), 1<<20))
	require.Error(t, err)
}
