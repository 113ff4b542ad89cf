package state

import (
	"encoding/binary"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

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
	entry, err := s.entryOf(j, task)
	return entry.GetId(), err
}

func keyFailure(job uint64, kind uint32) []byte {
	return binary.BigEndian.AppendUint32(keyNumber(tableFailure, job), kind)
}
