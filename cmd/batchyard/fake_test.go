package main

import (
	"context"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// farm is a cluster in memory: what is created is there, tasks end at once as the test says.
type farm struct {
	apiv1.UnimplementedPoolServiceServer
	apiv1.UnimplementedNodeServiceServer
	apiv1.UnimplementedJobServiceServer
	apiv1.UnimplementedJobScheduleServiceServer
	apiv1.UnimplementedTaskServiceServer
	apiv1.UnimplementedFileServiceServer
	apiv1.UnimplementedApplicationServiceServer
	apiv1.UnimplementedAccountServiceServer
	apiv1.UnimplementedClusterServiceServer

	mu        sync.Mutex
	pools     map[string]*apiv1.Pool
	nodes     map[string][]*apiv1.Node
	jobs      map[string]*apiv1.Job
	schedules map[string]*apiv1.JobSchedule
	tasks     map[string][]*apiv1.Task
	apps      map[string]*apiv1.ApplicationDetail
	files     map[string]string // job/task/name
	finish    func(*apiv1.Task) // decides a task's end when it is added; nil leaves it active
	hang      bool              // files are followed until the reader goes away
	reading   chan struct{}     // told when a file is being read
	requests  []proto.Message
	pageSize  int
}

func newFarm() *farm {
	return &farm{
		pools: map[string]*apiv1.Pool{}, nodes: map[string][]*apiv1.Node{}, jobs: map[string]*apiv1.Job{},
		schedules: map[string]*apiv1.JobSchedule{},
		tasks:     map[string][]*apiv1.Task{}, apps: map[string]*apiv1.ApplicationDetail{}, files: map[string]string{},
		finish: succeed, reading: make(chan struct{}, 100),
	}
}

func (f *farm) register(s *grpc.Server) {
	apiv1.RegisterPoolServiceServer(s, f)
	apiv1.RegisterNodeServiceServer(s, f)
	apiv1.RegisterJobServiceServer(s, f)
	apiv1.RegisterJobScheduleServiceServer(s, f)
	apiv1.RegisterTaskServiceServer(s, f)
	apiv1.RegisterFileServiceServer(s, f)
	apiv1.RegisterApplicationServiceServer(s, f)
	apiv1.RegisterAccountServiceServer(s, f)
	apiv1.RegisterClusterServiceServer(s, f)
}

// succeed and fail end a task.
func succeed(t *apiv1.Task) { end(t, 0) }

func fail(code int32) func(*apiv1.Task) { return func(t *apiv1.Task) { end(t, code) } }

func end(t *apiv1.Task, code int32) {
	t.State = apiv1.TaskState_TASK_STATE_COMPLETED
	t.ExecutionInfo = &apiv1.TaskExecutionInfo{ExitCode: &code, Result: apiv1.TaskExecutionResult_TASK_EXECUTION_RESULT_SUCCESS}
	if code != 0 {
		t.ExecutionInfo.Result = apiv1.TaskExecutionResult_TASK_EXECUTION_RESULT_FAILURE
		t.ExecutionInfo.FailureInfo = &apiv1.TaskFailureInfo{
			Category: apiv1.ErrorSourceCategory_ERROR_SOURCE_CATEGORY_USER_ERROR, Code: "FailureExitCode", Message: "The task exited with a code that is a failure.",
		}
	}
}

// notStarted ends a task whose inputs are missing.
func notStarted(t *apiv1.Task) {
	t.State = apiv1.TaskState_TASK_STATE_COMPLETED
	t.ExecutionInfo = &apiv1.TaskExecutionInfo{Result: apiv1.TaskExecutionResult_TASK_EXECUTION_RESULT_FAILURE, FailureInfo: &apiv1.TaskFailureInfo{
		Category: apiv1.ErrorSourceCategory_ERROR_SOURCE_CATEGORY_USER_ERROR, Code: "BlobNotFound", Message: "The specified object does not exist.",
		Details: []*apiv1.NameValuePair{{Name: "HttpUrl", Value: "s3://b/x"}},
	}}
}

// note keeps a request for the test to look at.
func (f *farm) note(req proto.Message) { f.requests = append(f.requests, req) }

// last finds the latest request of a kind.
func last[M proto.Message](f *farm) (found M) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, req := range f.requests {
		if m, ok := req.(M); ok {
			found = m
		}
	}
	return found
}

