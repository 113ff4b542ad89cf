package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/batchyard/batchyard/agent/session"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/trust"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

const (
	credentialsName  = "node.pem"
	coordinatorsName = "coordinators.json"
	callTimeout      = 20 * time.Second
	joinPause        = 2 * time.Second
)

// ErrNoToken says that the node has neither a certificate that holds nor a token to get one with.
var ErrNoToken = errors.New("the node has no certificate that holds and no join token")

// enrolment is who the node is and where its cluster is. The credentials change when they are renewed.
type enrolment struct {
	dir         string
	now         func() time.Time
	logger      *slog.Logger
	credentials atomic.Pointer[trust.Credentials]
	fresh       bool // the node has joined in this life
}

func (e *enrolment) credentialsPath() string { return filepath.Join(e.dir, credentialsName) }

// enroll loads the node's credentials or, on its first start, gets them with the join token.
func enroll(ctx context.Context, cfg *Config, facts func() *agentv1.NodeFacts) (*enrolment, []string, error) {
	e := &enrolment{dir: cfg.DataDir, now: cfg.Now, logger: cfg.Logger}
	addresses := merge(cfg.Coordinators, e.learned())
	found, err := trust.LoadCredentials(e.credentialsPath())
	switch {
	case err == nil && found.Certificate.Leaf.NotAfter.After(cfg.Now()):
		e.credentials.Store(found)
		return e, addresses, nil
	case err == nil:
		cfg.Logger.Warn("the node's certificate is over; the node joins anew", "expired", found.Certificate.Leaf.NotAfter)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, nil, fmt.Errorf("loading the node's certificate: %w", err)
	}
	if cfg.JoinToken == "" {
		return nil, nil, ErrNoToken
	}
	more, err := e.join(ctx, cfg.JoinToken, addresses, facts())
	if err != nil {
		return nil, nil, err
	}
	addresses = merge(addresses, more)
	return e, addresses, e.learn(addresses)
}

// join asks one coordinator after the other until one answers. A refusal of the token itself is final.
func (e *enrolment) join(ctx context.Context, text string, addresses []string, facts *agentv1.NodeFacts) ([]string, error) {
	token, err := trust.ParseJoinToken(text)
	if err != nil {
		return nil, err
	}
	if len(addresses) == 0 {
		return nil, errors.New("no coordinator address is known")
	}
	for i := 0; ; i++ {
		address := addresses[i%len(addresses)]
		response, err := e.joinAt(ctx, address, token, text, facts)
		if err == nil {
			return response, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("joining: %w", errors.Join(ctx.Err(), err))
		}
		if refused(err) {
			return nil, fmt.Errorf("joining at %s: %w", address, err)
		}
		e.logger.Info("coordinator did not let the node join yet", "address", address, "error", err)
		if leader, ok := session.LeaderOf(err); ok {
			addresses = merge(addresses, []string{leader})
		}
		if (i+1)%len(addresses) == 0 {
			pause(ctx, joinPause/2+rand.N(joinPause/2))
		}
	}
}

// refused says whether asking again would bring the same answer.
func refused(err error) bool {
	switch batcherr.FromGRPC(err).Kind {
	case batcherr.KindUnauthenticated, batcherr.KindForbidden, batcherr.KindInvalid, batcherr.KindNotFound, batcherr.KindConflict:
		return true
	default:
		return false
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (e *enrolment) joinAt(ctx context.Context, address string, token trust.JoinToken, text string, facts *agentv1.NodeFacts) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	conn, err := dial(address, trust.PinnedTLS(token.Pin, e.now))
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	key, request, err := trust.NewRequest()
	if err != nil {
		return nil, err
	}
	response, err := agentv1.NewAgentServiceClient(conn).Join(ctx, &agentv1.JoinRequest{Token: text, Csr: request, Facts: facts})
	if err != nil {
		return nil, err
	}
	chain := response.GetCertificates()
	if len(chain) != 2 {
		return nil, batcherr.Invalid(batcherr.CodeInvalidInput, "the coordinator's answer has %d certificates instead of 2", len(chain))
	}
	authority, err := x509.ParseCertificate(chain[1])
	if err != nil || !token.Pin.Matches(authority) {
		return nil, batcherr.Unauthenticated("the authority in the coordinator's answer is not the one of the join token")
	}
	made, err := trust.NewCredentials(key, chain[0], authority)
	if err != nil {
		return nil, err
	}
	if err := made.Save(e.credentialsPath()); err != nil {
		return nil, err
	}
	e.credentials.Store(made)
	e.fresh = true
	e.logger.Info("node joined", "identity", made.Identity.String())
	return response.GetCoordinatorAddresses(), nil
}

// identity is who the node is.
func (e *enrolment) identity() trust.Identity { return e.credentials.Load().Identity }

// dial makes a connection as the node; its certificate is asked for at every handshake.
func (e *enrolment) dial(address string) (*grpc.ClientConn, error) {
	own := func() (*tls.Certificate, error) { return &e.credentials.Load().Certificate, nil }
	return dial(address, trust.ClientTLS(e.credentials.Load().Authority, own, e.now))
}

// renew gets a new certificate over a connection as the node.
func (e *enrolment) renew(ctx context.Context, conn grpc.ClientConnInterface) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	key, request, err := trust.NewRequest()
	if err != nil {
		return err
	}
	response, err := agentv1.NewAgentServiceClient(conn).Renew(ctx, &agentv1.RenewRequest{Csr: request})
	if err != nil {
		return fmt.Errorf("renewing the certificate: %w", err)
	}
	if len(response.GetCertificates()) == 0 {
		return errors.New("renewing the certificate: the answer has none")
	}
	old := e.credentials.Load()
	made, err := trust.NewCredentials(key, response.GetCertificates()[0], old.Authority)
	if err != nil {
		return fmt.Errorf("renewing the certificate: %w", err)
	}
	if !sameNode(made.Identity, old.Identity) {
		return fmt.Errorf("renewing the certificate: the new one is for %s", made.Identity)
	}
	if err := made.Save(e.credentialsPath()); err != nil {
		return err
	}
	e.credentials.Store(made)
	return nil
}

func sameNode(a, b trust.Identity) bool {
	a.Expires, b.Expires = time.Time{}, time.Time{}
	return a == b
}

// learned reads the addresses that were known before; without the file, or with a damaged one, there are none.
func (e *enrolment) learned() []string {
	data, err := trust.ReadPrivate(filepath.Join(e.dir, coordinatorsName))
	if err != nil {
		return nil
	}
	var out []string
	if json.Unmarshal(data, &out) != nil {
		return nil
	}
	return out
}

func (e *enrolment) learn(addresses []string) error {
	data, err := json.Marshal(addresses)
	if err != nil {
		return fmt.Errorf("encoding coordinator addresses: %w", err)
	}
	return trust.WritePrivate(filepath.Join(e.dir, coordinatorsName), data)
}

func merge(a, b []string) []string {
	out := slices.Clone(a)
	for _, address := range b {
		if address != "" && !slices.Contains(out, address) {
			out = append(out, address)
		}
	}
	return out
}

// Bounds of a connection; a message holds a node's complete set of assignments at most.
const (
	maxMessage     = 64 << 20
	connectTimeout = 5 * time.Second
)

func dial(address string, config *tls.Config) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: connectTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
	)
	if err != nil {
		return nil, fmt.Errorf("dialling %s: %w", address, err)
	}
	return conn, nil
}
