package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/agent/mount"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

const (
	// Mounts that fail are tried again after a pause that grows, and those that are there are looked at once a minute.
	firstRemount, lastRemount = 15 * time.Second, 5 * time.Minute
	mountCheck                = time.Minute
)

// newMounter makes what mounts the pool's file systems below the node's root.
func newMounter(cfg *Config) *mount.Mounter {
	refuse := ""
	switch {
	case cfg.NoMounts:
		refuse = "The node's agent does not mount anything (--no-mounts)."
	case os.Geteuid() != 0:
		refuse = "The node's agent does not run as root, so it can't mount anything."
	}
	return mount.New(mount.Config{
		Root: cfg.NodeRoot, Dir: filepath.Join(cfg.NodeRoot, "fsmounts"), StateDir: filepath.Join(cfg.DataDir, "mounts"),
		Refuse: refuse, Logger: cfg.Logger,
	})
}

// mounting keeps mounted what the newest session has asked for, and says in each session how that fares.
type mounting struct {
	mounter *mount.Mounter
	wake    chan struct{}
	ready   chan struct{}

	mu      sync.Mutex
	welcome *agentv1.Welcome     // the newest; nil: none yet
	report  *agentv1.MountReport // of the newest welcome; nil: not known yet
	told    bool
}

func newMounting(mounter *mount.Mounter) *mounting {
	return &mounting{mounter: mounter, wake: make(chan struct{}, 1), ready: make(chan struct{}, 1)}
}

// begin takes what a new session wants.
func (m *mounting) begin(w *agentv1.Welcome) {
	m.mu.Lock()
	m.welcome, m.report, m.told = w, nil, false
	m.mu.Unlock()
	notify(m.wake)
}

// Ready is sent to when Take may have something.
func (m *mounting) Ready() <-chan struct{} { return m.ready }

// Take gives the report that the session has not been told yet, or nil.
func (m *mounting) Take() *agentv1.MountReport {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.told || m.report == nil {
		return nil
	}
	m.told = true
	return m.report
}

// run mounts until ctx ends. What is mounted stays.
func (m *mounting) run(ctx context.Context) error {
	again := time.NewTimer(mountCheck)
	defer again.Stop()
	pause := firstRemount
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-m.wake:
			pause = firstRemount
		case <-again.C:
		}
		m.mu.Lock()
		welcome := m.welcome
		m.mu.Unlock()
		if welcome == nil {
			again.Reset(mountCheck)
			continue
		}
		failures := m.mounter.Want(ctx, welcome.GetMounts(), welcome.GetStore())
		if ctx.Err() != nil {
			return ctx.Err()
		}
		m.conclude(welcome, &agentv1.MountReport{Failures: failures})
		if len(failures) == 0 {
			pause = firstRemount
			again.Reset(mountCheck)
			continue
		}
		again.Reset(pause)
		pause = min(2*pause, lastRemount)
	}
}

// conclude keeps a report for the session, unless that has ended or knows it.
func (m *mounting) conclude(welcome *agentv1.Welcome, report *agentv1.MountReport) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.welcome != welcome || len(welcome.GetMounts()) == 0 || proto.Equal(m.report, report) {
		return
	}
	m.report, m.told = report, false
	notify(m.ready)
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// unmount takes away all that the agent has mounted.
func (a *Agent) unmount() error {
	if err := newMounter(&a.cfg).Clear(); err != nil {
		return fmt.Errorf("unmounting: %w", err)
	}
	return nil
}
