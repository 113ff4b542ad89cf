package state

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// Result is what a command answers. A refused command has changed nothing.
type Result struct {
	Err *batcherr.Error
	// The changed resource's version.
	Written *apiv1.Written
	// For AddTasks, one a task.
	Tasks []*apiv1.TaskAddResult
	// For ActOnTasks, to how many it was done.
	Count int
	// For UseJoinToken, the node that it makes or names.
	Node *raftlogv1.NodeRecord
}

// Apply applies the commands of the log entry at index and returns one Result a command, and the running digest after it. Entries at or below
// the applied index change nothing and answer nothing. No clock, randomness, map order or I/O decides anything in it.
func (s *Store) Apply(index uint64, commands [][]byte) ([]any, [DigestSize]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	results := make([]any, len(commands))
	if index <= s.applied {
		return results, s.digest
	}
	t := s.newTxn()
	for i, raw := range commands {
		results[i] = t.apply(raw)
	}
	if err := t.commit(index); err != nil {
		panic(fmt.Errorf("state: commit entry %d: %w", index, err))
	}
	s.watchers.publish(t.events)
	return results, s.digest
}

func (t *txn) apply(raw []byte) Result {
	cmd := &raftlogv1.Command{}
	if err := proto.Unmarshal(raw, cmd); err != nil {
		return refused(batcherr.Invalid(batcherr.CodeInvalidInput, "command does not decode: %v", err))
	}
	if what := lacks(cmd); what != "" {
		return refused(batcherr.Invalid(batcherr.CodeInvalidInput, "the command has no %s", what))
	}
	// Leaders' clocks differ; times that users see never go back.
	t.clock = max(t.clock, cmd.Now)
	t.now, t.account = t.clock, cmd.Account
	return t.dispatch(cmd)
}

// lacks names what a command is about and does not have, empty if it is whole: a malformed one must not stop the replicas.
func lacks(cmd *raftlogv1.Command) string {
	what, whole := "", true
	switch c := cmd.Kind.(type) {
	case *raftlogv1.Command_PutAccount:
		what, whole = "account", c.PutAccount.GetRecord().GetAccount().GetId() != ""
	case *raftlogv1.Command_PutJoinToken:
		what, whole = "join token", c.PutJoinToken.Record != nil
	case *raftlogv1.Command_PutMember:
		what, whole = "member", c.PutMember.GetRecord().GetMember() != nil
	case *raftlogv1.Command_CreatePool:
		what, whole = "pool", c.CreatePool.Pool != nil
	case *raftlogv1.Command_UpdatePool:
		what, whole = "update", c.UpdatePool.Update != nil
	case *raftlogv1.Command_ResizePool:
		what, whole = "target", c.ResizePool.Options != nil
	case *raftlogv1.Command_EnableAutoScale:
		what, whole = "formula", c.EnableAutoScale.Options != nil
	case *raftlogv1.Command_RecordAutoScale:
		what, whole = "run", c.RecordAutoScale.Run != nil
	case *raftlogv1.Command_RemoveNodes:
		what, whole = "nodes", c.RemoveNodes.Options != nil
	case *raftlogv1.Command_CreateJob:
		what, whole = "job", c.CreateJob.Job != nil
	case *raftlogv1.Command_UpdateJob:
		what, whole = "update", c.UpdateJob.Update != nil
	case *raftlogv1.Command_CreateJobSchedule:
		what, whole = "job schedule", c.CreateJobSchedule.Schedule != nil
	case *raftlogv1.Command_UpdateJobSchedule:
		what, whole = "update", c.UpdateJobSchedule.Update != nil
	case *raftlogv1.Command_QuarantineNode:
		what, whole = "quarantine", c.QuarantineNode.Quarantine != nil
	case *raftlogv1.Command_PutApplication:
		what, whole = "application", c.PutApplication.GetRecord().GetApplication() != nil
	case *raftlogv1.Command_AddTaskArray:
		what, whole = "elements", wholeArray(c.AddTaskArray.Array)
	case *raftlogv1.Command_ChangeApplication:
		what, whole = "change", wholeChange(c.ChangeApplication)
	}
	if whole {
		return ""
	}
	return what
}

