// Package clustertest runs coordinators and simulated agents in one process, for tests and benchmarks of what a machine's own speed would hide.
package clustertest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"time"

	"github.com/batchyard/batchyard/coordinator"
	"github.com/batchyard/batchyard/internal/client"
	"github.com/batchyard/batchyard/internal/trust"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// Account is the account of every cluster.
const Account = "bench"

// readyTimeout bounds how long a member may take until it serves.
const readyTimeout = 60 * time.Second

// Config says what to run. Start from the zero value; Dir is required.
type Config struct {
	// Dir holds the members' data, a directory each.
	Dir     string
	Members int // 0: one
	Logger  *slog.Logger
}

// Cluster is one or several coordinators of this process, with real Raft and real disks, and no object store.
type Cluster struct {
	Members []*Member
	client  *client.Client
	token   string
	store   *httptest.Server
}

// Member is one coordinator.
type Member struct {
	*coordinator.Coordinator
	cancel context.CancelFunc
	ended  chan error
}

// Start runs a cluster until Stop.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	// Nothing is staged: all that is asked of the store is whether the account's bucket is there.
	c := &Cluster{store: httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))}
	if err := c.start(ctx, cfg); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context, cfg Config) error {
	first, err := c.startMember(ctx, cfg, coordinator.Join{})
	if err != nil {
		return err
	}
	if err := first.EnsureAccount(ctx, Account); err != nil {
		return err
	}
	if c.token, err = first.AdminToken(ctx, Account, time.Hour); err != nil {
		return err
	}
	c.client, err = client.Dial(client.Config{
		Addresses: []string{first.GRPCAddress()}, CA: trust.EncodeAuthority(first.Authority()), Token: c.token,
	})
	if err != nil {
		return err
	}
	for len(c.Members) < cfg.Members {
		token, err := apiv1.NewClusterServiceClient(c.client).CreateJoinToken(ctx, &apiv1.CreateJoinTokenRequest{
			Kind: apiv1.JoinTokenKind_JOIN_TOKEN_KIND_COORDINATOR,
		})
		if err != nil {
			return err
		}
		if _, err := c.startMember(ctx, cfg, coordinator.Join{Address: first.GRPCAddress(), Token: token.Token}); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) startMember(ctx context.Context, cfg Config, join coordinator.Join) (*Member, error) {
	own := coordinator.Default()
	own.ID = fmt.Sprintf("member%d", len(c.Members)+1)
	own.DataDir = filepath.Join(cfg.Dir, own.ID)
	own.ListenGRPC, own.ListenHTTPS, own.ListenRaft, own.ListenHTTP = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	own.Store = &apiv1.StoreAccess{Endpoint: c.store.URL, Region: "us-east-1", AccessKey: "none", SecretKey: "none"}
	own.Join, own.Logger = join, cfg.Logger
	ready := make(chan struct{})
	own.OnReady = func(*coordinator.Coordinator) { close(ready) }
	made, err := coordinator.New(ctx, own)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	m := &Member{Coordinator: made, cancel: cancel, ended: make(chan error, 1)}
	go func() { m.ended <- made.Run(ctx) }()
	c.Members = append(c.Members, m)
	select {
	case <-ready:
		return m, nil
	case err := <-m.ended:
		m.ended <- err
		return nil, fmt.Errorf("%s ended before it was ready: %w", own.ID, err)
	case <-time.After(readyTimeout):
		return nil, fmt.Errorf("%s is not ready after %s", own.ID, readyTimeout)
	}
}

// Client calls the cluster as its administrator.
func (c *Cluster) Client() *client.Client { return c.client }

// Leader is the member that leads, nil while none does.
func (c *Cluster) Leader() *Member {
	for _, m := range c.Members {
		if _, itself := m.Coordinator.Leader(); itself {
			return m
		}
	}
	return nil
}

// Stop ends a member as a shutdown would.
func (m *Member) Stop() error {
	m.cancel()
	err := <-m.ended
	m.ended <- nil
	return err
}

// Stop ends everything.
func (c *Cluster) Stop() error {
	var errs []error
	if c.client != nil {
		errs = append(errs, c.client.Close())
	}
	// The leader last, so that no election comes between.
	for i := len(c.Members) - 1; i >= 0; i-- {
		errs = append(errs, c.Members[i].Stop())
	}
	c.store.Close()
	return errors.Join(errs...)
}