func (f *farm) CreatePool(_ context.Context, req *apiv1.CreatePoolRequest) (*apiv1.Written, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(req)
	id := req.GetPool().GetId()
	if f.pools[id] != nil {
		return nil, batcherr.Of(batcherr.CodePoolExists)
	}
	pool := proto.CloneOf(req.GetPool())
	pool.State, pool.AllocationState = apiv1.PoolState_POOL_STATE_ACTIVE, apiv1.AllocationState_ALLOCATION_STATE_STEADY
	pool.CurrentDedicatedNodes = pool.GetTargetDedicatedNodes()
	f.pools[id] = pool
	for i := range pool.GetTargetDedicatedNodes() {
		f.nodes[id] = append(f.nodes[id], &apiv1.Node{Id: id + "-node-" + number(i), State: apiv1.NodeState_NODE_STATE_IDLE})
	}
	return &apiv1.Written{}, nil
}

func (f *farm) GetPool(_ context.Context, req *apiv1.GetPoolRequest) (*apiv1.Pool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if pool := f.pools[req.GetPoolId()]; pool != nil {
		return proto.CloneOf(pool), nil
	}
	return nil, batcherr.Of(batcherr.CodePoolNotFound)
}

func (f *farm) ListPools(_ context.Context, req *apiv1.ListPoolsRequest) (*apiv1.ListPoolsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(req)
	items, next := pageOf(f, sorted(f.pools), req.GetOptions())
	return &apiv1.ListPoolsResponse{Pools: items, NextPageToken: next}, nil
}

func (f *farm) ResizePool(_ context.Context, req *apiv1.ResizePoolRequest) (*apiv1.Written, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(req)
	return &apiv1.Written{}, nil
}

func (f *farm) EnableAutoScale(_ context.Context, req *apiv1.EnableAutoScaleRequest) (*apiv1.Written, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(req)
	if p := f.pools[req.GetPoolId()]; p != nil {
		p.EnableAutoScale, p.AutoScaleFormula = proto.Bool(true), req.GetOptions().GetAutoScaleFormula()
	}
	return &apiv1.Written{}, nil
}

func (f *farm) DisableAutoScale(_ context.Context, req *apiv1.DisableAutoScaleRequest) (*apiv1.Written, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(req)
	return &apiv1.Written{}, nil
}

// EvaluateAutoScale answers the formula as its results; one that has the word fail fails.
func (f *farm) EvaluateAutoScale(_ context.Context, req *apiv1.EvaluateAutoScaleRequest) (*apiv1.AutoScaleRun, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(req)
	formula := req.GetOptions().GetAutoScaleFormula()
	run := &apiv1.AutoScaleRun{Results: formula}
	if strings.Contains(formula, "fail") {
		run.Error = &apiv1.AutoScaleRunError{Code: "Bad", Message: "no good", Values: []*apiv1.NameValuePair{{Name: "Message", Value: "Line 1"}}}
	}
	return run, nil
}

func (f *farm) DeletePool(_ context.Context, req *apiv1.DeletePoolRequest) (*apiv1.Written, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pools[req.GetPoolId()] == nil {
		return nil, batcherr.Of(batcherr.CodePoolNotFound)
	}
	delete(f.pools, req.GetPoolId())
	return &apiv1.Written{}, nil
}

func (f *farm) ListNodes(_ context.Context, req *apiv1.ListNodesRequest) (*apiv1.ListNodesResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &apiv1.ListNodesResponse{Nodes: f.nodes[req.GetPoolId()]}, nil
}

