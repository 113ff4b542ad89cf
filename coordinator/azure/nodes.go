package azure

import (
	"context"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"google.golang.org/protobuf/proto"
)

func nodeRoutes() []Route {
	const nodes = "/pools/{poolId}/nodes"
	const node = nodes + "/{nodeId}"
	const file = node + "/files/{filePath...}"
	return []Route{
		{Operation: "Nodes_ListNodes", Track1: "compute_node.list", Method: get, Pattern: nodes, Status: ok, handle: listNodes},
		{Operation: "Nodes_GetNode", Track1: "compute_node.get", Method: get, Pattern: node, Status: ok, handle: getNode},
		{Operation: "Nodes_RebootNode", Track1: "compute_node.reboot", Method: post, Pattern: node + "/reboot", Status: accepted, handle: rebootNode},
		{Operation: "Nodes_ReimageNode", Track1: "compute_node.reimage", Method: post, Pattern: node + "/reimage", Status: accepted, handle: reimageNode},
		{Operation: "Nodes_StartNode", Method: post, Pattern: node + "/start", Status: accepted, Since: version2024July, handle: startNode},
		{Operation: "Nodes_DeallocateNode", Method: post, Pattern: node + "/deallocate", Status: accepted, Since: version2024July, handle: deallocateNode},
		{Operation: "Nodes_DisableNodeScheduling", Track1: "compute_node.disable_scheduling", Method: post, Pattern: node + "/disablescheduling", Status: ok, handle: disableScheduling},
		{Operation: "Nodes_EnableNodeScheduling", Track1: "compute_node.enable_scheduling", Method: post, Pattern: node + "/enablescheduling", Status: ok, handle: enableScheduling},
		{Operation: "Nodes_GetNodeRemoteLoginSettings", Track1: "compute_node.get_remote_login_settings", Method: get, Pattern: node + "/remoteloginsettings", Status: ok, handle: getRemoteLogin},
		{Operation: "Nodes_UploadNodeLogs", Track1: "compute_node.upload_batch_service_logs", Method: post, Pattern: node + "/uploadbatchservicelogs", Status: ok, handle: uploadLogs},
		{Operation: "Nodes_CreateNodeUser", Track1: "compute_node.add_user", Method: post, Pattern: node + "/users", Status: created, handle: createUser},
		{Operation: "Nodes_ReplaceNodeUser", Track1: "compute_node.update_user", Method: put, Pattern: node + "/users/{userName}", Status: ok, handle: replaceUser},
		{Operation: "Nodes_DeleteNodeUser", Track1: "compute_node.delete_user", Method: remove, Pattern: node + "/users/{userName}", Status: ok, handle: deleteUser},
		{Operation: "Nodes_ListNodeExtensions", Track1: "compute_node_extension.list", Method: get, Pattern: node + "/extensions", Status: ok, handle: listExtensions},
		{Operation: "Nodes_GetNodeExtension", Track1: "compute_node_extension.get", Method: get, Pattern: node + "/extensions/{extensionName}", Status: ok, handle: getExtension},
		{Operation: "Nodes_ListNodeFiles", Track1: "file.list_from_compute_node", Method: get, Pattern: node + "/files", Status: ok, handle: listFiles},
		{Operation: "Nodes_GetNodeFile", Track1: "file.get_from_compute_node", Method: get, Pattern: file, Status: ok, Conditions: DateConditions, streams: true, handle: getFile},
		{Operation: "Nodes_GetNodeFileProperties", Track1: "file.get_properties_from_compute_node", Method: head, Pattern: file, Status: ok, Conditions: DateConditions, handle: getFileProperties},
		{Operation: "Nodes_DeleteNodeFile", Track1: "file.delete_from_compute_node", Method: remove, Pattern: file, Status: ok, handle: deleteFile},
	}
}

func listNodes(ctx context.Context, c *call) error {
	l, err := c.listing(&apiv1.Node{})
	if err != nil {
		return err
	}
	page, err := c.nodes.ListNodes(ctx, &apiv1.ListNodesRequest{PoolId: c.param("poolId"), Options: l.options})
	if err != nil {
		return err
	}
	return list(c, c.encoder(), "nodes", page.GetNodes(), l, page.GetNextPageToken())
}

func getNode(ctx context.Context, c *call) error {
	selected, err := c.selection(&apiv1.Node{})
	if err != nil {
		return err
	}
	node, err := c.node(ctx)
	if err != nil {
		return err
	}
	return c.entity("nodes", node, selected)
}

// node gets the node in the path, or the error that there is none.
func (c *call) node(ctx context.Context) (*apiv1.Node, error) {
	return c.nodes.GetNode(ctx, &apiv1.GetNodeRequest{PoolId: c.param("poolId"), NodeId: c.param("nodeId")})
}

func disableScheduling(ctx context.Context, c *call) error {
	options := &apiv1.NodeDisableSchedulingOptions{}
	if _, err := c.read(options, c.codec.shapeOf(options), true); err != nil {
		return err
	}
	w, err := c.nodes.DisableNodeScheduling(ctx, &apiv1.DisableNodeSchedulingRequest{
		PoolId: c.param("poolId"), NodeId: c.param("nodeId"), Options: options,
	})
	if err != nil {
		return err
	}
	return c.written(w, "")
}

