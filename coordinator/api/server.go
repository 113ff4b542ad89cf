// Package api is the user's verbs: authenticate, authorise, validate, propose, read.
package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/batchyard/batchyard/coordinator/identity"
	"github.com/batchyard/batchyard/coordinator/state"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/trust"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// Proposer has a command applied by all coordinators. Its errors are *batcherr.Error of kind unavailable where leadership is lost; then the
// command may have been applied or not.
type Proposer interface {
	Propose(ctx context.Context, cmd *raftlogv1.Command) (state.Result, error)
}

// Reader makes reads of the state linearizable.
type Reader interface {
	// Barrier returns when the state holds all that anyone saw succeed before the call.
	Barrier(ctx context.Context) error
}

// Files asks a node's agent for files and hands on its answer, chunk by chunk, until each fails. The error is of kind unavailable when the
// node is not connected.
type Files interface {
	Transfer(ctx context.Context, nodeUID uint64, req *agentv1.FileRequest, each func(*agentv1.TransferChunk) error) error
}

// Membership is this coordinator's place among the others.
type Membership interface {
	Status() MemberStatus
	// AddVoter makes a coordinator that is up a voting member; doing it again is no error.
	AddVoter(ctx context.Context, id, raftAddress string) error
	// RemoveMember takes a coordinator out; one that is not in is no error.
	RemoveMember(ctx context.Context, id string) error
}

// MemberStatus is what one coordinator knows of itself and its leader.
type MemberStatus struct {
	MemberID string
	LeaderID string // empty: unknown
	Term     uint64
	Version  string // of the program
}

// Tokens issues and verifies bearer tokens.
type Tokens interface {
	Issue(claims identity.Claims, ttl time.Duration) (trust.Secret, identity.Claims, error)
	Verify(text string) (identity.Claims, error)
}

// Federated verifies the tokens of another issuer, for the account that is chosen where a token gives access to several.
type Federated interface {
	Verify(ctx context.Context, text, account string) (identity.Claims, error)
}

// Sealer encrypts the secrets that are stored in the state.
type Sealer interface {
	Seal(plaintext trust.Secret, context []byte) ([]byte, error)
	Unseal(sealed, context []byte) (trust.Secret, error)
}

// JoinTokens makes tokens with which nodes and coordinators join.
type JoinTokens interface {
	NewJoinToken(kind trust.JoinKind) (trust.JoinToken, identity.JoinRecord, error)
}

// Keyring is the cluster's secrets, for coordinators that join.
type Keyring interface {
	ClusterID() string
	Marshal() ([]byte, error)
}

// AutoScaler evaluates autoscale formulas with what the leader knows of pools.
type AutoScaler interface {
	// Evaluate says what a formula would give for a pool that scales by one. That the formula fails is part of the answer.
	Evaluate(ctx context.Context, account, pool, formula string) (*apiv1.AutoScaleRun, error)
	// Follow evaluates a pool's own formula and has the pool follow what it gives.
	Follow(ctx context.Context, account, pool string) error
}

// Explainer says why a task waits, by the rules by which tasks are placed.
type Explainer interface {
	Explain(state.Situation) *apiv1.TaskExplanation
}

// Room is what is left of this coordinator's disk.
type Room interface {
	// Check returns an error of kind unavailable while there is too little to add anything.
	Check() error
}

// Config is what the services need from their surroundings. All fields but Endpoint, Now and Logger are required.
type Config struct {
	State    *state.Store
	Proposer Proposer
	Reader   Reader
	Files    Files
	Orders   NodeOrders
	Cluster  Membership
	Tokens   Tokens
	Sealer   Sealer
	Joins    JoinTokens
	Keyring  Keyring
	Stores   Stores
	Scaler   AutoScaler
	Explains Explainer
	Room     Room
	// Endpoint is the base URL of the REST API.
	Endpoint func() string
	Now      func() time.Time
	Rand     io.Reader
	Logger   *slog.Logger
}

