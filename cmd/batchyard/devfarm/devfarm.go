// Package devfarm is a whole farm on one machine: a coordinator, an object store and nodes that are local processes.
package devfarm

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/batchyard/batchyard/coordinator"
	"github.com/batchyard/batchyard/coordinator/identity"
	"github.com/batchyard/batchyard/coordinator/pools"
	"github.com/batchyard/batchyard/coordinator/pools/provider/process"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/trust"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/batchyard/batchyard/storage/embedded"
)

// Account is the account that a farm begins with.
const Account = "default"

// DefaultPool is the pool that a farm begins with.
const DefaultPool = "default"

const (
	storeCertificateLife = 90 * 24 * time.Hour
	adminTokenLife       = 365 * 24 * time.Hour
)

// Config says what to run.
type Config struct {
	// DataDir holds everything; an absolute path.
	DataDir string
	// Program is the path of this program, which nodes and the store run as.
	Program string
	Version string
	// Nodes of the pool that a new farm begins with (0: no pool), and slots of each (0: as many as processors).
	Nodes, Slots int
	// AnyPorts makes a new farm leave the usual ports to others.
	AnyPorts bool
	// Lease overrides how long a node counts as alive without a word; 0: the default.
	Lease time.Duration
	// AutoScaleEvery overrides how often formulas are evaluated, and samples taken four times as often; 0: as pools say.
	AutoScaleEvery time.Duration
	// AgentOptions are added to the command of the nodes' agents.
	AgentOptions []string
	// Ready is called when the farm can be used.
	Ready  func(context.Context, Access) error
	Logger *slog.Logger
}

// Access is how to use a farm.
type Access struct {
	Addresses     []string
	CA            []byte // PEM
	Token         string
	Account       string
	REST, StoreAt string
}

// Run runs the farm until ctx ends, then stops all that it started: the nodes, the coordinator, the store.
func Run(ctx context.Context, cfg Config) error {
	if err := os.MkdirAll(cfg.DataDir, 0o711); err != nil {
		return err
	}
	ready := cfg.Ready
	keep, settled, err := loadSettings(ctx, filepath.Join(cfg.DataDir, "farm"), cfg.AnyPorts)
	defer settled()
	if err != nil {
		return err
	}
	cfg.Ready = func(ctx context.Context, access Access) error {
		settled()
		return ready(ctx, access)
	}
	keyring, err := coordinator.PrepareKeyring(filepath.Join(cfg.DataDir, "coordinator"), "dev", time.Now())
	if err != nil {
		return err
	}
	store, err := startStore(ctx, cfg, keep, keyring)
	if err != nil {
		return err
	}
	err = runCoordinator(ctx, cfg, keep, store, keyring)
	return errors.Join(err, store.Stop())
}

