package replica

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// fsm feeds committed entries to the machine. The library calls it from one goroutine, except for snapshot.Persist.
type fsm struct {
	machine Machine
	scratch string // directory for checkpoints and arriving snapshots
	logger  *slog.Logger
	fatal   func(error)

	// onTerm is called with the nonce of each kindTerm entry, onApplied after each batch.
	onTerm    func(term uint64, nonce []byte)
	onApplied func(index uint64)

	applied  progress // highest index that has passed through here or is recorded in the machine
	recorded uint64   // the machine's index when the state was opened or restored: entries up to it are not decoded
	digests  digestRing
	compared atomic.Uint64
	halted   atomic.Bool // after a fatal error nothing more is applied
}

// applyResult is the response to a kindCommands entry.
type applyResult struct{ results []any }

// load takes over the state as it is on disk.
func (f *fsm) load() {
	index, sum := f.machine.Digest()
	f.recorded = index
	f.digests = digestRing{}
	f.digests.add(index, sum)
	f.applied.set(index)
}

func (f *fsm) Apply(entry *raft.Log) any { return f.ApplyBatch([]*raft.Log{entry})[0] }

// ApplyBatch implements raft.BatchingFSM.
func (f *fsm) ApplyBatch(entries []*raft.Log) []any {
	responses := make([]any, len(entries))
	for i, entry := range entries {
		if f.halted.Load() {
			return responses
		}
		if entry.Type != raft.LogCommand || entry.Index <= f.recorded {
			continue
		}
		response, err := f.apply(entry)
		if err != nil {
			f.halted.Store(true)
			f.fatal(err)
			return responses
		}
		responses[i] = response
	}
	if last := entries[len(entries)-1].Index; last > f.applied.get() {
		f.applied.set(last)
		f.onApplied(last)
	}
	return responses
}

func (f *fsm) apply(entry *raft.Log) (any, error) {
	kind, body, err := unseal(entry.Data)
	if err != nil {
		return nil, &CorruptionError{Index: entry.Index, Err: err}
	}
	switch kind {
	case kindCommands:
		return f.applyCommands(entry.Index, body)
	case kindDigest:
		return nil, f.compare(entry.Index, body)
	case kindTerm:
		f.onTerm(entry.Term, body)
	}
	return nil, nil
}

func (f *fsm) applyCommands(index uint64, body []byte) (any, error) {
	commands, err := splitCommands(body)
	if err != nil {
		return nil, &CorruptionError{Index: index, Err: err}
	}
	results, digest := f.machine.Apply(index, commands)
	if len(results) != len(commands) {
		return nil, &CorruptionError{Index: index, Err: fmt.Errorf("machine gave %d results for %d commands", len(results), len(commands))}
	}
	f.digests.add(index, digest)
	return &applyResult{results}, nil
}

// compare holds the leader's digest against the one of this replica, if it still remembers it.
func (f *fsm) compare(index uint64, body []byte) error {
	leader, err := parseDigest(body)
	if err != nil {
		return &CorruptionError{Index: index, Err: err}
	}
	ours, known := f.digests.at(leader.index)
	if !known {
		return nil
	}
	f.compared.Add(1)
	if ours != leader.sum {
		return &DivergenceError{Index: leader.index, Ours: ours, Leader: leader.sum, By: leader.by}
	}
	return nil
}

// Snapshot implements raft.FSM.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if f.halted.Load() {
		return nil, fmt.Errorf("replica has halted")
	}
	holder, err := os.MkdirTemp(f.scratch, "checkpoint-")
	if err != nil {
		return nil, fmt.Errorf("make checkpoint directory: %w", err)
	}
	dir := filepath.Join(holder, "state")
	if err := f.machine.Checkpoint(dir); err != nil {
		_ = os.RemoveAll(holder)
		return nil, fmt.Errorf("checkpoint state: %w", err)
	}
	at := position{recorded: f.machine.AppliedIndex(), passed: f.applied.get()}
	return &snapshot{holder: holder, dir: dir, at: at, logger: f.logger}, nil
}

// Restore implements raft.FSM. The state is replaced only after the whole snapshot has been verified.
func (f *fsm) Restore(source io.ReadCloser) error {
	holder, err := os.MkdirTemp(f.scratch, "restore-")
	if err != nil {
		return fmt.Errorf("make restore directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(holder) }()
	dir := filepath.Join(holder, "state")
	at, err := readSnapshot(source, dir)
	if err != nil {
		return fmt.Errorf("read snapshot: %w", err)
	}
	if err := f.machine.Restore(dir); err != nil {
		return fmt.Errorf("restore state: %w", err)
	}
	if got := f.machine.AppliedIndex(); got != at.recorded {
		return fmt.Errorf("restored state is at index %d, snapshot at %d", got, at.recorded)
	}
	f.load()
	f.applied.set(max(at.recorded, at.passed))
	return nil
}
