package replica

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

func removeState(p *peer) error { return os.RemoveAll(p.stateDir()) }

func packed(t testing.TB, files map[string]string) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	var out bytes.Buffer
	require.NoError(t, writeSnapshot(&out, dir, position{42, 43}))
	return out.Bytes()
}

func TestSnapshotRoundTrip(t *testing.T) {
	files := map[string]string{"a": "alpha", "sub/b": "beta", "sub/deep/c": string(bytes.Repeat([]byte("c"), 3<<20)), "empty": ""}
	dir := filepath.Join(t.TempDir(), "out")
	at, err := readSnapshot(bytes.NewReader(packed(t, files)), dir)
	require.NoError(t, err)
	require.Equal(t, position{42, 43}, at)
	for name, text := range files {
		got, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, text, string(got))
	}
}

func TestSnapshotRefusesEveryDamage(t *testing.T) {
	data := packed(t, map[string]string{"a": "alpha", "b": "beta"})
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 0x10
		_, err := verifySnapshot(bytes.NewReader(bad))
		require.ErrorIs(t, err, errBadSnapshot, "byte %d", i)
		_, err = verifySnapshot(bytes.NewReader(data[:i]))
		require.ErrorIs(t, err, errBadSnapshot, "cut at %d", i)
	}
}

func TestSnapshotCannotLeaveItsDirectory(t *testing.T) {
	for _, header := range []tar.Header{
		{Name: "../out", Typeflag: tar.TypeReg, Size: 1, Mode: 0o600},
		{Name: "/tmp/replica-out", Typeflag: tar.TypeReg, Size: 1, Mode: 0o600},
		{Name: "a/../../out", Typeflag: tar.TypeReg, Size: 1, Mode: 0o600},
		{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "/etc"},
		{Name: "hard", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"},
	} {
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		require.NoError(t, w.WriteHeader(&header))
		if header.Size > 0 {
			_, err := w.Write([]byte("x"))
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
		parent := t.TempDir()
		require.Error(t, readTar(&archive, filepath.Join(parent, "in")), header.Name)
		require.NoFileExists(t, filepath.Join(parent, "out"))
		require.NoFileExists(t, filepath.Join(parent, "in", "link"))
	}
}

func FuzzSnapshot(f *testing.F) {
	f.Add(packed(f, map[string]string{"a": "alpha"}))
	f.Add([]byte(snapshotMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := filepath.Join(t.TempDir(), "out")
		_, whole := verifySnapshot(bytes.NewReader(data))
		_, err := readSnapshot(bytes.NewReader(data), dir)
		if err == nil {
			require.NoError(t, whole)
		}
	})
}

func TestStateBehindTheSnapshotIsRestored(t *testing.T) {
	p := alone(t, func(c *Config) { c.Snapshots.Trailing = 1 })
	want := p.proposeMany("x", 100)
	require.NoError(t, p.Snapshot())
	want = append(want, p.proposeMany("y", 10)...)
	p.shut()
	require.NoError(t, removeState(p))
	p.restart()
	awaitLeader(t, p)
	require.Equal(t, want, p.journal.all())
	_, restores := p.journal.counts()
	require.Equal(t, 1, restores)
}

func TestDamagedSnapshotFallsBackToTheOlderOne(t *testing.T) {
	p := alone(t, func(c *Config) { c.Snapshots.Trailing = 10000 })
	want := p.proposeMany("x", 100)
	require.NoError(t, p.Snapshot())
	want = append(want, p.proposeMany("y", 100)...)
	require.NoError(t, p.Snapshot())
	want = append(want, p.proposeMany("z", 10)...)
	list, err := p.snapshots.List()
	require.NoError(t, err)
	require.Len(t, list, 2)
	p.shut()
	damage(t, filepath.Join(p.cfg.Dir, "snapshots", list[0].ID, "state.bin"))
	require.NoError(t, removeState(p))
	p.restart()
	awaitLeader(t, p)
	require.Equal(t, want, p.journal.all())
	p.shut()

	damage(t, filepath.Join(p.cfg.Dir, "snapshots", list[1].ID, "state.bin"))
	p.restart()
	awaitLeader(t, p)
	require.Equal(t, want, p.journal.all(), "the state alone is enough")
	p.shut()

	require.NoError(t, removeState(p))
	p.relisten()
	require.ErrorIs(t, p.tryStart(), ErrLogLost)
}

func damage(t *testing.T, name string) {
	t.Helper()
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	data[len(data)/2] ^= 4
	require.NoError(t, os.WriteFile(name, data, 0o600))
}

func TestSnapshotsAreTakenAsTheLogGrows(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"entries": func(c *Config) { c.Snapshots.Entries = 20 },
		"bytes":   func(c *Config) { c.Snapshots.Bytes = 10000 },
	} {
		t.Run(name, func(t *testing.T) {
			p := alone(t, func(c *Config) { c.Snapshots.Interval, c.Snapshots.Trailing = 10*time.Millisecond, 5 }, change)
			for range 40 {
				p.propose(string(bytes.Repeat([]byte("x"), 500)))
			}
			require.Eventually(t, func() bool { return p.Status().Snapshot > 0 }, time.Minute, 5*time.Millisecond)
		})
	}
}

func TestTrailingEntriesAreFewWhenTheyAreLarge(t *testing.T) {
	limits := Snapshots{Bytes: 1 << 20, Trailing: 1000}
	require.EqualValues(t, 1000, growth{}.trailing(limits))
	require.EqualValues(t, 1000, growth{entries: 100, bytes: 100 << 5}.trailing(limits))
	require.EqualValues(t, 256, growth{entries: 100, bytes: 100 << 12}.trailing(limits))
	require.EqualValues(t, minTrailing, growth{entries: 100, bytes: 100 << 20}.trailing(limits))
}

// shelf is a snapshotSource of snapshots that are intact, or damaged when they hold nothing.
type shelf []struct{ index, held uint64 }

func (s shelf) List() ([]*raft.SnapshotMeta, error) {
	var list []*raft.SnapshotMeta
	for i, snap := range s {
		list = append(list, &raft.SnapshotMeta{ID: string(rune('0' + i)), Index: snap.index})
	}
	return list, nil
}

func (s shelf) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	snap := s[id[0]-'0']
	if snap.held == 0 {
		return nil, nil, errors.New("damaged")
	}
	dir, err := os.MkdirTemp("", "shelf")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	var out bytes.Buffer
	err = writeSnapshot(&out, dir, position{snap.held, snap.index})
	return nil, io.NopCloser(&out), err
}

