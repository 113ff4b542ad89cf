package replica

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"
	walfs "github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
	"github.com/stretchr/testify/require"
)

func openLog(t *testing.T, dir string) *diskStore {
	t.Helper()
	s, err := openDiskStore(dir, hclog.NewNullLogger())
	require.NoError(t, err)
	return s
}

func appendLog(t *testing.T, s *diskStore, first, last uint64, text string) {
	t.Helper()
	for index := first; index <= last; index++ {
		entry := &raft.Log{Index: index, Term: 1, Data: fmt.Appendf(nil, "%s %d", text, index)}
		require.NoError(t, s.StoreLog(entry))
	}
}

func requireLog(t *testing.T, s *diskStore, first, last uint64, text string) {
	t.Helper()
	for index := first; index <= last; index++ {
		var entry raft.Log
		require.NoError(t, s.GetLog(index, &entry))
		require.Equal(t, fmt.Sprintf("%s %d", text, index), string(entry.Data))
	}
}

func TestALogWhoseEndWasTruncatedOpensAgain(t *testing.T) {
	dir := t.TempDir()
	s := openLog(t, dir)
	appendLog(t, s, 1, 20, "old")
	require.NoError(t, s.DeleteRange(11, 20))
	appendLog(t, s, 11, 30, "new")
	require.NoError(t, s.Close())

	s = openLog(t, dir)
	first, last, err := verifyLog(s)
	require.NoError(t, err)
	require.EqualValues(t, 1, first)
	require.EqualValues(t, 30, last)
	requireLog(t, s, 1, 10, "old")
	requireLog(t, s, 11, 30, "new")
	// Again, into the segment that has been read through, and from its beginning.
	require.NoError(t, s.DeleteRange(6, 30))
	appendLog(t, s, 6, 8, "newer")
	require.NoError(t, s.DeleteRange(1, 2))
	require.NoError(t, s.Close())

	s = openLog(t, dir)
	_, _, err = verifyLog(s)
	require.NoError(t, err)
	requireLog(t, s, 3, 5, "old")
	requireLog(t, s, 6, 8, "newer")
	require.NoError(t, s.Close())
}

// A crash between the last write of a segment and the record of the next.
func TestALogThatWasSealedRightBeforeACrashGoesOn(t *testing.T) {
	dir := t.TempDir()
	s := openLog(t, dir)
	appendLog(t, s, 1, 5, "before")
	require.NoError(t, s.Close())

	// What the library does up to that moment.
	wal := filepath.Join(dir, "log")
	meta := &metadb.BoltMetaDB{}
	state, err := meta.Load(wal)
	require.NoError(t, err)
	require.Len(t, state.Segments, 1)
	require.NoError(t, meta.Close())
	tail, err := segment.NewFiler(wal, walfs.New()).RecoverTail(state.Segments[0])
	require.NoError(t, err)
	filler := &raft.Log{Term: 1, Data: make([]byte, 4<<20)}
	last := uint64(5)
	for sealed := false; !sealed; {
		last++
		filler.Index = last
		summed := *filler
		summed.Extensions = sumOf(filler)
		var b bytes.Buffer
		require.NoError(t, (&raftwal.BinaryCodec{}).Encode(&summed, &b))
		require.NoError(t, tail.Append([]types.LogEntry{{Index: last, Data: b.Bytes()}}))
		sealed, _, err = tail.Sealed()
		require.NoError(t, err)
	}
	require.NoError(t, tail.Close())

	for range 2 {
		s = openLog(t, dir)
		_, end, err := verifyLog(s)
		require.NoError(t, err)
		require.Equal(t, last, end)
		appendLog(t, s, last+1, last+3, "after")
		requireLog(t, s, 1, 5, "before")
		requireLog(t, s, last+1, last+3, "after")
		last += 3
		require.NoError(t, s.Close())
	}
}

func sumOf(entry *raft.Log) []byte { return binary.LittleEndian.AppendUint32(nil, entrySum(entry)) }

// A write that failed may have reached the disk all the same. The library was told that it did not, and writes the same index again.
func TestALogIsOpenedAnewAfterAFailedWrite(t *testing.T) {
	s := openLog(t, t.TempDir())
	appendLog(t, s, 1, 3, "kept")
	behind, err := s.open()
	require.NoError(t, err)
	other := &diskStore{open: s.open, meta: s.meta, lock: s.lock, wal: behind}
	appendLog(t, other, 4, 6, "failed")
	require.NoError(t, behind.Close())

	s.failed = true
	appendLog(t, s, 4, 5, "new")
	requireLog(t, s, 1, 3, "kept")
	requireLog(t, s, 4, 5, "new")
	last, err := s.LastIndex()
	require.NoError(t, err)
	require.EqualValues(t, 5, last)
	require.NoError(t, s.Close())
}