func (t *txn) dispatch(cmd *raftlogv1.Command) Result {
	switch c := cmd.Kind.(type) {
	case *raftlogv1.Command_AddTasks:
		return t.addTasks(c.AddTasks)
	case *raftlogv1.Command_AssignTasks:
		return t.assignTasks(c.AssignTasks)
	case *raftlogv1.Command_AssignInstances:
		return t.assignInstances(c.AssignInstances)
	case *raftlogv1.Command_ReportAttempts:
		return t.reportAttempts(c.ReportAttempts)
	case *raftlogv1.Command_RetractTasks:
		return t.retractTasks(c.RetractTasks)
	case *raftlogv1.Command_AddTaskArray:
		return t.addTaskArray(c.AddTaskArray)
	case *raftlogv1.Command_AddTaskArrayItems:
		return t.addTaskArrayItems(c.AddTaskArrayItems)
	case *raftlogv1.Command_UpdateTaskArray:
		return t.updateTaskArray(c.UpdateTaskArray)
	case *raftlogv1.Command_UpdateTask:
		return t.updateTask(c.UpdateTask)
	case *raftlogv1.Command_DeleteTask:
		return t.deleteTask(c.DeleteTask)
	case *raftlogv1.Command_TerminateTask:
		return t.terminateTask(c.TerminateTask)
	case *raftlogv1.Command_ReactivateTask:
		return t.reactivateTask(c.ReactivateTask)
	case *raftlogv1.Command_ActOnTasks:
		return t.actOnTasks(c.ActOnTasks)
	case *raftlogv1.Command_PreemptTasks:
		return t.preemptTasks(c.PreemptTasks)
	}
	if r, ok := t.dispatchJob(cmd); ok {
		return r
	}
	if r, ok := t.dispatchJobSchedule(cmd); ok {
		return r
	}
	if r, ok := t.dispatchPool(cmd); ok {
		return r
	}
	if r, ok := t.dispatchCluster(cmd); ok {
		return r
	}
	return refused(batcherr.Invalid(batcherr.CodeInvalidInput, "this version does not know the command %T", cmd.Kind))
}

func (t *txn) dispatchJob(cmd *raftlogv1.Command) (Result, bool) {
	switch c := cmd.Kind.(type) {
	case *raftlogv1.Command_CreateJob:
		return t.createJob(c.CreateJob), true
	case *raftlogv1.Command_UpdateJob:
		return t.updateJob(c.UpdateJob), true
	case *raftlogv1.Command_DeleteJob:
		return t.deleteJob(c.DeleteJob), true
	case *raftlogv1.Command_DisableJob:
		return t.disableJob(c.DisableJob), true
	case *raftlogv1.Command_EnableJob:
		return t.enableJob(c.EnableJob), true
	case *raftlogv1.Command_TerminateJob:
		return t.terminateJob(c.TerminateJob), true
	case *raftlogv1.Command_AdvanceReleases:
		return t.advanceReleases(c.AdvanceReleases), true
	case *raftlogv1.Command_AdvanceJob:
		return t.advanceJob(c.AdvanceJob), true
	}
	return Result{}, false
}

func (t *txn) dispatchJobSchedule(cmd *raftlogv1.Command) (Result, bool) {
	switch c := cmd.Kind.(type) {
	case *raftlogv1.Command_CreateJobSchedule:
		return t.createJobSchedule(c.CreateJobSchedule), true
	case *raftlogv1.Command_UpdateJobSchedule:
		return t.updateJobSchedule(c.UpdateJobSchedule), true
	case *raftlogv1.Command_DeleteJobSchedule:
		return t.deleteJobSchedule(c.DeleteJobSchedule), true
	case *raftlogv1.Command_DisableJobSchedule:
		return t.disableJobSchedule(c.DisableJobSchedule), true
	case *raftlogv1.Command_EnableJobSchedule:
		return t.enableJobSchedule(c.EnableJobSchedule), true
	case *raftlogv1.Command_TerminateJobSchedule:
		return t.terminateJobSchedule(c.TerminateJobSchedule), true
	case *raftlogv1.Command_StepJobSchedule:
		return t.stepJobSchedule(c.StepJobSchedule), true
	case *raftlogv1.Command_AdvanceJobSchedule:
		return t.advanceJobSchedule(c.AdvanceJobSchedule), true
	}
	return Result{}, false
}

