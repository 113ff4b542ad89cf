// Package container runs tasks' commands in containers of a Docker-compatible engine.
package container

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/batchyard/batchyard/internal/batcherr"
)

// None is the address that says that there is no engine.
const None = "none"

// Labels of containers.
const (
	labelPrefix  = "batchyard."
	labelNode    = labelPrefix + "node"
	labelLife    = labelPrefix + "life"
	labelAttempt = labelPrefix + "attempt"
)

// Config says which engine an agent uses, and for whom.
type Config struct {
	// Address is unix:///path of the engine's socket, None, or empty: whichever of the usual sockets there is.
	Address string
	// Node names the node among all that use the engine.
	Node string
	// Life tells this life of the agent from earlier ones.
	Life string
	// HostAccess lets tasks' run options reach the machine: privileges, devices, any path.
	HostAccess bool
	// Unprivileged: the agent is not root, and its engine may be one of its user's own.
	Unprivileged bool
	// HasGPU says whether the machine has a GPU that containers are to be given; nil: look at its devices.
	HasGPU func() bool
	Log    *slog.Logger
}

// Engine is a container engine as the agent uses it. Its methods may be called from several goroutines.
type Engine struct {
	cfg Config

	mu      sync.Mutex
	api     *client.Client
	address string // of api
}

// New makes an Engine; nothing is asked of the engine before it is needed, so that it may start later.
func New(cfg Config) (*Engine, error) {
	if err := CheckAddress(cfg.Address); err != nil {
		return nil, err
	}
	if cfg.HasGPU == nil {
		cfg.HasGPU = hasGPU
	}
	return &Engine{cfg: cfg}, nil
}

// CheckAddress says what is wrong with the address of an engine.
func CheckAddress(address string) error {
	path, unix := strings.CutPrefix(address, "unix://")
	if address == "" || address == None || unix && filepath.IsAbs(path) {
		return nil
	}
	return fmt.Errorf("the container engine %q is neither unix:///path nor %s", address, None)
}

// usualSockets are where engines listen, in the order in which they are tried.
func usualSockets() []string {
	sockets := []string{"/var/run/docker.sock", "/run/podman/podman.sock"}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		sockets = append(sockets, filepath.Join(dir, "docker.sock"), filepath.Join(dir, "podman", "podman.sock"))
	}
	return sockets
}

// find is the address of the engine.
func (e *Engine) find() (string, error) {
	switch e.cfg.Address {
	case None:
		return "", miscError("The node has no container engine: its agent was started without one.")
	case "":
		for _, socket := range usualSockets() {
			if info, err := os.Stat(socket); err == nil && info.Mode()&os.ModeSocket != 0 {
				return "unix://" + socket, nil
			}
		}
		return "", miscError("The node has no container engine: neither Docker nor Podman listens on one of the usual sockets.")
	}
	return e.cfg.Address, nil
}

// open gives the client of the engine and its address.
func (e *Engine) open() (*client.Client, string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	address, err := e.find()
	if err != nil {
		return nil, "", err
	}
	if e.api != nil && e.address == address {
		return e.api, address, nil
	}
	api, err := dial(address)
	if err != nil {
		return nil, "", err
	}
	if e.api != nil {
		_ = e.api.Close()
	}
	e.api, e.address = api, address
	return api, address, nil
}

// dial makes a client. The environment says nothing about where to.
func dial(address string) (*client.Client, error) {
	path := strings.TrimPrefix(address, "unix://")
	return client.New(client.WithHost(address), client.WithDialContext(func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}))
}

// Close lets go of connections.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.api == nil {
		return nil
	}
	err := e.api.Close()
	e.api = nil
	return err
}

func hasGPU() bool {
	_, err := os.Stat("/dev/nvidiactl")
	return err == nil
}

// name is that of an attempt's container.
func (e *Engine) name(attempt string) string { return "batchyard-" + e.cfg.Node + "-" + attempt }

// Command is what runs an attempt's container, as arguments of the subcommand that calls Run. The engine is found already: there is a container.
func (e *Engine) Command(attempt string) ([]string, error) {
	_, address, err := e.open()
	if err != nil {
		return nil, err
	}
	return []string{"--engine", address, "--name", e.name(attempt)}, nil
}

// Outcome is what became of a container.
type Outcome struct {
	ID, State, Error string
	// Started: its command ran, and ended with ExitCode.
	Started  bool
	ExitCode int
}

