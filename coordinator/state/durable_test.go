package state

import (
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// script is a log of entries: a pool, nodes, a job, and tasks in every phase.
func script(t *testing.T) [][][]byte {
	f, n1, n2, job := yard(t)
	var log [][][]byte
	record := func(kinds ...any) {
		var entry [][]byte
		for _, kind := range kinds {
			entry = append(entry, marshal(t, f.command(kind)))
		}
		log = append(log, entry)
	}
	// The same numbers come out as on the farm, which makes things in the same order.
	slots, uses := int32(4), true
	record(&raftlogv1.CreatePool{Pool: &apiv1.Pool{Id: "p", TaskSlotsPerNode: &slots}})
	record(&raftlogv1.CreateNodes{PoolId: "p", NodeIds: []string{"n1"}}, &raftlogv1.NodeHello{PoolId: "p", NodeId: "n1"})
	record(&raftlogv1.CreateNodes{PoolId: "p", NodeIds: []string{"n2"}}, &raftlogv1.NodeHello{PoolId: "p", NodeId: "n2"})
	record(&raftlogv1.CreateJob{Job: &apiv1.Job{Id: "j", PoolInfo: &apiv1.PoolInfo{PoolId: "p"}, UsesTaskDependencies: &uses}})
	for i := range 20 {
		add := &raftlogv1.AddTasks{JobId: "j", Specs: [][]byte{taskSpec(withRetries(int32(i % 3)))}}
		for k := range 5 {
			add.Tasks = append(add.Tasks, &raftlogv1.NewTask{Id: fmt.Sprint(5*i + k)})
		}
		n := uint64(5*i + 1)
		plan := func(node uint64, tasks ...uint64) *raftlogv1.NodePlan {
			p := &raftlogv1.NodePlan{Node: node, Incarnation: 1}
			for _, task := range tasks {
				p.Tasks = append(p.Tasks, &raftlogv1.PlannedTask{Job: job, Task: task})
			}
			return p
		}
		first, second := exited(int32(i%2)), began()
		first.Ref, second.Ref = AttemptKey{TaskKey{job, n}, 1}.Ref(), AttemptKey{TaskKey{job, n + 1}, 1}.Ref()
		record(add, &raftlogv1.AssignTasks{Nodes: []*raftlogv1.NodePlan{plan(n1, n, n+1), plan(n2, n+2)}})
		reports := &raftlogv1.ReportAttempts{Node: n1, Incarnation: 1}
		reports.Reports = append(reports.Reports, first, second)
		record(reports, &raftlogv1.TerminateTask{JobId: "j", TaskId: fmt.Sprint(5*i + 2)})
	}
	return log
}

func TestUncleanStopLosesASuffix(t *testing.T) {
	log := script(t)
	root := t.TempDir()
	s := openStore(t, filepath.Join(root, "state"))
	var digests [][DigestSize]byte
	apply := func(s *Store, from, to int) {
		for i := from; i < to; i++ {
			_, digest := s.Apply(uint64(i+1), log[i])
			digests = append(digests[:i], digest)
		}
	}
	half := len(log) / 2
	apply(s, 0, half)
	require.NoError(t, s.db.Flush())
	apply(s, half, len(log))
	want := dump(s)
	ended := digests

	// Power is lost: what was not flushed is gone.
	copyDir(t, filepath.Join(root, "state"), filepath.Join(root, "after"))
	require.NoError(t, s.Close())
	again := openStore(t, filepath.Join(root, "after"))
	defer func() { require.NoError(t, again.Close()) }()
	index, digest := again.Digest()
	require.EqualValues(t, half, index)
	require.Equal(t, ended[half-1], digest)
	out, same := again.Apply(uint64(half), log[half-1])
	require.Nil(t, out[0], "applied already")
	require.Equal(t, digest, same)
	apply(again, half, len(log))
	require.Equal(t, ended, digests)
	require.Equal(t, want, dump(again))
	checkInvariants(t, again)
}

func copyDir(t *testing.T, from, to string) {
	require.NoError(t, os.CopyFS(to, skipLock{os.DirFS(from)}))
}

// skipLock hides Pebble's lock file, which a copy must not share.
type skipLock struct{ fs.FS }

func (f skipLock) ReadDir(name string) ([]fs.DirEntry, error) {
	all, err := fs.ReadDir(f.FS, name)
	var out []fs.DirEntry
	for _, e := range all {
		if e.Name() != "LOCK" {
			out = append(out, e)
		}
	}
	return out, err
}

func TestGroupingIsPartOfTheLog(t *testing.T) {
	log := script(t)
	digests := map[[DigestSize]byte]bool{}
	for range 3 {
		s := openStore(t, filepath.Join(t.TempDir(), "state"))
		for i, entry := range log {
			s.Apply(uint64(i+1), entry)
		}
		_, digest := s.Digest()
		digests[digest] = true
		require.NoError(t, s.Close())
	}
	require.Len(t, digests, 1)
}

// A Restore that was cut short leaves the old state or the new one.
func TestRestoreCutShort(t *testing.T) {
	log := script(t)
	root := t.TempDir()
	dir := filepath.Join(root, "state")
	s := openStore(t, dir)
	for i, entry := range log[:10] {
		s.Apply(uint64(i+1), entry)
	}
	snapshot := filepath.Join(root, "snapshot")
	require.NoError(t, s.Checkpoint(snapshot))
	for i, entry := range log[10:] {
		s.Apply(uint64(i+11), entry)
	}
	require.NoError(t, s.Close())

	require.NoError(t, s.swap(snapshot)) // and nothing more: the old one is still there
	s = openStore(t, dir)
	require.EqualValues(t, 10, s.AppliedIndex())
	require.NoDirExists(t, s.old())
	require.NoError(t, s.Close())

	require.NoError(t, os.Rename(dir, s.old())) // before the new one was in its place
	s = openStore(t, dir)
	require.EqualValues(t, 10, s.AppliedIndex())
	require.NoError(t, s.Close())
}

func TestRestoreOfNothingFails(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "state"))
	require.Error(t, s.Restore(filepath.Join(t.TempDir(), "none")))
}

