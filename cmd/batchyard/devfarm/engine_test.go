//go:build linux

package devfarm_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
)

// engine is a real Docker engine of the test's own, without networks.
type engine struct {
	t       *testing.T
	address string
	api     *client.Client
	dir     string
	program string
	process *os.Process
	ended   chan error
}

// missing ends a test that lacks something: as failed where everything has to be there.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("there is no %s: make test-deps installs what the tests need", what)
	}
	t.Skipf("there is no %s", what)
}

func startEngine(t *testing.T) *engine {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "root, as whom a container engine runs")
	}
	program, err := exec.LookPath("dockerd")
	if err != nil {
		missing(t, "dockerd")
	}
	dir, err := os.MkdirTemp("", "dockerd") // a socket's path must be short
	require.NoError(t, err)
	e := &engine{t: t, dir: dir, program: program, address: "unix://" + filepath.Join(dir, "sock")}
	e.api, err = client.New(client.WithHost(e.address))
	require.NoError(t, err)
	t.Cleanup(func() {
		e.removeAll()
		_ = e.api.Close()
		e.stop()
		_ = syscall.Unmount(filepath.Join(dir, "data"), 0) // the engine leaves it so that containers can go on
		if t.Failed() {
			text, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Logf("log of the engine:\n%s", text[max(0, len(text)-8<<10):])
		}
		require.NoError(t, os.RemoveAll(dir))
	})
	e.run()
	return e
}

// run starts the engine's process and waits until it answers. Containers outlive it.
func (e *engine) run() {
	e.t.Helper()
	log, err := os.OpenFile(filepath.Join(e.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(e.t, err)
	defer log.Close()
	in := func(name string) string { return filepath.Join(e.dir, name) }
	cmd := exec.Command(e.program, "--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs", "--log-level=warn", "--live-restore",
		"--data-root", in("data"), "--exec-root", in("exec"), "--pidfile", in("pid"), "-H", e.address)
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(e.t, cmd.Start())
	e.process, e.ended = cmd.Process, make(chan error, 1)
	go func() { e.ended <- cmd.Wait() }()
	require.Eventually(e.t, func() bool {
		_, err := e.api.Ping(context.Background(), client.PingOptions{})
		return err == nil
	}, time.Minute, 50*time.Millisecond, "the engine answers")
}

// stop ends the engine's process. What runs goes on.
func (e *engine) stop() {
	e.t.Helper()
	_ = e.process.Signal(syscall.SIGTERM)
	select {
	case err := <-e.ended:
		e.t.Log("the engine has ended:", err)
	case <-time.After(time.Minute):
		_ = e.process.Kill()
		e.t.Error("the engine does not end")
	}
}

// removeAll ends what a test that failed has left.
func (e *engine) removeAll() {
	list, err := e.api.ContainerList(context.Background(), client.ContainerListOptions{All: true})
	if err != nil {
		e.t.Log("the engine does not tell what it has:", err)
	}
	for _, c := range list.Items {
		_, err := e.api.ContainerRemove(context.Background(), c.ID, client.ContainerRemoveOptions{Force: true})
		e.t.Log("removing a container that was left:", c.Names, err)
	}
}

// containers are the names and states of those that the engine has.
func (e *engine) containers() []string {
	e.t.Helper()
	list, err := e.api.ContainerList(context.Background(), client.ContainerListOptions{All: true})
	require.NoError(e.t, err)
	out := []string{}
	for _, c := range list.Items {
		out = append(out, strings.Join(c.Names, " ")+" "+string(c.State))
	}
	return out
}

func (e *engine) has(image string) bool {
	_, err := e.api.ImageInspect(context.Background(), image)
	return err == nil
}

// image is a small one with a shell, made here.
type image struct {
	layer  []byte // a tar archive
	config []byte
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// newImage makes an image of busybox. By itself it says "from the image" and where it is.
func newImage(t *testing.T) *image {
	t.Helper()
	path, err := exec.LookPath("busybox")
	if err != nil {
		missing(t, "busybox")
	}
	binary, err := elf.Open(path)
	require.NoError(t, err)
	defer binary.Close()
	if libraries, err := binary.ImportedLibraries(); err != nil || len(libraries) > 0 {
		missing(t, "statically linked busybox")
	}
	program, err := os.ReadFile(path)
	require.NoError(t, err)
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	add := func(h *tar.Header, content []byte) {
		h.Size = int64(len(content))
		require.NoError(t, w.WriteHeader(h))
		_, err := w.Write(content)
		require.NoError(t, err)
	}
	for _, dir := range []string{"bin", "srv", "proc", "dev", "etc"} {
		add(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}, nil)
	}
	add(&tar.Header{Typeflag: tar.TypeReg, Name: "bin/busybox", Mode: 0o755}, program)
	for _, applet := range strings.Fields("sh echo id cat pwd sleep env touch ls test grep hostname wc") {
		add(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + applet, Linkname: "busybox", Mode: 0o777}, nil)
	}
	add(&tar.Header{Typeflag: tar.TypeReg, Name: "srv/note", Mode: 0o644}, []byte("a note of the image\n"))
	require.NoError(t, w.Close())
	i := &image{layer: layer.Bytes()}
	i.config, err = json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Env": []string{"PATH=/bin"}, "Cmd": []string{"sh", "-c", "echo from the image; pwd; cat note"}, "WorkingDir": "/srv"},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(i.layer)}},
	})
	require.NoError(t, err)
	return i
}

// load puts the image into the engine.
func (i *image) load(e *engine, name string) {
	e.t.Helper()
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{name}, "Layers": []string{"layer.tar"}}})
	require.NoError(e.t, err)
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, file := range []struct {
		name    string
		content []byte
	}{{"manifest.json", manifest}, {"config.json", i.config}, {"layer.tar", i.layer}} {
		require.NoError(e.t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: file.name, Mode: 0o644, Size: int64(len(file.content))}))
		_, err := w.Write(file.content)
		require.NoError(e.t, err)
	}
	require.NoError(e.t, w.Close())
	loaded, err := e.api.ImageLoad(context.Background(), &archive)
	require.NoError(e.t, err)
	_, err = io.Copy(io.Discard, loaded)
	require.NoError(e.t, err)
	require.NoError(e.t, loaded.Close())
	require.True(e.t, e.has(name))
}

// startRegistry serves the image, under any name that begins with private/, to who knows the password. It returns the registry's host.
func (i *image) startRegistry(t *testing.T, user, password string) string {
	t.Helper()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write(i.layer)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	blobs := map[string][]byte{digest(i.config): i.config, digest(packed.Bytes()): packed.Bytes()}
	const kind = "application/vnd.docker.distribution.manifest.v2+json"
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": kind,
		"config": map[string]any{"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(i.config), "digest": digest(i.config)},
		"layers": []map[string]any{{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": packed.Len(), "digest": digest(packed.Bytes())}},
	})
	require.NoError(t, err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
		parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/v2/"), "/")
		if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		}
		switch n := len(parts); {
		case parts[0] == "":
		case n == 4 && parts[0] == "private" && parts[2] == "manifests" && parts[3] != "none":
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Docker-Content-Digest", digest(manifest))
			_, _ = w.Write(manifest)
		case n == 4 && parts[2] == "blobs" && blobs[parts[3]] != nil:
			_, _ = w.Write(blobs[parts[3]])
		default:
			http.Error(w, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`, http.StatusNotFound)
		}
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}
