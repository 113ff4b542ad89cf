package azure_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/batchyard/batchyard/coordinator/api/filter"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// fake keeps what it is given and answers it: the services without scheduling.
type fake struct {
	mu        sync.Mutex
	pools     map[string]*apiv1.Pool
	jobs      map[string]*apiv1.Job
	schedules map[string]*apiv1.JobSchedule
	tasks     map[string][]*apiv1.Task
	files     map[string][]byte
	deleted   []string
	runs      bool // tasks whose pool exists are completed at once
	changes   int

	// The last requests of calls whose arguments tests look at.
	lastUpdatePool *apiv1.UpdatePoolRequest
	lastUpdateJob  *apiv1.UpdateJobRequest
	lastTerminate  *apiv1.TerminateJobRequest
	lastList       *apiv1.ListOptions
	lastNode       proto.Message
	fail           error // of every call
}

func newFake() *fake {
	return &fake{
		pools: map[string]*apiv1.Pool{}, jobs: map[string]*apiv1.Job{}, schedules: map[string]*apiv1.JobSchedule{},
		tasks: map[string][]*apiv1.Task{}, files: map[string][]byte{},
	}
}

// dial serves the fake over gRPC in memory.
func (f *fake) dial(t testing.TB) grpc.ClientConnInterface {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(grpc.MaxRecvMsgSize(16 << 20))
	apiv1.RegisterPoolServiceServer(server, fakePools{fake: f})
	apiv1.RegisterNodeServiceServer(server, fakeNodes{fake: f})
	apiv1.RegisterJobServiceServer(server, fakeJobs{fake: f})
	apiv1.RegisterJobScheduleServiceServer(server, fakeSchedules{fake: f})
	apiv1.RegisterTaskServiceServer(server, fakeTasks{fake: f})
	apiv1.RegisterFileServiceServer(server, fakeFiles{fake: f})
	apiv1.RegisterApplicationServiceServer(server, fakeApplications{fake: f})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///fake", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		server.Stop()
		require.NoError(t, <-served)
	})
	return conn
}

// locked runs one call.
func (f *fake) locked() (func(), error) {
	f.mu.Lock()
	return f.mu.Unlock, f.fail
}

func (f *fake) written() *apiv1.Written {
	f.changes++
	return &apiv1.Written{Etag: "0x8D" + strconv.Itoa(f.changes), LastModified: timestamppb.New(fakeNow)}
}

func check(c *apiv1.Conditions, etag string, modified time.Time, read bool) error {
	failed := batcherr.Of(batcherr.CodeConditionNotMet)
	modified = modified.Truncate(time.Second)
	switch {
	case c.GetIfMatch() != "" && c.GetIfMatch() != "*" && c.GetIfMatch() != etag:
		return failed
	case c.GetIfNoneMatch() != "" && (c.GetIfNoneMatch() == "*" || c.GetIfNoneMatch() == etag):
		if read {
			return batcherr.NotModified()
		}
		return failed
	case c.GetIfModifiedSince() != nil && !modified.After(c.GetIfModifiedSince().AsTime()):
		if read {
			return batcherr.NotModified()
		}
		return failed
	case c.GetIfUnmodifiedSince() != nil && modified.After(c.GetIfUnmodifiedSince().AsTime()):
		return failed
	}
	return nil
}

// page cuts a list; its token is awkward on purpose.
func page[M proto.Message](items []M, o *apiv1.ListOptions) ([]M, string, error) {
	parsed, err := filter.Parse(o.GetFilter())
	if err != nil {
		return nil, "", err
	}
	start := 0
	if o.GetPageToken() != "" {
		if _, err := fmt.Sscanf(o.GetPageToken(), "at/%d+=", &start); err != nil || start > len(items) {
			return nil, "", batcherr.InvalidQuery("$skiptoken", o.GetPageToken(), "unknown")
		}
	}
	size := int(cmp.Or(o.GetPageSize(), 1000))
	var out []M
	for i := start; i < len(items); i++ {
		if len(out) == size {
			return out, fmt.Sprintf("at/%d+=", i), nil
		}
		if parsed.Match(items[i]) {
			out = append(out, items[i])
		}
	}
	return out, "", nil
}

func sorted[M any](m map[string]M) []M {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var out []M
	for _, k := range keys {
		out = append(out, m[k])
	}
	return out
}

type fakePools struct {
	apiv1.UnimplementedPoolServiceServer
	*fake
}

func (f fakePools) pool(id string) (*apiv1.Pool, error) {
	if p := f.pools[strings.ToLower(id)]; p != nil {
		return p, nil
	}
	return nil, batcherr.Of(batcherr.CodePoolNotFound)
}