func (f *farm) GetNode(_ context.Context, req *apiv1.GetNodeRequest) (*apiv1.Node, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.nodes[req.GetPoolId()] {
		if n.GetId() == req.GetNodeId() {
			return n, nil
		}
	}
	return nil, batcherr.Of(batcherr.CodeNodeNotFound)
}

func (f *farm) CreateJob(_ context.Context, req *apiv1.CreateJobRequest) (*apiv1.Written, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(req)
	id := req.GetJob().GetId()
	if f.jobs[id] != nil {
		return nil, batcherr.Of(batcherr.CodeJobExists)
	}
	job := proto.CloneOf(req.GetJob())
	job.State = apiv1.JobState_JOB_STATE_ACTIVE
	f.jobs[id] = job
	return &apiv1.Written{}, nil
}

func (f *farm) GetJob(_ context.Context, req *apiv1.GetJobRequest) (*apiv1.Job, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if job := f.jobs[req.GetJobId()]; job != nil {
		return proto.CloneOf(job), nil
	}
	return nil, batcherr.Of(batcherr.CodeJobNotFound)
}

func (f *farm) ListJobs(_ context.Context, req *apiv1.ListJobsRequest) (*apiv1.ListJobsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	jobs := slices.DeleteFunc(sorted(f.jobs), func(j *apiv1.Job) bool {
		return req.GetJobScheduleId() != "" && !strings.HasPrefix(j.GetId(), req.GetJobScheduleId()+":")
	})
	items, next := pageOf(f, jobs, req.GetOptions())
	return &apiv1.ListJobsResponse{Jobs: items, NextPageToken: next}, nil
}

func (f *farm) UpdateJob(_ context.Context, req *apiv1.UpdateJobRequest) (*apiv1.Written, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(req)
	return &apiv1.Written{}, nil
}

func (f *farm) TerminateJob(_ context.Context, req *apiv1.TerminateJobRequest) (*apiv1.Written, error) {
	return f.changeJob(req, req.GetJobId(), apiv1.JobState_JOB_STATE_COMPLETED)
}

func (f *farm) DisableJob(_ context.Context, req *apiv1.DisableJobRequest) (*apiv1.Written, error) {
	return f.changeJob(req, req.GetJobId(), apiv1.JobState_JOB_STATE_DISABLED)
}

func (f *farm) EnableJob(_ context.Context, req *apiv1.EnableJobRequest) (*apiv1.Written, error) {
	return f.changeJob(req, req.GetJobId(), apiv1.JobState_JOB_STATE_ACTIVE)
}

func (f *farm) changeJob(req proto.Message, id string, state apiv1.JobState) (*apiv1.Written, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(req)
	if f.jobs[id] == nil {
		return nil, batcherr.Of(batcherr.CodeJobNotFound)
	}
	f.jobs[id].State = state
	return &apiv1.Written{}, nil
}

func (f *farm) DeleteJob(_ context.Context, req *apiv1.DeleteJobRequest) (*apiv1.Written, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(req)
	if f.jobs[req.GetJobId()] == nil {
		return nil, batcherr.Of(batcherr.CodeJobNotFound)
	}
	delete(f.jobs, req.GetJobId())
	return &apiv1.Written{}, nil
}

func (f *farm) counts(job string) *apiv1.TaskCountsResult {
	c := &apiv1.TaskCounts{}
	for _, t := range f.tasks[job] {
		switch {
		case t.GetState() != apiv1.TaskState_TASK_STATE_COMPLETED:
			c.Active++
		case t.GetExecutionInfo().GetResult() == apiv1.TaskExecutionResult_TASK_EXECUTION_RESULT_SUCCESS:
			c.Completed++
			c.Succeeded++
		default:
			c.Completed++
			c.Failed++
		}
	}
	return &apiv1.TaskCountsResult{TaskCounts: c, TaskSlotCounts: &apiv1.TaskSlotCounts{}}
}

