package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/client"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/batchyard/batchyard/storage"
)

// firstContact limits how long a command waits for a coordinator that nothing was heard of yet.
const firstContact = 5 * time.Second

// waitNotice is how long a command waits for a coordinator before it says so.
const waitNotice = time.Second

// factory is what commands have of the outside world, and the flags that all share.
type factory struct {
	in           io.Reader
	out, errOut  io.Writer
	outTTY       bool // out is a terminal
	errTTY       bool // errOut is a terminal
	getenv       func(string) string
	now          func() time.Time
	version      string
	openStore    func(*apiv1.StoreAccess) (storage.Store, error)
	contextName  string
	output       string
	retryFor     durationFlag
	pollInterval time.Duration
}

func newFactory() *factory {
	return &factory{
		in: os.Stdin, out: os.Stdout, errOut: os.Stderr,
		outTTY: term.IsTerminal(int(os.Stdout.Fd())), errTTY: term.IsTerminal(int(os.Stderr.Fd())),
		getenv: os.Getenv, now: time.Now, version: buildVersion(),
		openStore: openS3, pollInterval: 500 * time.Millisecond,
	}
}

func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// session is a connection to a cluster with its services.
type session struct {
	*client.Client
	context   client.Context
	pools     apiv1.PoolServiceClient
	nodes     apiv1.NodeServiceClient
	jobs      apiv1.JobServiceClient
	schedules apiv1.JobScheduleServiceClient
	tasks     apiv1.TaskServiceClient
	arrays    apiv1.TaskArrayServiceClient
	groups    apiv1.TaskGroupServiceClient
	files     apiv1.FileServiceClient
	apps      apiv1.ApplicationServiceClient
	accounts  apiv1.AccountServiceClient
	cluster   apiv1.ClusterServiceClient
}

// connect dials the cluster of the chosen context. Close the session.
func (f *factory) connect() (*session, error) {
	chosen, err := client.ResolveContext(f.getenv, f.contextName)
	if err != nil {
		return nil, usage(err)
	}
	cfg := chosen.Config()
	cfg.RetryFor = max(f.retryFor.value, 1) // 0 would be the default
	cfg.FirstContact = cfg.RetryFor
	if !f.retryFor.set {
		cfg.RetryFor, cfg.FirstContact = client.DefaultRetryFor, firstContact
	}
	cfg.OnRetry = f.waitNotice()
	c, err := client.Dial(cfg)
	if err != nil {
		return nil, usage(fmt.Errorf("context %s: %w", chosen.Name, err))
	}
	return &session{
		Client: c, context: chosen,
		pools: apiv1.NewPoolServiceClient(c), nodes: apiv1.NewNodeServiceClient(c),
		jobs: apiv1.NewJobServiceClient(c), tasks: apiv1.NewTaskServiceClient(c), arrays: apiv1.NewTaskArrayServiceClient(c),
		groups: apiv1.NewTaskGroupServiceClient(c),
		files:  apiv1.NewFileServiceClient(c), apps: apiv1.NewApplicationServiceClient(c),
		schedules: apiv1.NewJobScheduleServiceClient(c),
		accounts:  apiv1.NewAccountServiceClient(c), cluster: apiv1.NewClusterServiceClient(c),
	}, nil
}

// waitNotice tells people why nothing happens, once an absence.
func (f *factory) waitNotice() func(error) {
	var mu sync.Mutex
	var since, last time.Time
	told := false
	return func(err error) {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		if now.Sub(last) > 2*waitNotice { // another absence
			since, told = now, false
		}
		last = now
		if !told && now.Sub(since) >= waitNotice {
			told = true
			fmt.Fprintf(f.errOut, "waiting for a coordinator: %s\n", plainMessage(err))
		}
	}
}

// withSession runs what needs a connection.
func (f *factory) withSession(do func(*session) error) error {
	s, err := f.connect()
	if err != nil {
		return err
	}
	err = do(s)
	f.remember(s)
	return errors.Join(err, s.Close())
}

// remember adds coordinators that were learned of to the context, so that the next command survives the loss of those that were known.
// It is a convenience: a file that can't be written is left alone.
func (f *factory) remember(s *session) {
	path, err := client.ContextPath(f.getenv)
	if err == nil {
		_ = client.LearnAddresses(path, s.context, s.Addresses())
	}
}

// usageError is a mistake in how the program was called.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usage(err error) error                   { return &usageError{err} }
func usagef(format string, args ...any) error { return usage(fmt.Errorf(format, args...)) }
func plainMessage(err error) string           { return batcherr.FromGRPC(err).Message }
