package agent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/batchyard/batchyard/agent/container"
	"github.com/batchyard/batchyard/agent/process"
	"github.com/batchyard/batchyard/agent/task"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/trust"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// containers speaks for package task with package container.
type containers struct {
	cfg    *Config
	engine *container.Engine
	limits func(slots, of int32) *agentv1.ProcessLimits
}

// containersName is the file with the name that the node has among those that use its engine.
const containersName = "containers"

func newContainers(cfg *Config, limits func(slots, of int32) *agentv1.ProcessLimits) (*containers, error) {
	node, err := containerNode(filepath.Join(cfg.DataDir, containersName))
	if err != nil {
		return nil, fmt.Errorf("naming the node's containers: %w", err)
	}
	engine, err := container.New(container.Config{
		Address: cfg.ContainerEngine, Node: node, Life: randomName(), HostAccess: cfg.ContainerHostAccess,
		Unprivileged: os.Geteuid() != 0, Log: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	return &containers{cfg: cfg, engine: engine, limits: limits}, nil
}

// purgeContainers removes what the stopped tasks of a node that ends have left at its engine, if it ever used one.
func purgeContainers(ctx context.Context, cfg *Config) {
	if _, err := os.Stat(filepath.Join(cfg.DataDir, containersName)); err != nil {
		return
	}
	c, err := newContainers(cfg, nil)
	if err == nil {
		err = c.engine.Purge(ctx)
		_ = c.engine.Close()
	}
	if err != nil {
		cfg.Logger.Warn("containers of stopped tasks can't be removed", "error", err)
	}
}

// containerNode reads the name, or makes it.
func containerNode(path string) (string, error) {
	text, err := trust.ReadPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		text = []byte(randomName())
		err = trust.WritePrivate(path, text)
	}
	return strings.TrimSpace(string(text)), err
}

func randomName() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// Pull brings images.
func (c *containers) Pull(ctx context.Context, images []string, registries []*apiv1.ContainerRegistryReference) error {
	return c.engine.Pull(ctx, images, registries)
}

// Create brings the image and makes the container.
func (c *containers) Create(ctx context.Context, w *task.Container) error {
	under := func(name string) string { return filepath.Join(w.Root, name) }
	spec := &container.Spec{
		Attempt: w.Ref.String(), Settings: w.Settings, Registries: w.Registries, Args: w.Args, Env: w.Env, User: containerUser(w.User), Split: splitOptions,
		Dirs: container.Dirs{
			Root: w.Root, Shared: under("shared"), Startup: under("startup"), Mounts: under("fsmounts"), Applications: under("applications"),
			Preparation: w.Preparation, Task: w.Directory, Work: w.Work,
		},
	}
	if l := c.limits(w.Slots, w.OfSlots); l != nil {
		spec.MemoryBytes, spec.CPUMillis = l.GetGroupMemoryBytes(), l.GetGroupCpuMillis()
	}
	return c.engine.Create(ctx, spec)
}

// splitOptions takes also options of which the first word is empty, which a command line can't be.
func splitOptions(line string) ([]string, error) {
	words, err := process.SplitPOSIX("- " + line)
	if err != nil {
		return nil, err
	}
	return words[1:], nil
}

// containerUser is whom a task's container runs as: the task's user, or the agent's.
func containerUser(u task.User) container.User {
	if !u.Set {
		return container.User{UID: uint32(max(os.Geteuid(), 0)), GID: uint32(max(os.Getegid(), 0))}
	}
	return container.User{UID: u.UID, GID: u.GID, Groups: []uint32{task.TasksGroup}}
}

// Command is this program's own subcommand.
func (c *containers) Command(ref task.Ref, user task.User) ([]string, error) {
	if len(c.cfg.ContainerCommand) == 0 {
		return nil, batcherr.New(batcherr.KindInternal, batcherr.CodeContainerMiscError, "The node's agent has no command to run containers with.")
	}
	args, err := c.engine.Command(ref.String())
	if err != nil {
		return nil, err
	}
	args = slices.Concat(c.cfg.ContainerCommand, args, []string{"--grace", c.cfg.StopGrace.String()})
	if user.Set {
		id := func(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
		args = append(args, "--owner", id(user.UID)+":"+id(user.GID))
	}
	return args, nil
}

// Settle says what became of a container.
func (c *containers) Settle(ctx context.Context, ref task.Ref) (task.Settled, error) {
	out, err := c.engine.Settle(ctx, ref.String())
	if out == nil {
		return task.Settled{}, err
	}
	return task.Settled{
		Info:    &apiv1.TaskContainerExecutionInfo{ContainerId: out.ID, State: out.State, Error: out.Error},
		Failure: out.StartFailure(), Exited: out.Started, ExitCode: int32(out.ExitCode),
	}, err
}

// Remove removes an attempt's container.
func (c *containers) Remove(ctx context.Context, ref task.Ref) error {
	return c.engine.Remove(ctx, ref.String())
}

// Clean removes what earlier lives of the agent have left.
func (c *containers) Clean(ctx context.Context, keep map[task.Ref]bool) {
	c.engine.Clean(ctx, func(attempt string) bool {
		ref, err := task.ParseRef(attempt)
		return err == nil && keep[ref]
	})
}
