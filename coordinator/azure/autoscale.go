package azure

import (
	"context"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func enableAutoScale(ctx context.Context, c *call) error {
	options := &apiv1.PoolEnableAutoScaleOptions{}
	if _, err := c.read(options, c.codec.shapeOf(options), false); err != nil {
		return err
	}
	w, err := c.pools.EnableAutoScale(ctx, &apiv1.EnableAutoScaleRequest{PoolId: c.param("poolId"), Options: options, Conditions: c.conditions})
	if err != nil {
		return err
	}
	return c.written(w, "")
}

func disableAutoScale(ctx context.Context, c *call) error {
	w, err := c.pools.DisableAutoScale(ctx, &apiv1.DisableAutoScaleRequest{PoolId: c.param("poolId")})
	if err != nil {
		return err
	}
	return c.written(w, "")
}

func evaluateAutoScale(ctx context.Context, c *call) error {
	options := &apiv1.PoolEvaluateAutoScaleOptions{}
	if _, err := c.read(options, c.codec.shapeOf(options), false); err != nil {
		return err
	}
	run, err := c.pools.EvaluateAutoScale(ctx, &apiv1.EvaluateAutoScaleRequest{PoolId: c.param("poolId"), Options: options})
	if err != nil {
		return err
	}
	return c.result("Microsoft.Azure.Batch.Protocol.Entities.AutoScaleRun", run, nil)
}
