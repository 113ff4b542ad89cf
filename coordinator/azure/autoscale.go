package azure

import (
	"context"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"google.golang.org/protobuf/proto"
)

func enableAutoScale(ctx context.Context, c *call) error {
	return refuseAutoScale(ctx, c, &apiv1.PoolEnableAutoScaleOptions{})
}

func disableAutoScale(ctx context.Context, c *call) error {
	return refuseAutoScale(ctx, c, nil)
}

func evaluateAutoScale(ctx context.Context, c *call) error {
	return refuseAutoScale(ctx, c, &apiv1.PoolEvaluateAutoScaleOptions{})
}

// refuseAutoScale answers for pools whose nodes come by themselves: the body and the pool are checked all the same.
func refuseAutoScale(ctx context.Context, c *call, body proto.Message) error {
	if body != nil {
		if _, err := c.read(body, c.codec.shapeOf(body), false); err != nil {
			return err
		}
	}
	if _, err := c.pools.GetPool(ctx, &apiv1.GetPoolRequest{PoolId: c.param("poolId"), Conditions: c.conditions}); err != nil {
		return err
	}
	return batcherr.Conflict(batcherr.CodeOperationNotValidOnPool, "Automatic scaling is not available for this pool.")
}