func (f fakePools) CreatePool(_ context.Context, r *apiv1.CreatePoolRequest) (*apiv1.Written, error) {
	unlock, err := f.locked()
	defer unlock()
	if err != nil {
		return nil, err
	}
	p := proto.CloneOf(r.GetPool())
	if f.pools[strings.ToLower(p.GetId())] != nil {
		return nil, batcherr.Of(batcherr.CodePoolExists)
	}
	lifecycle.FillPool(p)
	w := f.written()
	p.ETag, p.LastModified, p.CreationTime, p.StateTransitionTime = w.GetEtag(), w.GetLastModified(), w.GetLastModified(), w.GetLastModified()
	p.State, p.AllocationState = apiv1.PoolState_POOL_STATE_ACTIVE, apiv1.AllocationState_ALLOCATION_STATE_STEADY
	p.CurrentDedicatedNodes = p.GetTargetDedicatedNodes()
	f.pools[strings.ToLower(p.GetId())] = p
	return w, nil
}

func (f fakePools) GetPool(_ context.Context, r *apiv1.GetPoolRequest) (*apiv1.Pool, error) {
	unlock, err := f.locked()
	defer unlock()
	if err != nil {
		return nil, err
	}
	p, err := f.pool(r.GetPoolId())
	if err == nil {
		err = check(r.GetConditions(), p.GetETag(), p.GetLastModified().AsTime(), true)
	}
	return p, err
}

func (f fakePools) ListPools(_ context.Context, r *apiv1.ListPoolsRequest) (*apiv1.ListPoolsResponse, error) {
	unlock, err := f.locked()
	defer unlock()
	if err != nil {
		return nil, err
	}
	f.lastList = r.GetOptions()
	pools, token, err := page(sorted(f.pools), r.GetOptions())
	return &apiv1.ListPoolsResponse{Pools: pools, NextPageToken: token}, err
}

// change applies a change to a pool.
func (f fakePools) change(id string, c *apiv1.Conditions, apply func(*apiv1.Pool)) (*apiv1.Written, error) {
	unlock, err := f.locked()
	defer unlock()
	if err != nil {
		return nil, err
	}
	p, err := f.pool(id)
	if err != nil {
		return nil, err
	}
	if err := check(c, p.GetETag(), p.GetLastModified().AsTime(), false); err != nil {
		return nil, err
	}
	apply(p)
	w := f.written()
	p.ETag = w.GetEtag()
	return w, nil
}

func (f fakePools) UpdatePool(_ context.Context, r *apiv1.UpdatePoolRequest) (*apiv1.Written, error) {
	f.lastUpdatePool = r
	return f.change(r.GetPoolId(), r.GetConditions(), func(p *apiv1.Pool) {
		if u := r.GetUpdate(); u.GetMetadata() != nil || slices.Contains(r.GetCleared(), "metadata") {
			p.Metadata = u.GetMetadata()
		}
	})
}

func (f fakePools) ReplacePoolProperties(_ context.Context, r *apiv1.ReplacePoolPropertiesRequest) (*apiv1.Written, error) {
	return f.change(r.GetPoolId(), nil, func(p *apiv1.Pool) {
		p.Metadata, p.StartTask = r.GetProperties().GetMetadata(), r.GetProperties().GetStartTask()
	})
}

func (f fakePools) DeletePool(_ context.Context, r *apiv1.DeletePoolRequest) (*apiv1.Written, error) {
	return f.change(r.GetPoolId(), r.GetConditions(), func(p *apiv1.Pool) { delete(f.pools, strings.ToLower(p.GetId())) })
}

func (f fakePools) ResizePool(_ context.Context, r *apiv1.ResizePoolRequest) (*apiv1.Written, error) {
	return f.change(r.GetPoolId(), r.GetConditions(), func(p *apiv1.Pool) {
		p.TargetDedicatedNodes, p.ResizeTimeout = r.GetOptions().TargetDedicatedNodes, r.GetOptions().GetResizeTimeout() //nolint:protogetter // presence
	})
}

func (f fakePools) StopPoolResize(_ context.Context, r *apiv1.StopPoolResizeRequest) (*apiv1.Written, error) {
	return f.change(r.GetPoolId(), r.GetConditions(), func(*apiv1.Pool) {})
}

func (f fakePools) RemoveNodes(_ context.Context, r *apiv1.RemoveNodesRequest) (*apiv1.Written, error) {
	return f.change(r.GetPoolId(), r.GetConditions(), func(*apiv1.Pool) {})
}

