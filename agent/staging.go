package agent

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/batchyard/batchyard/agent/stage"
	"github.com/batchyard/batchyard/agent/task"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// staging speaks for package task with package stage.
type staging struct {
	stager *stage.Stager
	access atomic.Pointer[apiv1.StoreAccess]
}

func newStaging(cfg *Config) (*staging, error) {
	s := &staging{}
	stager, err := stage.New(stage.Config{
		NodeRoot: cfg.NodeRoot, CacheBytes: cfg.CacheBytes, Log: cfg.Logger, Access: s.access.Load,
	})
	if err != nil {
		return nil, err
	}
	s.stager = stager
	return s, nil
}

// configured has transfers that are under way learn of new credentials of the store, and mounts of what is to be mounted.
type configured struct {
	*task.Runner
	staging *staging
	mounts  *mounting
}

func (c configured) Configure(ctx context.Context, w *agentv1.Welcome) error {
	c.staging.access.Store(w.GetStore())
	c.mounts.begin(w)
	return c.Runner.Configure(ctx, w)
}

// In brings packages and resource files.
func (s *staging) In(ctx context.Context, w task.Work) ([]string, error) {
	s.take(w)
	if w.Fetching {
		return nil, told(s.stager.Inputs(ctx, dirsOf(w), w.Spec.GetTask().GetResourceFiles(), ownerOf(w.User)))
	}
	locations := slices.Concat[[]*agentv1.PackageLocation](w.Job.GetPackages(), w.Spec.GetPackages())
	packages, err := s.stager.Packages(ctx, locations)
	if err != nil {
		return nil, told(err)
	}
	dirs, files := dirsOf(w), w.Spec.GetTask().GetResourceFiles()
	if several := w.Spec.GetTask().GetMultiInstanceSettings(); several != nil {
		// What all instances get goes into the directory that has the same path on all nodes.
		files = several.GetCommonResourceFiles()
		dirs.Work = filepath.Join(w.Root, filepath.FromSlash(w.Directory))
		dirs.Task = filepath.Dir(dirs.Work)
	}
	if err := s.stager.Inputs(ctx, dirs, files, ownerOf(w.User)); err != nil {
		return nil, told(err)
	}
	return stage.PackageEnv(packages), nil
}

// Out uploads output files.
func (s *staging) Out(ctx context.Context, w task.Work, exitCode int32) error {
	s.take(w)
	variables := make(map[string]string, len(w.Environment))
	for _, pair := range w.Environment {
		name, value, _ := strings.Cut(pair, "=")
		variables[name] = value
	}
	lookUp := func(name string) (string, bool) { value, ok := variables[name]; return value, ok }
	return told(s.stager.Outputs(ctx, dirsOf(w), w.Spec.GetTask().GetOutputFiles(), lookUp, exitCode == 0))
}

func (s *staging) take(w task.Work) {
	if w.Store != nil {
		s.access.CompareAndSwap(nil, w.Store) // a session has told of newer ones
	}
}

func ownerOf(u task.User) stage.Owner {
	if u.Open {
		return stage.Owner{UID: int(u.UID), GID: task.TasksGroup, Set: true}
	}
	return stage.Owner{UID: int(u.UID), GID: int(u.GID), Set: u.Set}
}

func dirsOf(w task.Work) stage.Dirs {
	dir := filepath.Join(w.Root, filepath.FromSlash(w.Directory), w.Place)
	return stage.Dirs{Root: w.Root, Task: dir, Work: filepath.Join(dir, "wd"), Shared: filepath.Join(w.Root, "shared"), Open: w.User.Open}
}

// told keeps the failure information that package stage has composed.
func told(err error) error {
	var failure *stage.Failure
	if errors.As(err, &failure) {
		return &task.Failed{Info: failure.Info}
	}
	return err
}
