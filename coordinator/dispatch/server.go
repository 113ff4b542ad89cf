// Package dispatch talks with the nodes' agents: it admits them, sends them their tasks and takes in what they report.
package dispatch

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/batchyard/batchyard/coordinator/identity"
	"github.com/batchyard/batchyard/coordinator/state"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/trust"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// Proposer puts a command into the log and waits until it is applied.
type Proposer interface {
	Propose(ctx context.Context, cmd *raftlogv1.Command) (state.Result, error)
}

// Signer signs nodes' certificates.
type Signer interface {
	SignNode(csrDER []byte, node identity.NodeIdentity, ttl time.Duration) ([]byte, error)
}

// Config is what dispatch needs. Lease is how long a node may run tasks without hearing from a leader; Heartbeat is how often it says that it is there.
type Config struct {
	State     *state.Store
	Proposer  Proposer
	Signer    Signer
	Authority []byte // DER of the cluster's authority
	Lease     time.Duration
	Heartbeat time.Duration
	// Store says how an account's objects are reached.
	Store func(account string) (*apiv1.StoreAccess, error)
	// AccountURL is the account's REST base URL.
	AccountURL func(account string) string
	// TaskToken makes a token with which a task may change its own job.
	TaskToken func(account, job, task string) (string, error)
	// Addresses are the coordinators' gRPC addresses.
	Addresses func() []string
	// Leader says who leads; itself says whether it is this coordinator. LeaderChanged is closed when that changes.
	Leader        func() (address string, itself bool)
	LeaderChanged func() <-chan struct{}
	Now           func() time.Time
	Logger        *slog.Logger
}

// certificateLife is how long a node's certificate holds; agents renew at half of it.
const certificateLife = 24 * time.Hour

// Server is the gRPC service of agents. Sessions live only within a leader's term.
type Server struct {
	agentv1.UnimplementedAgentServiceServer
	cfg  Config
	live sync.WaitGroup // sessions

	mu        sync.Mutex
	term      context.Context // nil while not leading
	begun     chan struct{}   // closed when a term begins
	sessions  map[uint64]*session
	lastSeen  map[uint64]time.Time
	cpu       map[uint64]float64 // percent, of the nodes that have a session
	transfers map[string]*transfer
}

// New makes a server that refuses sessions until Run is called.
func New(cfg Config) *Server {
	return &Server{
		cfg: cfg, begun: make(chan struct{}), sessions: map[uint64]*session{}, lastSeen: map[uint64]time.Time{},
		cpu: map[uint64]float64{}, transfers: map[string]*transfer{},
	}
}

// Run accepts sessions for one term and hands them what changes for their nodes, until ctx ends; all sessions end with it.
func (s *Server) Run(ctx context.Context) error {
	w := s.cfg.State.Watch()
	defer w.Close()
	s.begin(ctx)
	defer s.live.Wait()
	defer s.end()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.C():
			s.distribute(w.Take())
		}
	}
}

func (s *Server) begin(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.term = ctx
	close(s.begun)
	clear(s.lastSeen)
}

func (s *Server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.term, s.begun = nil, make(chan struct{})
	for _, session := range s.sessions {
		session.stop(errTermEnded)
	}
}

func (s *Server) distribute(c *state.Changes) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.Reset {
		for _, session := range s.sessions {
			session.stop(errTermEnded)
		}
	}
	for uid, changes := range c.Nodes {
		if session := s.sessions[uid]; session != nil {
			session.deliver(changes)
		}
	}
}

// Connected says whether the node has a session.
func (s *Server) Connected(uid uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[uid] != nil
}

// LastSeen says when the node was last heard of in this term.
func (s *Server) LastSeen(uid uint64) (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.lastSeen[uid]
	return at, ok
}

// CPU says how busy a node's processors are, in percent; false where no session has told.
func (s *Server) CPU(uid uint64) (float64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	percent, ok := s.cpu[uid]
	return percent, ok
}

// told takes in what a node says of itself. Nodes are not trusted with more than their own share.
func (s *Server) told(session *session, b *agentv1.Heartbeat) {
	percent := b.GetCpuPercent()
	if !(percent >= 0 && percent <= 100) { // also what is no number
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[session.node.Uid] == session {
		s.cpu[session.node.Uid] = percent
	}
}

func (s *Server) seen(uid uint64) {
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastSeen[uid] = now
}

// LeaderKey names the value of an error that carries the leader's gRPC address.
const LeaderKey = "LeaderAddress"

// notLeading is the answer of a follower: it says where the leader is.
func (s *Server) notLeading() error {
	address, itself := s.cfg.Leader()
	err := batcherr.Unavailable("this coordinator does not lead")
	if address != "" && !itself {
		err = err.With(LeaderKey, address)
	}
	return err
}

// leaderPatience is how long an agent waits here for a leader to be elected, rather than asking again and again.
const leaderPatience = 5 * time.Second

// admit returns nil once this coordinator leads, or an error as soon as another one does, which names it.
func (s *Server) admit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaderPatience)
	defer cancel()
	for {
		changed := s.cfg.LeaderChanged()
		s.mu.Lock()
		leading, begun := s.term != nil, s.begun
		s.mu.Unlock()
		if leading {
			return nil
		}
		if address, itself := s.cfg.Leader(); address != "" && !itself {
			return s.notLeading()
		}
		select {
		case <-changed:
		case <-begun:
		case <-ctx.Done():
			return s.notLeading()
		}
	}
}

