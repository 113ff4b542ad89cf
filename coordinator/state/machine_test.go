package state

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// history remembers what may never change back.
type history struct {
	attempts map[TaskKey]uint32
	ended    map[TaskKey]*raftlogv1.TaskExecution
}

// check compares a store with what was seen before. reactivated says whether a command in between may have taken tasks back to active.
func (h *history) check(t require.TestingT, s *Store, reactivated bool) {
	for uid, j := range s.jobByUID {
		for n, task := range storedTasks(t, s, j) {
			key := TaskKey{uid, n}
			require.GreaterOrEqual(t, task.exec.Attempt, h.attempts[key], "attempts of %v", key)
			h.attempts[key] = task.exec.Attempt
			if before := h.ended[key]; before != nil && !reactivated {
				require.True(t, proto.Equal(before, task.exec), "completed task %v was %v and is %v", key, before, task.exec)
			}
			delete(h.ended, key)
			if task.exec.Phase == completed {
				h.ended[key] = task.exec
			}
		}
	}
}

// twin is a store that suffers restarts, restores and crashes, beside one that does not, and must stay equal to it.
type twin struct {
	t     *rapid.T
	root  string
	dirs  int
	calm  *Store
	tried *Store
	log   [][][]byte // the entry of index i+1 at i
}

func (w *twin) dir() string {
	w.dirs++
	return filepath.Join(w.root, fmt.Sprint(w.dirs))
}

// apply applies an entry to both.
func (w *twin) apply(entry [][]byte) []any {
	w.log = append(w.log, entry)
	index := uint64(len(w.log))
	a, digestA := w.calm.Apply(index, entry)
	b, digestB := w.tried.Apply(index, entry)
	require.Equal(w.t, show(a), show(b), "answers differ")
	require.Equal(w.t, digestA, digestB, "digests differ")
	return a
}

// applySome applies an entry of a few random commands; it says whether one of them may take a completed task back.
func (w *twin) applySome(c *chooser) (reactivated bool) {
	var entry [][]byte
	for range rapid.IntRange(1, 4).Draw(w.t, "commands") {
		cmd := c.command()
		reactivated = reactivated || cmd.GetReactivateTask() != nil || cmd.GetActOnTasks() != nil
		entry = append(entry, marshal(w.t, cmd))
	}
	w.apply(entry)
	return reactivated
}

func (w *twin) reopen() {
	require.NoError(w.t, w.tried.Close())
	w.tried = openStore(w.t, w.tried.dir)
	require.Equal(w.t, uint64(len(w.log)), w.tried.AppliedIndex())
}

func (w *twin) restore() {
	dir := w.dir()
	require.NoError(w.t, w.tried.Checkpoint(dir))
	watch := w.tried.Watch()
	defer watch.Close()
	require.NoError(w.t, w.tried.Restore(dir))
	require.True(w.t, watch.Take().Reset)
	require.Equal(w.t, uint64(len(w.log)), w.tried.AppliedIndex())
}

// crash keeps only what happens to be in Pebble's tables, as a machine that loses power does, and applies the rest of the log again.
func (w *twin) crash() {
	dir := w.dir()
	require.NoError(w.t, w.tried.db.Checkpoint(dir))
	require.NoError(w.t, w.tried.Close())
	w.tried = openStore(w.t, dir)
	for i := w.tried.AppliedIndex(); i < uint64(len(w.log)); i++ {
		w.tried.Apply(i+1, w.log[i])
	}
	indexA, digestA := w.calm.Digest()
	indexB, digestB := w.tried.Digest()
	require.Equal(w.t, indexA, indexB)
	require.Equal(w.t, digestA, digestB)
}

// show writes results in a form that can be compared.
func show(results []any) string {
	out := ""
	for _, r := range results {
		r, _ := r.(Result)
		if r.Err != nil {
			out += r.Err.Error()
		}
		if r.Written != nil {
			out += r.Written.Etag
		}
		for _, task := range r.Tasks {
			out += fmt.Sprintf(" %x", encode(task))
		}
		if r.Node != nil {
			out += fmt.Sprintf(" %x", encode(r.Node))
		}
		out += "\n"
	}
	return out
}

func TestRandomCommands(t *testing.T) {
	root := t.TempDir()
	runs := 0
	fewReleases(t)
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		w := &twin{t: rt, root: filepath.Join(root, fmt.Sprint(runs))}
		w.calm, w.tried = openStore(rt, w.dir()), openStore(rt, w.dir())
		defer func() {
			require.NoError(rt, w.calm.Close())
			require.NoError(rt, w.tried.Close())
			require.NoError(rt, os.RemoveAll(w.root))
		}()
		seen := history{map[TaskKey]uint32{}, map[TaskKey]*raftlogv1.TaskExecution{}}
		c := &chooser{T: rt, s: w.calm, now: start}
		begin(w)
		rt.Repeat(map[string]func(*rapid.T){
			"entry": func(rt *rapid.T) {
				c.T, w.t = rt, rt
				for range rapid.IntRange(1, 8).Draw(rt, "entries") {
					seen.check(rt, w.calm, w.applySome(c))
					checkInvariants(rt, w.calm)
				}
			},
			"reopen":  rare(4, w.reopen),
			"restore": rare(4, w.restore),
			"flush":   rare(2, func() { require.NoError(rt, w.tried.db.Flush()) }),
			"crash":   rare(3, w.crash),
		})
		require.Equal(rt, dump(w.calm), dump(w.tried))
	})
}

// rare makes an action that is costly happen less often than rapid would have it.
func rare(oneIn int, action func()) func(*rapid.T) {
	return func(rt *rapid.T) {
		if rapid.IntRange(1, oneIn).Draw(rt, "now") == 1 {
			action()
		}
	}
}

// begin gives both stores a farm to play with.
func begin(w *twin) {
	c := &chooser{T: w.t, s: w.calm, now: start}
	for _, kind := range []any{c.createPool(), c.createJob(), c.createJob(), c.nodes(), c.nodes(), c.nodes(), c.addTasks(), c.addTasks()} {
		w.apply([][]byte{marshal(w.t, command(start, kind))})
	}
}
