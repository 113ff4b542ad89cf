package state

import (
	"encoding/binary"

	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// putSite replaces what the job has on a node.
func (t *txn) putSite(j *job, uid uint64, site *raftlogv1.JobNode) {
	t.enterSite(j, uid, site)
	t.putProto(keyTask(tableSite, j.rec.Uid, uid), site)
	t.events.job(j)
}

func (t *txn) editSite(j *job, uid uint64, edit func(*raftlogv1.JobNode)) {
	site := proto.CloneOf(j.sites[uid])
	edit(site)
	t.putSite(j, uid, site)
}

// enterSite enters what the job has on a node into the maps and counts.
func (h *hot) enterSite(j *job, uid uint64, site *raftlogv1.JobNode) {
	j.tally(j.sites[uid], -1)
	j.sites[uid] = site
	j.tally(site, 1)
	if n := h.nodes[uid]; n != nil {
		n.sites[j.rec.Uid] = true
	}
}

func (j *job) tally(site *raftlogv1.JobNode, by int) {
	if inFlight(site.GetPreparation()) {
		j.preparing += by
	}
	if inFlight(site.GetRelease()) {
		j.releasing += by
	}
	if j.owesRelease(site) {
		j.unreleased += by
	}
}

// owesRelease says whether the release task has still to run there before the job has ended.
func (j *job) owesRelease(site *raftlogv1.JobNode) bool {
	return site != nil && j.rec.Job.JobReleaseTask != nil && site.Release == nil && !site.Gone
}

// forgetSites takes a job that is over out of the maps. The table keeps what users may ask for.
func (t *txn) forgetSites(j *job) {
	for uid := range j.sites {
		if n := t.nodes[uid]; n != nil {
			delete(n.sites, j.rec.Uid)
		}
	}
	clear(j.sites)
	j.preparing, j.releasing, j.unreleased = 0, 0, 0
}

// barred says whether the job's preparation task has failed on the node, so that none of its tasks may run there.
func (j *job) barred(uid uint64) bool {
	site := j.sites[uid]
	if site == nil || site.Stale || !unlessFalse(j.rec.Job.JobPreparationTask.WaitForSuccess) {
		return false
	}
	return site.Preparation.Phase == specialCompleted && !site.Preparation.Succeeded
}

// prepare has the job's preparation task run on a node that is given a task, where it has to. It says whether the task waits for it.
func (t *txn) prepare(j *job, n *node) bool {
	task := j.rec.Job.JobPreparationTask
	if task == nil {
		return false
	}
	uid := n.rec.Uid
	if site := j.sites[uid]; site == nil || site.Stale {
		t.putSite(j, uid, &raftlogv1.JobNode{PoolId: n.rec.PoolId, NodeId: n.rec.Node.Id, Preparation: site.GetPreparation()})
		t.give(n, TaskKey{j.rec.Uid, preparationTask}, &raftlogv1.SpecialExecution{Attempt: site.GetPreparation().GetAttempt()})
	}
	return unlessFalse(task.WaitForSuccess) && inFlight(j.sites[uid].Preparation)
}

// prepared lets the tasks go on that have waited for the preparation task, or gives them back to the queue.
func (t *txn) prepared(j *job, n *node, succeeded bool) {
	for _, key := range sortedTasks(n.held) {
		h := n.held[key]
		if key.Job != j.rec.Uid || !h.Waiting {
			continue
		}
		if succeeded && !h.Stopping {
			h.Waiting = false
			t.putProto(keyHeld(n.rec.Uid, key), &h.NodeTask)
			t.events.assigned(n, AttemptKey{key, h.Attempt})
			continue
		}
		// The node was never told of it.
		live := h.live()
		t.releaseHeld(n, key)
		if live && j.rec.Job.State != jobDeleting {
			t.requeue(j, key, h, false)
		}
	}
}

// rebooted says which jobs' preparation tasks have to run again on a node that has booted.
func (t *txn) rebooted(n *node, reimaged bool) {
	for _, uid := range sortedKeys(n.sites) {
		j := t.jobByUID[uid]
		task := j.rec.Job.JobPreparationTask
		again := reimaged || unlessFalse(task.RerunOnNodeRebootAfterSuccess) || !j.sites[n.rec.Uid].Preparation.Succeeded
		if again && !j.sites[n.rec.Uid].Stale {
			t.editSite(j, n.rec.Uid, func(site *raftlogv1.JobNode) { site.Stale = true })
		}
	}
}

// leaveSites records that a node is gone: no release task runs there any more.
func (t *txn) leaveSites(n *node) {
	for _, uid := range sortedKeys(n.sites) {
		j := t.jobByUID[uid]
		t.editSite(j, n.rec.Uid, func(site *raftlogv1.JobNode) { site.Gone = true })
		t.settle(j)
	}
}

// windUp takes up to limit steps of a job whose tasks have all ended towards its own end: preparation tasks that still run are stopped, then the
// release task runs on every node where the preparation task was.
func (t *txn) windUp(j *job, limit int) {
	if j.preparing == 0 && j.unreleased == 0 {
		return
	}
	for _, uid := range sortedKeys(j.sites) {
		if limit <= 0 {
			break
		}
		switch site := j.sites[uid]; {
		case inFlight(site.Preparation) && !site.Preparation.Stopping:
			t.editSite(j, uid, func(site *raftlogv1.JobNode) { site.Preparation.Stopping = true })
			t.events.stopping(t.nodes[uid], AttemptKey{TaskKey{j.rec.Uid, preparationTask}, site.Preparation.Attempt})
		case j.preparing == 0 && j.owesRelease(site):
			t.releaseOn(j, t.nodes[uid])
		default:
			continue
		}
		limit--
	}
}

func (t *txn) releaseOn(j *job, n *node) {
	key := TaskKey{j.rec.Uid, releaseTask}
	if n.rec.Node.State == apiv1.NodeState_NODE_STATE_UNKNOWN {
		t.completeSpecial(n, key, &raftlogv1.SpecialExecution{StartTime: t.now}, lifecycle.NodeLostFailure())
		return
	}
	t.give(n, key, &raftlogv1.SpecialExecution{})
}

// canWindUp says whether windUp, or the end itself, is due.
func (j *job) canWindUp() bool {
	if j.preparing == 0 {
		return j.unreleased > 0 || j.releasing == 0
	}
	for _, site := range j.sites {
		if inFlight(site.Preparation) && !site.Preparation.Stopping {
			return true
		}
	}
	return false
}

// wound says whether nothing that belongs to the job is with any node, or has still to go there.
func (j *job) wound() bool {
	return len(j.held) == 0 && j.preparing == 0 && j.releasing == 0 && j.unreleased == 0
}

// JobNode is what a job with a preparation task has, or had, on a node.
type JobNode struct {
	*raftlogv1.JobNode
	// Node is the number of the node.
	Node uint64
}

// JobNodes returns up to limit nodes on which a job has been, in the order of their numbers, those after the number given.
func (s *Store) JobNodes(jobUID, after uint64, limit int) (out []JobNode, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	err = s.scanFrom(keyNumber(tableSite, jobUID), binary.BigEndian.AppendUint64(nil, after+1), func(key, value []byte) (bool, error) {
		site := &raftlogv1.JobNode{}
		out = append(out, JobNode{site, binary.BigEndian.Uint64(key)})
		return len(out) < limit, proto.Unmarshal(value, site)
	})
	return out, err
}

func (s *Store) loadSites() error {
	return s.scan([]byte{tableSite}, func(key, value []byte) error {
		j := s.jobByUID[binary.BigEndian.Uint64(key)]
		if j == nil || j.rec.Job.ExecutionInfo.GetEndTime() != nil { // over, and perhaps being deleted
			return nil
		}
		site := &raftlogv1.JobNode{}
		if err := proto.Unmarshal(value, site); err != nil {
			return err
		}
		s.enterSite(j, binary.BigEndian.Uint64(key[8:]), site)
		return nil
	})
}
