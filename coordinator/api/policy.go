package api

import (
	"context"
	"maps"
	"time"

	"github.com/batchyard/batchyard/coordinator/identity"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// need is the least access that a method asks for.
type need uint8

const (
	// needOwn: the method authorises its callers itself, by a join token or certificate.
	needOwn need = iota
	needRead
	needWrite
	needAdmin
)

// rule is who may call a method.
type rule struct {
	need need
	// task: a task's token may call it too, for the task's own job.
	task bool
	// cluster: it is about the cluster, not about the caller's account.
	cluster bool
}

// Rules that many methods share.
var (
	read, write               = rule{need: needRead}, rule{need: needWrite}
	taskRead, taskWrite       = rule{need: needRead, task: true}, rule{need: needWrite, task: true}
	clusterRead, clusterWrite = rule{need: needRead, cluster: true}, rule{need: needWrite, cluster: true}
	clusterAdmin              = rule{need: needAdmin, cluster: true}
)

// policy is the access that each method needs. A method that is not in it is refused.
func policy() map[string]rule {
	out := map[string]rule{}
	for _, part := range []map[string]rule{poolPolicy, jobPolicy, accountPolicy} {
		maps.Copy(out, part)
	}
	return out
}

// poolPolicy is about pools and their nodes.
var poolPolicy = map[string]rule{
	apiv1.PoolService_CreatePool_FullMethodName:            write,
	apiv1.PoolService_GetPool_FullMethodName:               read,
	apiv1.PoolService_ListPools_FullMethodName:             read,
	apiv1.PoolService_UpdatePool_FullMethodName:            write,
	apiv1.PoolService_ReplacePoolProperties_FullMethodName: write,
	apiv1.PoolService_DeletePool_FullMethodName:            write,
	apiv1.PoolService_ResizePool_FullMethodName:            write,
	apiv1.PoolService_StopPoolResize_FullMethodName:        write,
	apiv1.PoolService_RemoveNodes_FullMethodName:           write,
	apiv1.PoolService_EnableAutoScale_FullMethodName:       write,
	apiv1.PoolService_DisableAutoScale_FullMethodName:      write,
	apiv1.PoolService_EvaluateAutoScale_FullMethodName:     read,
	apiv1.PoolService_ListPoolNodeCounts_FullMethodName:    read,

	apiv1.NodeService_GetNode_FullMethodName:                    read,
	apiv1.NodeService_ListNodes_FullMethodName:                  read,
	apiv1.NodeService_DisableNodeScheduling_FullMethodName:      write,
	apiv1.NodeService_EnableNodeScheduling_FullMethodName:       write,
	apiv1.NodeService_RebootNode_FullMethodName:                 write,
	apiv1.NodeService_ReimageNode_FullMethodName:                write,
	apiv1.NodeService_DeallocateNode_FullMethodName:             write,
	apiv1.NodeService_StartNode_FullMethodName:                  write,
	apiv1.NodeService_CreateNodeUser_FullMethodName:             write,
	apiv1.NodeService_UpdateNodeUser_FullMethodName:             write,
	apiv1.NodeService_DeleteNodeUser_FullMethodName:             write,
	apiv1.NodeService_GetNodeRemoteLoginSettings_FullMethodName: read,
	apiv1.NodeService_UploadNodeLogs_FullMethodName:             write,
}

// jobPolicy is about jobs, what makes them, their tasks and files.
var jobPolicy = map[string]rule{
	apiv1.JobService_CreateJob_FullMethodName:                      write,
	apiv1.JobService_GetJob_FullMethodName:                         taskRead,
	apiv1.JobService_ListJobs_FullMethodName:                       read,
	apiv1.JobService_UpdateJob_FullMethodName:                      taskWrite,
	apiv1.JobService_ReplaceJob_FullMethodName:                     taskWrite,
	apiv1.JobService_DeleteJob_FullMethodName:                      write,
	apiv1.JobService_DisableJob_FullMethodName:                     taskWrite,
	apiv1.JobService_EnableJob_FullMethodName:                      taskWrite,
	apiv1.JobService_TerminateJob_FullMethodName:                   taskWrite,
	apiv1.JobService_GetTaskCounts_FullMethodName:                  taskRead,
	apiv1.JobService_WatchJob_FullMethodName:                       taskRead,
	apiv1.JobService_ListPreparationAndReleaseTasks_FullMethodName: taskRead,

	apiv1.JobScheduleService_CreateJobSchedule_FullMethodName:    write,
	apiv1.JobScheduleService_GetJobSchedule_FullMethodName:       read,
	apiv1.JobScheduleService_ListJobSchedules_FullMethodName:     read,
	apiv1.JobScheduleService_UpdateJobSchedule_FullMethodName:    write,
	apiv1.JobScheduleService_ReplaceJobSchedule_FullMethodName:   write,
	apiv1.JobScheduleService_DeleteJobSchedule_FullMethodName:    write,
	apiv1.JobScheduleService_DisableJobSchedule_FullMethodName:   write,
	apiv1.JobScheduleService_EnableJobSchedule_FullMethodName:    write,
	apiv1.JobScheduleService_TerminateJobSchedule_FullMethodName: write,

	apiv1.TaskService_AddTasks_FullMethodName:       taskWrite,
	apiv1.TaskService_GetTask_FullMethodName:        taskRead,
	apiv1.TaskService_ListTasks_FullMethodName:      taskRead,
	apiv1.TaskService_UpdateTask_FullMethodName:     taskWrite,
	apiv1.TaskService_DeleteTask_FullMethodName:     taskWrite,
	apiv1.TaskService_TerminateTask_FullMethodName:  taskWrite,
	apiv1.TaskService_ReactivateTask_FullMethodName: taskWrite,
	apiv1.TaskService_ListSubtasks_FullMethodName:   taskRead,
	apiv1.TaskService_ExplainTask_FullMethodName:    taskRead,

	apiv1.TaskGroupService_ListFailures_FullMethodName: taskRead,
	apiv1.TaskGroupService_ActOnTasks_FullMethodName:   taskWrite,

	apiv1.TaskArrayService_AddTaskArray_FullMethodName:      taskWrite,
	apiv1.TaskArrayService_AddTaskArrayItems_FullMethodName: taskWrite,
	apiv1.TaskArrayService_GetTaskArray_FullMethodName:      taskRead,
	apiv1.TaskArrayService_ListTaskArrays_FullMethodName:    taskRead,
	apiv1.TaskArrayService_UpdateTaskArray_FullMethodName:   taskWrite,

	apiv1.FileService_ListFiles_FullMethodName:         taskRead,
	apiv1.FileService_GetFileProperties_FullMethodName: taskRead,
	apiv1.FileService_ReadFile_FullMethodName:          taskRead,
	apiv1.FileService_DeleteFile_FullMethodName:        taskWrite,
}

// accountPolicy is about applications, accounts and the cluster.
var accountPolicy = map[string]rule{
	apiv1.ApplicationService_CreateApplication_FullMethodName: write,
	apiv1.ApplicationService_GetApplication_FullMethodName:    read,
	apiv1.ApplicationService_ListApplications_FullMethodName:  read,
	apiv1.ApplicationService_UpdateApplication_FullMethodName: write,
	apiv1.ApplicationService_DeleteApplication_FullMethodName: write,
	apiv1.ApplicationService_CreatePackage_FullMethodName:     write,
	apiv1.ApplicationService_ActivatePackage_FullMethodName:   write,
	apiv1.ApplicationService_DeletePackage_FullMethodName:     write,

	// What an account's own users may ask of an account, they may ask of their own only; see accountService.
	apiv1.AccountService_CreateAccount_FullMethodName:        clusterAdmin,
	apiv1.AccountService_GetAccount_FullMethodName:           clusterRead,
	apiv1.AccountService_ListAccounts_FullMethodName:         clusterAdmin,
	apiv1.AccountService_DeleteAccount_FullMethodName:        clusterAdmin,
	apiv1.AccountService_GetAccountKeys_FullMethodName:       clusterWrite,
	apiv1.AccountService_RegenerateAccountKey_FullMethodName: clusterWrite,
	apiv1.AccountService_GetStore_FullMethodName:             clusterWrite,
	apiv1.AccountService_SetStore_FullMethodName:             clusterAdmin,
	apiv1.AccountService_RegenerateStoreKey_FullMethodName:   clusterWrite,
	apiv1.AccountService_IssueToken_FullMethodName:           clusterWrite,

	apiv1.ClusterService_GetCluster_FullMethodName:   clusterRead,
	apiv1.ClusterService_JoinCluster_FullMethodName:  {need: needOwn, cluster: true},
	apiv1.ClusterService_AddMember_FullMethodName:    {need: needOwn, cluster: true},
	apiv1.ClusterService_RemoveMember_FullMethodName: clusterAdmin,
	// Of one's own account for nodes; tokens for coordinators are for administrators, see clusterService.
	apiv1.ClusterService_CreateJoinToken_FullMethodName: clusterWrite,
}

// allows says whether the access is enough for what the method needs.
func (r rule) allows(access identity.Access) bool {
	switch access {
	case identity.AccessAdmin:
		return true
	case identity.AccessUser:
		return r.need == needRead || r.need == needWrite
	case identity.AccessReader:
		return r.need == needRead
	case identity.AccessTask:
		return r.task && (r.need == needRead || r.need == needWrite)
	default:
		return false
	}
}

// grant is a call that has passed the policy.
type grant struct {
	Caller
	method string
}

type grantKey struct{}

// granted is the grant that authorise has left for the method; without one the call is refused.
func granted(ctx context.Context) (grant, error) {
	g, ok := ctx.Value(grantKey{}).(grant)
	if !ok {
		return grant{}, batcherr.Unauthenticated("The call was not authorised.")
	}
	return g, nil
}

// authorise finds out who calls, and whether that caller may call the method in its account.
func (s *Server) authorise(ctx context.Context, method string) (context.Context, error) {
	r, known := s.policy[method]
	if !known {
		return nil, batcherr.Forbidden("The method %s is not open to anyone.", method)
	}
	if r.need == needOwn {
		return context.WithValue(ctx, grantKey{}, grant{method: method}), nil
	}
	caller, ok, err := s.caller(ctx)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, batcherr.Unauthenticated("The call needs a token: metadata \"authorization: Bearer TOKEN\".")
	}
	if !r.allows(caller.Access) || (caller.Job != "") != (caller.Access == identity.AccessTask) {
		return nil, batcherr.Forbidden("The role %q does not allow this.", caller.Access)
	}
	if !r.cluster || caller.Access != identity.AccessAdmin {
		if err := s.core.knownAccount(ctx, caller); err != nil {
			return nil, err
		}
	}
	return context.WithValue(ctx, grantKey{}, grant{Caller: caller, method: method}), nil
}

