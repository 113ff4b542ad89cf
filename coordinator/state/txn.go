package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sort"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// marshaller is deterministic for one binary: records have no maps, and fields are written in number order.
var marshaller = proto.MarshalOptions{Deterministic: true}

// txn collects the writes of one log entry, so that a record that changes many times is written once. A command checks all its
// preconditions before it changes anything. A fault of the disk or of a record panics: a replica that cannot apply must not go on.
type txn struct {
	*Store
	now      int64
	account  string
	writes   map[string][]byte // nil deletes
	ranges   [][2][]byte       // range deletions, before the writes
	execs    map[TaskKey]*execution
	dirty    map[*job]bool       // counts to write
	queues   map[*job]bool       // runs to write
	failures map[failureKey]bool // counts to write
	arrays   map[*array]*job     // counts to write
	totals   map[*node]bool
	released int // dependents that were told
	events   events
}

type execution struct {
	rec     *raftlogv1.TaskExecution
	changed bool
}

func (s *Store) newTxn() *txn {
	return &txn{
		Store:    s,
		writes:   map[string][]byte{},
		execs:    map[TaskKey]*execution{},
		dirty:    map[*job]bool{},
		queues:   map[*job]bool{},
		failures: map[failureKey]bool{},
		arrays:   map[*array]*job{},
		totals:   map[*node]bool{},
		events:   newEvents(),
	}
}

func (t *txn) put(key, value []byte) {
	if value == nil {
		value = []byte{}
	}
	t.writes[string(key)] = value
}

func (t *txn) putProto(key []byte, m proto.Message) { t.put(key, encode(m)) }

func (t *txn) delete(key []byte) { t.writes[string(key)] = nil }

func encode(m proto.Message) []byte {
	b, err := marshaller.Marshal(m)
	if err != nil {
		panic(fmt.Errorf("state: encode %s: %w", m.ProtoReflect().Descriptor().Name(), err))
	}
	return b
}

// deleteRange deletes all keys with the prefix, also those that were written in this entry.
func (t *txn) deleteRange(prefix []byte) { t.deleteSpan(prefix, prefixEnd(prefix)) }

// deleteSpan deletes all keys from first up to end, also those that were written in this entry.
func (t *txn) deleteSpan(first, end []byte) {
	t.ranges = append(t.ranges, [2][]byte{first, end})
	for key := range t.writes {
		if key >= string(first) && key < string(end) {
			delete(t.writes, key)
		}
	}
}

// get reads through the collected writes.
func (t *txn) get(key []byte) []byte {
	if v, ok := t.writes[string(key)]; ok {
		return v
	}
	for _, r := range t.ranges {
		if bytes.Compare(r[0], key) <= 0 && bytes.Compare(key, r[1]) < 0 {
			return nil
		}
	}
	v, err := t.read(key)
	if err != nil {
		panic(fmt.Errorf("state: read: %w", err))
	}
	return v
}

// decode reads a record that this replica has written.
func (t *txn) decode(b []byte, m proto.Message) {
	if err := proto.Unmarshal(b, m); err != nil {
		panic(fmt.Errorf("state: decode %s: %w", m.ProtoReflect().Descriptor().Name(), err))
	}
}

func (t *txn) taskNumber(j *job, id string) (uint64, bool) {
	if task := j.arrays.element(id); task != 0 {
		return task, true
	}
	b := t.get(keyTaskID(j.rec.Uid, id))
	if b == nil {
		return 0, false
	}
	return binary.BigEndian.Uint64(b), true
}

func (t *txn) entry(key TaskKey) *raftlogv1.TaskEntry {
	if a := t.jobByUID[key.Job].arrays.of(key.Task); a != nil {
		return a.entry(key.Task)
	}
	rec := &raftlogv1.TaskEntry{}
	b := t.get(keyTask(tableEntry, key.Job, key.Task))
	if b == nil {
		panic(fmt.Errorf("state: task %v has no entry", key))
	}
	t.decode(b, rec)
	return rec
}

// execution is the task's execution, not to be changed. A queued task that was never attempted has none on disk.
func (t *txn) execution(key TaskKey) *raftlogv1.TaskExecution { return t.exec(key).rec }

