//go:build linux

package devfarm_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/metadata"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/client"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/batchyard/batchyard/storage"
	"github.com/batchyard/batchyard/storage/s3"
)

// tenant is one account and everything with which it is used.
type tenant struct {
	f        *farm
	id       string
	token    string
	keys     *apiv1.AccountKeys
	pools    apiv1.PoolServiceClient
	jobs     apiv1.JobServiceClient
	tasks    apiv1.TaskServiceClient
	files    apiv1.FileServiceClient
	apps     apiv1.ApplicationServiceClient
	accounts apiv1.AccountServiceClient
}

// connect gives the services with a token; an empty one is the administrator's.
func (f *farm) connect(token string) *tenant {
	contexts, err := client.LoadContexts(filepath.Join(f.dir, "contexts.yaml"))
	require.NoError(f.t, err)
	current, ok := contexts.Find(contexts.Current)
	require.True(f.t, ok)
	cfg := current.Config()
	if token != "" {
		cfg.Token = token
	}
	c, err := client.Dial(cfg)
	require.NoError(f.t, err)
	f.t.Cleanup(func() { _ = c.Close() })
	return &tenant{
		f: f, token: cfg.Token, pools: apiv1.NewPoolServiceClient(c), jobs: apiv1.NewJobServiceClient(c), tasks: apiv1.NewTaskServiceClient(c),
		files: apiv1.NewFileServiceClient(c), apps: apiv1.NewApplicationServiceClient(c), accounts: apiv1.NewAccountServiceClient(c),
	}
}

// tenant makes an account.
func (f *farm) tenant(admin *tenant, id string) *tenant {
	ctx := f.t.Context()
	_, err := admin.accounts.CreateAccount(ctx, &apiv1.CreateAccountRequest{AccountId: id})
	require.NoError(f.t, err)
	issued, err := admin.accounts.IssueToken(ctx, &apiv1.IssueTokenRequest{AccountId: id, Role: apiv1.TokenRole_TOKEN_ROLE_USER})
	require.NoError(f.t, err)
	out := f.connect(issued.GetToken())
	out.id = id
	out.keys, err = out.accounts.GetAccountKeys(ctx, &apiv1.GetAccountKeysRequest{})
	require.NoError(f.t, err)
	return out
}

// bucket opens the account's bucket, or another with the same credentials.
func (a *tenant) bucket(name string) storage.Store {
	access, err := a.accounts.GetStore(a.f.t.Context(), &apiv1.GetStoreRequest{})
	require.NoError(a.f.t, err)
	if name == "" {
		name = access.GetBucket()
	}
	return openBucket(a.f.t, access, name)
}

func openBucket(t *testing.T, access *apiv1.StoreAccess, name string) storage.Store {
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(access.GetCaPem()))
	c, err := s3.NewClient(s3.Config{
		Endpoint: access.GetEndpoint(), Region: access.GetRegion(), AccessKey: access.GetAccessKey(), SecretKey: access.GetSecretKey(),
		RootCAs: roots, PathStyle: true,
	})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c.Bucket(name, "")
}

// rest sends a request over plain HTTP with a bearer token.
func (a *tenant) rest(method, path string) (int, string) {
	r := a.request(method, path)
	r.Header.Set("Authorization", "Bearer "+a.token)
	return a.send(r)
}

// signed sends a request that a key signs for an account.
func (a *tenant) signed(account, key, method, path string) (int, string) {
	r := a.request(method, path)
	date := time.Now().UTC().Format(http.TimeFormat)
	r.Header.Set("ocp-date", date)
	length := ""
	if method != http.MethodGet {
		length = "0"
	}
	text := strings.Join([]string{
		method, "", "", length, "", "", "", "", "", "", "", "", "ocp-date:" + date, "/" + account + path, "api-version:2025-06-01",
	}, "\n")
	secret, err := base64.StdEncoding.DecodeString(key)
	require.NoError(a.f.t, err)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(text))
	r.Header.Set("Authorization", "SharedKey "+account+":"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return a.send(r)
}

func (a *tenant) request(method, path string) *http.Request {
	r, err := http.NewRequestWithContext(a.f.t.Context(), method, a.keys.GetEndpoint()+path+"?api-version=2025-06-01", http.NoBody)
	require.NoError(a.f.t, err)
	return r
}

