package state

import (
	"encoding/binary"
	"slices"
	"unicode/utf8"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

const (
	// maxFailureKinds is how many ways to fail are told apart in a job; what comes after them is counted together, as otherFailures.
	maxFailureKinds = 64
	otherFailures   = maxFailureKinds + 1
	maxKindMessage  = 300
)

// failures counts the failed tasks of a job by code and exit code. A task remembers the number under which it was counted, so that it is taken off the
// same; a number is used again once it counts nothing.
type failures []*raftlogv1.FailureKind // at its number less one; nil: counts nothing

func (f failures) at(n uint32) *raftlogv1.FailureKind {
	if n == 0 || int(n) > len(f) {
		return nil
	}
	return f[n-1]
}

func (f *failures) set(n uint32, k *raftlogv1.FailureKind) {
	for len(*f) < int(n) {
		*f = append(*f, nil)
	}
	(*f)[n-1] = k
}

// kind finds the number for a failure: its own, or a free one, or that of all others.
func (f failures) kind(code string, exit *int32) uint32 {
	free := uint32(otherFailures)
	for n := uint32(maxFailureKinds); n > 0; n-- {
		switch k := f.at(n); {
		case k == nil:
			free = n
		case k.Code == code && sameExit(k.ExitCode, exit):
			return n
		}
	}
	return free
}

func sameExit(a, b *int32) bool { return (a == nil) == (b == nil) && (a == nil || *a == *b) }

type failureKey struct {
	job  *job
	kind uint32
}

// changeFailures is the kind's count, to be changed: a copy on the first call in an entry.
func (t *txn) changeFailures(j *job, kind uint32) *raftlogv1.FailureKind {
	if key := (failureKey{j, kind}); !t.failures[key] {
		t.failures[key] = true
		j.failures.set(kind, proto.CloneOf(j.failures.at(kind)))
	}
	if j.failures.at(kind) == nil {
		j.failures.set(kind, &raftlogv1.FailureKind{})
	}
	return j.failures.at(kind)
}

// countFailure counts a task that has just failed.
func (t *txn) countFailure(j *job, task uint64, exec *raftlogv1.TaskExecution) {
	code := exec.Failure.GetCode()
	exec.FailureKind = j.failures.kind(code, exec.ExitCode)
	k := t.changeFailures(j, exec.FailureKind)
	k.Tasks++
	k.Newest = task
	if exec.FailureKind != otherFailures {
		k.Code, k.ExitCode, k.Message = code, exec.ExitCode, shortened(exec.Failure.GetMessage(), maxKindMessage)
	}
}

// uncountFailure takes a task off the failures, which runs again or is deleted.
func (t *txn) uncountFailure(j *job, kind uint32) {
	if kind == 0 { // it failed before failures were counted
		return
	}
	if k := t.changeFailures(j, kind); k.Tasks > 1 {
		k.Tasks--
	} else {
		j.failures.set(kind, nil)
	}
}

func (t *txn) writeFailures() {
	for key := range t.failures {
		uid := key.job.rec.Uid
		if t.jobByUID[uid] != key.job {
			continue
		}
		if k := key.job.failures.at(key.kind); k != nil {
			t.putProto(keyFailure(uid, key.kind), k)
		} else {
			t.delete(keyFailure(uid, key.kind))
		}
	}
}

// shortened cuts a text at a character.
func shortened(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}

func (s *Store) loadFailures() error {
	return scanRecords(s, tableFailure, func() *raftlogv1.FailureKind { return new(raftlogv1.FailureKind) },
		func(key []byte, rec *raftlogv1.FailureKind) error {
			if j := s.jobByUID[binary.BigEndian.Uint64(key)]; j != nil {
				j.failures.set(binary.BigEndian.Uint32(key[8:]), rec)
			}
			return nil
		})
}

// Failures counts the failed tasks of a job by kind, the most frequent first, and those that are told apart no further last.
func (s *Store) Failures(jobUID uint64) (groups []*apiv1.TaskFailureGroup, tasks int64, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	j := s.jobByUID[jobUID]
	if j == nil {
		return nil, 0, nil
	}
	others := j.counts.Failed
	for n := uint32(1); n <= maxFailureKinds; n++ {
		k := j.failures.at(n)
		if k == nil {
			continue
		}
		example, err := s.example(j, n, k.Newest)
		if err != nil {
			return nil, 0, err
		}
		others -= k.Tasks
		groups = append(groups, &apiv1.TaskFailureGroup{Code: k.Code, ExitCode: k.ExitCode, Tasks: k.Tasks, Message: k.Message, ExampleTaskId: example})
	}
	slices.SortStableFunc(groups, func(a, b *apiv1.TaskFailureGroup) int { return int(b.Tasks - a.Tasks) })
	if others > 0 {
		groups = append(groups, &apiv1.TaskFailureGroup{Tasks: others, Other: true})
	}
	return groups, j.counts.Failed, nil
}

// example is the id of a task if it is still counted under the kind.
func (s *Store) example(j *job, kind uint32, task uint64) (string, error) {
	key := TaskKey{j.rec.Uid, task}
	exec, err := s.readExecution(key)
	if err != nil || exec.GetFailureKind() != kind {
		return "", err
	}
	b, err := s.read(keyTask(tableEntry, key.Job, key.Task))
	if err != nil || b == nil {
		return "", err
	}
	entry := &raftlogv1.TaskEntry{}
	err = proto.Unmarshal(b, entry)
	return entry.Id, err
}

// FailureFilter selects failed tasks; what is empty selects all.
type FailureFilter struct {
	Code     string
	ExitCode *int32
	IDs      []*apiv1.TaskIdRange
}

func (f FailureFilter) matches(exec *raftlogv1.TaskExecution) bool {
	return exec.Phase == completed && !exec.Succeeded && (f.Code == "" || exec.Failure.GetCode() == f.Code) &&
		(f.ExitCode == nil || sameExit(f.ExitCode, exec.ExitCode))
}

func (f FailureFilter) names(id string) bool {
	n, numeric := numericID(id)
	return len(f.IDs) == 0 || numeric && slices.ContainsFunc(f.IDs, func(r *apiv1.TaskIdRange) bool { return r.Start <= n && n <= r.End })
}

// FailedTasks looks at up to limit executions of a job's tasks, those after the number given, and returns the failed ones that the filter selects. last is the
// number of the last that it looked at; 0: there are no more.
func (s *Store) FailedTasks(jobUID, after uint64, filter FailureFilter, limit int) (out []*raftlogv1.FailedTask, examined int, last uint64, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	it, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: keyTask(tableExecution, jobUID, after+1), UpperBound: prefixEnd(keyNumber(tableExecution, jobUID)),
	})
	if err != nil {
		return nil, 0, 0, err
	}
	defer it.Close()
	exec := &raftlogv1.TaskExecution{}
	for it.First(); it.Valid(); it.Next() {
		if examined == limit {
			return out, examined, last, nil
		}
		examined++
		last = binary.BigEndian.Uint64(it.Key()[9:])
		if err := proto.Unmarshal(it.Value(), exec); err != nil {
			return nil, 0, 0, err
		}
		if !filter.matches(exec) {
			continue
		}
		named, err := s.named(TaskKey{jobUID, last}, filter)
		if err != nil {
			return nil, 0, 0, err
		}
		if named {
			out = append(out, &raftlogv1.FailedTask{Task: last, Attempt: exec.Attempt})
		}
	}
	return out, examined, 0, it.Error()
}

