package state

import (
	"encoding/binary"

	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// A task on which very many wait tells them in bounded steps: what one log entry does not get to is kept as a release, with which AdvanceReleases goes on.
// Meanwhile the task is completed, and those that it has not reached wait for it as before.

// ReleaseStep is how many AdvanceReleases tells.
const ReleaseStep = 500

// releasesAtOnce is how many dependents are told within one log entry. It is part of what the log means; only tests change it.
var releasesAtOnce = 500

// keptRelease is a release with its place in the table.
type keptRelease struct {
	seq uint64
	rec *raftlogv1.Release
}

// release tells the dependents of a completed task that it satisfies them.
func (t *txn) release(j *job, id string) {
	r := &raftlogv1.Release{Id: lifecycle.IDKey(id), Until: j.rec.NextTask}
	if n, ok := numericID(id); ok && t.satisfied(j, n) {
		r.Number = &n
	}
	t.startRelease(j, r)
}

// releaseNamed tells those who name the id, which is an array's.
func (t *txn) releaseNamed(j *job, id string) {
	t.startRelease(j, &raftlogv1.Release{Id: lifecycle.IDKey(id), Until: j.rec.NextTask})
}

func (t *txn) startRelease(j *job, r *raftlogv1.Release) {
	if t.proceed(j, r) {
		return
	}
	kept := keptRelease{1, r}
	if n := len(j.deps.releases); n > 0 {
		kept.seq = j.deps.releases[n-1].seq + 1
	}
	j.deps.releases = append(j.deps.releases, kept)
	t.keepRelease(j, kept)
}

func (t *txn) keepRelease(j *job, kept keptRelease) {
	t.putProto(keyTask(tableRelease, j.rec.Uid, kept.seq), kept.rec)
	t.events.job(j) // who takes the next step looks again
}

// satisfied enters a numeric id among those that are satisfied; false: it was.
func (t *txn) satisfied(j *job, n int32) bool {
	run, replaced, added := j.deps.done.add(n)
	if !added {
		return false
	}
	for _, first := range replaced {
		t.delete(keyTask(tableSatisfied, j.rec.Uid, uint64(first)))
	}
	t.put(keyTask(tableSatisfied, j.rec.Uid, uint64(run.first)), binary.BigEndian.AppendUint64(nil, uint64(run.last)))
	return true
}

// proceed tells dependents as far as the entry may; it says whether these were all.
func (t *txn) proceed(j *job, r *raftlogv1.Release) bool {
	for waiting := j.deps.byID[r.Id]; len(waiting) > 0 && waiting[0] < r.Until; waiting = j.deps.byID[r.Id] {
		if t.released >= releasesAtOnce {
			return false
		}
		t.released++
		if len(waiting) == 1 {
			delete(j.deps.byID, r.Id)
		} else {
			j.deps.byID[r.Id] = waiting[1:]
		}
		t.delete(keyDependent(j.rec.Uid, r.Id, waiting[0]))
		t.resolve(j, waiting[0])
	}
	if r.Number == nil {
		return true
	}
	after := r.After
	for _, dependent := range j.deps.index.tasks(*r.Number) {
		if dependent <= after || dependent >= r.Until {
			continue
		}
		if t.released >= releasesAtOnce && dependent != r.After { // one that names the number twice is told twice
			return false
		}
		t.released++
		r.After = dependent
		t.resolve(j, dependent)
	}
	r.Number = nil
	return true
}

func (t *txn) advanceReleases(c *raftlogv1.AdvanceReleases) Result {
	j := t.jobByUID[c.Job]
	if j == nil {
		return refused(batcherr.Of(batcherr.CodeJobNotFound))
	}
	t.released = max(t.released, releasesAtOnce-int(min(c.Limit, uint32(releasesAtOnce))))
	for len(j.deps.releases) > 0 {
		kept := j.deps.releases[0]
		kept.rec = proto.CloneOf(kept.rec)
		if !t.proceed(j, kept.rec) {
			j.deps.releases[0] = kept
			t.keepRelease(j, kept)
			break
		}
		j.deps.releases = j.deps.releases[1:]
		t.delete(keyTask(tableRelease, j.rec.Uid, kept.seq))
		t.events.job(j)
	}
	t.tellNews(j)
	return Result{}
}

func (s *Store) loadReleases() error {
	return scanRecords(s, tableRelease, func() *raftlogv1.Release { return new(raftlogv1.Release) },
		func(key []byte, rec *raftlogv1.Release) error {
			if j := s.jobByUID[binary.BigEndian.Uint64(key)]; j != nil {
				j.deps.releases = append(j.deps.releases, keptRelease{binary.BigEndian.Uint64(key[8:]), rec})
			}
			return nil
		})
}
