package api

import (
	"context"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/batchyard/batchyard/coordinator/identity"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/trust"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

const (
	defaultJoinLife = time.Hour
	maxJoinLife     = 7 * 24 * time.Hour
)

type clusterService struct {
	apiv1.UnimplementedClusterServiceServer
	*core
}

func (s *clusterService) GetCluster(context.Context, *apiv1.GetClusterRequest) (*apiv1.Cluster, error) {
	status := s.Cluster.Status()
	index, digest := s.State.Digest()
	out := &apiv1.Cluster{
		Id: s.Keyring.ClusterID(), LeaderId: status.LeaderID, Term: status.Term, AppliedIndex: index,
		Digest: hex.EncodeToString(digest[:]), Version: status.Version, MemberId: status.MemberID,
	}
	for _, m := range s.State.Members() {
		shown := proto.CloneOf(m)
		shown.Leader = m.Id == status.LeaderID
		out.Members = append(out.Members, shown)
	}
	slices.SortFunc(out.Members, func(a, b *apiv1.Member) int { return strings.Compare(a.Id, b.Id) })
	return out, nil
}

// JoinCluster hands the cluster's secrets to the holder of a join token for coordinators.
func (s *clusterService) JoinCluster(ctx context.Context, req *apiv1.JoinClusterRequest) (*apiv1.JoinClusterResponse, error) {
	token, err := trust.ParseJoinToken(req.GetToken())
	if err != nil {
		return nil, batcherr.Unauthenticated("The join token is malformed.").Wrap(err)
	}
	if err := checkID("memberId", req.GetMemberId()); err != nil {
		return nil, err
	}
	rec, ok := s.State.JoinToken(token.ID)
	if !ok {
		return nil, identity.RefuseJoin(identity.ErrJoinUnknown)
	}
	stored := identity.JoinRecord{
		ID: rec.Id, Kind: trust.JoinCoordinator, SecretHash: rec.SecretHash,
		Expires: time.Unix(0, rec.ExpiryTime), MaxUses: uint32(max(0, rec.UsesLeft)),
	}
	if rec.Kind != apiv1.JoinTokenKind_JOIN_TOKEN_KIND_COORDINATOR {
		stored.Kind = trust.JoinNode
	}
	if err := identity.VerifyJoin(stored, token, trust.JoinCoordinator, s.Now()); err != nil {
		return nil, identity.RefuseJoin(err)
	}
	cmd := &raftlogv1.Command{Kind: &raftlogv1.Command_UseJoinToken{UseJoinToken: &raftlogv1.UseJoinToken{Id: rec.Id}}}
	if _, err := s.proposeFor(ctx, grant{}, rec.Account, cmd); err != nil {
		return nil, err
	}
	keyring, err := s.Keyring.Marshal()
	if err != nil {
		return nil, internal(err)
	}
	s.Logger.InfoContext(ctx, "a coordinator was given the cluster's secrets", "member", req.GetMemberId())
	return &apiv1.JoinClusterResponse{Keyring: keyring, Members: s.State.Members()}, nil
}

// AddMember makes the coordinator that calls, and no other, a voting member.
func (s *clusterService) AddMember(ctx context.Context, req *apiv1.AddMemberRequest) (*apiv1.Empty, error) {
	id, err := peerServer(ctx)
	if err != nil {
		return nil, err
	}
	m := proto.CloneOf(req.GetMember())
	if m.GetId() == "" || m.GetRaftAddress() == "" || m.GetAddress() == "" {
		return nil, batcherr.MissingProperty("member")
	}
	if !s.isMember(id.Name) && id.Name != m.Id {
		return nil, batcherr.Forbidden("A coordinator can only add itself.")
	}
	m.Leader = false
	cmd := &raftlogv1.Command{Kind: &raftlogv1.Command_PutMember{PutMember: &raftlogv1.PutMember{Record: &raftlogv1.MemberRecord{Member: m}}}}
	if _, err := s.proposeFor(ctx, grant{}, "", cmd); err != nil {
		return nil, err
	}
	if err := s.Cluster.AddVoter(ctx, m.Id, m.RaftAddress); err != nil {
		return nil, batcherr.Unavailable("The coordinator can't be made a member yet.").Wrap(err)
	}
	return &apiv1.Empty{}, nil
}

func (c *core) isMember(id string) bool {
	return slices.ContainsFunc(c.State.Members(), func(m *apiv1.Member) bool { return m.Id == id })
}

func (s *clusterService) RemoveMember(ctx context.Context, req *apiv1.RemoveMemberRequest) (*apiv1.Empty, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	if !s.isMember(req.GetMemberId()) {
		return nil, batcherr.NotFound(batcherr.CodeResourceNotFound, "The cluster has no member %q.", req.GetMemberId())
	}
	if err := s.Cluster.RemoveMember(ctx, req.GetMemberId()); err != nil {
		return nil, batcherr.Unavailable("The member can't be removed now.").Wrap(err)
	}
	_, err = s.proposeFor(ctx, g, "", &raftlogv1.Command{Kind: &raftlogv1.Command_DeleteMember{DeleteMember: &raftlogv1.DeleteMember{Id: req.GetMemberId()}}})
	return &apiv1.Empty{}, err
}

func (s *clusterService) CreateJoinToken(ctx context.Context, req *apiv1.CreateJoinTokenRequest) (*apiv1.JoinToken, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	life, uses := defaultJoinLife, max(1, req.GetMaxUses())
	if req.GetTtl() != nil {
		life = req.GetTtl().AsDuration()
	}
	if life <= 0 || life > maxJoinLife {
		return nil, invalid("ttl", life.String(), "A join token lives up to 7 days.")
	}
	kind := trust.JoinNode
	switch req.GetKind() {
	case apiv1.JoinTokenKind_JOIN_TOKEN_KIND_COORDINATOR:
		if g.Access != identity.AccessAdmin {
			return nil, batcherr.Forbidden("Only administrators let coordinators join.")
		}
		kind = trust.JoinCoordinator
	case apiv1.JoinTokenKind_JOIN_TOKEN_KIND_NODE:
		if _, err := s.pool(ctx, g, req.GetPoolId()); err != nil {
			return nil, err
		}
	default:
		return nil, invalid("kind", req.GetKind().String(), "A token is for nodes or for a coordinator.")
	}
	token, record, err := s.Joins.NewJoinToken(kind)
	if err != nil {
		return nil, internal(err)
	}
	expires := s.Now().Add(life)
	_, err = s.propose(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_PutJoinToken{PutJoinToken: &raftlogv1.PutJoinToken{
		Record: &raftlogv1.JoinTokenRecord{
			Id: record.ID, SecretHash: record.SecretHash, Kind: req.GetKind(), Account: g.Account, PoolId: req.GetPoolId(),
			NodeId: req.GetNodeId(), ExpiryTime: expires.UnixNano(), UsesLeft: uses,
		},
	}}})
	if err != nil {
		return nil, err
	}
	return &apiv1.JoinToken{Token: token.Text(), ExpiryTime: timestamppb.New(expires)}, nil
}
