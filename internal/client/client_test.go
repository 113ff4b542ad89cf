package client_test

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/client"
	"github.com/batchyard/batchyard/internal/client/clienttest"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pools answers with what the test says.
type pools struct {
	apiv1.UnimplementedPoolServiceServer
	get   func(ctx context.Context) (*apiv1.Pool, error)
	calls atomic.Int32
}

func (p *pools) GetPool(ctx context.Context, _ *apiv1.GetPoolRequest) (*apiv1.Pool, error) {
	p.calls.Add(1)
	return p.get(ctx)
}

func answer(id string) func(context.Context) (*apiv1.Pool, error) {
	return func(context.Context) (*apiv1.Pool, error) { return &apiv1.Pool{Id: id}, nil }
}

func refuse(err error) func(context.Context) (*apiv1.Pool, error) {
	return func(context.Context) (*apiv1.Pool, error) { return nil, err }
}

func servePools(t *testing.T, a *clienttest.Authority, address string, p *pools) *clienttest.Server {
	t.Helper()
	return a.Serve(t, address, func(s *grpc.Server) { apiv1.RegisterPoolServiceServer(s, p) })
}

func dial(t *testing.T, a *clienttest.Authority, change func(*client.Config), addresses ...string) *client.Client {
	t.Helper()
	cfg := client.Config{Addresses: addresses, CA: a.PEM, RetryFor: 20 * time.Second}
	if change != nil {
		change(&cfg)
	}
	c, err := client.Dial(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func getPool(ctx context.Context, c *client.Client) (*apiv1.Pool, error) {
	return apiv1.NewPoolServiceClient(c).GetPool(ctx, &apiv1.GetPoolRequest{PoolId: "p"})
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

func TestCallsTheMemberThatAnswers(t *testing.T) {
	a := clienttest.NewAuthority(t)
	up := servePools(t, a, "", &pools{get: answer("up")})
	c := dial(t, a, nil, freeAddress(t), up.Address)
	pool, err := getPool(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, "up", pool.GetId())
}

func TestWaitsForACoordinatorThatStarts(t *testing.T) {
	a := clienttest.NewAuthority(t)
	address := freeAddress(t)
	retried := make(chan struct{}, 100)
	c := dial(t, a, func(cfg *client.Config) {
		cfg.OnRetry = func(error) {
			select {
			case retried <- struct{}{}:
			default:
			}
		}
	}, address)
	got := make(chan error, 1)
	go func() {
		_, err := getPool(t.Context(), c)
		got <- err
	}()
	<-retried
	servePools(t, a, address, &pools{get: answer("late")})
	require.NoError(t, <-got)
}

func TestFollowsTheHintToTheLeader(t *testing.T) {
	a := clienttest.NewAuthority(t)
	leader := servePools(t, a, "", &pools{get: answer("leader")})
	follower := &pools{get: refuse(batcherr.Unavailable("not the leader").With(client.LeaderValue, leader.Address))}
	c := dial(t, a, nil, servePools(t, a, "", follower).Address)
	for range 3 {
		pool, err := getPool(t.Context(), c)
		require.NoError(t, err)
		require.Equal(t, "leader", pool.GetId())
	}
	require.EqualValues(t, 1, follower.calls.Load(), "the client stays with the leader")
}

// clusterOf tells who the members are.
type clusterOf struct {
	apiv1.UnimplementedClusterServiceServer
	answer *apiv1.Cluster
	asked  chan struct{}
}

func (c *clusterOf) GetCluster(context.Context, *apiv1.GetClusterRequest) (*apiv1.Cluster, error) {
	defer func() { c.asked <- struct{}{} }()
	return c.answer, nil
}

func TestLearnsTheOtherMembers(t *testing.T) {
	a := clienttest.NewAuthority(t)
	other := servePools(t, a, "", &pools{get: answer("other")})
	members := &clusterOf{
		answer: &apiv1.Cluster{Members: []*apiv1.Member{{Id: "1", Address: other.Address}}},
		asked:  make(chan struct{}, 10),
	}
	first := a.Serve(t, "", func(s *grpc.Server) {
		apiv1.RegisterPoolServiceServer(s, &pools{get: answer("first")})
		apiv1.RegisterClusterServiceServer(s, members)
	})
	c := dial(t, a, nil, first.Address)
	_, err := getPool(t.Context(), c)
	require.NoError(t, err)
	<-members.asked
	first.Drain()
	pool, err := getPool(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, "other", pool.GetId())
}

func TestGivesUpAfterTheLimit(t *testing.T) {
	a := clienttest.NewAuthority(t)
	address := freeAddress(t)
	c := dial(t, a, func(cfg *client.Config) { cfg.FirstContact = 50 * time.Millisecond }, address)
	_, err := getPool(t.Context(), c)
	require.True(t, batcherr.HasKind(err, batcherr.KindUnavailable), "%v", err)
	require.Contains(t, err.Error(), address)
	require.Contains(t, err.Error(), "connection refused")
}

func TestContextEndsTheRetries(t *testing.T) {
	a := clienttest.NewAuthority(t)
	c := dial(t, a, nil, freeAddress(t))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := getPool(ctx, c)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, batcherr.ExitTimeout, batcherr.ExitCode(err))
}

func TestRefusalsAreNotRepeated(t *testing.T) {
	a := clienttest.NewAuthority(t)
	p := &pools{get: refuse(batcherr.Of(batcherr.CodePoolNotFound))}
	c := dial(t, a, nil, servePools(t, a, "", p).Address)
	_, err := getPool(t.Context(), c)
	require.True(t, batcherr.HasCode(err, batcherr.CodePoolNotFound))
	require.EqualValues(t, 1, p.calls.Load())
}

func TestAStrangersCertificateIsRefusedAtOnce(t *testing.T) {
	stranger := servePools(t, clienttest.NewAuthority(t), "", &pools{get: answer("stranger")})
	c := dial(t, clienttest.NewAuthority(t), nil, stranger.Address)
	_, err := getPool(t.Context(), c)
	require.Equal(t, batcherr.ExitUnauthorized, batcherr.ExitCode(err), "%v", err)
	detail, _ := batcherr.From(err).Value(batcherr.ValueAuthenticationDetail)
	require.Contains(t, detail, "not trusted")
}

func TestSendsTheToken(t *testing.T) {
	a := clienttest.NewAuthority(t)
	p := &pools{get: func(ctx context.Context) (*apiv1.Pool, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		if got := md.Get("authorization"); len(got) != 1 || got[0] != "Bearer secret" {
			return nil, batcherr.Unauthenticated("wrong token")
		}
		return &apiv1.Pool{}, nil
	}}
	c := dial(t, a, func(cfg *client.Config) { cfg.Token = "secret" }, servePools(t, a, "", p).Address)
	_, err := getPool(t.Context(), c)
	require.NoError(t, err)
}

func TestDialRefusesWhatCannotWork(t *testing.T) {
	for name, cfg := range map[string]client.Config{
		"no address":      {},
		"no port":         {Addresses: []string{"localhost"}},
		"no certificates": {Addresses: []string{"localhost:1"}, CA: []byte("nonsense")},
	} {
		_, err := client.Dial(cfg)
		require.Error(t, err, name)
	}
}

// broken is what a call returns whose connection is cut: nobody knows whether it was executed.
func broken() error { return status.Error(codes.Unavailable, "connection reset by peer") }

// jobs is a coordinator's job and task services with connections that break on demand.
type jobs struct {
	apiv1.UnimplementedJobServiceServer
	apiv1.UnimplementedTaskServiceServer
	mu       sync.Mutex
	tasks    map[string]bool
	batches  int
	failures []func() error // one a call, before or after the work
	after    bool
	deleted  bool
}

func (j *jobs) fail() error {
	if len(j.failures) == 0 {
		return nil
	}
	f := j.failures[0]
	j.failures = j.failures[1:]
	return f()
}

func (j *jobs) DeleteJob(context.Context, *apiv1.DeleteJobRequest) (*apiv1.Written, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.deleted {
		return nil, batcherr.Of(batcherr.CodeJobNotFound)
	}
	j.deleted = true
	return &apiv1.Written{}, j.fail()
}

func (j *jobs) CreateJob(context.Context, *apiv1.CreateJobRequest) (*apiv1.Written, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.fail(); err != nil {
		return nil, err
	}
	return nil, batcherr.Of(batcherr.CodeJobExists)
}

func (j *jobs) AddTasks(_ context.Context, req *apiv1.AddTasksRequest) (*apiv1.AddTasksResponse, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.batches++
	if !j.after {
		if err := j.fail(); err != nil {
			return nil, err
		}
	}
	resp := &apiv1.AddTasksResponse{}
	for _, task := range req.GetTasks() {
		r := &apiv1.TaskAddResult{TaskId: task.GetId(), Status: apiv1.TaskAddStatus_TASK_ADD_STATUS_SUCCESS}
		if j.tasks[task.GetId()] {
			r.Status = apiv1.TaskAddStatus_TASK_ADD_STATUS_CLIENT_ERROR
			r.Error = &apiv1.Error{Code: batcherr.CodeTaskExists}
		}
		j.tasks[task.GetId()] = true
		resp.Results = append(resp.Results, r)
	}
	if j.after {
		if err := j.fail(); err != nil {
			return nil, err
		}
	}
	return resp, nil
}

func serveJobs(t *testing.T, j *jobs) *client.Client {
	t.Helper()
	a := clienttest.NewAuthority(t)
	if j.tasks == nil {
		j.tasks = map[string]bool{}
	}
	server := a.Serve(t, "", func(s *grpc.Server) {
		apiv1.RegisterJobServiceServer(s, j)
		apiv1.RegisterTaskServiceServer(s, j)
	})
	return dial(t, a, nil, server.Address)
}

func someTasks(n int) []*apiv1.Task {
	tasks := make([]*apiv1.Task, n)
	for i := range tasks {
		tasks[i] = &apiv1.Task{Id: "t" + strconv.Itoa(i), CommandLine: "true"}
	}
	return tasks
}

func TestAddTasksCountsItsOwnWorkAfterABrokenConnection(t *testing.T) {
	j := &jobs{after: true, failures: []func() error{broken}}
	results, err := serveJobs(t, j).AddTasks(t.Context(), "job", someTasks(3), nil)
	require.NoError(t, err)
	for i, r := range results {
		require.Equal(t, apiv1.TaskAddStatus_TASK_ADD_STATUS_SUCCESS, r.GetStatus(), "%v", r)
		require.Equal(t, "t"+strconv.Itoa(i), r.GetTaskId())
	}
	require.Equal(t, 2, j.batches)
}

func TestAddTasksDoesNotClaimTheTasksOfOthers(t *testing.T) {
	busy := func() error { return batcherr.Unavailable("electing a leader") }
	j := &jobs{tasks: map[string]bool{"t1": true}, failures: []func() error{busy, busy}}
	results, err := serveJobs(t, j).AddTasks(t.Context(), "job", someTasks(2), nil)
	require.NoError(t, err)
	require.Equal(t, apiv1.TaskAddStatus_TASK_ADD_STATUS_SUCCESS, results[0].GetStatus())
	require.Equal(t, batcherr.CodeTaskExists, results[1].GetError().GetCode(), "the coordinator said that it did nothing")
}

func TestAddTasksSplitsIntoBatches(t *testing.T) {
	j := &jobs{}
	tasks := someTasks(2500)
	tasks[7].DisplayName = string(make([]byte, 4<<20)) // too large for a batch with others
	var told atomic.Int32
	results, err := serveJobs(t, j).AddTasks(t.Context(), "job", tasks, func(done int) { told.Store(int32(done)) })
	require.NoError(t, err)
	require.Len(t, results, 2500)
	for i, r := range results {
		require.Equal(t, tasks[i].GetId(), r.GetTaskId())
	}
	require.EqualValues(t, 2500, told.Load())
	require.Equal(t, 5, j.batches) // 7, 1, 1000, 1000, 492
}

func TestRepeatedDeletionThatFindsNothingIsDone(t *testing.T) {
	c := apiv1.NewJobServiceClient(serveJobs(t, &jobs{failures: []func() error{broken}}))
	_, err := c.DeleteJob(t.Context(), &apiv1.DeleteJobRequest{JobId: "j"})
	require.NoError(t, err)
	_, err = c.DeleteJob(t.Context(), &apiv1.DeleteJobRequest{JobId: "j"})
	require.True(t, batcherr.HasCode(err, batcherr.CodeJobNotFound), "not repeated: %v", err)
}

func TestRepeatedCreationSaysThatItMayBeItsOwn(t *testing.T) {
	c := apiv1.NewJobServiceClient(serveJobs(t, &jobs{failures: []func() error{broken}}))
	_, err := c.CreateJob(t.Context(), &apiv1.CreateJobRequest{Job: &apiv1.Job{Id: "j"}})
	require.True(t, batcherr.HasCode(err, batcherr.CodeJobExists))
	_, noted := batcherr.From(err).Value("Note")
	require.True(t, noted)
}

var errStop = errors.New("stop")