func (c Config) validate() error {
	switch {
	case c.State == nil, c.Proposer == nil, c.Reader == nil, c.Files == nil, c.Orders == nil, c.Cluster == nil:
		return errors.New("api: State, Proposer, Reader, Files, Orders and Cluster are required")
	case c.Tokens == nil, c.Sealer == nil, c.Joins == nil, c.Keyring == nil, c.Stores == nil, c.Scaler == nil, c.Explains == nil, c.Room == nil, c.Rand == nil:
		return errors.New("api: Tokens, Sealer, Joins, Keyring, Stores, Scaler, Explains, Room and Rand are required")
	}
	return nil
}

// Server is all the services that users call.
type Server struct {
	core      *core
	federated Federated
	policy    map[string]rule
}

// core is what the services share.
type core struct {
	Config
	rules   *rules
	signals *jobSignals
	// changing is held while an account and its store change together.
	changing sync.Mutex
}

// New makes the services. They own no goroutine longer than the calls that they serve.
func New(config Config) (*Server, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Endpoint == nil {
		config.Endpoint = func() string { return "" }
	}
	return &Server{
		core:   &core{Config: config, rules: newRules(), signals: newJobSignals(config.State)},
		policy: policy(),
	}, nil
}

// Register adds the services to a gRPC server, which has to run UnaryInterceptor and StreamInterceptor: without them every call is refused.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	apiv1.RegisterPoolServiceServer(r, &poolService{core: s.core})
	apiv1.RegisterNodeServiceServer(r, &nodeService{core: s.core})
	apiv1.RegisterJobServiceServer(r, &jobService{core: s.core})
	apiv1.RegisterJobScheduleServiceServer(r, &jobScheduleService{core: s.core})
	apiv1.RegisterTaskServiceServer(r, &taskService{core: s.core})
	apiv1.RegisterTaskGroupServiceServer(r, &taskGroupService{core: s.core})
	apiv1.RegisterTaskArrayServiceServer(r, &taskArrayService{core: s.core})
	apiv1.RegisterFileServiceServer(r, &fileService{core: s.core})
	apiv1.RegisterApplicationServiceServer(r, &applicationService{core: s.core})
	apiv1.RegisterAccountServiceServer(r, &accountService{core: s.core})
	apiv1.RegisterClusterServiceServer(r, &clusterService{core: s.core})
}

// Federate accepts the tokens of another issuer too. It is called before the first call is served.
func (s *Server) Federate(f Federated) { s.federated = f }

// propose has the command applied in the caller's account and returns its result; a refusal is an error.
func (c *core) propose(ctx context.Context, g grant, cmd *raftlogv1.Command) (state.Result, error) {
	return c.proposeFor(ctx, g, g.Account, cmd)
}

// proposeFor is propose in an account that the caller has shown to be allowed.
func (c *core) proposeFor(ctx context.Context, g grant, account string, cmd *raftlogv1.Command) (state.Result, error) {
	if !gives(g.method) {
		if err := c.Room.Check(); err != nil {
			return state.Result{}, err
		}
	}
	cmd.Account, cmd.Now = account, c.Now().UnixNano()
	result, err := c.Proposer.Propose(ctx, cmd)
	if err == nil && result.Err != nil {
		err = result.Err
	}
	if err != nil {
		return state.Result{}, err
	}
	c.Logger.DebugContext(ctx, "changed", "method", g.method, "account", account, "by", g.Subject)
	return result, nil
}

// gives says whether a method makes the state smaller, or brings nearer that it becomes so.
func gives(method string) bool {
	verb := method[strings.LastIndexByte(method, '/')+1:]
	return strings.HasPrefix(verb, "Delete") || strings.HasPrefix(verb, "Terminate") || strings.HasPrefix(verb, "Remove")
}

// write is propose for commands whose answer is the new version of a resource.
func (c *core) write(ctx context.Context, g grant, cmd *raftlogv1.Command) (*apiv1.Written, error) {
	result, err := c.propose(ctx, g, cmd)
	if err != nil {
		return nil, err
	}
	if result.Written == nil {
		return &apiv1.Written{}, nil
	}
	return result.Written, nil
}

// internal says that reading the state failed.
func internal(err error) error { return batcherr.Internal(err) }
