// Package pidfile remembers a process across the life of its parent, and never takes another for it.
package pidfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Process names a process so that it can be told from a later one with the same pid.
type Process struct {
	PID int `json:"pid"`
	// Started names the boot, the start time and the command line.
	Started string `json:"started"`
}

// errNoCommand says that a process has no command line: one that has just been started does not show its own at once.
var errNoCommand = errors.New("it shows no command line")

// settleTime is how long a process may take until it shows its command line.
const settleTime = 5 * time.Second

// Of identifies a running process.
func Of(pid int) (Process, error) {
	at, err := started(pid)
	for deadline := time.Now().Add(settleTime); errors.Is(err, errNoCommand) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
		at, err = started(pid)
	}
	if err != nil {
		return Process{}, fmt.Errorf("identify process %d: %w", pid, err)
	}
	return Process{PID: pid, Started: at}, nil
}

// Read gives the zero Process where there is no file, or a damaged one.
func Read(path string) (Process, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Process{}, nil
	}
	if err != nil {
		return Process{}, err
	}
	var p Process
	if json.Unmarshal(b, &p) != nil || p.PID <= 1 {
		return Process{}, nil //nolint:nilerr // a damaged file is as none
	}
	return p, nil
}

// Write stores p, replacing what was there in one step.
func (p Process) Write(path string) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// Alive says whether the process still runs.
func (p Process) Alive() bool {
	if p.PID <= 1 || p.Started == "" {
		return false
	}
	now, err := started(p.PID)
	return err == nil && now == p.Started
}

// killWait is how long a killed process may take to go: the kernel may still be writing for it.
const killWait = 30 * time.Second

// Stop ends the process, which need not be a child: politely first, then by force after grace. It waits until it is gone.
func (p Process) Stop(grace time.Duration) error {
	if !p.Alive() {
		return nil
	}
	handle, err := os.FindProcess(p.PID)
	if err != nil {
		return err
	}
	defer func() { _ = handle.Release() }()
	// Between FindProcess and here the pid could have been taken over; the handle keeps it from now on.
	if !p.Alive() {
		return nil
	}
	if err := terminate(handle); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	if p.waitGone(grace) {
		return nil
	}
	if err := handle.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	if !p.waitGone(killWait) {
		return fmt.Errorf("process %d does not end", p.PID)
	}
	return nil
}

func (p Process) waitGone(limit time.Duration) bool {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if !p.Alive() {
			return true
		}
		select {
		case <-deadline.C:
			return !p.Alive()
		case <-tick.C:
		}
	}
}