func TestPlanStart(t *testing.T) {
	for _, c := range []struct {
		name                  string
		recorded, first, last uint64
		shelf                 shelf
		restore, lost         bool
	}{
		{name: "new"},
		{name: "log only", first: 1, last: 10},
		{name: "state as new as the log", recorded: 10, first: 1, last: 10},
		{name: "state newer than the log", recorded: 11, first: 1, last: 10, lost: true},
		{name: "log without beginning", recorded: 9, first: 5, last: 10, lost: true},
		{name: "state behind snapshot", recorded: 3, first: 6, last: 10, shelf: shelf{{8, 8}}, restore: true},
		{name: "state at snapshot", recorded: 8, first: 6, last: 10, shelf: shelf{{8, 8}}},
		{name: "state as the snapshot holds it", recorded: 7, first: 6, last: 10, shelf: shelf{{8, 7}}},
		{name: "state ahead, snapshot damaged", recorded: 9, first: 6, last: 10, shelf: shelf{{8, 0}}},
		{name: "no log behind the snapshot", recorded: 0, shelf: shelf{{8, 8}}, restore: true},
		{name: "older snapshot", recorded: 1, first: 4, last: 10, shelf: shelf{{8, 0}, {5, 5}}, restore: true},
		{name: "older snapshot behind the state", recorded: 6, first: 4, last: 10, shelf: shelf{{8, 0}, {5, 5}}, restore: true},
		{name: "older snapshot and a gap", recorded: 1, first: 7, last: 10, shelf: shelf{{8, 0}, {5, 5}}, lost: true},
		{name: "older snapshot and a short log", recorded: 1, first: 4, last: 6, shelf: shelf{{8, 0}, {5, 5}}, lost: true},
		{name: "all damaged", recorded: 1, first: 1, last: 10, shelf: shelf{{8, 0}}, lost: true},
		{name: "gap behind snapshot", recorded: 8, first: 10, last: 12, shelf: shelf{{8, 8}}, lost: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan, err := planStart(c.recorded, c.first, c.last, c.shelf)
			if c.lost {
				require.ErrorIs(t, err, ErrLogLost)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.restore, plan.restore)
		})
	}
}
