package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/batchyard/batchyard/agent/process"
	"github.com/batchyard/batchyard/internal/trust"
)

// restartError ends a life that is to begin anew, as after a boot of the machine.
type restartError struct{ reimage bool }

func (e *restartError) Error() string { return "the node is to restart" }

const bootName = "boot.json"

// savedBoot is the last restart that was not one of the machine.
type savedBoot struct {
	Machine string    `json:"machine"` // boot of the machine in which it was
	Count   int       `json:"count"`
	At      time.Time `json:"at"`
}

// loadBoot takes up the restarts since the machine's boot.
func (a *Agent) loadBoot() {
	data, err := trust.ReadPrivate(filepath.Join(a.cfg.DataDir, bootName))
	var saved savedBoot
	if err != nil || json.Unmarshal(data, &saved) != nil || saved.Machine != a.machine.system.id {
		return
	}
	a.machine.restarted(saved)
}

// restart ends everything on the node and counts as a boot. With reimage the node's directories are emptied too.
func (a *Agent) restart(ctx context.Context, reimage bool) error {
	a.cfg.Logger.Info("node restarts", "reimage", reimage)
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout+a.cfg.StopGrace)
	defer cancel()
	if err := process.ShutdownSupervisor(stopCtx, a.supervisorConfig()); err != nil {
		return fmt.Errorf("stopping the tasks: %w", err)
	}
	if err := a.unmount(); err != nil {
		return err
	}
	if reimage {
		if err := emptyRoot(a.cfg.NodeRoot); err != nil {
			return fmt.Errorf("emptying the node's directories: %w", err)
		}
	}
	saved := savedBoot{Machine: a.machine.system.id, Count: a.machine.restarts + 1, At: a.cfg.Now()}
	data, err := json.Marshal(saved)
	if err != nil {
		return err
	}
	if err := trust.WritePrivate(filepath.Join(a.cfg.DataDir, bootName), data); err != nil {
		return err
	}
	a.machine.restarted(saved)
	return nil
}

// emptyRoot deletes what is under the node's root. What is mounted there stays: it belongs to others.
func emptyRoot(root string) error {
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range entries {
		if entry.Name() != "fsmounts" {
			errs = append(errs, os.RemoveAll(filepath.Join(root, entry.Name())))
		}
	}
	return errors.Join(errs...)
}

func (m *machine) restarted(saved savedBoot) {
	m.restarts = saved.Count
	m.booted = boot{id: m.system.id + "+" + strconv.Itoa(saved.Count), at: saved.At}
}