func (f fakePools) EnableAutoScale(_ context.Context, r *apiv1.EnableAutoScaleRequest) (*apiv1.Written, error) {
	return f.change(r.GetPoolId(), r.GetConditions(), func(p *apiv1.Pool) {
		on := true
		p.EnableAutoScale, p.AutoScaleFormula = &on, r.GetOptions().GetAutoScaleFormula()
		p.AutoScaleEvaluationInterval = r.GetOptions().GetAutoScaleEvaluationInterval()
	})
}

func (f fakePools) DisableAutoScale(_ context.Context, r *apiv1.DisableAutoScaleRequest) (*apiv1.Written, error) {
	return f.change(r.GetPoolId(), nil, func(p *apiv1.Pool) { p.EnableAutoScale, p.AutoScaleFormula = nil, "" })
}

func (f fakePools) EvaluateAutoScale(_ context.Context, r *apiv1.EvaluateAutoScaleRequest) (*apiv1.AutoScaleRun, error) {
	unlock, err := f.locked()
	defer unlock()
	return &apiv1.AutoScaleRun{Timestamp: timestamppb.New(fakeNow), Results: r.GetOptions().GetAutoScaleFormula(), Error: &apiv1.AutoScaleRunError{
		Code: "InsufficientSampleData", Message: "m", Values: []*apiv1.NameValuePair{{Name: "Message", Value: "v"}},
	}}, err
}

func (f fakePools) ListPoolNodeCounts(_ context.Context, r *apiv1.ListPoolNodeCountsRequest) (*apiv1.ListPoolNodeCountsResponse, error) {
	unlock, err := f.locked()
	defer unlock()
	var counts []*apiv1.PoolNodeCounts
	for _, p := range sorted(f.pools) {
		n := p.GetTargetDedicatedNodes()
		counts = append(counts, &apiv1.PoolNodeCounts{
			PoolId: p.GetId(), Dedicated: &apiv1.NodeCounts{Idle: n, Total: n}, LowPriority: &apiv1.NodeCounts{},
		})
	}
	counts, token, pageErr := page(counts, r.GetOptions())
	return &apiv1.ListPoolNodeCountsResponse{Counts: counts, NextPageToken: token}, cmp.Or(err, pageErr)
}

type fakeNodes struct {
	apiv1.UnimplementedNodeServiceServer
	*fake
}

// nodes of a pool are as many as its target.
func (f fakeNodes) nodes(pool string) ([]*apiv1.Node, error) {
	p, err := fakePools{fake: f.fake}.pool(pool)
	var nodes []*apiv1.Node
	for i := range p.GetTargetDedicatedNodes() {
		id := fmt.Sprintf("tvmps_%03d_d", i)
		nodes = append(nodes, &apiv1.Node{
			Id: id, State: apiv1.NodeState_NODE_STATE_IDLE, SchedulingState: apiv1.SchedulingState_SCHEDULING_STATE_ENABLED,
			StateTransitionTime: timestamppb.New(fakeNow), AllocationTime: timestamppb.New(fakeNow), LastBootTime: timestamppb.New(fakeNow),
			IpAddress: "10.0.0.4", AffinityId: "TVM:" + id, VmSize: p.GetVmSize(), IsDedicated: proto.Bool(true),
			RecentTasks:        []*apiv1.TaskInfo{{JobId: "j", TaskId: "t", TaskState: apiv1.TaskState_TASK_STATE_RUNNING}},
			VirtualMachineInfo: &apiv1.VirtualMachineInfo{ImageReference: p.GetVirtualMachineConfiguration().GetImageReference()},
		})
	}
	return nodes, err
}

func (f fakeNodes) GetNode(_ context.Context, r *apiv1.GetNodeRequest) (*apiv1.Node, error) {
	unlock, _ := f.locked()
	defer unlock()
	nodes, err := f.nodes(r.GetPoolId())
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if n.GetId() == r.GetNodeId() {
			return n, nil
		}
	}
	return nil, batcherr.Of(batcherr.CodeNodeNotFound)
}

func (f fakeNodes) ListNodes(_ context.Context, r *apiv1.ListNodesRequest) (*apiv1.ListNodesResponse, error) {
	unlock, _ := f.locked()
	defer unlock()
	nodes, err := f.nodes(r.GetPoolId())
	if err != nil {
		return nil, err
	}
	nodes, token, err := page(nodes, r.GetOptions())
	return &apiv1.ListNodesResponse{Nodes: nodes, NextPageToken: token}, err
}

func (f fakeNodes) DisableNodeScheduling(ctx context.Context, r *apiv1.DisableNodeSchedulingRequest) (*apiv1.Written, error) {
	_, err := f.GetNode(ctx, &apiv1.GetNodeRequest{PoolId: r.GetPoolId(), NodeId: r.GetNodeId()})
	return &apiv1.Written{}, err
}

