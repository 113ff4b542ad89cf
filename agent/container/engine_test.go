package container

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// fake is an engine that notes what it is asked for and answers what a test says. Nothing ever runs.
type fake struct {
	t       *testing.T
	address string

	mu      sync.Mutex
	images  map[string]bool
	answers map[string]answer // by method and path, without the version
	asked   []string
	created created
	auth    string
}

type answer struct {
	status int
	body   string
}

// created is the body of the request for a container.
type created struct {
	container.Config
	HostConfig container.HostConfig
	name       string
}

func startFake(t *testing.T) *fake {
	dir, err := os.MkdirTemp("", "engine") // a socket's path must be short
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	socket := filepath.Join(dir, "sock")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	f := &fake{t: t, address: "unix://" + socket, images: map[string]bool{"docker.io/library/box:1": true}, answers: map[string]answer{}}
	server := httptest.NewUnstartedServer(f)
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return f
}

func (f *fake) engine(change ...func(*Config)) *Engine {
	cfg := Config{Address: f.address, Node: "node", Life: "now", HasGPU: func() bool { return false }, Log: slog.New(slog.DiscardHandler)}
	for _, c := range change {
		c(&cfg)
	}
	e, err := New(cfg)
	require.NoError(f.t, err)
	f.t.Cleanup(func() { require.NoError(f.t, e.Close()) })
	return e
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	path := r.URL.Path
	if _, rest, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/"); ok && strings.HasPrefix(path, "/v1.") {
		path = "/" + rest
	}
	w.Header().Set("Api-Version", "1.41")
	w.Header().Set("Content-Type", "application/json")
	key := r.Method + " " + path
	f.asked = append(f.asked, key)
	if a, ok := f.answers[key]; ok {
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.body)
		return
	}
	switch name, isImage := strings.CutPrefix(path, "/images/"); {
	case path == "/_ping":
	case isImage && strings.HasSuffix(name, "/json"):
		if !f.images[strings.TrimSuffix(name, "/json")] {
			http.Error(w, `{"message":"No such image"}`, http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, `{"Id":"sha256:1"}`)
	case key == "POST /images/create":
		f.auth = r.Header.Get("X-Registry-Auth")
		f.images[r.URL.Query().Get("fromImage")+":"+r.URL.Query().Get("tag")] = true
		_, _ = io.WriteString(w, `{"status":"Downloading","id":"layer","progressDetail":{"current":1,"total":2}}`+"\n"+`{"status":"done"}`+"\n")
	case key == "POST /containers/create":
		f.created = created{name: r.URL.Query().Get("name")}
		require.NoError(f.t, json.NewDecoder(r.Body).Decode(&f.created))
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"Id":"new"}`)
	case r.Method == http.MethodDelete:
		http.Error(w, `{"message":"No such container"}`, http.StatusNotFound)
	default:
		http.Error(w, `{"message":"not answered"}`, http.StatusNotImplemented)
	}
}

func spec(options string, change ...func(*Spec)) *Spec {
	s := &Spec{
		Attempt: "1.2.3", Settings: &apiv1.TaskContainerSettings{ImageName: "box:1", ContainerRunOptions: options},
		Args: []string{"echo", "hello"}, Env: []string{"A=a", "AZ_BATCH_NODE_SHARED_DIR=/node/shared"}, User: User{UID: 1000, GID: 100, Groups: []uint32{7}},
		Dirs: Dirs{
			Root: "/node", Shared: "/node/shared", Startup: "/node/startup", Mounts: "/node/fsmounts", Applications: "/node/applications",
			Task: "/node/workitems/j/job-1/t", Work: "/node/workitems/j/job-1/t/wd",
		},
		Split: func(s string) ([]string, error) { return strings.Fields(s), nil },
	}
	for _, c := range change {
		c(s)
	}
	return s
}

func codeOf(t *testing.T, err error) string {
	t.Helper()
	known := &batcherr.Error{}
	require.ErrorAs(t, err, &known)
	return known.Code
}

func TestWhatIsAskedOfTheEngine(t *testing.T) {
	f := startFake(t)
	s := spec("--env B=b --gpus device=3 --memory 1g --cpus 8 --privileged --label x=y", func(s *Spec) { s.MemoryBytes, s.CPUMillis = 512<<20, 1500 })
	require.NoError(t, f.engine(func(c *Config) { c.HostAccess = true }).Create(t.Context(), s))
	c := f.created
	require.Equal(t, "batchyard-node-1.2.3", c.name)
	require.Equal(t, "docker.io/library/box:1", c.Image)
	require.Equal(t, []string{"echo", "hello"}, c.Cmd)
	require.Equal(t, []string{"A=a", "AZ_BATCH_NODE_SHARED_DIR=/node/shared", "B=b"}, c.Env)
	require.Equal(t, "1000:100", c.User)
	require.Equal(t, "/node/workitems/j/job-1/t/wd", c.WorkingDir)
	require.Equal(t, map[string]string{"batchyard.node": "node", "batchyard.life": "now", "batchyard.attempt": "1.2.3", "x": "y"}, c.Labels)
	h := c.HostConfig
	require.Equal(t, []mount.Mount{{Type: mount.TypeBind, Source: "/node", Target: "/node"}}, h.Mounts)
	require.Equal(t, []container.DeviceRequest{{DeviceIDs: []string{"3"}, Capabilities: [][]string{{"gpu"}}}}, h.DeviceRequests)
	require.EqualValues(t, 512<<20, h.Memory, "options only lower the share")
	require.EqualValues(t, 1_500_000_000, h.NanoCPUs)
	require.Equal(t, []string{"7"}, h.GroupAdd)
	require.True(t, h.Privileged)
	require.Equal(t, "none", h.LogConfig.Type)
	require.False(t, h.AutoRemove, "the agent is to look at it")

	require.NoError(t, f.engine().Create(t.Context(), spec("", func(s *Spec) {
		s.Settings.WorkingDirectory = apiv1.ContainerWorkingDirectory_CONTAINER_WORKING_DIRECTORY_CONTAINER_IMAGE_DEFAULT
		s.Settings.ContainerHostBatchBindMounts = []*apiv1.ContainerHostBatchBindMountEntry{
			{Source: apiv1.ContainerHostDataPath_CONTAINER_HOST_DATA_PATH_TASK},
			{Source: apiv1.ContainerHostDataPath_CONTAINER_HOST_DATA_PATH_VFS_MOUNTS, IsReadOnly: new(true)},
		}
		s.Args = nil
	})))
	c = f.created
	require.Empty(t, c.WorkingDir)
	require.Empty(t, c.Cmd)
	require.Equal(t, []string{"no-new-privileges"}, c.HostConfig.SecurityOpt)
	require.Empty(t, c.HostConfig.DeviceRequests)
	require.Equal(t, []mount.Mount{
		{Type: mount.TypeBind, Source: "/node/workitems/j/job-1/t", Target: "/node/workitems/j/job-1/t"},
		{Type: mount.TypeBind, Source: "/node/fsmounts", Target: "/node/fsmounts", ReadOnly: true},
	}, c.HostConfig.Mounts)
}

func TestNothingOfTheNodeIsMounted(t *testing.T) {
	f := startFake(t)
	require.NoError(t, f.engine().Create(t.Context(), spec("", func(s *Spec) { s.Settings.NoContainerHostBatchBindMounts = true })))
	require.Empty(t, f.created.HostConfig.Mounts)
}

// A container gets the machine's GPUs without asking where there are some and the engine can give them.
func TestGPUsAreGiven(t *testing.T) {
	f := startFake(t)
	gpu := func(c *Config) { c.HasGPU = func() bool { return true } }
	f.answers["GET /info"] = answer{http.StatusOK, `{"Runtimes":{"runc":{}}}`}
	require.NoError(t, f.engine(gpu).Create(t.Context(), spec("")))
	require.Empty(t, f.created.HostConfig.DeviceRequests)
	f.answers["GET /info"] = answer{http.StatusOK, `{"Runtimes":{"runc":{},"nvidia":{}}}`}
	require.NoError(t, f.engine(gpu).Create(t.Context(), spec("")))
	require.Equal(t, []container.DeviceRequest{{Count: -1, Capabilities: [][]string{{"gpu"}}}}, f.created.HostConfig.DeviceRequests)
	require.NoError(t, f.engine(gpu).Create(t.Context(), spec("--gpus 1")))
	require.Equal(t, 1, f.created.HostConfig.DeviceRequests[0].Count)
}

// The root of a container is the user outside whose own the engine is.
func TestEnginesOfUsers(t *testing.T) {
	f := startFake(t)
	own := func(c *Config) { c.Unprivileged = true }
	for options, want := range map[string]string{`["name=seccomp,profile=default"]`: "1000:100", `["name=seccomp,profile=default","name=rootless"]`: "0:0"} {
		f.answers["GET /info"] = answer{http.StatusOK, `{"SecurityOptions":` + options + `}`}
		require.NoError(t, f.engine(own).Create(t.Context(), spec("")))
		require.Equal(t, want, f.created.User)
	}
}

func TestSettingsThatAreRefused(t *testing.T) {
	f := startFake(t)
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "wd"), 0o755))
	require.NoError(t, os.Symlink("/etc", filepath.Join(dir, "wd", "link")))
	own := func(s *Spec) { s.Dirs.Task = dir }
	for options, says := range map[string]string{
		"--frobnicate":                          "--frobnicate",
		"--privileged":                          "--container-host-access",
		"--user 0":                              "run as 0",
		"--platform linux":                      "--platform",
		"-v /etc:/x":                            "/etc is not one of",
		"-v /node/sharedother:/x":               "is not one of",
		"-v " + dir + "/wd/link:/x":             "leads out",
		"-v " + dir + "/nothing:/x":             "does not exist",
		"-v " + dir + "/wd/../..:/x":            "clean",
		"--mount type=bind,source=/,target=/x":  "clean",
		"-v /var/run/docker.sock:/x":            "is not one of",
		"-e " + strings.Repeat("A", maxOptions): "longer",
	} {
		err := f.engine().Create(t.Context(), spec(options, own))
		require.ErrorContains(t, err, says, options)
		require.Equal(t, batcherr.CodeContainerInvalidSettings, codeOf(t, err), options)
	}
	require.Empty(t, f.asked, "the engine is not bothered")
	require.NoError(t, f.engine().Create(t.Context(), spec("-v "+dir+"/wd:/x:ro --user 1000:100", own)))
	require.Contains(t, f.created.HostConfig.Mounts, mount.Mount{Type: mount.TypeBind, Source: dir + "/wd", Target: "/x", ReadOnly: true})
	require.NoError(t, f.engine(func(c *Config) { c.HostAccess = true }).Create(t.Context(), spec("-v /etc:/x --user 0", own)))
	require.Equal(t, "0", f.created.User)
}

func TestFailuresOfTheEngine(t *testing.T) {
	for name, c := range map[string]struct {
		image  string
		asked  string
		answer answer
		code   string
	}{
		"bad name":          {"UPPER", "", answer{}, batcherr.CodeContainerInvalidImage},
		"unauthorized":      {"r.example/box", "POST /images/create", answer{500, `{"message":"unauthorized: bad password"}`}, batcherr.CodeContainerInvalidRegistry},
		"unauthorized late": {"r.example/box", "POST /images/create", answer{200, `{"errorDetail":{"message":"unauthorized"},"error":"unauthorized"}`}, batcherr.CodeContainerInvalidRegistry},
		"no host":           {"r.example/box", "POST /images/create", answer{500, `{"message":"dial tcp: lookup r.example: no such host"}`}, batcherr.CodeContainerInvalidRegistry},
		"no image":          {"r.example/box", "POST /images/create", answer{404, `{"message":"manifest unknown"}`}, batcherr.CodeContainerInvalidImage},
		"denied":            {"r.example/box", "POST /images/create", answer{404, `{"message":"pull access denied for box"}`}, batcherr.CodeContainerInvalidImage},
		"registry broken":   {"r.example/box", "POST /images/create", answer{500, `{"message":"received unexpected HTTP status: 503"}`}, batcherr.CodeContainerMiscError},
		"bad settings":      {"box:1", "POST /containers/create", answer{400, `{"message":"invalid mount"}`}, batcherr.CodeContainerInvalidSettings},
		"image gone":        {"box:1", "POST /containers/create", answer{404, `{"message":"No such image"}`}, batcherr.CodeContainerInvalidImage},
		"engine broken":     {"box:1", "POST /containers/create", answer{500, `{"message":"no space left on device"}`}, batcherr.CodeContainerMiscError},
	} {
		f := startFake(t)
		if c.asked != "" {
			f.answers[c.asked] = c.answer
		}
		err := f.engine().Create(t.Context(), spec("", func(s *Spec) { s.Settings.ImageName = c.image }))
		require.Equal(t, c.code, codeOf(t, err), "%s: %v", name, err)
	}
	nobody, err := New(Config{Address: "unix:///nowhere/sock", Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.Equal(t, batcherr.CodeContainerMiscError, codeOf(t, nobody.Create(t.Context(), spec(""))))
	none, err := New(Config{Address: None, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.Equal(t, batcherr.CodeContainerMiscError, codeOf(t, none.Create(t.Context(), spec(""))))
	_, err = New(Config{Address: "tcp://127.0.0.1:2375"})
	require.Error(t, err)
}

// Credentials go to the registry that they name, the task's before the pool's.
func TestCredentials(t *testing.T) {
	registries := []*apiv1.ContainerRegistryReference{
		{Username: "hub", Password: "h"}, {RegistryServer: "https://R.example:5000/v2/", Username: "pool", Password: "p"},
	}
	for image, want := range map[string]string{"box": "hub", "docker.io/team/box": "hub", "r.example:5000/box": "pool", "r.example/box": "", "other.example/box": ""} {
		f := startFake(t)
		require.NoError(t, f.engine().Pull(t.Context(), []string{image}, registries))
		got := ""
		if f.auth != "" {
			auth, err := authconfig.Decode(f.auth)
			require.NoError(t, err)
			got = auth.Username
		}
		require.Equal(t, want, got, image)
	}
	f := startFake(t)
	require.NoError(t, f.engine().Create(t.Context(), spec("--pull always", func(s *Spec) {
		s.Registries, s.Settings.Registry = registries, &apiv1.ContainerRegistryReference{RegistryServer: "index.docker.io", Username: "task", Password: "t"}
	})))
	auth, err := authconfig.Decode(f.auth)
	require.NoError(t, err)
	require.Equal(t, "task", auth.Username)
	require.Equal(t, "t", auth.Password)
}

func TestPullsThatAreGivenUp(t *testing.T) {
	f := startFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, f.engine().Pull(ctx, []string{"other"}, nil), context.Canceled)
}

func TestSettle(t *testing.T) {
	const path = "/containers/batchyard-node-1.2.3"
	state := func(text string) answer {
		return answer{http.StatusOK, fmt.Sprintf(`{"Id":"abc","State":{%s}}`, text)}
	}
	const started = `"StartedAt":"2030-01-02T03:04:05.6Z"`
	for name, c := range map[string]struct {
		inspected answer
		want      *Outcome
		failure   string
	}{
		"gone":        {answer{404, `{"message":"No such container"}`}, nil, ""},
		"exited":      {state(`"Status":"exited","ExitCode":3,` + started), &Outcome{ID: "abc", State: "exited", Started: true, ExitCode: 3}, ""},
		"memory":      {state(`"Status":"exited","ExitCode":137,"OOMKilled":true,` + started), &Outcome{ID: "abc", State: "exited", Started: true, ExitCode: 137, Error: "the container ran out of memory"}, ""},
		"never begun": {state(`"Status":"created","StartedAt":"0001-01-01T00:00:00Z"`), &Outcome{ID: "abc", State: "created"}, batcherr.CodeContainerMiscError},
		"no program": {state(`"Status":"created","ExitCode":127,"Error":"exec: \"x\": executable file not found in $PATH"`),
			&Outcome{ID: "abc", State: "created", ExitCode: 127, Error: `exec: "x": executable file not found in $PATH`}, batcherr.CodeCommandProgramNotFound},
		"no right": {state(`"Status":"created","ExitCode":126,"Error":"exec: \"/x\": permission denied"`),
			&Outcome{ID: "abc", State: "created", ExitCode: 126, Error: `exec: "/x": permission denied`}, batcherr.CodeCommandLaunchFailed},
		"no device": {state(`"Status":"created","ExitCode":128,"Error":"could not select device driver"`),
			&Outcome{ID: "abc", State: "created", ExitCode: 128, Error: "could not select device driver"}, batcherr.CodeContainerMiscError},
	} {
		f := startFake(t)
		f.answers["GET "+path+"/json"] = c.inspected
		out, err := f.engine().Settle(t.Context(), "1.2.3")
		require.NoError(t, err, name)
		require.Equal(t, c.want, out, name)
		if out == nil {
			continue
		}
		if c.failure == "" {
			require.NoError(t, out.StartFailure(), name)
		} else {
			require.Equal(t, c.failure, codeOf(t, out.StartFailure()), name)
		}
	}
	// An engine that does not answer is waited for, as long as that is wanted.
	nobody, err := New(Config{Address: "unix:///nowhere/sock", Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = nobody.Settle(ctx, "1.2.3")
	require.Error(t, err)
}

func TestCleanKeepsWhatIsWanted(t *testing.T) {
	f := startFake(t)
	label := func(id, life, attempt string) string {
		return fmt.Sprintf(`{"Id":%q,"Labels":{"batchyard.node":"node","batchyard.life":%q,"batchyard.attempt":%q}}`, id, life, attempt)
	}
	f.answers["GET /containers/json"] = answer{http.StatusOK, "[" + strings.Join([]string{label("mine", "now", "1.1.1"), label("kept", "before", "1.1.2"), label("left", "before", "1.1.3")}, ",") + "]"}
	f.engine().Clean(t.Context(), func(attempt string) bool { return attempt == "1.1.2" })
	deleted := []string{}
	for _, asked := range f.asked {
		if strings.HasPrefix(asked, "DELETE") {
			deleted = append(deleted, asked)
		}
	}
	require.Equal(t, []string{"DELETE /containers/left"}, deleted)
}
