// Package coordinator is the composition root of a coordinator: it wires the rooms together and runs them.
package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"github.com/batchyard/batchyard/coordinator/identity"
	"github.com/batchyard/batchyard/coordinator/pools"
	"github.com/batchyard/batchyard/coordinator/reconcile"
	"github.com/batchyard/batchyard/coordinator/replica"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// Config says how a coordinator runs. Start from Default.
type Config struct {
	// DataDir holds everything that must survive: secrets, log, state.
	DataDir string
	// DiskReserve is how many bytes of its disk stay free: with fewer left, what adds to the state is refused.
	DiskReserve int64
	// ID names this member; empty: what the data directory says, or a new one.
	ID string
	// Addresses to listen on.
	ListenGRPC, ListenHTTPS, ListenRaft string
	// ListenHTTP serves the REST API without TLS; only loopback addresses are accepted. Empty: not at all.
	ListenHTTP string
	// WebCertFile and WebKeyFile are a certificate that HTTPS shows instead of one of the cluster's authority; PEM, read again when they change.
	WebCertFile, WebKeyFile string
	// OIDC is another issuer whose tokens are accepted; nil: none.
	OIDC *identity.OIDCConfig
	// Host is the name or address at which others reach this member; empty: the host of the listening address, or the machine's name.
	Host string
	// ClusterName is put into a new cluster's authority.
	ClusterName string
	// Join is set where this member joins an existing cluster at its first start.
	Join Join
	// Lease is how long a node may run tasks without hearing from a leader, Grace what is added before it counts as lost.
	Lease, Grace, Heartbeat time.Duration
	// Quarantine says when a node on which much fails is taken out of service.
	Quarantine reconcile.Quarantine
	// Store is the S3-compatible store of the accounts' objects. Bucket is empty: each account has its own.
	Store *apiv1.StoreAccess
	// StoreUsers makes the accounts' credentials in Store; nil where administrators give accounts credentials that exist.
	StoreUsers StoreUsers
	// NewProvider makes the provider of machines; nil where machines join by themselves.
	NewProvider func(grpcAddress string) pools.Provider
	// AutoScaleEvery stands for the evaluation interval of all pools' formulas, AutoScaleSample for the time between samples; 0: what pools
	// ask for and what Azure Batch has. Tests shorten them.
	AutoScaleEvery, AutoScaleSample time.Duration
	// OnReady is called once, when this member serves and the cluster has a leader.
	OnReady func(*Coordinator)
	Raft    replica.Timeouts
	Now     func() time.Time
	Logger  *slog.Logger
}

// Join is how a new member finds the cluster.
type Join struct {
	Address string
	Token   string
}

// Default returns a Config with the usual ports and times.
func Default() Config {
	return Config{
		ListenGRPC:  ":7444",
		ListenHTTPS: ":7443",
		ListenRaft:  ":7445",
		ClusterName: "batchyard",
		DiskReserve: defaultDiskReserve,
		Lease:       45 * time.Second,
		Grace:       10 * time.Second,
		Heartbeat:   2 * time.Second,
		Quarantine:  reconcile.DefaultQuarantine(),
		Raft:        replica.Default().Timeouts,
		Now:         time.Now,
		Logger:      slog.Default(),
	}
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	if c.DataDir == "" || !filepath.IsAbs(c.DataDir) {
		errs = append(errs, fmt.Errorf("the data directory %q is not an absolute path", c.DataDir))
	}
	for name, address := range map[string]string{"gRPC": c.ListenGRPC, "HTTPS": c.ListenHTTPS, "Raft": c.ListenRaft} {
		if _, _, err := net.SplitHostPort(address); err != nil {
			errs = append(errs, fmt.Errorf("the %s address %q is not host:port", name, address))
		}
	}
	if c.ListenHTTP != "" {
		host, _, err := net.SplitHostPort(c.ListenHTTP)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
			errs = append(errs, fmt.Errorf("plain HTTP is served on loopback only, not on %q", c.ListenHTTP))
		}
	}
	if (c.WebCertFile == "") != (c.WebKeyFile == "") {
		errs = append(errs, errors.New("a certificate for HTTPS and its key belong together"))
	}
	if c.OIDC != nil {
		errs = append(errs, c.OIDC.Validate())
	}
	if c.Heartbeat <= 0 || c.Lease < 2*c.Heartbeat || c.Grace < 0 {
		errs = append(errs, errors.New("the lease must be at least two heartbeats"))
	}
	if err := c.Quarantine.Validate(); err != nil {
		errs = append(errs, err)
	}
	if c.Store == nil {
		errs = append(errs, errors.New("no object store is configured"))
	}
	if (c.Join.Address == "") != (c.Join.Token == "") {
		errs = append(errs, errors.New("joining needs both an address and a token"))
	}
	return errors.Join(errs...)
}

// Run runs a coordinator until ctx ends, then shuts it down.
func Run(ctx context.Context, cfg Config) error {
	c, err := New(ctx, cfg)
	if err != nil {
		return err
	}
	return c.Run(ctx)
}
