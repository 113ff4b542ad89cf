package task

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

func records(n int) []*agentv1.JournalRecord {
	var out []*agentv1.JournalRecord
	for i := range n {
		out = append(out, droppedRecord(Ref{Job: uint64(i) + 1, Task: 2, Attempt: 3}))
	}
	return out
}

func frames(of []*agentv1.JournalRecord) []byte {
	var out []byte
	for _, record := range of {
		out = appendFrame(out, record)
	}
	return out
}

func TestTornAndCorruptTails(t *testing.T) {
	whole := frames(records(3))
	length := len(whole) / 3
	for name, c := range map[string]struct {
		data []byte
		n    int
		harm damage
	}{
		"whole":           {whole, 3, damageNone},
		"empty":           {nil, 0, damageMissing},
		"zeroed":          {make([]byte, 4096), 0, damageCorrupt},
		"zeroed tail":     {append(bytes.Clone(whole), make([]byte, 100)...), 3, damageCorrupt},
		"torn header":     {whole[:2*length+3], 2, damageTorn},
		"torn body":       {whole[:len(whole)-1], 2, damageTorn},
		"flipped bit":     {flip(whole, length+frameHeader+1), 1, damageCorrupt},
		"flipped sum":     {flip(whole, 5), 0, damageCorrupt},
		"claims too much": {append(bytes.Clone(whole), 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0), 3, damageCorrupt},
		"text":            {[]byte("this is no journal, and never was"), 0, damageCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, journalName), c.data, 0o600))
			n := 0
			j, harm, err := openJournal(dir, func(*agentv1.JournalRecord) { n++ })
			require.NoError(t, err)
			require.Equal(t, c.harm, harm)
			require.Equal(t, c.n, n)
			// Whatever was there, the journal works from now on.
			require.NoError(t, j.flush(func(add func(*agentv1.JournalRecord)) { add(headerRecord("boot")) }))
			j.add(records(1)[0])
			require.NoError(t, j.flush(nil))
			j.close()
			n = 0
			_, harm, err = openJournal(dir, func(*agentv1.JournalRecord) { n++ })
			require.NoError(t, err)
			require.Equal(t, damageNone, harm)
			require.Equal(t, 2, n)
		})
	}
}

func flip(data []byte, at int) []byte {
	out := bytes.Clone(data)
	out[at] ^= 0x10
	return out
}

func TestJournalStaysShort(t *testing.T) {
	dir := t.TempDir()
	j, harm, err := openJournal(dir, nil)
	require.NoError(t, err)
	require.Equal(t, damageMissing, harm)
	rewritings := 0
	live := func(add func(*agentv1.JournalRecord)) { rewritings++; add(headerRecord("boot")) }
	for range 200 {
		for _, record := range records(1000) {
			j.add(record)
		}
		require.NoError(t, j.flush(live))
	}
	defer j.close()
	info, err := os.Stat(j.path)
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(2*compactFloor))
	require.Greater(t, rewritings, 1)
}

func TestJournalRecoversFromAnError(t *testing.T) {
	dir := t.TempDir()
	j, _, err := openJournal(dir, nil)
	require.NoError(t, err)
	live := func(add func(*agentv1.JournalRecord)) { add(headerRecord("boot")) }
	require.NoError(t, j.flush(live))
	require.NoError(t, j.file.Close()) // what follows cannot be written
	j.add(records(1)[0])
	require.ErrorIs(t, j.flush(live), os.ErrClosed)
	require.NoError(t, j.flush(live), "the next flush makes a new file")
	j.close()
	_, harm, err := openJournal(dir, func(*agentv1.JournalRecord) {})
	require.NoError(t, err)
	require.Equal(t, damageNone, harm)
}

func FuzzJournal(f *testing.F) {
	whole := frames(append(records(2), headerRecord("boot"), retainedRecord(Ref{Job: 1, Task: 2, Attempt: 3}, "workitems/a/job-1/b", 7)))
	f.Add(whole)
	f.Add(whole[:len(whole)-2])
	f.Add(make([]byte, 64))
	f.Add(flip(whole, 9))
	f.Fuzz(func(t *testing.T, data []byte) {
		found := newImage()
		var kept []byte
		readJournal(bytes.NewReader(data), func(record *agentv1.JournalRecord) {
			found.apply(record)
			out, err := proto.Marshal(record)
			require.NoError(t, err)
			kept = append(kept, out...)
		})
		require.LessOrEqual(t, len(kept), len(data))
		for directory := range found.retained {
			require.True(t, isTaskDirectory(directory))
		}
	})
}
