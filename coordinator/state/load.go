package state

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/protobuf/proto"

	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// load fills the maps from the tables. It reads what is alive (pools, nodes, jobs, runs of queued tasks, what nodes hold), never the tasks.
func (s *Store) load() error {
	if err := s.loadMeta(); err != nil {
		return err
	}
	for _, step := range []func() error{s.loadNamed, s.loadPools, s.loadNodes, s.loadJobSchedules, s.loadJobs, s.loadFailures, s.loadArrays, s.loadQueues, s.loadDependencies, s.loadReleases, s.loadNews, s.loadSites, s.loadHeld} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// scan calls fn for each key with the prefix; the slices are valid during the call only.
func (s *Store) scan(prefix []byte, fn func(key, value []byte) error) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return err
	}
	for it.First(); it.Valid(); it.Next() {
		if err := fn(it.Key()[len(prefix):], it.Value()); err != nil {
			_ = it.Close()
			return fmt.Errorf("key %q: %w", it.Key(), err)
		}
	}
	return it.Close()
}

// scanFrom calls fn for the keys with the prefix from the rest on, until it returns false.
func (s *Store) scanFrom(prefix, rest []byte, fn func(key, value []byte) (more bool, err error)) error {
	lower := append(append([]byte(nil), prefix...), rest...)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return err
	}
	for it.First(); it.Valid(); it.Next() {
		more, err := fn(it.Key()[len(prefix):], it.Value())
		if err != nil {
			_ = it.Close()
			return err
		}
		if !more {
			break
		}
	}
	return it.Close()
}

func scanRecords[M proto.Message](s *Store, table byte, fresh func() M, fn func(key []byte, rec M) error) error {
	return s.scan([]byte{table}, func(key, value []byte) error {
		rec := fresh()
		if err := proto.Unmarshal(value, rec); err != nil {
			return err
		}
		return fn(key, rec)
	})
}

func (s *Store) loadNamed() error {
	err := scanRecords(s, tableAccount, func() *raftlogv1.AccountRecord { return new(raftlogv1.AccountRecord) },
		func(key []byte, rec *raftlogv1.AccountRecord) error {
			s.accounts[string(key)] = rec
			return nil
		})
	if err != nil {
		return err
	}
	err = scanRecords(s, tableToken, func() *raftlogv1.JoinTokenRecord { return new(raftlogv1.JoinTokenRecord) },
		func(key []byte, rec *raftlogv1.JoinTokenRecord) error {
			s.tokens[string(key)] = rec
			return nil
		})
	if err != nil {
		return err
	}
	return scanRecords(s, tableMember, func() *raftlogv1.MemberRecord { return new(raftlogv1.MemberRecord) },
		func(key []byte, rec *raftlogv1.MemberRecord) error {
			s.members[string(key)] = rec
			return nil
		})
}

func (s *Store) loadPools() error {
	return scanRecords(s, tablePool, func() *raftlogv1.PoolRecord { return new(raftlogv1.PoolRecord) },
		func(_ []byte, rec *raftlogv1.PoolRecord) error {
			s.pools.ReplaceOrInsert(newPool(rec))
			return nil
		})
}

func (s *Store) loadNodes() error {
	err := scanRecords(s, tableNode, func() *raftlogv1.NodeRecord { return new(raftlogv1.NodeRecord) },
		func(_ []byte, rec *raftlogv1.NodeRecord) error {
			n := newNode(rec)
			s.nodes[rec.Uid] = n
			p, ok := s.pool(rec.Account, rec.PoolId)
			if !ok {
				return fmt.Errorf("node %d of unknown pool %q", rec.Uid, rec.PoolId)
			}
			p.nodes.ReplaceOrInsert(n)
			return nil
		})
	if err != nil {
		return err
	}
	return scanRecords(s, tableNodeStats, func() *raftlogv1.NodeTotals { return new(raftlogv1.NodeTotals) },
		func(key []byte, rec *raftlogv1.NodeTotals) error {
			if n := s.nodes[binary.BigEndian.Uint64(key)]; n != nil {
				n.totals = rec
			}
			return nil
		})
}