func (t *txn) exec(key TaskKey) *execution {
	if e, ok := t.execs[key]; ok {
		return e
	}
	e := &execution{rec: t.heldExecution(key)}
	if e.rec == nil {
		rec, err := t.readExecution(key)
		if err != nil {
			panic(fmt.Errorf("state: execution of task %v: %w", key, err))
		}
		e.rec = rec
	}
	if e.rec == nil {
		e.rec = &raftlogv1.TaskExecution{Phase: raftlogv1.TaskPhase_TASK_PHASE_QUEUED}
	}
	t.execs[key] = e
	return e
}

// heldExecution finds the execution at the node that runs the task, which saves a read.
func (t *txn) heldExecution(key TaskKey) *raftlogv1.TaskExecution {
	j := t.jobByUID[key.Job]
	if j == nil {
		return nil
	}
	for _, uid := range j.held[key] {
		if h := t.nodes[uid].held[key]; h.exec != nil {
			return h.exec
		}
	}
	return nil
}

// change is the task's execution, to be changed: a copy on the first call in an entry.
func (t *txn) change(key TaskKey) *raftlogv1.TaskExecution {
	e := t.exec(key)
	if !e.changed {
		e.rec = proto.CloneOf(e.rec)
		e.changed = true
		j := t.jobByUID[key.Job]
		for _, uid := range j.held[key] {
			if h := t.nodes[uid].held[key]; h.exec != nil {
				h.exec = e.rec
			}
		}
	}
	return e.rec
}

func (t *txn) counts(j *job) *raftlogv1.JobCounts {
	if !t.dirty[j] {
		t.dirty[j] = true
		j.counts = proto.CloneOf(j.counts)
		t.events.job(j)
	}
	return j.counts
}

func (t *txn) arrayCounts(j *job, a *array) *raftlogv1.JobCounts {
	if t.arrays[a] == nil {
		t.arrays[a] = j
		a.counts = proto.CloneOf(a.counts)
	}
	return a.counts
}

func (t *txn) nodeTotals(n *node) *raftlogv1.NodeTotals {
	if !t.totals[n] {
		t.totals[n] = true
		n.totals = proto.CloneOf(n.totals)
	}
	return n.totals
}

func (t *txn) setJob(j *job, rec *raftlogv1.JobRecord) {
	j.rec = rec
	t.putProto(keyNumber(tableJob, rec.Uid), rec)
	t.events.job(j)
}

func (t *txn) setJobSchedule(s *jobSchedule, rec *raftlogv1.JobScheduleRecord) {
	s.rec = rec
	t.putProto(keyNumber(tableSchedule, rec.Uid), rec)
	t.events.jobSchedule(s)
}

func (t *txn) setPool(p *pool, rec *raftlogv1.PoolRecord) {
	p.rec = rec
	t.putProto(keyNumber(tablePool, rec.Uid), rec)
	t.events.pool(p)
}

func (t *txn) setNode(p *pool, n *node, rec *raftlogv1.NodeRecord) {
	n.rec = rec
	t.putProto(keyNumber(tableNode, rec.Uid), rec)
	t.events.node(p, n)
}

func (t *txn) uid() uint64 {
	t.nextUID++
	return t.nextUID
}

// spec is the task specification that tasks of the job share.
func (t *txn) spec(j *job, number uint32) *apiv1.Task {
	if spec, ok := j.specs[number]; ok {
		return spec
	}
	spec := &apiv1.Task{}
	b := t.get(keySpec(j.rec.Uid, number))
	if b == nil {
		panic(fmt.Errorf("state: job %d has no spec %d", j.rec.Uid, number))
	}
	t.decode(b, spec)
	j.cacheSpec(number, spec)
	return spec
}

// maxCachedSpecs bounds the parsed specifications kept for a job.
const maxCachedSpecs = 4096

func (j *job) cacheSpec(number uint32, spec *apiv1.Task) {
	if len(j.specs) >= maxCachedSpecs {
		clear(j.specs)
	}
	j.specs[number] = spec
}

// slotsOf is how many slots of a node a task with the specification needs.
func slotsOf(spec *apiv1.Task) int32 { return max(1, spec.GetRequiredSlots()) }

// shallow is a copy of a job's record that shares the job itself.
func shallow(rec *raftlogv1.JobRecord) *raftlogv1.JobRecord {
	out := &raftlogv1.JobRecord{}
	rec.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		out.ProtoReflect().Set(fd, v)
		return true
	})
	return out
}