func (f *farm) GetTaskCounts(_ context.Context, req *apiv1.GetTaskCountsRequest) (*apiv1.TaskCountsResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts(req.GetJobId()), nil
}

func (f *farm) WatchJob(req *apiv1.WatchJobRequest, stream grpc.ServerStreamingServer[apiv1.JobProgress]) error {
	f.mu.Lock()
	job := f.jobs[req.GetJobId()]
	counts := f.counts(req.GetJobId())
	f.mu.Unlock()
	if job == nil {
		return batcherr.Of(batcherr.CodeJobNotFound)
	}
	done := counts.GetTaskCounts().GetActive() == 0
	if err := stream.Send(&apiv1.JobProgress{State: job.GetState(), Counts: counts, Done: done}); err != nil || done {
		return err
	}
	<-stream.Context().Done()
	return stream.Context().Err()
}

func (f *farm) AddTasks(_ context.Context, req *apiv1.AddTasksRequest) (*apiv1.AddTasksResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(req)
	if f.jobs[req.GetJobId()] == nil {
		return nil, batcherr.Of(batcherr.CodeJobNotFound)
	}
	resp := &apiv1.AddTasksResponse{}
	for _, t := range req.GetTasks() {
		result := &apiv1.TaskAddResult{TaskId: t.GetId(), Status: apiv1.TaskAddStatus_TASK_ADD_STATUS_SUCCESS}
		resp.Results = append(resp.Results, result)
		if t.GetCommandLine() == "" && t.GetContainerSettings() == nil {
			result.Status = apiv1.TaskAddStatus_TASK_ADD_STATUS_CLIENT_ERROR
			result.Error = &apiv1.Error{Code: batcherr.CodeMissingRequiredProperty, Message: "A required property was not specified in the request body.",
				Values: []*apiv1.NameValuePair{{Name: "PropertyName", Value: "commandLine"}}}
			continue
		}
		task := proto.CloneOf(t)
		task.State = apiv1.TaskState_TASK_STATE_ACTIVE
		if f.finish != nil {
			f.finish(task)
		}
		f.tasks[req.GetJobId()] = append(f.tasks[req.GetJobId()], task)
	}
	return resp, nil
}

func (f *farm) GetTask(_ context.Context, req *apiv1.GetTaskRequest) (*apiv1.Task, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.tasks[req.GetJobId()] {
		if t.GetId() == req.GetTaskId() {
			return t, nil
		}
	}
	return nil, batcherr.Of(batcherr.CodeTaskNotFound)
}

func (f *farm) ListTasks(_ context.Context, req *apiv1.ListTasksRequest) (*apiv1.ListTasksResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(req)
	items, next := pageOf(f, f.tasks[req.GetJobId()], req.GetOptions())
	return &apiv1.ListTasksResponse{Tasks: items, NextPageToken: next}, nil
}

func (f *farm) TerminateTask(_ context.Context, req *apiv1.TerminateTaskRequest) (*apiv1.Written, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(req)
	return &apiv1.Written{}, nil
}

func (f *farm) ListFiles(_ context.Context, req *apiv1.ListFilesRequest) (*apiv1.ListFilesResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	prefix := req.GetRoot().GetJobId() + "/" + req.GetRoot().GetTaskId() + "/"
	resp := &apiv1.ListFilesResponse{}
	for path, content := range f.files {
		if name, ok := strings.CutPrefix(path, prefix); ok {
			resp.Files = append(resp.Files, &apiv1.NodeFile{Name: name, Properties: &apiv1.FileProperties{ContentLength: int64(len(content))}})
		}
	}
	slices.SortFunc(resp.Files, func(a, b *apiv1.NodeFile) int { return strings.Compare(a.GetName(), b.GetName()) })
	return resp, nil
}

