package state

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// Selected is what SelectTasks has found.
type Selected struct {
	Tasks []*raftlogv1.SelectedTask
	// Examined is how many tasks it looked at, Last the number of the last of them; 0: there are no more.
	Examined int
	Last     uint64
}

// SelectTasks looks at up to limit tasks of a job, those of the span.
func (s *Store) SelectTasks(jobUID uint64, span TaskSpan, by *apiv1.TaskSelection, limit int) (Selected, error) {
	span.Failed = by.GetFailed() || by.GetFailureCode() != "" || by.ExitCode != nil
	return s.pick(jobUID, span, limit, func(w *walker) (task *raftlogv1.SelectedTask, end bool, err error) {
		task = &raftlogv1.SelectedTask{Task: w.task}
		if span.Failed {
			exec, err := executionAt(w.execs, TaskKey{jobUID, w.task})
			if err != nil || !selects(by, exec) {
				return nil, false, err
			}
			task.Attempt = proto.Uint32(exec.GetAttempt())
		}
		if !inRanges(w.entry.Id, by.GetIdRanges()) {
			return nil, false, nil
		}
		return task, false, nil
	})
}

// endedByAge is the failure of a task that reached lifecycle.MaxTaskLife.
const endedByAge = "The task was ended because it was not completed within 180 days"

// Aged selects the tasks of a job that were added before a time (Unix nanoseconds) and are not completed; it looks at up to limit of those after the number given.
func (s *Store) Aged(jobUID, after uint64, before int64, limit int) (Selected, error) {
	return s.pick(jobUID, TaskSpan{After: after}, limit, func(w *walker) (task *raftlogv1.SelectedTask, end bool, err error) {
		if w.entry.CreationTime >= before { // they are in the order in which they were added
			return nil, true, nil
		}
		exec, err := executionAt(w.execs, TaskKey{jobUID, w.task})
		if err != nil || exec.GetPhase() == completed {
			return nil, false, err
		}
		return &raftlogv1.SelectedTask{Task: w.task}, false, nil
	})
}

// pick looks at up to limit tasks of the span, until choose says that it is the end; nil: the task is passed over.
func (s *Store) pick(
	jobUID uint64, span TaskSpan, limit int, choose func(w *walker) (task *raftlogv1.SelectedTask, end bool, err error),
) (out Selected, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	j := s.jobByUID[jobUID]
	if j == nil {
		return Selected{}, nil
	}
	w, err := s.walk(j, span)
	if err != nil {
		return Selected{}, err
	}
	defer w.close()
	for w.next() {
		if out.Examined == limit {
			return out, nil
		}
		task, end, err := choose(w)
		if err != nil {
			return Selected{}, err
		}
		if end {
			break
		}
		out.Examined++
		out.Last = w.task
		if task != nil {
			out.Tasks = append(out.Tasks, task)
		}
	}
	out.Last = 0
	return out, w.err
}

// selects says whether a task failed in the way that is asked for.
func selects(by *apiv1.TaskSelection, exec *raftlogv1.TaskExecution) bool {
	code := by.GetFailureCode()
	return exec != nil && exec.Phase == completed && !exec.Succeeded && (code == "" || exec.Failure.GetCode() == code) &&
		(by.ExitCode == nil || sameExit(by.ExitCode, exec.ExitCode))
}

// inRanges says whether a task's id is a number in one of the ranges; without any, it is.
func inRanges(id string, ranges []*apiv1.TaskIdRange) bool {
	if len(ranges) == 0 {
		return true
	}
	n, numeric := numericID(id)
	return numeric && slices.ContainsFunc(ranges, func(r *apiv1.TaskIdRange) bool { return r.Start <= n && n <= r.End })
}

func (t *txn) actOnTasks(c *raftlogv1.ActOnTasks) Result {
	j, ok := t.job(t.account, c.JobId)
	switch {
	case !ok:
		return refused(batcherr.Of(batcherr.CodeJobNotFound))
	case j.rec.Job.State == jobDeleting:
		return refused(batcherr.Of(batcherr.CodeJobBeingDeleted))
	case c.Action == apiv1.TaskGroupAction_TASK_GROUP_ACTION_REACTIVATE:
		if err := closedError(j.rec.Job.State); err != nil {
			return refused(err)
		}
	}
	done := 0
	for _, selected := range c.Tasks {
		key := TaskKey{j.rec.Uid, selected.Task}
		if t.exists(j, key.Task) && t.actOnTask(j, key, selected, c) {
			done++
		}
	}
	t.settle(j)
	return Result{Count: done}
}

// actOnTask does to one task what is asked; false if it is not what was selected any more, or it can't be done to it.
func (t *txn) actOnTask(j *job, key TaskKey, selected *raftlogv1.SelectedTask, c *raftlogv1.ActOnTasks) bool {
	exec := t.execution(key)
	failed := exec.Phase == completed && !exec.Succeeded
	if selected.Attempt != nil && (!failed || exec.Attempt != *selected.Attempt) {
		return false
	}
	why := endedByUser
	if c.Expired {
		why = endedByAge
	}
	switch action := c.Action; {
	case action == apiv1.TaskGroupAction_TASK_GROUP_ACTION_REACTIVATE && failed:
		t.touch(key, t.reactivate(j, key))
	case action == apiv1.TaskGroupAction_TASK_GROUP_ACTION_TERMINATE && exec.Phase != completed:
		t.endTask(j, key, lifecycle.EndedFailure(why), j.rec.Job.OnTaskFailure)
		t.touch(key, t.change(key))
	case action == apiv1.TaskGroupAction_TASK_GROUP_ACTION_DELETE:
		t.removeTask(j, key)
	default:
		return false
	}
	return true
}

// reactivate queues a failed task again, as if it had never been attempted but for its number of attempts.
func (t *txn) reactivate(j *job, key TaskKey) *raftlogv1.TaskExecution {
	exec, entry := t.change(key), t.entry(key)
	array, before := j.standing(key.Task)
	t.uncountFailure(j, exec.FailureKind)
	t.move(j, key.Task, exec, queued, slotsOf(t.spec(j, entry.Spec)))
	t.delete(keyTask(tableFailed, key.Job, key.Task))
	exec.RetryCount, exec.LastRetryTime = 0, 0
	exec.ExitCode, exec.Failure, exec.FailureKind, exec.Container = nil, nil, 0, nil
	exec.StartTime, exec.EndTime, exec.UserCpu, exec.KernelCpu = 0, 0, 0, 0
	hopeless := !exec.Satisfied
	exec.Satisfied = false
	if j.rec.Job.GetUsesTaskDependencies() {
		if hopeless {
			t.spread(j, entry.Id, false)
		}
		t.tell(j, array, before)
	}
	t.enqueue(j, key, entry.Spec)
	return exec
}