func (f fakeNodes) EnableNodeScheduling(context.Context, *apiv1.EnableNodeSchedulingRequest) (*apiv1.Written, error) {
	return nil, batcherr.Of(batcherr.CodeNodeAlreadyInTargetSchedulingState)
}

type fakeApplications struct {
	apiv1.UnimplementedApplicationServiceServer
	*fake
}

var blender = &apiv1.ApplicationDetail{Id: "blender", DisplayName: "Blender", Packages: []*apiv1.ApplicationPackage{
	{Version: "4.0", State: apiv1.PackageState_PACKAGE_STATE_ACTIVE}, {Version: "4.1", State: apiv1.PackageState_PACKAGE_STATE_PENDING},
}}

func (fakeApplications) ListApplications(_ context.Context, r *apiv1.ListApplicationsRequest) (*apiv1.ListApplicationsResponse, error) {
	apps, token, err := page([]*apiv1.ApplicationDetail{blender}, r.GetOptions())
	return &apiv1.ListApplicationsResponse{Applications: apps, NextPageToken: token}, err
}

func (fakeApplications) GetApplication(_ context.Context, r *apiv1.GetApplicationRequest) (*apiv1.ApplicationDetail, error) {
	if r.GetApplicationId() == blender.GetId() {
		return blender, nil
	}
	return nil, batcherr.Of(batcherr.CodeApplicationNotFound)
}

type fakeFiles struct {
	apiv1.UnimplementedFileServiceServer
	*fake
}

func (f fakeFiles) file(name string) (*apiv1.NodeFile, error) {
	data, ok := f.files[name]
	if !ok {
		return nil, batcherr.Of(batcherr.CodeFileNotFound)
	}
	return &apiv1.NodeFile{Name: name, IsDirectory: proto.Bool(false), Properties: &apiv1.FileProperties{
		LastModified: timestamppb.New(fakeNow), ContentLength: int64(len(data)), ContentType: "text/plain", FileMode: "0o100644",
	}}, nil
}

func (f fakeFiles) ListFiles(_ context.Context, r *apiv1.ListFilesRequest) (*apiv1.ListFilesResponse, error) {
	unlock, err := f.locked()
	defer unlock()
	if err != nil {
		return nil, err
	}
	var names []string
	for name := range f.files {
		names = append(names, name)
	}
	slices.Sort(names)
	files := []*apiv1.NodeFile{{Name: "wd", IsDirectory: proto.Bool(true)}}
	for _, name := range names {
		if !r.GetRecursive() && strings.Contains(name, "/") {
			continue
		}
		file, _ := f.file(name)
		files = append(files, file)
	}
	files, token, err := page(files, r.GetOptions())
	return &apiv1.ListFilesResponse{Files: files, NextPageToken: token}, err
}

func (f fakeFiles) GetFileProperties(_ context.Context, r *apiv1.GetFilePropertiesRequest) (*apiv1.NodeFile, error) {
	unlock, _ := f.locked()
	defer unlock()
	return f.file(r.GetName())
}

func (f fakeFiles) ReadFile(r *apiv1.ReadFileRequest, stream grpc.ServerStreamingServer[apiv1.ReadFileResponse]) error {
	f.mu.Lock()
	file, err := f.file(r.GetName())
	data := bytes.Clone(f.files[r.GetName()])
	f.mu.Unlock()
	if err != nil {
		return err
	}
	if r.GetOffset() > int64(len(data)) {
		return batcherr.Of(batcherr.CodeInvalidRange)
	}
	data = data[r.GetOffset():]
	if r.GetLength() > 0 && r.GetLength() < int64(len(data)) {
		data = data[:r.GetLength()]
	}
	if r.GetName() == "shrinks" {
		data = data[:1]
	}
	if err := stream.Send(&apiv1.ReadFileResponse{Content: &apiv1.ReadFileResponse_Properties{Properties: file}}); err != nil {
		return err
	}
	for chunk := range slices.Chunk(data, 64<<10) {
		if err := stream.Send(&apiv1.ReadFileResponse{Content: &apiv1.ReadFileResponse_Data{Data: chunk}}); err != nil {
			return err
		}
	}
	return nil
}

func (f fakeFiles) DeleteFile(_ context.Context, r *apiv1.DeleteFileRequest) (*apiv1.Empty, error) {
	unlock, _ := f.locked()
	defer unlock()
	if _, err := f.file(r.GetName()); err != nil {
		return nil, err
	}
	delete(f.files, r.GetName())
	f.deleted = append(f.deleted, fmt.Sprintf("%s recursive=%t", r.GetName(), r.GetRecursive()))
	return &apiv1.Empty{}, nil
}
