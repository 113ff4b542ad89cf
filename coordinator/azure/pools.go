package azure

import (
	"context"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func poolRoutes() []Route {
	const pool = "/pools/{poolId}"
	return []Route{
		{Operation: "Pools_CreatePool", Track1: "pool.add", Method: post, Pattern: "/pools", Status: created, handle: createPool},
		{Operation: "Pools_ListPools", Track1: "pool.list", Method: get, Pattern: "/pools", Status: ok, handle: listPools},
		{Operation: "Pools_GetPool", Track1: "pool.get", Method: get, Pattern: pool, Status: ok, Conditions: AllConditions, handle: getPool},
		{Operation: "Pools_PoolExists", Track1: "pool.exists", Method: head, Pattern: pool, Status: ok, Conditions: AllConditions, handle: poolExists},
		{Operation: "Pools_UpdatePool", Track1: "pool.patch", Method: patch, Pattern: pool, Status: ok, Conditions: AllConditions, handle: updatePool},
		{Operation: "Pools_ReplacePoolProperties", Track1: "pool.update_properties", Method: post, Pattern: pool + "/updateproperties", Status: empty, handle: replacePoolProperties},
		{Operation: "Pools_DeletePool", Track1: "pool.delete", Method: remove, Pattern: pool, Status: accepted, Conditions: AllConditions, handle: deletePool},
		{Operation: "Pools_ResizePool", Track1: "pool.resize", Method: post, Pattern: pool + "/resize", Status: accepted, Conditions: AllConditions, handle: resizePool},
		{Operation: "Pools_StopPoolResize", Track1: "pool.stop_resize", Method: post, Pattern: pool + "/stopresize", Status: accepted, Conditions: AllConditions, handle: stopPoolResize},
		{Operation: "Pools_RemoveNodes", Track1: "pool.remove_nodes", Method: post, Pattern: pool + "/removenodes", Status: accepted, Conditions: AllConditions, handle: removeNodes},
		{Operation: "Pools_EnablePoolAutoScale", Track1: "pool.enable_auto_scale", Method: post, Pattern: pool + "/enableautoscale", Status: ok, Conditions: AllConditions, handle: enableAutoScale},
		{Operation: "Pools_DisablePoolAutoScale", Track1: "pool.disable_auto_scale", Method: post, Pattern: pool + "/disableautoscale", Status: ok, handle: disableAutoScale},
		{Operation: "Pools_EvaluatePoolAutoScale", Track1: "pool.evaluate_auto_scale", Method: post, Pattern: pool + "/evaluateautoscale", Status: ok, handle: evaluateAutoScale},
		{Operation: "Pools_ListPoolNodeCounts", Track1: "account.list_pool_node_counts", Method: get, Pattern: "/nodecounts", Status: ok, handle: listPoolNodeCounts},
		{Operation: "Pools_ListSupportedImages", Track1: "account.list_supported_images", Method: get, Pattern: "/supportedimages", Status: ok, handle: listSupportedImages},
		{Operation: "Pools_ListPoolUsageMetrics", Track1: "pool.list_usage_metrics", Method: get, Pattern: "/poolusagemetrics", Status: ok, handle: listPoolUsageMetrics},
	}
}

func createPool(ctx context.Context, c *call) error {
	pool := &apiv1.Pool{}
	if _, err := c.read(pool, c.shapes.poolCreate, false); err != nil {
		return err
	}
	w, err := c.pools.CreatePool(ctx, &apiv1.CreatePoolRequest{Pool: pool})
	if err != nil {
		return err
	}
	return c.written(w, c.encoder().links.poolURL(pool.GetId()))
}

func listPools(ctx context.Context, c *call) error {
	l, err := c.listing(&apiv1.Pool{})
	if err != nil {
		return err
	}
	page, err := c.pools.ListPools(ctx, &apiv1.ListPoolsRequest{Options: l.options})
	if err != nil {
		return err
	}
	return list(c, c.encoder(), "pools", page.GetPools(), l, page.GetNextPageToken())
}

func getPool(ctx context.Context, c *call) error {
	selected, err := c.selection(&apiv1.Pool{})
	if err != nil {
		return err
	}
	expand, err := c.expand()
	if err != nil {
		return err
	}
	pool, err := c.pools.GetPool(ctx, &apiv1.GetPoolRequest{PoolId: c.param("poolId"), Expand: expand, Conditions: c.conditions})
	if err != nil {
		return err
	}
	return c.entity("pools", pool, selected)
}

func poolExists(ctx context.Context, c *call) error {
	pool, err := c.pools.GetPool(ctx, &apiv1.GetPoolRequest{PoolId: c.param("poolId"), Conditions: c.conditions})
	if err != nil {
		return err
	}
	return c.exists(pool)
}

func updatePool(ctx context.Context, c *call) error {
	update := &apiv1.PoolUpdateOptions{}
	cleared, err := c.read(update, c.codec.shapeOf(update), false)
	if err != nil {
		return err
	}
	w, err := c.pools.UpdatePool(ctx, &apiv1.UpdatePoolRequest{
		PoolId: c.param("poolId"), Update: update, Cleared: cleared, Conditions: c.conditions,
	})
	if err != nil {
		return err
	}
	return c.written(w, "")
}

func replacePoolProperties(ctx context.Context, c *call) error {
	properties := &apiv1.PoolReplaceOptions{}
	if _, err := c.read(properties, c.shapes.poolReplace, false); err != nil {
		return err
	}
	w, err := c.pools.ReplacePoolProperties(ctx, &apiv1.ReplacePoolPropertiesRequest{PoolId: c.param("poolId"), Properties: properties})
	if err != nil {
		return err
	}
	return c.written(w, "")
}

func deletePool(ctx context.Context, c *call) error {
	if _, err := c.pools.DeletePool(ctx, &apiv1.DeletePoolRequest{PoolId: c.param("poolId"), Conditions: c.conditions}); err != nil {
		return err
	}
	return c.deleted()
}

func resizePool(ctx context.Context, c *call) error {
	options := &apiv1.PoolResizeOptions{}
	if _, err := c.read(options, c.codec.shapeOf(options), false); err != nil {
		return err
	}
	w, err := c.pools.ResizePool(ctx, &apiv1.ResizePoolRequest{PoolId: c.param("poolId"), Options: options, Conditions: c.conditions})
	if err != nil {
		return err
	}
	return c.written(w, "")
}

func stopPoolResize(ctx context.Context, c *call) error {
	w, err := c.pools.StopPoolResize(ctx, &apiv1.StopPoolResizeRequest{PoolId: c.param("poolId"), Conditions: c.conditions})
	if err != nil {
		return err
	}
	return c.written(w, "")
}

func removeNodes(ctx context.Context, c *call) error {
	options := &apiv1.NodeRemoveOptions{}
	if _, err := c.read(options, c.codec.shapeOf(options), false); err != nil {
		return err
	}
	w, err := c.pools.RemoveNodes(ctx, &apiv1.RemoveNodesRequest{PoolId: c.param("poolId"), Options: options, Conditions: c.conditions})
	if err != nil {
		return err
	}
	return c.written(w, "")
}

func listPoolNodeCounts(ctx context.Context, c *call) error {
	l, err := c.listing(&apiv1.PoolNodeCounts{})
	if err != nil {
		return err
	}
	l.options.Select = ""
	page, err := c.pools.ListPoolNodeCounts(ctx, &apiv1.ListPoolNodeCountsRequest{Options: l.options})
	if err != nil {
		return err
	}
	return list(c, c.encoder(), "poolnodecounts", page.GetCounts(), l, page.GetNextPageToken())
}

// listPoolUsageMetrics answers an empty list, as the real service does now that it has retired the operation.
func listPoolUsageMetrics(_ context.Context, c *call) error {
	l, err := c.listing(&apiv1.PoolUsageMetrics{})
	if err != nil {
		return err
	}
	for _, name := range []string{"starttime", "endtime"} {
		if text := c.query.Get(name); text != "" {
			if _, ok := parseTime(text); !ok {
				return batcherr.InvalidQuery(name, text, "Must be a time such as 2024-01-02T03:04:05Z.")
			}
		}
	}
	return list(c, c.encoder(), "poolusagemetrics", []*apiv1.PoolUsageMetrics(nil), l, "")
}