// startStore runs the object store with a certificate of the cluster's authority.
func startStore(ctx context.Context, cfg Config, keep settings, keyring *identity.Keyring) (*embedded.Child, error) {
	dir := filepath.Join(cfg.DataDir, "store")
	authority := identity.NewAuthority(keyring, time.Now, rand.Reader)
	cert, err := authority.IssueServer("objectstore", []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}, storeCertificateLife)
	if err != nil {
		return nil, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return nil, err
	}
	var chain []byte
	for _, der := range cert.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	certFile, keyFile := filepath.Join(dir, "tls", "cert.pem"), filepath.Join(dir, "tls", "key.pem")
	err = errors.Join(trust.WritePrivate(certFile, chain),
		trust.WritePrivate(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(keyring.CA())
	return embedded.Start(ctx, embedded.Options{
		Config: embedded.Config{
			DataDir: dir, Address: keep.Store, AccessKey: keep.AccessKey, SecretKey: keep.SecretKey, CertFile: certFile, KeyFile: keyFile,
		},
		Command: []string{cfg.Program, "objectstore"},
		Version: cfg.Version, RootCAs: roots, Log: cfg.Logger,
	})
}

func runCoordinator(ctx context.Context, cfg Config, keep settings, store *embedded.Child, keyring *identity.Keyring) error {
	// Nodes stop while the coordinator still hears them, so that it knows what became of their tasks.
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	var nodes *process.Provider
	ready := make(chan *coordinator.Coordinator, 1)
	c := coordinator.Default()
	c.DataDir, c.ListenGRPC, c.ListenHTTPS, c.ListenRaft, c.ListenHTTP = filepath.Join(cfg.DataDir, "coordinator"), keep.GRPC, keep.HTTPS, keep.Raft, keep.HTTP
	c.ClusterName, c.Logger = "dev", cfg.Logger
	if cfg.Lease > 0 {
		c.Lease, c.Heartbeat, c.Grace = cfg.Lease, cfg.Lease/10, cfg.Lease/4
	}
	c.AutoScaleEvery, c.AutoScaleSample = cfg.AutoScaleEvery, cfg.AutoScaleEvery/4
	c.Store = &apiv1.StoreAccess{
		Endpoint: store.Endpoint(), Region: "us-east-1", AccessKey: keep.AccessKey, SecretKey: keep.SecretKey, CaPem: trust.EncodeAuthority(keyring.CA()),
	}
	users, err := store.Users()
	if err != nil {
		return err
	}
	defer users.Close()
	c.StoreUsers = users
	c.NewProvider = func(address string) pools.Provider {
		nodes = process.New(process.Config{
			Dir: filepath.Join(cfg.DataDir, "nodes"), Command: append([]string{cfg.Program, "agent"}, cfg.AgentOptions...), Coordinator: address, Logger: cfg.Logger,
		})
		return nodes
	}
	c.OnReady = func(c *coordinator.Coordinator) { ready <- c }
	member, err := coordinator.New(ctx, c)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- member.Run(serving) }()
	err = whileServing(ctx, cfg, ready, ended, store)
	err = errors.Join(err, nodes.Close())
	stopServing()
	return errors.Join(err, <-ended)
}

// whileServing prepares the farm when it is ready and returns when it is to stop.
func whileServing(ctx context.Context, cfg Config, ready <-chan *coordinator.Coordinator, ended chan error, store *embedded.Child) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			ended <- nil
			if err == nil {
				err = errors.New("the coordinator stopped by itself")
			}
			return err
		case <-store.Done():
			return fmt.Errorf("the object store stopped by itself: %w", store.Err())
		case c := <-ready:
			if err := prepare(ctx, cfg, c, store); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

// prepare makes the first account and pool, and says how to use the farm.
func prepare(ctx context.Context, cfg Config, c *coordinator.Coordinator, store *embedded.Child) error {
	if err := c.EnsureAccount(ctx, Account); err != nil {
		return fmt.Errorf("make the first account: %w", err)
	}
	if err := ensurePool(ctx, cfg, c); err != nil {
		return fmt.Errorf("make the first pool: %w", err)
	}
	token, err := c.AdminToken(ctx, Account, adminTokenLife)
	if err != nil {
		return err
	}
	return cfg.Ready(ctx, Access{
		Addresses: []string{c.GRPCAddress()}, CA: trust.EncodeAuthority(c.Authority()), Token: token, Account: Account,
		REST: c.RESTEndpoint(), StoreAt: store.Endpoint(),
	})
}

// begunName marks a farm whose first pool has been made: one that was deleted does not come back.
const begunName = "begun"

func ensurePool(ctx context.Context, cfg Config, c *coordinator.Coordinator) error {
	mark := filepath.Join(cfg.DataDir, "farm", begunName)
	if _, err := os.Stat(mark); err == nil || cfg.Nodes == 0 {
		return nil
	}
	slots, nodes := int32(cfg.Slots), int32(cfg.Nodes)
	if slots == 0 {
		slots = int32(min(runtime.NumCPU(), 256))
	}
	_, err := apiv1.NewPoolServiceClient(c.Local()).CreatePool(coordinator.AsAdmin(ctx, Account), &apiv1.CreatePoolRequest{Pool: &apiv1.Pool{
		Id: DefaultPool, VmSize: "local", TaskSlotsPerNode: &slots, TargetDedicatedNodes: &nodes,
	}})
	if err != nil && !batcherr.HasCode(batcherr.FromGRPC(err), batcherr.CodePoolExists) {
		return err
	}
	return os.WriteFile(mark, nil, 0o600)
}