func (a *tenant) send(r *http.Request) (int, string) {
	resp, err := http.DefaultClient.Do(r)
	require.NoError(a.f.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(a.f.t, err)
	return resp.StatusCode, string(body)
}

// work makes a pool with a node, a job, an application, and a task that has completed and left an output file in the account's bucket.
func (a *tenant) work(pool, job string) {
	t, ctx := a.f.t, a.f.t.Context()
	nodes := int32(1)
	_, err := a.pools.CreatePool(ctx, &apiv1.CreatePoolRequest{Pool: &apiv1.Pool{Id: pool, VmSize: "local", TargetDedicatedNodes: &nodes}})
	require.NoError(t, err)
	_, err = a.jobs.CreateJob(ctx, &apiv1.CreateJobRequest{Job: &apiv1.Job{Id: job, PoolInfo: &apiv1.PoolInfo{PoolId: pool}}})
	require.NoError(t, err)
	_, err = a.apps.CreateApplication(ctx, &apiv1.CreateApplicationRequest{Application: &apiv1.ApplicationDetail{Id: "app"}})
	require.NoError(t, err)
	a.task(job, "first")
}

// task runs a task that uploads what it prints.
func (a *tenant) task(job, id string) {
	t, ctx := a.f.t, a.f.t.Context()
	access, err := a.accounts.GetStore(ctx, &apiv1.GetStoreRequest{})
	require.NoError(t, err)
	added, err := a.tasks.AddTasks(ctx, &apiv1.AddTasksRequest{JobId: job, Tasks: []*apiv1.Task{{
		Id: id, CommandLine: "echo secret of " + a.id,
		OutputFiles: []*apiv1.OutputFile{{
			FilePattern: "../stdout.txt", UploadOptions: &apiv1.OutputFileUploadConfig{UploadCondition: apiv1.OutputFileUploadCondition_OUTPUT_FILE_UPLOAD_CONDITION_TASK_COMPLETION},
			Destination: &apiv1.OutputFileDestination{Container: &apiv1.OutputFileBlobContainerDestination{
				ContainerUrl: "s3://" + access.GetBucket(), Path: "out/" + id + ".txt",
			}},
		}},
	}}})
	require.NoError(t, err)
	require.Len(t, added.GetResults(), 1)
	var task *apiv1.Task
	require.Eventually(t, func() bool {
		task, err = a.tasks.GetTask(ctx, &apiv1.GetTaskRequest{JobId: job, TaskId: id})
		return err == nil && task.GetState() == apiv1.TaskState_TASK_STATE_COMPLETED
	}, time.Minute, 50*time.Millisecond)
	require.Nil(t, task.GetExecutionInfo().GetFailureInfo(), task.GetExecutionInfo().GetFailureInfo())
	_, err = a.bucket("").Stat(ctx, "out/"+id+".txt")
	require.NoError(t, err)
}

func refused(t *testing.T, kind batcherr.Kind, err error, what string) {
	t.Helper()
	require.Error(t, err, what)
	require.Equal(t, kind, batcherr.FromGRPC(err).Kind, "%s: %v", what, err)
}

func TestNothingCrossesAccounts(t *testing.T) {
	f := startFarm(t, "--nodes", "0")
	admin := f.connect("")
	anna, berta := f.tenant(admin, "anna"), f.tenant(admin, "berta")
	anna.work("pool", "job")
	ctx := t.Context()

	for what, call := range map[string]func() error{
		"pool": func() error { _, err := berta.pools.GetPool(ctx, &apiv1.GetPoolRequest{PoolId: "pool"}); return err },
		"pool's end": func() error {
			_, err := berta.pools.DeletePool(ctx, &apiv1.DeletePoolRequest{PoolId: "pool"})
			return err
		},
		"job": func() error { _, err := berta.jobs.GetJob(ctx, &apiv1.GetJobRequest{JobId: "job"}); return err },
		"task": func() error {
			_, err := berta.tasks.GetTask(ctx, &apiv1.GetTaskRequest{JobId: "job", TaskId: "first"})
			return err
		},
		"new task": func() error {
			_, err := berta.tasks.AddTasks(ctx, &apiv1.AddTasksRequest{JobId: "job", Tasks: []*apiv1.Task{{Id: "mine", CommandLine: "true"}}})
			return err
		},
		"file": func() error {
			stream, err := berta.files.ReadFile(ctx, &apiv1.ReadFileRequest{Root: &apiv1.FileRoot{JobId: "job", TaskId: "first"}, Name: "stdout.txt"})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		},
		"application": func() error {
			_, err := berta.apps.GetApplication(ctx, &apiv1.GetApplicationRequest{ApplicationId: "app"})
			return err
		},
		"account": func() error {
			_, err := berta.accounts.GetAccount(ctx, &apiv1.GetAccountRequest{AccountId: "anna"})
			return err
		},
		"keys": func() error {
			_, err := berta.accounts.GetAccountKeys(ctx, &apiv1.GetAccountKeysRequest{AccountId: "anna"})
			return err
		},
		"store": func() error {
			_, err := berta.accounts.GetStore(ctx, &apiv1.GetStoreRequest{AccountId: "anna"})
			return err
		},
		"store's key": func() error {
			_, err := berta.accounts.RegenerateStoreKey(ctx, &apiv1.RegenerateStoreKeyRequest{AccountId: "anna"})
			return err
		},
		"token": func() error {
			_, err := berta.accounts.IssueToken(ctx, &apiv1.IssueTokenRequest{AccountId: "anna", Role: apiv1.TokenRole_TOKEN_ROLE_READER})
			return err
		},
		"job on the pool": func() error {
			_, err := berta.jobs.CreateJob(ctx, &apiv1.CreateJobRequest{Job: &apiv1.Job{Id: "thief", PoolInfo: &apiv1.PoolInfo{PoolId: "pool"}}})
			if err == nil { // a job may wait for a pool of its own account to come
				_, err = berta.pools.GetPool(ctx, &apiv1.GetPoolRequest{PoolId: "pool"})
			}
			return err
		},
	} {
		refused(t, batcherr.KindNotFound, call(), what)
	}
	_, err := berta.accounts.ListAccounts(ctx, &apiv1.ListAccountsRequest{})
	refused(t, batcherr.KindForbidden, err, "list of accounts")
	_, err = berta.accounts.CreateAccount(ctx, &apiv1.CreateAccountRequest{AccountId: "third"})
	refused(t, batcherr.KindForbidden, err, "new account")
	chosen := metadata.AppendToOutgoingContext(ctx, "batchyard-account", "anna")
	_, err = berta.pools.GetPool(chosen, &apiv1.GetPoolRequest{PoolId: "pool"})
	refused(t, batcherr.KindForbidden, err, "another account's name")

	paths := []string{
		"/pools/pool", "/pools/pool/nodes", "/jobs/job", "/jobs/job/tasks", "/jobs/job/tasks/first", "/jobs/job/taskcounts",
		"/jobs/job/tasks/first/files", "/jobs/job/tasks/first/files/stdout.txt", "/applications/app",
	}
	for _, path := range paths {
		status, body := anna.rest(http.MethodGet, path)
		require.Equal(t, 200, status, "%s: %s", path, body)
		status, body = anna.signed("anna", anna.keys.GetPrimary(), http.MethodGet, path)
		require.Equal(t, 200, status, "%s: %s", path, body)
		status, body = berta.rest(http.MethodGet, path)
		require.Equal(t, 404, status, "%s: %s", path, body)
		status, body = berta.signed("berta", berta.keys.GetPrimary(), http.MethodGet, path)
		require.Equal(t, 404, status, "%s: %s", path, body)
		status, body = berta.signed("anna", berta.keys.GetPrimary(), http.MethodGet, path)
		require.Equal(t, 403, status, "%s: %s", path, body)
	}
	for _, path := range []string{"/pools/pool", "/jobs/job", "/jobs/job/tasks/first"} {
		status, body := berta.signed("berta", berta.keys.GetPrimary(), http.MethodDelete, path)
		require.Equal(t, 404, status, "%s: %s", path, body)
	}
	_, err = anna.bucket("").Stat(ctx, "out/first.txt")
	require.NoError(t, err)
	_, err = berta.bucket("anna").Stat(ctx, "out/first.txt")
	require.ErrorIs(t, err, storage.ErrForbidden)
	_, err = berta.bucket("anna").Put(ctx, "out/mine", strings.NewReader("x"), 1, storage.PutOptions{})
	require.ErrorIs(t, err, storage.ErrForbidden)
}

// TestNewSecretsOfAStoreFailNoTask changes the secret again and again while tasks read from the store and write to it.
func TestNewSecretsOfAStoreFailNoTask(t *testing.T) {
	f := startFarm(t, "--slots", "4")
	admin := f.connect("")
	ctx := t.Context()
	const tasks = 100
	_, err := admin.bucket("").Put(ctx, "in/data", strings.NewReader("x"), 1, storage.PutOptions{})
	require.NoError(t, err)
	_, err = admin.jobs.CreateJob(ctx, &apiv1.CreateJobRequest{Job: &apiv1.Job{Id: "job", PoolInfo: &apiv1.PoolInfo{PoolId: "default"}}})
	require.NoError(t, err)
	var all []*apiv1.Task
	for i := range tasks {
		all = append(all, &apiv1.Task{
			Id: fmt.Sprint(i), CommandLine: "cat data", ResourceFiles: []*apiv1.ResourceFile{{HttpUrl: "s3://default/in/data", FilePath: "data"}},
			OutputFiles: []*apiv1.OutputFile{{
				FilePattern: "../stdout.txt", UploadOptions: &apiv1.OutputFileUploadConfig{UploadCondition: apiv1.OutputFileUploadCondition_OUTPUT_FILE_UPLOAD_CONDITION_TASK_SUCCESS},
				Destination: &apiv1.OutputFileDestination{Container: &apiv1.OutputFileBlobContainerDestination{ContainerUrl: "s3://default", Path: fmt.Sprintf("out/%d", i)}},
			}},
		})
	}
	_, err = admin.tasks.AddTasks(ctx, &apiv1.AddTasksRequest{JobId: "job", Tasks: all})
	require.NoError(t, err)
	var counts *apiv1.TaskCountsResult
	require.Eventually(t, func() bool {
		if _, err = admin.accounts.RegenerateStoreKey(ctx, &apiv1.RegenerateStoreKeyRequest{}); err == nil {
			counts, err = admin.jobs.GetTaskCounts(ctx, &apiv1.GetTaskCountsRequest{JobId: "job"})
		}
		return err != nil || counts.GetTaskCounts().GetCompleted() == tasks
	}, 2*time.Minute, time.Second)
	require.NoError(t, err)
	failures, _ := f.run("task", "list", "job", "--failed", "-o", "json")
	require.EqualValues(t, tasks, counts.GetTaskCounts().GetSucceeded(), failures)
}

func TestKeysOfAccountsChangeAndEnd(t *testing.T) {
	f := startFarm(t, "--nodes", "0")
	admin := f.connect("")
	anna := f.tenant(admin, "anna")
	anna.work("pool", "job")
	ctx := t.Context()

	before := anna.keys
	after, err := anna.accounts.RegenerateAccountKey(ctx, &apiv1.RegenerateAccountKeyRequest{Key: apiv1.AccountKeyName_ACCOUNT_KEY_NAME_PRIMARY})
	require.NoError(t, err)
	require.NotEqual(t, before.GetPrimary(), after.GetPrimary())
	require.Equal(t, before.GetSecondary(), after.GetSecondary())
	for key, want := range map[string]int{before.GetPrimary(): 403, before.GetSecondary(): 200, after.GetPrimary(): 200} {
		status, body := anna.signed("anna", key, http.MethodGet, "/jobs/job")
		require.Equal(t, want, status, body)
	}

	old, err := anna.accounts.GetStore(ctx, &apiv1.GetStoreRequest{})
	require.NoError(t, err)
	_, err = anna.accounts.RegenerateStoreKey(ctx, &apiv1.RegenerateStoreKeyRequest{})
	require.NoError(t, err)
	_, err = openBucket(t, old, old.GetBucket()).Stat(ctx, "out/first.txt")
	require.ErrorIs(t, err, storage.ErrForbidden, "the old secret ends at once")
	anna.task("job", "second") // its node was told

	_, err = admin.accounts.DeleteAccount(ctx, &apiv1.DeleteAccountRequest{AccountId: "anna"})
	refused(t, batcherr.KindConflict, err, "the end of an account in use")
	_, err = anna.jobs.DeleteJob(ctx, &apiv1.DeleteJobRequest{JobId: "job"})
	require.NoError(t, err)
	_, err = anna.pools.DeletePool(ctx, &apiv1.DeletePoolRequest{PoolId: "pool"})
	require.NoError(t, err)
	current, err := anna.accounts.GetStore(ctx, &apiv1.GetStoreRequest{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := admin.accounts.DeleteAccount(ctx, &apiv1.DeleteAccountRequest{AccountId: "anna"})
		return err == nil
	}, time.Minute, 100*time.Millisecond)
	_, err = openBucket(t, current, current.GetBucket()).Stat(ctx, "out/first.txt")
	require.ErrorIs(t, err, storage.ErrForbidden)
	status, _ := anna.rest(http.MethodGet, "/jobs")
	require.Equal(t, 404, status)
	status, _ = anna.signed("anna", after.GetPrimary(), http.MethodGet, "/jobs")
	require.Equal(t, 403, status)

	gone := time.Now().Unix() // tokens know whole seconds
	require.Eventually(t, func() bool { return time.Now().Unix() > gone }, time.Minute, 10*time.Millisecond)
	again := f.tenant(admin, "anna")
	status, _ = anna.rest(http.MethodGet, "/jobs")
	require.Equal(t, 401, status, "a token of the earlier account")
	_, err = anna.jobs.ListJobs(ctx, &apiv1.ListJobsRequest{})
	refused(t, batcherr.KindUnauthenticated, err, "a token of the earlier account")
	fresh, err := again.accounts.GetStore(ctx, &apiv1.GetStoreRequest{})
	require.NoError(t, err)
	require.NotEqual(t, current.GetBucket(), fresh.GetBucket(), "what the earlier account left is not the new one's")
	for _, err := range again.bucket("").List(context.WithoutCancel(ctx), "") {
		require.NoError(t, err)
		require.Fail(t, "the new bucket is not empty")
	}
	_, err = again.bucket("").Put(ctx, "own", strings.NewReader("x"), 1, storage.PutOptions{})
	require.NoError(t, err)
}