func (s *Store) named(key TaskKey, filter FailureFilter) (bool, error) {
	if len(filter.IDs) == 0 {
		return true, nil
	}
	b, err := s.read(keyTask(tableEntry, key.Job, key.Task))
	if err != nil || b == nil {
		return false, err
	}
	entry := &raftlogv1.TaskEntry{}
	if err := proto.Unmarshal(b, entry); err != nil {
		return false, err
	}
	return filter.names(entry.Id), nil
}

// retryTasks runs failed tasks again.
func (t *txn) retryTasks(c *raftlogv1.RetryTasks) Result {
	j, ok := t.job(t.account, c.JobId)
	if !ok {
		return refused(batcherr.Of(batcherr.CodeJobNotFound))
	}
	if err := closedError(j.rec.Job.State); err != nil {
		return refused(err)
	}
	retried := 0
	for _, failed := range c.Tasks {
		key := TaskKey{j.rec.Uid, failed.Task}
		if failed.Task >= j.rec.NextTask {
			continue
		}
		if exec := t.execution(key); exec.Phase != completed || exec.Succeeded || exec.Attempt != failed.Attempt {
			continue
		}
		t.touch(key, t.reactivate(j, key))
		retried++
	}
	return Result{Count: retried}
}

// reactivate queues a failed task again, as if it had never been attempted but for its number of attempts.
func (t *txn) reactivate(j *job, key TaskKey) *raftlogv1.TaskExecution {
	exec, entry := t.change(key), t.entry(key)
	t.uncountFailure(j, exec.FailureKind)
	t.move(j, exec, queued, slotsOf(t.spec(j, entry.Spec)))
	exec.RetryCount, exec.LastRetryTime = 0, 0
	exec.ExitCode, exec.Failure, exec.FailureKind = nil, nil, 0
	exec.StartTime, exec.EndTime, exec.UserCpu, exec.KernelCpu = 0, 0, 0, 0
	hopeless := !exec.Satisfied
	exec.Satisfied = false
	if hopeless && j.rec.Job.GetUsesTaskDependencies() {
		t.spread(j, entry.Id, false)
	}
	t.enqueue(j, key, entry.Spec)
	return exec
}

func keyFailure(job uint64, kind uint32) []byte {
	return binary.BigEndian.AppendUint32(keyNumber(tableFailure, job), kind)
}
