package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const recordName = "objectstore.pid"

// record is what the pid file says about the running store. A pid alone proves nothing: it may belong to another process
// by now.
type record struct {
	PID         int    `json:"pid"`
	Started     string `json:"started"` // see started
	Address     string `json:"address"`
	Fingerprint string `json:"fingerprint"`
}

// readRecord gives the zero record where there is none or it is damaged.
func readRecord(dataDir string) (record, error) {
	b, err := os.ReadFile(filepath.Join(dataDir, recordName))
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, nil
	}
	if err != nil {
		return record{}, fmt.Errorf("object store: %w", err)
	}
	var r record
	if json.Unmarshal(b, &r) != nil || r.PID <= 1 {
		return record{}, nil //nolint:nilerr // a damaged record is as none
	}
	return r, nil
}

func (r record) write(dataDir string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("object store: %w", err)
	}
	name := filepath.Join(dataDir, recordName)
	if err := os.WriteFile(name+".new", b, 0o600); err != nil {
		return fmt.Errorf("object store: %w", err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("object store: %w", err)
	}
	return nil
}

// remove takes the record away unless it is about another process by now.
func (r record) remove(dataDir string) error {
	now, err := readRecord(dataDir)
	if err != nil || now.PID != r.PID {
		return err
	}
	return os.Remove(filepath.Join(dataDir, recordName))
}

// alive says whether the recorded process still runs.
func (r record) alive() bool {
	if r.PID <= 1 || r.Started == "" {
		return false
	}
	now, err := started(r.PID)
	return err == nil && now == r.Started
}

// stop ends the recorded process, which need not be our child: politely first, then by force after grace.
func (r record) stop(grace time.Duration) error {
	if !r.alive() {
		return nil
	}
	p, err := os.FindProcess(r.PID)
	if err != nil {
		return fmt.Errorf("object store: %w", err)
	}
	defer func() { _ = p.Release() }()
	// Between FindProcess and here the pid could have been taken over; the handle keeps it from now on.
	if !r.alive() {
		return nil
	}
	if err := terminate(p); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("object store: %w", err)
	}
	if r.waitGone(grace) {
		return nil
	}
	if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("object store: %w", err)
	}
	if !r.waitGone(killWait) {
		return fmt.Errorf("object store: process %d does not end", r.PID)
	}
	return nil
}

// killWait is how long a killed process may take to go: the kernel may still be writing for it.
const killWait = 30 * time.Second

func (r record) waitGone(limit time.Duration) bool {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if !r.alive() {
			return true
		}
		select {
		case <-deadline.C:
			return !r.alive()
		case <-tick.C:
		}
	}
}