// StartFailure says why the command could not be started; nil if it was, or nobody tried.
func (o *Outcome) StartFailure() error {
	switch {
	case o.Started:
		return nil
	case o.Error == "":
		return miscError("The container was not started; the task's stderr.txt says why.")
	}
	text := strings.ToLower(o.Error)
	switch {
	case strings.Contains(text, "executable file not found"), strings.Contains(text, "exec:") && strings.Contains(text, "no such file or directory"),
		strings.Contains(text, "exec failed") && strings.Contains(text, "no such file"):
		return batcherr.New(batcherr.KindInvalid, batcherr.CodeCommandProgramNotFound, "The image has no such program: %s", o.Error)
	case strings.Contains(text, "exec:") && strings.Contains(text, "permission denied"), strings.Contains(text, "exec format error"):
		return batcherr.New(batcherr.KindInvalid, batcherr.CodeCommandLaunchFailed, "The image's program can't be run: %s", o.Error)
	}
	return miscError("The container can't be started: %s", o.Error)
}

// settlePause is between tries to reach an engine that does not answer.
const settlePause = time.Second

// Settle ends an attempt's container whose runner has ended, and says what became of it; nil if there is none. While the engine does not answer it goes on
// trying until ctx ends. The container stays, as the record of its end, until it is removed.
func (e *Engine) Settle(ctx context.Context, attempt string) (*Outcome, error) {
	for {
		out, err := e.settle(ctx, e.name(attempt))
		if err == nil || !client.IsErrConnectionFailed(err) {
			return out, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(settlePause):
		}
	}
}

func (e *Engine) settle(ctx context.Context, name string) (*Outcome, error) {
	api, _, err := e.open()
	if err != nil {
		return nil, err
	}
	found, err := api.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
	if err == nil && found.Container.State != nil && (found.Container.State.Running || found.Container.State.Paused) {
		if err = halt(ctx, api, name); err == nil {
			found, err = api.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
		}
	}
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return outcomeOf(found.Container), nil
}

// halt kills a container and returns when it is dead.
func halt(ctx context.Context, api *client.Client, name string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wait := api.ContainerWait(ctx, name, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	if _, err := api.ContainerKill(ctx, name, client.ContainerKillOptions{Signal: "KILL"}); err != nil && !errdefs.IsConflict(err) {
		return err
	}
	select {
	case <-wait.Result:
		return nil
	case err := <-wait.Error:
		return err
	}
}

func outcomeOf(c container.InspectResponse) *Outcome {
	out := &Outcome{ID: c.ID}
	if s := c.State; s != nil {
		out.State, out.Error, out.ExitCode = string(s.Status), s.Error, s.ExitCode
		started, err := time.Parse(time.RFC3339Nano, s.StartedAt)
		out.Started = err == nil && started.Year() > 1 && s.Status != container.StateCreated
		if s.OOMKilled && out.Error == "" {
			out.Error = "the container ran out of memory"
		}
	}
	return out
}

// Remove removes an attempt's container, if there is one, whatever it does.
func (e *Engine) Remove(ctx context.Context, attempt string) error {
	api, _, err := e.open()
	if err != nil {
		return err
	}
	return remove(ctx, api, e.name(attempt))
}

func remove(ctx context.Context, api *client.Client, name string) error {
	_, err := api.ContainerRemove(ctx, name, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) && strings.Contains(err.Error(), "already in progress") {
		return nil
	}
	return err
}

// Clean removes what earlier lives of the agent have left but what keep names, and does so until it has succeeded or ctx ends. A node without an
// engine has nothing to clean.
func (e *Engine) Clean(ctx context.Context, keep func(attempt string) bool) {
	for {
		err := e.clean(ctx, keep)
		if err == nil || ctx.Err() != nil {
			return
		}
		if known := (*batcherr.Error)(nil); errors.As(err, &known) {
			return // there is no engine
		}
		e.cfg.Log.Debug("containers of earlier lives can't be looked for yet", "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(10 * settlePause):
		}
	}
}

// Purge removes all containers of the node.
func (e *Engine) Purge(ctx context.Context) error {
	err := e.clean(ctx, func(string) bool { return false })
	if known := (*batcherr.Error)(nil); errors.As(err, &known) || client.IsErrConnectionFailed(err) {
		return nil // there is no engine
	}
	return err
}

func (e *Engine) clean(ctx context.Context, keep func(attempt string) bool) error {
	api, _, err := e.open()
	if err != nil {
		return err
	}
	list, err := api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("label", labelNode+"="+e.cfg.Node)})
	if err != nil {
		return err
	}
	var failures []error
	for _, c := range list.Items {
		attempt := c.Labels[labelAttempt]
		if c.Labels[labelLife] == e.cfg.Life || keep(attempt) {
			continue
		}
		e.cfg.Log.Info("removing a container that nobody is to have", "attempt", attempt, "container", c.ID)
		failures = append(failures, remove(ctx, api, c.ID))
	}
	return errors.Join(failures...)
}

func miscError(format string, args ...any) error {
	return batcherr.New(batcherr.KindInternal, batcherr.CodeContainerMiscError, format, args...)
}

func badSettings(format string, args ...any) error {
	return batcherr.New(batcherr.KindInvalid, batcherr.CodeContainerInvalidSettings, format, args...)
}