// knownAccount refuses callers whose account does not exist, or no more.
func (c *core) knownAccount(ctx context.Context, caller Caller) error {
	if caller.Account == "" {
		return batcherr.Invalid(batcherr.CodeInvalidInput, "The token is for no account: choose one with the metadata %s.", AccountHeader)
	}
	rec, ok := c.State.Account(caller.Account)
	if !ok {
		// It may have been made a moment ago, by another leader.
		if err := c.Reader.Barrier(ctx); err != nil {
			return err
		}
		if rec, ok = c.State.Account(caller.Account); !ok {
			return batcherr.Of(batcherr.CodeAccountNotFound)
		}
	}
	if caller.Access == identity.AccessAdmin || caller.Since.IsZero() {
		return nil
	}
	// Tokens have whole seconds.
	if made := rec.Account.CreationTime.AsTime().Truncate(time.Second); caller.Since.Before(made) {
		return batcherr.Unauthenticated("The token is for an earlier account of this name.")
	}
	return nil
}

// checkJob keeps a task's token within its own job. It looks at the request, whichever method it is for.
func (g grant) checkJob(req any) error {
	if g.Access != identity.AccessTask {
		return nil
	}
	job := ""
	switch r := req.(type) {
	case interface{ GetJobId() string }:
		job = r.GetJobId()
	case interface{ GetRoot() *apiv1.FileRoot }:
		job = r.GetRoot().GetJobId()
		if r.GetRoot().GetPoolId() != "" || r.GetRoot().GetNodeId() != "" {
			job = ""
		}
	}
	if job == "" || lifecycle.IDKey(job) != lifecycle.IDKey(g.Job) {
		return batcherr.Forbidden("The token is for the job %q only.", g.Job)
	}
	return nil
}
