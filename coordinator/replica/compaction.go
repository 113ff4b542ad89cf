package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/raft"
)

// takeSnapshots replaces the log by snapshots as it grows.
func (r *Replica) takeSnapshots(ctx context.Context) {
	ticker := time.NewTicker(r.cfg.Snapshots.Interval)
	defer ticker.Stop()
	last, bytes := r.Status().Snapshot, uint64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		applied, written := r.fsm.applied.get(), r.store.bytes.Load()
		grown := growth{entries: applied - min(applied, last), bytes: written - bytes}
		if grown.entries < r.cfg.Snapshots.Entries && grown.bytes < r.cfg.Snapshots.Bytes {
			continue
		}
		if err := r.compact(grown); err != nil {
			r.cfg.Logger.Warn("no snapshot taken", "error", err)
			continue
		}
		last, bytes = applied, written
	}
}

// growth is what the log has gained since a snapshot.
type growth struct{ entries, bytes uint64 }

// minTrailing entries stay behind a snapshot however large they are.
const minTrailing = 64

// trailing returns how many entries to keep behind a snapshot: those asked for, as long as they are not likely to take more
// than the bytes that are worth a snapshot.
func (g growth) trailing(limits Snapshots) uint64 {
	if g.entries == 0 || g.bytes/g.entries == 0 {
		return limits.Trailing
	}
	return min(limits.Trailing, max(minTrailing, limits.Bytes/(g.bytes/g.entries)))
}

func (r *Replica) compact(grown growth) error {
	now := r.raft.ReloadableConfig()
	now.TrailingLogs = grown.trailing(r.cfg.Snapshots)
	if err := r.raft.ReloadConfig(now); err != nil {
		return fmt.Errorf("set trailing entries: %w", err)
	}
	return r.Snapshot()
}

// Snapshot writes a snapshot now and drops the log behind it. It is no error when there is nothing new.
func (r *Replica) Snapshot() error {
	err := r.raft.Snapshot().Error()
	if err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return fmt.Errorf("take snapshot: %w", err)
	}
	return nil
}

// startPlan says how state, snapshots and log come together.
type startPlan struct {
	restore bool // the newest intact snapshot replaces the state
}

// snapshotSource is the part of a snapshot store that planning needs.
type snapshotSource interface {
	List() ([]*raft.SnapshotMeta, error)
	Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error)
}

// planStart decides whether to restore a snapshot into a machine at index recorded, and refuses to start with a log that
// lacks entries which this replica once had: it would vote as if it had never acknowledged them.
func planStart(recorded, first, last uint64, snapshots snapshotSource) (startPlan, error) {
	list, err := snapshots.List()
	if err != nil {
		return startPlan{}, fmt.Errorf("list snapshots: %w", err)
	}
	var newest uint64
	if len(list) > 0 {
		newest = list[0].Index
	}
	if recorded > max(newest, last) {
		return startPlan{}, fmt.Errorf("%w: state is at index %d, log ends at %d", ErrLogLost, recorded, last)
	}
	if recorded >= newest {
		return startPlan{}, checkGap(newest, newest, first, last)
	}
	var damaged []error
	for _, meta := range list {
		held, err := inspect(snapshots, meta.ID)
		if err != nil {
			damaged = append(damaged, fmt.Errorf("snapshot %s: %w", meta.ID, err))
			continue
		}
		// The newest snapshot may hold no more than the state does: its index also counts entries without commands. An older
		// one is restored in any case, for the library goes on from the index of the one that it restores.
		restore := recorded < held.recorded || meta.Index != newest
		return startPlan{restore: restore}, checkGap(meta.Index, newest, first, last)
	}
	return startPlan{}, fmt.Errorf("%w: no usable snapshot: %w", ErrLogLost, errors.Join(damaged...))
}

// checkGap makes sure that the log goes on where the snapshot at index ends, and reaches the newest snapshot.
func checkGap(index, newest, first, last uint64) error {
	if last < newest && index < newest {
		return fmt.Errorf("%w: log ends at %d, before the newest snapshot at %d, which is damaged", ErrLogLost, last, newest)
	}
	if last > index && first > index+1 {
		return fmt.Errorf("%w: log begins at %d, snapshot ends at %d", ErrLogLost, first, index)
	}
	return nil
}

func inspect(snapshots snapshotSource, id string) (at position, err error) {
	_, r, err := snapshots.Open(id)
	if err != nil {
		return position{}, err
	}
	defer func() { _ = r.Close() }()
	return verifySnapshot(r)
}
