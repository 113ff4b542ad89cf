package container

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// Spec is a command that is to run in a container.
type Spec struct {
	Attempt    string
	Settings   *apiv1.TaskContainerSettings
	Registries []*apiv1.ContainerRegistryReference // of the pool
	// Args of the command; none: what the image runs by itself.
	Args []string
	// Env is the command's, as NAME=value.
	Env  []string
	Dirs Dirs
	User User
	// MemoryBytes and CPUMillis are the command's share of the node; 0: all of it.
	MemoryBytes, CPUMillis uint64
	// Split splits the run options into words.
	Split func(line string) ([]string, error)
}

// Dirs are directories of the node, by their absolute paths; empty where there is none.
type Dirs struct {
	Root, Shared, Startup, Mounts, Applications, Preparation string
	Task, Work                                               string
}

// User is whom a command runs as.
type User struct {
	UID, GID uint32
	Groups   []uint32
}

// String is UID:GID.
func (u User) String() string { return fmt.Sprintf("%d:%d", u.UID, u.GID) }

// Create brings the image and makes the container, which Run starts. What an earlier life of the agent has made for the attempt is replaced: it was never started.
func (e *Engine) Create(ctx context.Context, spec *Spec) error {
	plan, err := e.plan(spec)
	if err != nil {
		return err
	}
	api, _, err := e.open()
	if err != nil {
		return err
	}
	registries := spec.Registries
	if own := spec.Settings.GetRegistry(); own != nil {
		registries = append([]*apiv1.ContainerRegistryReference{own}, registries...)
	}
	if err := e.pull(ctx, api, plan.Config.Image, plan.pull, plan.Platform, registries); err != nil {
		return err
	}
	e.adapt(ctx, api, plan, spec)
	if err := remove(ctx, api, plan.Name); err != nil {
		return e.createError(ctx, err)
	}
	if _, err := api.ContainerCreate(ctx, plan.ContainerCreateOptions); err != nil {
		return e.createError(ctx, err)
	}
	return nil
}

// adapt takes into account what the engine is. Containers get the machine's GPUs without asking, as they do on Azure Batch, where the engine can give them;
// and where the engine is the user's own, it is the container's root who is that user outside.
func (e *Engine) adapt(ctx context.Context, api *client.Client, plan *plan, spec *Spec) {
	gpus := plan.HostConfig.DeviceRequests == nil && e.cfg.HasGPU()
	if !gpus && !e.cfg.Unprivileged {
		return
	}
	info, err := api.Info(ctx, client.InfoOptions{})
	if err != nil {
		return
	}
	if _, nvidia := info.Info.Runtimes["nvidia"]; nvidia && gpus {
		plan.HostConfig.DeviceRequests = []container.DeviceRequest{allGPUs()}
	}
	if e.cfg.Unprivileged && plan.Config.User == spec.User.String() && slices.Contains(info.Info.SecurityOptions, "name=rootless") {
		plan.Config.User = "0:0"
	}
}

func (e *Engine) createError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errdefs.IsInvalidArgument(err):
		return badSettings("The container engine refuses the container: %v", err)
	case errdefs.IsNotFound(err):
		return batcherr.New(batcherr.KindInvalid, batcherr.CodeContainerInvalidImage, "The container can't be made: %v", err)
	}
	return miscError("The container can't be made: %v", err)
}

// plan is what is asked of the engine.
type plan struct {
	client.ContainerCreateOptions
	pull string
}

// plan works out what to ask of the engine.
func (e *Engine) plan(spec *Spec) (*plan, error) {
	image, err := normalImage(spec.Settings.GetImageName())
	if err != nil {
		return nil, err
	}
	words, err := optionWords(spec)
	if err != nil {
		return nil, err
	}
	o, err := parseOptions(words)
	if err != nil {
		return nil, badSettings("The container's run options can't be used: %v", err)
	}
	if !e.cfg.HostAccess && len(o.reaches) > 0 {
		return nil, badSettings("The node does not let tasks' containers have %s; its agent's option --container-host-access would.", strings.Join(o.reaches, ", "))
	}
	platform, err := parsePlatform(o.platform)
	if err != nil {
		return nil, err
	}
	out := &plan{pull: o.pull}
	out.Config, out.HostConfig, out.Name, out.Platform = &o.config, &o.host, e.name(spec.Attempt), platform
	out.Config.Image, out.Config.Cmd, out.Config.Env = image, spec.Args, slices.Concat(spec.Env, o.config.Env)
	out.Config.AttachStdout, out.Config.AttachStderr = true, true
	labels := map[string]string{labelNode: e.cfg.Node, labelLife: e.cfg.Life, labelAttempt: spec.Attempt}
	maps.Copy(labels, o.config.Labels)
	out.Config.Labels = labels
	// What the command writes goes to the task's files; the engine need not keep it too.
	out.HostConfig.LogConfig = container.LogConfig{Type: "none"}
	if err := e.planUser(out, spec, o); err != nil {
		return nil, err
	}
	if err := e.planMounts(out, spec, o); err != nil {
		return nil, err
	}
	planLimits(out.HostConfig, spec)
	return out, nil
}

// optionWords splits the run options. Of variables, those of the node and the task stand for their values: paths differ from node to node.
func optionWords(spec *Spec) ([]string, error) {
	text := spec.Settings.GetContainerRunOptions()
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	if len(text) > maxOptions {
		return nil, badSettings("The container's run options are longer than %d bytes.", maxOptions)
	}
	words, err := spec.Split(text)
	if err != nil {
		return nil, badSettings("The container's run options can't be split into words: %v", err)
	}
	values := map[string]string{}
	for _, pair := range spec.Env {
		if name, value, ok := strings.Cut(pair, "="); ok && strings.HasPrefix(name, "AZ_BATCH_") {
			values[name] = value
		}
	}
	for i, word := range words {
		words[i] = expand(word, values)
	}
	return words, nil
}