func (t *txn) dispatchPool(cmd *raftlogv1.Command) (Result, bool) {
	switch c := cmd.Kind.(type) {
	case *raftlogv1.Command_CreatePool:
		return t.createPool(c.CreatePool), true
	case *raftlogv1.Command_UpdatePool:
		return t.updatePool(c.UpdatePool), true
	case *raftlogv1.Command_DeletePool:
		return t.deletePool(c.DeletePool), true
	case *raftlogv1.Command_ResizePool:
		return t.resizePool(c.ResizePool), true
	case *raftlogv1.Command_StopPoolResize:
		return t.stopPoolResize(c.StopPoolResize), true
	case *raftlogv1.Command_RemoveNodes:
		return t.removeNodes(c.RemoveNodes), true
	case *raftlogv1.Command_EnableAutoScale:
		return t.enableAutoScale(c.EnableAutoScale), true
	case *raftlogv1.Command_DisableAutoScale:
		return t.disableAutoScale(c.DisableAutoScale), true
	case *raftlogv1.Command_RecordAutoScale:
		return t.recordAutoScale(c.RecordAutoScale), true
	case *raftlogv1.Command_FinishResize:
		return t.finishResize(c.FinishResize), true
	case *raftlogv1.Command_CreateNodes:
		return t.createNodes(c.CreateNodes), true
	case *raftlogv1.Command_NodeHello:
		return t.nodeHello(c.NodeHello), true
	case *raftlogv1.Command_NodeMounted:
		t.nodeMounted(c.NodeMounted)
		return Result{}, true
	case *raftlogv1.Command_NodeLost:
		return t.nodeLost(c.NodeLost), true
	case *raftlogv1.Command_DeleteNode:
		return t.deleteNode(c.DeleteNode), true
	case *raftlogv1.Command_SetNodeScheduling:
		return t.setNodeScheduling(c.SetNodeScheduling), true
	case *raftlogv1.Command_SetNodeState:
		return t.setNodeState(c.SetNodeState), true
	case *raftlogv1.Command_LeaveNodes:
		return t.leaveNodes(c.LeaveNodes), true
	case *raftlogv1.Command_QuarantineNode:
		return t.quarantineNode(c.QuarantineNode), true
	case *raftlogv1.Command_RecordNodeLogs:
		return t.recordNodeLogs(c.RecordNodeLogs), true
	case *raftlogv1.Command_ActOnNode:
		return t.actOnNode(c.ActOnNode), true
	}
	return Result{}, false
}

func (t *txn) dispatchCluster(cmd *raftlogv1.Command) (Result, bool) {
	switch c := cmd.Kind.(type) {
	case *raftlogv1.Command_PutAccount:
		return t.putAccount(c.PutAccount), true
	case *raftlogv1.Command_DeleteAccount:
		return t.deleteAccount(c.DeleteAccount), true
	case *raftlogv1.Command_PutJoinToken:
		return t.putJoinToken(c.PutJoinToken), true
	case *raftlogv1.Command_UseJoinToken:
		return t.useJoinToken(c.UseJoinToken), true
	case *raftlogv1.Command_PutMember:
		return t.putMember(c.PutMember), true
	case *raftlogv1.Command_DeleteMember:
		return t.deleteMember(c.DeleteMember), true
	case *raftlogv1.Command_PutApplication:
		return t.putApplication(c.PutApplication), true
	case *raftlogv1.Command_DeleteApplication:
		return t.deleteApplication(c.DeleteApplication), true
	case *raftlogv1.Command_ChangeApplication:
		return t.changeApplication(c.ChangeApplication), true
	}
	return Result{}, false
}

func refused(err *batcherr.Error) Result { return Result{Err: err} }

func written(etag string, modified *timestamppb.Timestamp) Result {
	return Result{Written: &apiv1.Written{Etag: etag, LastModified: modified}}
}

// ticksAtUnixEpoch is the number of 100 ns ticks from year 1 to 1970, from which Azure's ETags count.
const ticksAtUnixEpoch = 621_355_968_000_000_000

// ETag is the version of a resource that was last modified at a time in Unix nanoseconds.
func ETag(modified int64) string { return fmt.Sprintf("0x%X", ticksAtUnixEpoch+modified/100) }

// stamp returns the modification time of a change, later than the former one so that ETags differ.
func (t *txn) stamp(former *timestamppb.Timestamp) (string, *timestamppb.Timestamp) {
	at := t.now - t.now%100
	if former != nil {
		at = max(at, former.AsTime().UnixNano()+100)
	}
	return ETag(at), at2pb(at)
}

func at2pb(nanos int64) *timestamppb.Timestamp { return timestamppb.New(time.Unix(0, nanos)) }