// A state that can't be right is refused rather than served.
func TestDamagedTablesAreRefused(t *testing.T) {
	for name, damage := range map[string]func(b *pebble.Batch) error{
		"applied index": func(b *pebble.Batch) error { return b.Set(metaApplied, []byte{1}, nil) },
		"pool":          func(b *pebble.Batch) error { return b.Set(keyNumber(tablePool, 1), []byte{0xff}, nil) },
		"orphan node": func(b *pebble.Batch) error {
			return b.Set(keyNumber(tableNode, 99), encode(&raftlogv1.NodeRecord{Uid: 99, PoolId: "none", Node: &apiv1.Node{Id: "n"}}), nil)
		},
		"orphan queue": func(b *pebble.Batch) error {
			return b.Set(keyTask(tableQueue, 77, 1), encodeRun(Run{First: 1, Last: 2}), nil)
		},
		"run":  func(b *pebble.Batch) error { return b.Set(keyTask(tableQueue, 4, 9999), []byte{1, 2}, nil) },
		"held": func(b *pebble.Batch) error { return b.Set(keyHeld(88, TaskKey{1, 1}), nil, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			s := openStore(t, dir)
			for i, entry := range script(t)[:6] {
				s.Apply(uint64(i+1), entry)
			}
			b := s.db.NewBatch()
			require.NoError(t, damage(b))
			require.NoError(t, b.Commit(pebble.NoSync))
			require.NoError(t, s.Close())
			_, err := Open(dir, slog.New(slog.DiscardHandler))
			require.Error(t, err)
		})
	}
}

func FuzzDecodeRun(f *testing.F) {
	f.Add(encodeRun(Run{First: 3, Last: 9, Spec: 2, Slots: 1, Fresh: true}))
	f.Add(encodeRun(Run{First: 3, Last: 9, Spec: 2, Slots: 1, Instances: 4, Affinity: "n1"}))
	f.Add([]byte{0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRun(3, b)
		if err != nil {
			return
		}
		again, err := decodeRun(3, encodeRun(r))
		require.NoError(t, err)
		require.Equal(t, r, again)
	})
}