func enableScheduling(ctx context.Context, c *call) error {
	w, err := c.nodes.EnableNodeScheduling(ctx, &apiv1.EnableNodeSchedulingRequest{PoolId: c.param("poolId"), NodeId: c.param("nodeId")})
	if err != nil {
		return err
	}
	return c.written(w, "")
}

func rebootNode(ctx context.Context, c *call) error {
	options := &apiv1.NodeRebootOptions{}
	return nodeAction(c, options, func() (*apiv1.Written, error) {
		return c.nodes.RebootNode(ctx, &apiv1.RebootNodeRequest{PoolId: c.param("poolId"), NodeId: c.param("nodeId"), Options: options})
	})
}

func reimageNode(ctx context.Context, c *call) error {
	options := &apiv1.NodeReimageOptions{}
	return nodeAction(c, options, func() (*apiv1.Written, error) {
		return c.nodes.ReimageNode(ctx, &apiv1.ReimageNodeRequest{PoolId: c.param("poolId"), NodeId: c.param("nodeId"), Options: options})
	})
}

func deallocateNode(ctx context.Context, c *call) error {
	options := &apiv1.NodeDeallocateOptions{}
	return nodeAction(c, options, func() (*apiv1.Written, error) {
		return c.nodes.DeallocateNode(ctx, &apiv1.DeallocateNodeRequest{PoolId: c.param("poolId"), NodeId: c.param("nodeId"), Options: options})
	})
}

func startNode(ctx context.Context, c *call) error {
	w, err := c.nodes.StartNode(ctx, &apiv1.StartNodeRequest{PoolId: c.param("poolId"), NodeId: c.param("nodeId")})
	if err != nil {
		return err
	}
	return c.written(w, "")
}

// nodeAction reads the options, which may be absent, and answers what act does.
func nodeAction(c *call, options proto.Message, act func() (*apiv1.Written, error)) error {
	if _, err := c.read(options, c.codec.shapeOf(options), true); err != nil {
		return err
	}
	w, err := act()
	if err != nil {
		return err
	}
	return c.written(w, "")
}

func getRemoteLogin(ctx context.Context, c *call) error {
	settings, err := c.nodes.GetNodeRemoteLoginSettings(ctx, &apiv1.GetNodeRemoteLoginSettingsRequest{
		PoolId: c.param("poolId"), NodeId: c.param("nodeId"),
	})
	if err != nil {
		return err
	}
	return c.entity("nodes", settings, nil)
}

func uploadLogs(ctx context.Context, c *call) error {
	options := &apiv1.UploadBatchServiceLogsOptions{}
	if _, err := c.read(options, c.codec.shapeOf(options), false); err != nil {
		return err
	}
	result, err := c.nodes.UploadNodeLogs(ctx, &apiv1.UploadNodeLogsRequest{PoolId: c.param("poolId"), NodeId: c.param("nodeId"), Options: options})
	if err != nil {
		return err
	}
	return c.entity("nodes", result, nil)
}

func createUser(ctx context.Context, c *call) error {
	user := &apiv1.NodeUserCreateOptions{}
	if _, err := c.read(user, c.codec.shapeOf(user), false); err != nil {
		return err
	}
	w, err := c.nodes.CreateNodeUser(ctx, &apiv1.CreateNodeUserRequest{PoolId: c.param("poolId"), NodeId: c.param("nodeId"), User: user})
	if err != nil {
		return err
	}
	return c.written(w, "")
}

func replaceUser(ctx context.Context, c *call) error {
	user := &apiv1.NodeUserUpdateOptions{}
	if _, err := c.read(user, c.codec.shapeOf(user), false); err != nil {
		return err
	}
	w, err := c.nodes.UpdateNodeUser(ctx, &apiv1.UpdateNodeUserRequest{
		PoolId: c.param("poolId"), NodeId: c.param("nodeId"), Name: c.param("userName"), User: user,
	})
	if err != nil {
		return err
	}
	return c.written(w, "")
}

func deleteUser(ctx context.Context, c *call) error {
	w, err := c.nodes.DeleteNodeUser(ctx, &apiv1.DeleteNodeUserRequest{
		PoolId: c.param("poolId"), NodeId: c.param("nodeId"), Name: c.param("userName"),
	})
	if err != nil {
		return err
	}
	return c.written(w, "")
}

// listExtensions answers an empty list: nodes have no VM extensions.
func listExtensions(ctx context.Context, c *call) error {
	l, err := c.listing(&apiv1.NodeVMExtension{})
	if err != nil {
		return err
	}
	if _, err := c.node(ctx); err != nil {
		return err
	}
	return list(c, c.encoder(), "extensions", []*apiv1.NodeVMExtension(nil), l, "")
}

func getExtension(ctx context.Context, c *call) error {
	if _, err := c.node(ctx); err != nil {
		return err
	}
	return batcherr.NotFound(batcherr.CodeResourceNotFound, "The node has no such extension.")
}
