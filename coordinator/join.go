package coordinator

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/batchyard/batchyard/coordinator/identity"
	"github.com/batchyard/batchyard/internal/trust"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// joinTimeout bounds the first contact with a cluster.
const joinTimeout = 30 * time.Second

// fetchKeyring exchanges a join token for the cluster's secrets. The token carries the pin of the authority, so that no one else can pose as the cluster.
func fetchKeyring(ctx context.Context, join Join, member string, now func() time.Time) (*identity.Keyring, error) {
	token, err := trust.ParseJoinToken(join.Token)
	if err != nil {
		return nil, fmt.Errorf("join token: %w", err)
	}
	conn, err := grpc.NewClient(join.Address, grpc.WithTransportCredentials(credentials.NewTLS(trust.PinnedTLS(token.Pin, now))))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	answer, err := apiv1.NewClusterServiceClient(conn).JoinCluster(ctx, &apiv1.JoinClusterRequest{Token: join.Token, MemberId: member})
	if err != nil {
		return nil, fmt.Errorf("join the cluster at %s: %w", join.Address, err)
	}
	return identity.UnmarshalKeyring(answer.Keyring)
}
