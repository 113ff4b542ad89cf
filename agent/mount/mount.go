// Package mount mounts on the node what its pool asks for, and takes it away again.
package mount

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/mountinfo"
	"github.com/batchyard/batchyard/internal/mounts"
	"github.com/batchyard/batchyard/internal/trust"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// Config says where mounts go.
type Config struct {
	// Root is the node's root directory, and Dir the directory of mounts in it.
	Root, Dir string
	// StateDir is for nobody but the agent: it remembers there what it has mounted.
	StateDir string
	// Refuse says why nothing may be mounted; empty: it may.
	Refuse string
	// BlobURL is where the containers of an account of Azure Storage are; nil: where Microsoft has them.
	BlobURL func(account string) string
	Logger  *slog.Logger
}

// Mounter keeps the mounts of one node. Its methods are not called concurrently.
type Mounter struct{ cfg Config }

// New makes a mounter; it touches nothing.
func New(cfg Config) *Mounter {
	if cfg.BlobURL == nil {
		cfg.BlobURL = func(account string) string { return "https://" + account + ".blob.core.windows.net" }
	}
	return &Mounter{cfg: cfg}
}

// entry is what is remembered of a mount: it is written before anything is mounted, so that no crash leaves a mount that nobody knows.
type entry struct {
	Path string `json:"path"`
	// Mark tells one configuration, secrets included, from another.
	Mark string `json:"mark"`
}

// wanted is a mount that is to be there.
type wanted struct {
	entry
	plan *mounts.Plan
}

// Want mounts what is not there yet, and unmounts what of its own is not wanted any more. It returns what is not there after all.
func (m *Mounter) Want(ctx context.Context, list []*apiv1.MountConfiguration, store *apiv1.StoreAccess) []*agentv1.MountFailure {
	known, err := m.load()
	if err != nil {
		return failAll(list, fmt.Sprintf("What was mounted can't be read: %v.", err))
	}
	if len(list) == 0 && len(known) == 0 {
		return nil
	}
	plans, fault := mounts.ReadAll(list)
	if fault != nil { // the coordinator has checked them: it is of another version
		return failAll(list, fault.Error())
	}
	want := make([]wanted, len(plans))
	for i, p := range plans {
		want[i] = wanted{entry{p.Path, mark(list[i], p, store)}, p}
	}
	if m.cfg.Refuse != "" && len(want) > 0 {
		return failAll(list, m.cfg.Refuse)
	}
	var missing []wanted
	stale := known[:0:0]
	for _, w := range want {
		if !m.there(w, known) {
			missing = append(missing, w)
		}
	}
	for _, e := range known {
		if !has(want, e) || has(missing, e) {
			stale = append(stale, e)
		}
	}
	if len(missing)+len(stale) == 0 {
		return nil
	}
	kept, err := m.unmountAll(stale)
	if err != nil {
		m.cfg.Logger.Error("what is not wanted any more stays mounted", "error", err)
	}
	if err := m.save(want, kept); err != nil {
		return failAll(list, fmt.Sprintf("What is mounted can't be written down: %v.", err))
	}
	return m.mountAll(ctx, missing, store)
}

func has(want []wanted, e entry) bool {
	for _, w := range want {
		if w.entry == e {
			return true
		}
	}
	return false
}

// there says whether a mount is there, is ours, and is served.
func (m *Mounter) there(w wanted, known []entry) bool {
	for _, e := range known {
		if e != w.entry {
			continue
		}
		target, err := m.target(e.Path)
		list, listErr := mountinfo.List()
		if errors.Join(err, listErr) != nil {
			return false
		}
		_, mounted := mountinfo.At(list, target)
		return mounted && m.served(w)
	}
	return false
}

func (m *Mounter) mountAll(ctx context.Context, missing []wanted, store *apiv1.StoreAccess) (failures []*agentv1.MountFailure) {
	results := make([]error, len(missing))
	var all sync.WaitGroup
	for i, w := range missing {
		all.Go(func() { results[i] = m.mount(ctx, w, store) })
	}
	all.Wait()
	for i, w := range missing {
		if results[i] == nil {
			m.cfg.Logger.Info("file system mounted", "path", w.Path, "kind", w.plan.Kind, "source", w.plan.Source)
			continue
		}
		m.cfg.Logger.Error("file system is not mounted", "path", w.Path, "kind", w.plan.Kind, "source", w.plan.Source, "error", results[i])
		failures = append(failures, &agentv1.MountFailure{
			Path: w.Path, Message: fmt.Sprintf("%s %s: %v.", w.plan.Kind, w.plan.Source, results[i]),
		})
	}
	return failures
}

// Clear unmounts all that was mounted.
func (m *Mounter) Clear() error {
	known, err := m.load()
	if err != nil || len(known) == 0 {
		return err
	}
	if _, err := m.unmountAll(known); err != nil {
		return err
	}
	return os.RemoveAll(m.cfg.StateDir)
}

// unmountAll returns what could not be unmounted.
func (m *Mounter) unmountAll(list []entry) (kept []entry, err error) {
	errs := make([]error, len(list))
	var all sync.WaitGroup
	for i, e := range list {
		all.Go(func() { errs[i] = m.unmount(e.Path) })
	}
	all.Wait()
	for i, e := range list {
		if errs[i] != nil {
			kept = append(kept, e)
		}
	}
	return kept, errors.Join(errs...)
}

// mark is a digest of everything that decides about a mount.
func mark(c *apiv1.MountConfiguration, p *mounts.Plan, store *apiv1.StoreAccess) string {
	h := sha256.New()
	write := func(message proto.Message) {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
		if err != nil {
			panic(err) // of a message that came over the wire
		}
		fmt.Fprintf(h, "%d ", len(b))
		h.Write(b)
	}
	write(c)
	if p.Kind == mounts.S3 && (p.S3.GetAccessKey() == "" || p.S3.GetEndpoint() == "") {
		write(store)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (m *Mounter) record() string { return filepath.Join(m.cfg.StateDir, "mounted.json") }

func (m *Mounter) load() (out []entry, err error) {
	data, err := trust.ReadPrivate(m.record())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return out, json.Unmarshal(data, &out)
}

func (m *Mounter) save(want []wanted, kept []entry) error {
	list := kept
	for _, w := range want {
		list = append(list, w.entry)
	}
	data, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return trust.WritePrivate(m.record(), data)
}

// own is the directory of a mount for what nobody else may see: its cache, and what it says.
func (m *Mounter) own(path string) string {
	sum := sha256.Sum256([]byte(path))
	return filepath.Join(m.cfg.StateDir, hex.EncodeToString(sum[:8]))
}

// target is where a path of a mount is, without links.
func (m *Mounter) target(path string) (string, error) {
	dir, err := filepath.EvalSymlinks(m.cfg.Dir)
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, filepath.FromSlash(path)), nil
}

func failAll(list []*apiv1.MountConfiguration, message string) (out []*agentv1.MountFailure) {
	for _, c := range list {
		path := "" // of a mount that is not one
		if p, fault := mounts.Read(c); fault == nil {
			path = p.Path
		}
		out = append(out, &agentv1.MountFailure{Path: path, Message: message})
	}
	return out
}

// Bounds of what mounting and unmounting may take.
const (
	mountTimeout   = 75 * time.Second
	readTimeout    = 15 * time.Second
	unmountTimeout = 10 * time.Second
	// serverGrace is how long what serves a mount may take to upload what was written.
	serverGrace = 45 * time.Second
	poll        = 20 * time.Millisecond
)