func (f *farm) ReadFile(req *apiv1.ReadFileRequest, stream grpc.ServerStreamingServer[apiv1.ReadFileResponse]) error {
	root := req.GetRoot()
	f.mu.Lock()
	content, ok := f.files[root.GetJobId()+"/"+root.GetTaskId()+"/"+req.GetName()]
	if !ok { // for jobs whose id the test does not know
		content, ok = f.files["*/"+root.GetTaskId()+"/"+req.GetName()]
	}
	hang := f.hang
	f.mu.Unlock()
	if !ok {
		return batcherr.Of(batcherr.CodeFileNotFound)
	}
	f.reading <- struct{}{}
	file := &apiv1.NodeFile{Name: req.GetName(), Properties: &apiv1.FileProperties{ContentLength: int64(len(content))}}
	if err := stream.Send(&apiv1.ReadFileResponse{Content: &apiv1.ReadFileResponse_Properties{Properties: file}}); err != nil {
		return err
	}
	if err := stream.Send(&apiv1.ReadFileResponse{Content: &apiv1.ReadFileResponse_Data{Data: []byte(content)}}); err != nil {
		return err
	}
	if hang {
		<-stream.Context().Done()
	}
	return nil
}

func (f *farm) GetApplication(_ context.Context, req *apiv1.GetApplicationRequest) (*apiv1.ApplicationDetail, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if app := f.apps[req.GetApplicationId()]; app != nil {
		return app, nil
	}
	return nil, batcherr.Of(batcherr.CodeApplicationNotFound)
}

func (f *farm) CreateApplication(_ context.Context, req *apiv1.CreateApplicationRequest) (*apiv1.Empty, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.apps[req.GetApplication().GetId()] = proto.CloneOf(req.GetApplication())
	return &apiv1.Empty{}, nil
}

func (f *farm) ListApplications(context.Context, *apiv1.ListApplicationsRequest) (*apiv1.ListApplicationsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &apiv1.ListApplicationsResponse{Applications: sorted(f.apps)}, nil
}

func (f *farm) UpdateApplication(_ context.Context, req *apiv1.UpdateApplicationRequest) (*apiv1.Empty, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(req)
	f.apps[req.GetApplicationId()].DefaultVersion = req.GetDefaultVersion()
	return &apiv1.Empty{}, nil
}

func (f *farm) CreatePackage(_ context.Context, req *apiv1.CreatePackageRequest) (*apiv1.ApplicationPackage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := &apiv1.ApplicationPackage{ApplicationId: req.GetApplicationId(), Version: req.GetVersion(), StorageKey: "apps/" + req.GetApplicationId() + "/" + req.GetVersion() + ".zip"}
	f.apps[req.GetApplicationId()].Packages = append(f.apps[req.GetApplicationId()].Packages, p)
	return p, nil
}

func (f *farm) ActivatePackage(_ context.Context, req *apiv1.ActivatePackageRequest) (*apiv1.ApplicationPackage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(req)
	for _, p := range f.apps[req.GetApplicationId()].GetPackages() {
		if p.GetVersion() == req.GetVersion() {
			p.State, p.Sha256, p.Size = apiv1.PackageState_PACKAGE_STATE_ACTIVE, req.GetSha256(), req.GetSize()
			return p, nil
		}
	}
	return nil, batcherr.Of(batcherr.CodeApplicationNotFound)
}

func (f *farm) GetAccount(context.Context, *apiv1.GetAccountRequest) (*apiv1.Account, error) {
	return &apiv1.Account{Id: "dev", Bucket: "dev-bucket", CreationTime: timestamppb.New(testNow)}, nil
}

func (f *farm) GetAccountKeys(context.Context, *apiv1.GetAccountKeysRequest) (*apiv1.AccountKeys, error) {
	return &apiv1.AccountKeys{AccountId: "dev", Primary: "a2V5+/==", Endpoint: "https://127.0.0.1:7443"}, nil
}