func (s *Store) loadJobs() error {
	err := scanRecords(s, tableJob, func() *raftlogv1.JobRecord { return new(raftlogv1.JobRecord) },
		func(_ []byte, rec *raftlogv1.JobRecord) error {
			j := newJob(rec)
			s.jobs.ReplaceOrInsert(j)
			s.jobByUID[rec.Uid] = j
			s.linkJob(j)
			return nil
		})
	if err != nil {
		return err
	}
	err = s.scan([]byte{tableLastID}, func(key, value []byte) error {
		if j := s.jobByUID[binary.BigEndian.Uint64(key)]; j != nil {
			j.lastID = string(value)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return scanRecords(s, tableCounts, func() *raftlogv1.JobCounts { return new(raftlogv1.JobCounts) },
		func(key []byte, rec *raftlogv1.JobCounts) error {
			if j := s.jobByUID[binary.BigEndian.Uint64(key)]; j != nil {
				j.counts = rec
			}
			return nil
		})
}

func (s *Store) loadJobSchedules() error {
	return scanRecords(s, tableSchedule, func() *raftlogv1.JobScheduleRecord { return new(raftlogv1.JobScheduleRecord) },
		func(_ []byte, rec *raftlogv1.JobScheduleRecord) error {
			schedule := newJobSchedule(rec)
			s.schedules.ReplaceOrInsert(schedule)
			s.scheduleByUID[rec.Uid] = schedule
			return nil
		})
}

// linkJob lists the job at the pool that it names.
func (h *hot) linkJob(j *job) {
	if p, ok := h.pool(j.rec.Account, j.poolID()); ok {
		p.jobs[j.rec.Uid] = j
	}
}

func (s *Store) loadQueues() error {
	return s.scan([]byte{tableQueue}, func(key, value []byte) error {
		j := s.jobByUID[binary.BigEndian.Uint64(key)]
		if j == nil {
			return fmt.Errorf("queue of an unknown job")
		}
		r, err := decodeRun(binary.BigEndian.Uint64(key[8:]), value)
		if err != nil {
			return err
		}
		r.Array = j.arrayNumber(r.First)
		j.queue.runs.ReplaceOrInsert(r)
		j.queue.enter(r)
		return nil
	})
}

func (s *Store) loadHeld() error {
	return s.scan([]byte{tableHeld}, func(key, value []byte) error {
		n := s.nodes[binary.BigEndian.Uint64(key)]
		t := TaskKey{binary.BigEndian.Uint64(key[8:]), binary.BigEndian.Uint64(key[16:])}
		if n == nil {
			return fmt.Errorf("task held by an unknown node")
		}
		h := &held{}
		if err := proto.Unmarshal(value, &h.NodeTask); err != nil {
			return err
		}
		exec, err := s.readExecution(t)
		if err != nil {
			return err
		}
		if exec != nil && exec.Attempt == h.Attempt {
			h.exec = exec
		}
		s.link(n, t, h)
		return nil
	})
}

// link enters what a node holds into the maps.
func (h *hot) link(n *node, t TaskKey, task *held) {
	n.held[t] = task
	n.used += task.Slots
	if task.Stopping {
		n.stopping += task.Slots
	}
	if task.Exclusive {
		n.exclusive++
	}
	if j := h.jobByUID[t.Job]; j != nil {
		if a := j.arrays.of(t.Task); a != nil && len(j.held[t]) == 0 {
			a.held++
		}
		j.held[t] = append(j.held[t], n.rec.Uid)
	}
}

// unlink takes it out again.
func (h *hot) unlink(n *node, t TaskKey) {
	task := n.held[t]
	delete(n.held, t)
	n.used -= task.Slots
	if task.Stopping {
		n.stopping -= task.Slots
	}
	if task.Exclusive {
		n.exclusive--
	}
	j := h.jobByUID[t.Job]
	if j == nil {
		return
	}
	nodes := j.held[t]
	for i, uid := range nodes {
		if uid == n.rec.Uid {
			nodes = append(nodes[:i:i], nodes[i+1:]...)
			break
		}
	}
	if len(nodes) == 0 {
		delete(j.held, t)
		if a := j.arrays.of(t.Task); a != nil {
			a.held--
		}
	} else {
		j.held[t] = nodes
	}
}

func (s *Store) readExecution(t TaskKey) (*raftlogv1.TaskExecution, error) {
	b, err := s.read(keyTask(tableExecution, t.Job, t.Task))
	if err != nil || b == nil {
		return nil, err
	}
	rec := &raftlogv1.TaskExecution{}
	return rec, proto.Unmarshal(b, rec)
}