// Join admits a node with a join token.
func (s *Server) Join(ctx context.Context, req *agentv1.JoinRequest) (*agentv1.JoinResponse, error) {
	if err := s.admit(ctx); err != nil {
		return nil, err
	}
	token, err := trust.ParseJoinToken(req.Token)
	if err != nil {
		return nil, batcherr.Unauthenticated("the join token is malformed").Wrap(err)
	}
	rec, ok := s.cfg.State.JoinToken(token.ID)
	if !ok {
		return nil, identity.RefuseJoin(identity.ErrJoinUnknown)
	}
	now := s.cfg.Now()
	stored := identity.JoinRecord{
		ID: rec.Id, Kind: trust.JoinNode, SecretHash: rec.SecretHash,
		Expires: time.Unix(0, rec.ExpiryTime), MaxUses: uint32(max(0, rec.UsesLeft)),
	}
	if rec.Kind != apiv1.JoinTokenKind_JOIN_TOKEN_KIND_NODE {
		stored.Kind = trust.JoinCoordinator
	}
	if err := identity.VerifyJoin(stored, token, trust.JoinNode, now); err != nil {
		return nil, identity.RefuseJoin(err)
	}
	result, err := s.cfg.Proposer.Propose(ctx, &raftlogv1.Command{Now: now.UnixNano(), Account: rec.Account, Kind: &raftlogv1.Command_UseJoinToken{
		UseJoinToken: &raftlogv1.UseJoinToken{Id: rec.Id, NewNodeId: NewNodeID(), Facts: req.Facts},
	}})
	if err != nil {
		return nil, err
	}
	if result.Err != nil {
		return nil, result.Err
	}
	node := result.Node
	cert, err := s.cfg.Signer.SignNode(req.Csr, nodeIdentity(node), certificateLife)
	if err != nil {
		return nil, batcherr.Invalid(batcherr.CodeInvalidInput, "the certificate request can't be signed: %v", err)
	}
	s.cfg.Logger.Info("node joined", "account", node.Account, "pool", node.PoolId, "node", node.Node.Id)
	return &agentv1.JoinResponse{
		Certificates: [][]byte{cert, s.cfg.Authority},
		AccountId:    node.Account, PoolId: node.PoolId, NodeId: node.Node.Id,
		CoordinatorAddresses: s.cfg.Addresses(),
	}, nil
}

// NewNodeID makes an id for a node in the form that Azure Batch uses.
func NewNodeID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return "tvmps_" + hex.EncodeToString(b[:]) + "_d"
}

// nodeIdentity is what a node's certificate says. The node's number tells a node from an earlier one of the same name.
func nodeIdentity(rec *raftlogv1.NodeRecord) identity.NodeIdentity {
	return identity.NodeIdentity{Account: rec.Account, Pool: rec.PoolId, Node: rec.Node.Id, Incarnation: rec.Uid}
}

// Renew issues a certificate for the same node again.
func (s *Server) Renew(ctx context.Context, req *agentv1.RenewRequest) (*agentv1.RenewResponse, error) {
	node, err := s.caller(ctx)
	if err != nil {
		return nil, err
	}
	cert, err := s.cfg.Signer.SignNode(req.Csr, nodeIdentity(node.NodeRecord), certificateLife)
	if err != nil {
		return nil, batcherr.Invalid(batcherr.CodeInvalidInput, "the certificate request can't be signed: %v", err)
	}
	return &agentv1.RenewResponse{Certificates: [][]byte{cert, s.cfg.Authority}}, nil
}

// caller finds the node that the connection's certificate names.
func (s *Server) caller(ctx context.Context) (state.NodeInfo, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return state.NodeInfo{}, batcherr.Unauthenticated("no connection")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return state.NodeInfo{}, batcherr.Unauthenticated("the connection is not encrypted")
	}
	id, err := trust.PeerIdentity(info.State)
	if err != nil || id.Role != trust.RoleNode {
		return state.NodeInfo{}, batcherr.Unauthenticated("a node's certificate is needed")
	}
	if err := s.admit(ctx); err != nil {
		return state.NodeInfo{}, err
	}
	n, ok := s.cfg.State.Node(id.Account, id.Pool, id.Name)
	if !ok || n.Uid != id.Incarnation {
		return state.NodeInfo{}, batcherr.NotFound(batcherr.CodeNodeNotFound, "the pool has no such node any more")
	}
	return n, nil
}
