package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func newClusterCommand(f *factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "cluster",
		Short:   "The coordinators, and tokens to join them",
		Example: "  batchyard cluster status\n  batchyard cluster token --pool demo",
	}
	cmd.AddCommand(newClusterStatusCommand(f), newClusterTokenCommand(f))
	return cmd
}

func newClusterStatusCommand(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the coordinators and which of them leads",
		Long: `Shows the coordinators, which of them leads, and what each says of itself: how far it has applied the log, and the digest of its
state there. Members that have applied equally much have equal digests. One that does not answer has neither.`,
		Example: "  batchyard cluster status\n  batchyard cluster status -o json",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.withSession(func(s *session) error {
				cluster, err := s.cluster.GetCluster(cmd.Context(), &apiv1.GetClusterRequest{})
				if err != nil {
					return err
				}
				askMembers(cmd.Context(), s, cluster)
				return f.show(cluster, func(w io.Writer) error { return describeCluster(w, cluster) })
			})
		},
	}
}

// shownDigest is how many digits of a digest are enough to see a difference.
const shownDigest = 12

// memberPatience is how long a member may take to say how it is.
const memberPatience = 3 * time.Second

// askMembers fills in what each member says of itself, if it answers.
func askMembers(ctx context.Context, s *session, c *apiv1.Cluster) {
	ctx, cancel := context.WithTimeout(ctx, memberPatience)
	defer cancel()
	var wait sync.WaitGroup
	for _, m := range c.GetMembers() {
		conn, err := s.At(m.GetAddress())
		if err != nil {
			continue
		}
		wait.Go(func() {
			own, err := apiv1.NewClusterServiceClient(conn).GetCluster(ctx, &apiv1.GetClusterRequest{Local: true})
			if err == nil && own.GetMemberId() == m.GetId() {
				m.AppliedIndex, m.Digest = own.GetAppliedIndex(), own.GetDigest()
			}
		})
	}
	wait.Wait()
}

func describeCluster(w io.Writer, c *apiv1.Cluster) error {
	err := render.Fields(w, "Cluster", c.GetId(), "Version", c.GetVersion(), "Term", fmt.Sprint(c.GetTerm()),
		"Applied", fmt.Sprint(c.GetAppliedIndex()), "Digest", c.GetDigest(), "Answered by", c.GetMemberId())
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, "\n"); err != nil {
		return err
	}
	table := render.NewTable("MEMBER", "ROLE", "GRPC", "HTTPS", "RAFT", "APPLIED", "DIGEST")
	for _, m := range c.GetMembers() {
		role := "follower"
		if m.GetLeader() || m.GetId() == c.GetLeaderId() {
			role = "leader"
		}
		applied, digest := "", m.GetDigest()
		if digest != "" {
			applied, digest = fmt.Sprint(m.GetAppliedIndex()), digest[:min(len(digest), shownDigest)]
		}
		table.Row(m.GetId(), role, m.GetAddress(), m.GetHttpsAddress(), m.GetRaftAddress(), applied, digest)
	}
	_, err = table.WriteTo(w)
	return err
}

type clusterTokenOptions struct {
	pool        string
	coordinator bool
	ttl         durationFlag
	uses        int32
}

func newClusterTokenCommand(f *factory) *cobra.Command {
	opts := &clusterTokenOptions{}
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make a token with which a node or a coordinator joins",
		Example: `  batchyard cluster token --pool demo --uses 10 --ttl 24h
  batchyard cluster token --coordinator`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.withSession(func(s *session) error { return opts.run(cmd.Context(), f, s) })
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.pool, "pool", "", "pool that the nodes join")
	flags.BoolVar(&opts.coordinator, "coordinator", false, "for a coordinator instead of nodes")
	flags.Var(&opts.ttl, "ttl", "how long the token is good for, at most 7 days (default 1h)")
	flags.Int32Var(&opts.uses, "uses", 1, "how often it may be used")
	_ = cmd.RegisterFlagCompletionFunc("pool", completeFlag(f, poolIDs))
	return cmd
}

func (o *clusterTokenOptions) run(ctx context.Context, f *factory, s *session) error {
	req := &apiv1.CreateJoinTokenRequest{PoolId: o.pool, Ttl: o.ttl.proto(), MaxUses: o.uses, Kind: apiv1.JoinTokenKind_JOIN_TOKEN_KIND_NODE}
	switch {
	case o.coordinator && o.pool != "":
		return usagef("give --pool or --coordinator, not both")
	case o.coordinator:
		req.Kind = apiv1.JoinTokenKind_JOIN_TOKEN_KIND_COORDINATOR
	case o.pool == "":
		return usagef("give --pool, or --coordinator")
	}
	token, err := s.cluster.CreateJoinToken(ctx, req)
	if err != nil {
		return err
	}
	return f.show(token, func(w io.Writer) error { return writeLine(w, token.GetToken()) })
}
