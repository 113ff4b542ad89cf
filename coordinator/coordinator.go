package coordinator

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"google.golang.org/grpc"

	"github.com/batchyard/batchyard/coordinator/api"
	"github.com/batchyard/batchyard/coordinator/dispatch"
	"github.com/batchyard/batchyard/coordinator/identity"
	"github.com/batchyard/batchyard/coordinator/pools"
	"github.com/batchyard/batchyard/coordinator/replica"
	"github.com/batchyard/batchyard/coordinator/state"
)

// Coordinator is one member of the cluster.
type Coordinator struct {
	cfg    Config
	id     string
	logger *slog.Logger

	keyring   *identity.Keyring
	authority *identity.Authority
	server    *identity.ServerCertificate
	sealer    *identity.Sealer
	tokens    *identity.Tokens
	oidc      *identity.OIDC            // nil: no other issuer
	web       *identity.FileCertificate // nil: the authority's

	state    *state.Store
	replica  *replica.Replica
	dispatch *dispatch.Server
	api      *api.Server
	leader   *leaderConn
	local    grpc.ClientConnInterface
	provider pools.Provider
	scaler   *pools.AutoScaler

	grpcListener, httpsListener, raftListener, httpListener net.Listener
	grpcServer                                              *grpc.Server
	webServers                                              []*http.Server
}

// shutdownGrace is how long open calls may go on while a coordinator stops.
const shutdownGrace = 3 * time.Second

// New opens everything that a coordinator needs and listens, but serves nothing yet. Run closes it.
func New(ctx context.Context, cfg Config) (*Coordinator, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("coordinator: %w", err)
	}
	c := &Coordinator{cfg: cfg, logger: cfg.Logger}
	for _, step := range []func(context.Context) error{c.openIdentity, c.listen, c.openState, c.wire} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("coordinator: %w", err), c.close())
		}
	}
	return c, nil
}

func (c *Coordinator) openIdentity(ctx context.Context) error {
	member, err := readMember(c.cfg.DataDir)
	if err != nil {
		return err
	}
	dir := filepath.Join(c.cfg.DataDir, "identity")
	if member.ID == "" {
		if member.ID = c.cfg.ID; member.ID == "" {
			member.ID = newMemberID()
		}
		keyring, err := c.firstKeyring(ctx, &member)
		if err != nil {
			return err
		}
		if c.cfg.Join.Address != "" {
			if err := keyring.Save(dir); err != nil {
				return err
			}
		}
		if err := member.write(c.cfg.DataDir); err != nil {
			return err
		}
	}
	c.id = member.ID
	if c.keyring, err = identity.LoadKeyring(dir); err != nil {
		return err
	}
	c.authority = identity.NewAuthority(c.keyring, c.cfg.Now, rand.Reader)
	dns, ips := c.names()
	if c.server, err = c.authority.ServerCertificate(c.id, dns, ips, serverCertificateLife); err != nil {
		return err
	}
	if c.sealer, err = identity.NewSealer(c.keyring, rand.Reader); err != nil {
		return err
	}
	c.tokens = identity.NewTokens(c.keyring, identity.TokenLimits{User: maxUserToken, Task: maxTaskToken}, c.cfg.Now, rand.Reader)
	if c.cfg.OIDC != nil {
		if c.oidc, err = identity.NewOIDC(*c.cfg.OIDC, c.cfg.Now); err != nil {
			return err
		}
	}
	if c.cfg.WebCertFile != "" {
		c.web, err = identity.LoadFileCertificate(c.cfg.WebCertFile, c.cfg.WebKeyFile)
	}
	return err
}

const (
	serverCertificateLife = 30 * 24 * time.Hour
	maxUserToken          = 366 * 24 * time.Hour
	maxTaskToken          = 181 * 24 * time.Hour // a task lives at most 180 days
)

// firstKeyring makes a new cluster's secrets, or fetches those of the cluster to join.
func (c *Coordinator) firstKeyring(ctx context.Context, member *memberFile) (*identity.Keyring, error) {
	if c.cfg.Join.Address == "" {
		return PrepareKeyring(c.cfg.DataDir, c.cfg.ClusterName, c.cfg.Now())
	}
	member.Joining, member.Via = true, c.cfg.Join.Address
	return fetchKeyring(ctx, c.cfg.Join, member.ID, c.cfg.Now)
}

func (c *Coordinator) listen(context.Context) error {
	var errs []error
	open := func(target *net.Listener, address, what string) {
		l, err := net.Listen("tcp", address)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
			return
		}
		*target = l
	}
	open(&c.grpcListener, c.cfg.ListenGRPC, "gRPC port")
	open(&c.httpsListener, c.cfg.ListenHTTPS, "HTTPS port")
	open(&c.raftListener, c.cfg.ListenRaft, "Raft port")
	if c.cfg.ListenHTTP != "" {
		open(&c.httpListener, c.cfg.ListenHTTP, "HTTP port")
	}
	return errors.Join(errs...)
}

func (c *Coordinator) openState(context.Context) error {
	var err error
	if c.state, err = state.Open(filepath.Join(c.cfg.DataDir, "state"), c.logger); err != nil {
		return err
	}
	raftTLS := identity.RaftTLS(c.server.Current, c.keyring.CA(), c.cfg.Now)
	cfg := replica.Default()
	cfg.ID, cfg.Dir = c.id, filepath.Join(c.cfg.DataDir, "raft")
	cfg.Advertise = c.reachable(c.raftListener.Addr())
	cfg.Listener = tls.NewListener(c.raftListener, raftTLS)
	cfg.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
		return (&tls.Dialer{Config: raftTLS}).DialContext(ctx, "tcp", addr)
	}
	cfg.Machine, cfg.Logger, cfg.Timeouts = c.state, c.logger, c.cfg.Raft
	if c.replica, err = replica.Open(cfg); err != nil {
		return err
	}
	member, err := readMember(c.cfg.DataDir)
	if err != nil || member.Joining {
		return err
	}
	// A log that exists already is no fault: this is a later start.
	if err := c.replica.Bootstrap(); err != nil && !errors.Is(err, replica.ErrBootstrapped) {
		return err
	}
	return nil
}

// Authority is the certificate of the cluster's authority.
func (c *Coordinator) Authority() *x509.Certificate { return c.keyring.CA() }

// GRPCAddress is where users and agents reach this member.
func (c *Coordinator) GRPCAddress() string { return c.reachable(c.grpcListener.Addr()) }

// RESTEndpoint is the base URL of the REST API: the plain one where there is one.
func (c *Coordinator) RESTEndpoint() string {
	if c.httpListener != nil {
		return "http://" + c.httpListener.Addr().String()
	}
	return "https://" + c.reachable(c.httpsListener.Addr())
}

// API is the service of users, for calls from within the process.
func (c *Coordinator) API() *api.Server { return c.api }

// close closes what New opened, in the reverse order.
func (c *Coordinator) close() error {
	var errs []error
	if c.leader != nil {
		errs = append(errs, c.leader.Close())
	}
	if c.replica != nil {
		errs = append(errs, c.replica.Close())
	} else if c.raftListener != nil {
		errs = append(errs, c.raftListener.Close())
	}
	if c.state != nil {
		errs = append(errs, c.state.Close())
	}
	for _, l := range []net.Listener{c.grpcListener, c.httpsListener, c.httpListener} {
		if l != nil {
			if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
