package state

import (
	"encoding/binary"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/lifecycle"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// That a task will not satisfy those who wait for it spreads to those who wait for them, in steps as bounded as releases: what one log entry does not get to is
// kept as news. Old news are held against what is so now, so that it does not matter what has changed meanwhile.

// keptNews are news with their place in the table; stored says that the table has them.
type keptNews struct {
	seq    uint64
	rec    *raftlogv1.HopelessNews
	stored bool
}

// spread tells those who wait for a task, or an array, that it has become hopeless or no longer is, and those who wait for them.
func (t *txn) spread(j *job, id string, hopeless bool) {
	t.announce(j, id, hopeless)
	t.tellNews(j)
}

// announce puts news in line, where somebody waits for them.
func (t *txn) announce(j *job, id string, hopeless bool) {
	if n, ok := numericID(id); ok {
		t.countHopeless(j, n, hopeless)
	}
	if !j.awaited(id) {
		return
	}
	seq := uint64(1)
	if n := len(j.deps.news); n > 0 {
		seq = j.deps.news[n-1].seq + 1
	}
	j.deps.news = append(j.deps.news, keptNews{seq: seq, rec: &raftlogv1.HopelessNews{Id: lifecycle.IDKey(id), Hopeless: hopeless}})
}

// tellNews tells what is in line as far as the entry may, and stores the rest.
func (t *txn) tellNews(j *job) {
	for len(j.deps.news) > 0 && t.released < releasesAtOnce {
		first, told := j.deps.news[0], t.released
		rec := proto.CloneOf(first.rec)
		if !t.tellOn(j, rec) {
			j.deps.news[0] = keptNews{seq: first.seq, rec: rec}
			break
		}
		t.released = max(t.released, told+1) // news that concern nobody any more take their time too
		j.deps.news = j.deps.news[1:]
		if first.stored {
			t.delete(keyTask(tableNews, j.rec.Uid, first.seq))
		}
		t.events.job(j)
	}
	for i, news := range j.deps.news {
		if !news.stored {
			t.putProto(keyTask(tableNews, j.rec.Uid, news.seq), news.rec)
			j.deps.news[i].stored = true
			t.events.job(j) // who takes the next step looks again
		}
	}
}

// tellOn goes on with news; it says whether all who wait have been told.
func (t *txn) tellOn(j *job, news *raftlogv1.HopelessNews) bool {
	n, numeric := numericID(news.Id)
	byNumber := numeric && j.deps.done.count(n, n) == 0
	byName := true
	if news.Hopeless { // it may be no more
		_, byName = t.dependencyState(j, news.Id)
		byNumber = byNumber && j.deps.hopeless[n] > 0
	}
	waiting := j.deps.byID[news.Id]
	from, _ := slices.BinarySearch(waiting, news.Named+1)
	for _, task := range waiting[from:] {
		if t.released >= releasesAtOnce {
			return false
		}
		t.released++
		news.Named = task
		t.tellOne(j, task, news.Hopeless, byName)
	}
	if !numeric || !j.deps.index.holds(n) {
		return true
	}
	for _, task := range j.deps.index.tasks(n) {
		if task <= news.Numbered {
			continue
		}
		if t.released >= releasesAtOnce {
			return false
		}
		t.released++
		news.Numbered = task
		t.tellOne(j, task, news.Hopeless, byNumber)
	}
	return true
}

// tellOne tells one who waits; concerned says whether bad news hold for it.
func (t *txn) tellOne(j *job, task uint64, hopeless, concerned bool) {
	if hopeless && !concerned {
		return
	}
	if a := j.waitingAt(task); a != nil {
		if a.rec.Blocked == hopeless || !hopeless && t.hopelessFor(j, task, a.rec.DependsOn) {
			return
		}
		before := a.standing()
		t.blockArray(j, a, hopeless)
		if now := a.standing(); now.hopeless != before.hopeless {
			t.announce(j, a.rec.Id, now.hopeless)
		}
		return
	}
	key := TaskKey{j.rec.Uid, task}
	exec := t.execution(key)
	if exec.Phase != waiting || exec.Blocked == hopeless || !hopeless && t.hopeless(j, key) {
		return
	}
	t.setBlocked(j, t.change(key), hopeless)
	t.announce(j, t.entry(key).Id, hopeless)
}

func (s *Store) loadNews() error {
	return scanRecords(s, tableNews, func() *raftlogv1.HopelessNews { return new(raftlogv1.HopelessNews) },
		func(key []byte, rec *raftlogv1.HopelessNews) error {
			if j := s.jobByUID[binary.BigEndian.Uint64(key)]; j != nil {
				j.deps.news = append(j.deps.news, keptNews{binary.BigEndian.Uint64(key[8:]), rec, true})
			}
			return nil
		})
}