// enqueue makes a task ready to run that has an execution record.
func (t *txn) enqueue(j *job, key TaskKey, spec uint32) {
	t.enqueueRun(j, t.runOf(j, key.Task, spec))
}

// runOf is the run of one task.
func (t *txn) runOf(j *job, task uint64, spec uint32) Run {
	s := t.spec(j, spec)
	r := Run{First: task, Last: task, Spec: spec, Slots: slotsOf(s), Instances: instancesOf(s), Array: j.arrayNumber(task), Affinity: affinityOf(s)}
	if manager := j.rec.Job.JobManagerTask; manager != nil && task == managerTask {
		r.Exclusive = unlessFalse(manager.RunExclusive)
		r.Dedicated = !unlessFalse(manager.AllowLowPriorityNode)
	}
	return r
}

// managerTask is the number of the manager task in a job that has one: it is the first.
const managerTask = 1

func (t *txn) enqueueRun(j *job, r Run) {
	t.queues[j] = true
	j.queue.add(r)
	t.wakePool(j)
}

func (t *txn) dequeue(j *job, task uint64) (Run, bool) {
	t.queues[j] = true
	return j.queue.remove(task)
}

// wakePool says that there may be something to do for the pool that the job runs on.
func (t *txn) wakePool(j *job) {
	if p, ok := t.pool(j.rec.Account, j.poolID()); ok {
		t.events.room(p)
	}
}

// commit writes everything in one batch, in key order, and chains the digest.
func (t *txn) commit(index uint64) error {
	for key, e := range t.execs {
		if e.changed {
			if _, alive := t.jobByUID[key.Job]; alive {
				t.putProto(keyTask(tableExecution, key.Job, key.Task), e.rec)
			}
		}
	}
	for j := range t.dirty {
		if t.jobByUID[j.rec.Uid] == j {
			t.putProto(keyNumber(tableCounts, j.rec.Uid), j.counts)
		}
	}
	for a, j := range t.arrays {
		if t.jobByUID[j.rec.Uid] == j && j.arrays.byID[lifecycle.IDKey(a.rec.Id)] == a {
			t.putProto(keyTask(tableArrayCounts, j.rec.Uid, a.rec.FirstTask), a.counts)
		}
	}
	for j := range t.queues {
		if t.jobByUID[j.rec.Uid] == j {
			j.queue.flush(
				func(r Run) { t.put(keyTask(tableQueue, j.rec.Uid, r.First), encodeRun(r)) },
				func(first uint64) { t.delete(keyTask(tableQueue, j.rec.Uid, first)) })
		}
	}
	t.writeFailures()
	for n := range t.totals {
		if t.nodes[n.rec.Uid] == n {
			t.putProto(keyNumber(tableNodeStats, n.rec.Uid), n.totals)
		}
	}
	t.put(metaClock, binary.BigEndian.AppendUint64(nil, uint64(t.clock)))
	t.put(metaUID, binary.BigEndian.AppendUint64(nil, t.nextUID))
	return t.write(index)
}

func (t *txn) write(index uint64) error {
	batch := t.db.NewBatch()
	defer batch.Close()
	for _, r := range t.ranges {
		if err := batch.DeleteRange(r[0], r[1], nil); err != nil {
			return err
		}
	}
	keys := make([]string, 0, len(t.writes))
	for key := range t.writes {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		var err error
		if value := t.writes[key]; value == nil {
			err = batch.Delete([]byte(key), nil)
		} else {
			err = batch.Set([]byte(key), value, nil)
		}
		if err != nil {
			return err
		}
	}
	digest := t.chain(index, batch)
	if err := batch.Set(metaApplied, binary.BigEndian.AppendUint64(nil, index), nil); err != nil {
		return err
	}
	if err := batch.Set(metaDigest, digest[:], nil); err != nil {
		return err
	}
	if err := batch.Commit(pebble.NoSync); err != nil {
		return err
	}
	t.applied, t.digest = index, digest
	return nil
}

// batchHeader is the part of a Pebble batch that is not the same on all replicas: its sequence number.
const batchHeader = 12

func (t *txn) chain(index uint64, batch *pebble.Batch) (digest [DigestSize]byte) {
	h := sha256.New()
	h.Write(t.digest[:])
	h.Write(binary.BigEndian.AppendUint64(nil, index))
	h.Write(batch.Repr()[batchHeader:])
	h.Sum(digest[:0])
	return digest
}
