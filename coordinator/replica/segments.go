package replica

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	raftwal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// segments is raft-wal's files of the log without two of its faults, both of which keep a log that was in order from being opened or written again:
// a segment whose end was truncated counts as sealed but has no index, and a segment that was sealed right before a crash is not followed by another.
type segments struct{ *segment.Filer }

// Open implements types.SegmentFiler. What has no index is read through once.
func (s segments) Open(info types.SegmentInfo) (types.SegmentReader, error) {
	if info.IndexStart != 0 {
		return s.Filer.Open(info)
	}
	whole, err := s.Filer.RecoverTail(info)
	if err != nil {
		return nil, err
	}
	if last := whole.LastIndex(); last < info.MaxIndex {
		_ = whole.Close()
		return nil, fmt.Errorf("%w: segment %d ends at %d, not at %d", types.ErrCorrupt, info.ID, last, info.MaxIndex)
	}
	return whole, nil
}

// finishTail makes the recorded state of the log what the library was about to make it: a tail that is sealed is followed by an empty one.
func (s segments) finishTail(meta *metadb.BoltMetaDB, dir string) error {
	state, err := meta.Load(dir)
	if err != nil || len(state.Segments) == 0 {
		return err
	}
	tail := &state.Segments[len(state.Segments)-1]
	if !tail.SealTime.IsZero() {
		return nil
	}
	last, sealed, err := s.sealed(*tail)
	if err != nil || !sealed {
		return err
	}
	if last == 0 {
		// Nothing of it was committed: the library makes it anew.
		return s.Delete(tail.BaseIndex, tail.ID)
	}
	// Its index may be half written: without one it is read through.
	now := time.Now()
	tail.SealTime, tail.MaxIndex, tail.IndexStart = now, last, 0
	state.Segments = append(state.Segments, types.SegmentInfo{
		ID: state.NextSegmentID, BaseIndex: last + 1, MinIndex: last + 1, SizeLimit: tail.SizeLimit, Codec: raftwal.CodecBinaryV1, CreateTime: now,
	})
	state.NextSegmentID++
	return meta.CommitState(state)
}

// sealed says where the committed entries of the tail end, 0 if there are none, and whether it takes no more.
func (s segments) sealed(tail types.SegmentInfo) (last uint64, sealed bool, err error) {
	w, err := s.RecoverTail(tail)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil // recorded and not made yet, which the library reckons with
	}
	if err != nil {
		return 0, false, err
	}
	sealed, _, err = w.Sealed()
	last = w.LastIndex()
	if closeErr := w.Close(); err == nil {
		err = closeErr
	}
	return last, sealed, err
}