func (f *farm) GetStore(context.Context, *apiv1.GetStoreRequest) (*apiv1.StoreAccess, error) {
	return &apiv1.StoreAccess{Endpoint: "https://127.0.0.1:9000", Bucket: "dev-bucket", AccessKey: "AK", SecretKey: "it's secret"}, nil
}

func (f *farm) CreateAccount(_ context.Context, req *apiv1.CreateAccountRequest) (*apiv1.Account, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(req)
	return &apiv1.Account{Id: req.GetAccountId(), Bucket: req.GetAccountId() + "-bucket"}, nil
}

func (f *farm) ListAccounts(context.Context, *apiv1.ListAccountsRequest) (*apiv1.ListAccountsResponse, error) {
	return &apiv1.ListAccountsResponse{Accounts: []*apiv1.Account{{Id: "acme", Bucket: "acme-bucket"}, {Id: "dev", Bucket: "dev-bucket"}}}, nil
}

func (f *farm) DeleteAccount(_ context.Context, req *apiv1.DeleteAccountRequest) (*apiv1.Empty, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(req)
	return &apiv1.Empty{}, nil
}

func (f *farm) RegenerateAccountKey(_ context.Context, req *apiv1.RegenerateAccountKeyRequest) (*apiv1.AccountKeys, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(req)
	return &apiv1.AccountKeys{AccountId: req.GetAccountId(), Primary: "first", Secondary: "second"}, nil
}

func (f *farm) RegenerateStoreKey(_ context.Context, req *apiv1.RegenerateStoreKeyRequest) (*apiv1.StoreAccess, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(req)
	return &apiv1.StoreAccess{Bucket: "acme-bucket", SecretKey: "new secret"}, nil
}

func (f *farm) SetStore(_ context.Context, req *apiv1.SetStoreRequest) (*apiv1.Empty, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(req)
	return &apiv1.Empty{}, nil
}

func (f *farm) IssueToken(_ context.Context, req *apiv1.IssueTokenRequest) (*apiv1.IssueTokenResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(req)
	return &apiv1.IssueTokenResponse{Token: "a-token"}, nil
}

func (f *farm) GetCluster(_ context.Context, req *apiv1.GetClusterRequest) (*apiv1.Cluster, error) {
	if req.GetLocal() { // the client's own question
		return nil, batcherr.Forbidden("not for you")
	}
	return &apiv1.Cluster{Id: "c1", LeaderId: "m1", Term: 3, AppliedIndex: 42, Members: []*apiv1.Member{
		{Id: "m1", Address: "10.0.0.1:7444", RaftAddress: "10.0.0.1:7445"}, {Id: "m2", Address: "10.0.0.2:7444"},
	}}, nil
}

func (f *farm) CreateJoinToken(_ context.Context, req *apiv1.CreateJoinTokenRequest) (*apiv1.JoinToken, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(req)
	return &apiv1.JoinToken{Token: "join-me"}, nil
}

func sorted[T interface{ GetId() string }](items map[string]T) []T {
	var out []T
	for _, item := range items {
		out = append(out, item)
	}
	slices.SortFunc(out, func(a, b T) int { return strings.Compare(a.GetId(), b.GetId()) })
	return out
}

// pageOf cuts a page out of a list; tokens are ids.
func pageOf[T interface{ GetId() string }](f *farm, items []T, opts *apiv1.ListOptions) ([]T, string) {
	if token := opts.GetPageToken(); token != "" {
		at := slices.IndexFunc(items, func(item T) bool { return item.GetId() == token })
		items = items[at:]
	}
	size := int(opts.GetPageSize())
	if f.pageSize > 0 && (size == 0 || f.pageSize < size) {
		size = f.pageSize
	}
	if size > 0 && size < len(items) {
		return items[:size], items[size].GetId()
	}
	return items, ""
}