// expand puts values in the place of $NAME and ${NAME}; what is not known stays as it is.
func expand(word string, values map[string]string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(word, '$')
		if i < 0 {
			b.WriteString(word)
			return b.String()
		}
		b.WriteString(word[:i])
		rest := word[i+1:]
		name, whole := rest, 0
		if strings.HasPrefix(rest, "{") {
			end := strings.IndexByte(rest, '}')
			if end > 0 {
				name, whole = rest[1:end], end+1
			}
		} else {
			end := strings.IndexFunc(rest, func(c rune) bool { return !(c == '_' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9') })
			if end >= 0 {
				name = rest[:end]
			}
			whole = len(name)
		}
		value, ok := values[name]
		if !ok {
			value, whole = "$", 0
		}
		b.WriteString(value)
		word = rest[whole:]
	}
}

// planUser has the command run as the task's user. Nothing in the image, not even a program that makes its user root, gives it more rights.
func (e *Engine) planUser(out *plan, spec *Spec, o *options) error {
	own := spec.User.String()
	out.Config.User = own
	if o.user != "" {
		if !e.cfg.HostAccess && o.user != own && o.user != strconv.FormatUint(uint64(spec.User.UID), 10) && spec.User.UID != 0 {
			return badSettings("The container can't run as %s: the task's user is %s. The option --container-host-access of the node's agent would let it.", o.user, own)
		}
		out.Config.User = o.user
	}
	for _, g := range spec.User.Groups {
		out.HostConfig.GroupAdd = append(out.HostConfig.GroupAdd, strconv.FormatUint(uint64(g), 10))
	}
	const never = "no-new-privileges"
	if spec.User.UID != 0 && !out.HostConfig.Privileged && !slices.Contains(out.HostConfig.SecurityOpt, never) {
		out.HostConfig.SecurityOpt = append(out.HostConfig.SecurityOpt, never)
	}
	switch {
	case o.workdir != "":
		out.Config.WorkingDir = o.workdir
	case spec.Settings.GetWorkingDirectory() != apiv1.ContainerWorkingDirectory_CONTAINER_WORKING_DIRECTORY_CONTAINER_IMAGE_DEFAULT:
		out.Config.WorkingDir = spec.Dirs.Work
	}
	return nil
}

// planMounts puts the node's directories into the container under the paths that they have outside, and what the run options ask for.
func (e *Engine) planMounts(out *plan, spec *Spec, o *options) error {
	d := spec.Dirs
	bind := func(dir string, readOnly bool) {
		out.HostConfig.Mounts = append(out.HostConfig.Mounts, mount.Mount{Type: mount.TypeBind, Source: dir, Target: dir, ReadOnly: readOnly})
	}
	wanted := spec.Settings.GetContainerHostBatchBindMounts()
	if len(wanted) == 0 && !spec.Settings.GetNoContainerHostBatchBindMounts() {
		bind(d.Root, false)
	}
	for _, w := range wanted {
		dir, err := d.of(w.GetSource())
		if err != nil {
			return err
		}
		bind(dir, w.GetIsReadOnly())
	}
	for _, m := range o.mounts {
		if m.Type == mount.TypeBind && !e.cfg.HostAccess {
			if err := checkSource(m.Source, []string{d.Task, d.Shared, d.Startup, d.Mounts, d.Applications, d.Preparation}); err != nil {
				return badSettings("The container can't have the mount: %v. The option --container-host-access of the node's agent lets tasks mount other paths.", err)
			}
		}
		out.HostConfig.Mounts = append(out.HostConfig.Mounts, m)
	}
	return nil
}

func (d Dirs) of(source apiv1.ContainerHostDataPath) (string, error) {
	dir := ""
	switch source {
	case apiv1.ContainerHostDataPath_CONTAINER_HOST_DATA_PATH_SHARED:
		dir = d.Shared
	case apiv1.ContainerHostDataPath_CONTAINER_HOST_DATA_PATH_STARTUP:
		dir = d.Startup
	case apiv1.ContainerHostDataPath_CONTAINER_HOST_DATA_PATH_VFS_MOUNTS:
		dir = d.Mounts
	case apiv1.ContainerHostDataPath_CONTAINER_HOST_DATA_PATH_TASK:
		dir = d.Task
	case apiv1.ContainerHostDataPath_CONTAINER_HOST_DATA_PATH_JOB_PREP:
		if dir = d.Preparation; dir == "" {
			return "", badSettings("The container is to have the directory of the job's preparation task, and the job has none.")
		}
	case apiv1.ContainerHostDataPath_CONTAINER_HOST_DATA_PATH_APPLICATIONS:
		dir = d.Applications
	}
	if !filepath.IsAbs(dir) {
		return "", badSettings("The container is to have a directory of the node that does not exist.")
	}
	return dir, nil
}

// planLimits holds the container to the command's share of the node.
func planLimits(host *container.HostConfig, spec *Spec) {
	if share := int64(spec.MemoryBytes); share > 0 {
		if host.Memory <= 0 || host.Memory > share {
			host.Memory = share
		}
		host.MemoryReservation = min(host.MemoryReservation, host.Memory)
		if host.MemorySwap != 0 && (host.MemorySwap < 0 || host.MemorySwap > 2*host.Memory) {
			host.MemorySwap = 2 * host.Memory
		}
	}
	if share := int64(spec.CPUMillis) * 1_000_000; share > 0 && (host.NanoCPUs <= 0 || host.NanoCPUs > share) {
		host.NanoCPUs = share
	}
}
