package api

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/batchyard/batchyard/coordinator/state"
	"github.com/batchyard/batchyard/internal/batcherr"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// NodeOrders has a node's agent do something; each is given what the answer consists of. The error is of kind unavailable when the node is not
// connected, and that of the agent where it could not do it.
type NodeOrders interface {
	Order(ctx context.Context, nodeUID uint64, order *agentv1.NodeOrder, each func(*agentv1.TransferChunk) error) error
}

func (s *nodeService) RebootNode(ctx context.Context, req *apiv1.RebootNodeRequest) (*apiv1.Written, error) {
	return s.act(ctx, req, req.GetOptions(), int32(req.GetOptions().GetNodeRebootOption()), apiv1.NodeState_NODE_STATE_REBOOTING)
}

func (s *nodeService) ReimageNode(ctx context.Context, req *apiv1.ReimageNodeRequest) (*apiv1.Written, error) {
	return s.act(ctx, req, req.GetOptions(), int32(req.GetOptions().GetNodeReimageOption()), apiv1.NodeState_NODE_STATE_REIMAGING)
}

func (s *nodeService) DeallocateNode(ctx context.Context, req *apiv1.DeallocateNodeRequest) (*apiv1.Written, error) {
	return s.act(ctx, req, req.GetOptions(), int32(req.GetOptions().GetNodeDeallocateOption()), apiv1.NodeState_NODE_STATE_DEALLOCATING)
}

func (s *nodeService) StartNode(ctx context.Context, req *apiv1.StartNodeRequest) (*apiv1.Written, error) {
	return s.act(ctx, req, nil, 0, apiv1.NodeState_NODE_STATE_STARTING)
}

// inPool is a request about a node.
type inPool interface {
	GetPoolId() string
	GetNodeId() string
}

// act moves a node towards another state. The three enumerations of options have the same numbers.
func (s *nodeService) act(ctx context.Context, req inPool, options proto.Message, option int32, target apiv1.NodeState) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	if options != nil && options.ProtoReflect().IsValid() {
		if err := s.rules.check(options, ""); err != nil {
			return nil, err
		}
	}
	chosen := raftlogv1.NodeActionOption_NODE_ACTION_OPTION_UNSPECIFIED
	switch apiv1.NodeRebootKind(option) {
	case apiv1.NodeRebootKind_NODE_REBOOT_KIND_TERMINATE:
		chosen = raftlogv1.NodeActionOption_NODE_ACTION_OPTION_TERMINATE
	case apiv1.NodeRebootKind_NODE_REBOOT_KIND_TASK_COMPLETION, apiv1.NodeRebootKind_NODE_REBOOT_KIND_RETAINED_DATA:
		chosen = raftlogv1.NodeActionOption_NODE_ACTION_OPTION_TASK_COMPLETION
	}
	return s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_ActOnNode{ActOnNode: &raftlogv1.ActOnNode{
		PoolId: req.GetPoolId(), NodeId: req.GetNodeId(), Target: target, Option: chosen,
	}}})
}

// userName is what useradd of every distribution accepts.
var userName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,19}$`)

const (
	// defaultUserLife is how long a user of a node stays who is given no time.
	defaultUserLife = 24 * time.Hour
	sshPort         = 22
)

func (s *nodeService) CreateNodeUser(ctx context.Context, req *apiv1.CreateNodeUserRequest) (*apiv1.Written, error) {
	user := req.GetUser()
	if user == nil {
		return nil, batcherr.MissingProperty("name")
	}
	if err := s.rules.check(user, ""); err != nil {
		return nil, err
	}
	return s.putUser(ctx, req, &agentv1.PutNodeUser{
		Name: user.Name, Create: true, Admin: user.GetIsAdmin(), ExpiryTime: user.ExpiryTime, Password: user.Password, SshPublicKey: user.SshPublicKey,
	})
}

func (s *nodeService) UpdateNodeUser(ctx context.Context, req *apiv1.UpdateNodeUserRequest) (*apiv1.Written, error) {
	user := req.GetUser()
	if user == nil {
		user = &apiv1.NodeUserUpdateOptions{}
	}
	if err := s.rules.check(user, ""); err != nil {
		return nil, err
	}
	return s.putUser(ctx, req, &agentv1.PutNodeUser{
		Name: req.GetName(), ExpiryTime: user.ExpiryTime, Password: user.Password, SshPublicKey: user.SshPublicKey,
	})
}

func (s *nodeService) putUser(ctx context.Context, req inPool, user *agentv1.PutNodeUser) (*apiv1.Written, error) {
	if !userName.MatchString(user.Name) {
		return nil, invalid("name", user.Name, "A user's name has 1 to 20 characters: small letters, digits, - and _, not beginning with a digit or -.")
	}
	if strings.ContainsAny(user.Password, "\r\n\x00:") {
		return nil, invalid("password", "", "A password contains no colon, line break or NUL.")
	}
	if strings.ContainsAny(user.SshPublicKey, "\r\n\x00") {
		return nil, invalid("sshPublicKey", "", "A key is one line.")
	}
	if user.ExpiryTime == nil {
		user.ExpiryTime = timestamppb.New(s.Now().Add(defaultUserLife))
	}
	return s.order(ctx, req, &agentv1.NodeOrder{Order: &agentv1.NodeOrder_PutUser{PutUser: user}}, nil)
}

func (s *nodeService) DeleteNodeUser(ctx context.Context, req *apiv1.DeleteNodeUserRequest) (*apiv1.Written, error) {
	if !userName.MatchString(req.GetName()) {
		return nil, batcherr.Of(batcherr.CodeNodeUserNotFound)
	}
	return s.order(ctx, req, &agentv1.NodeOrder{Order: &agentv1.NodeOrder_DeleteUser{DeleteUser: &agentv1.DeleteNodeUser{Name: req.GetName()}}}, nil)
}

// order has the agent of a node that works do something.
func (s *nodeService) order(ctx context.Context, req inPool, order *agentv1.NodeOrder, each func(*agentv1.TransferChunk) error) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	info, err := s.node(ctx, g, req.GetPoolId(), req.GetNodeId())
	if err != nil {
		return nil, err
	}
	if err := workingNode(info); err != nil {
		return nil, err
	}
	if each == nil {
		each = func(*agentv1.TransferChunk) error { return nil }
	}
	return &apiv1.Written{}, s.Orders.Order(ctx, info.Uid, order, each)
}

// workingNode says why a node's agent can't be asked for anything now.
func workingNode(info state.NodeInfo) error {
	switch info.Node.State {
	case apiv1.NodeState_NODE_STATE_CREATING:
		return batcherr.Of(batcherr.CodeNodeBeingCreated)
	case apiv1.NodeState_NODE_STATE_STARTING:
		return batcherr.Of(batcherr.CodeNodeBeingStarted)
	case apiv1.NodeState_NODE_STATE_REBOOTING:
		return batcherr.Of(batcherr.CodeNodeBeingRebooted)
	case apiv1.NodeState_NODE_STATE_REIMAGING:
		return batcherr.Of(batcherr.CodeNodeBeingReimaged)
	case apiv1.NodeState_NODE_STATE_UNKNOWN, apiv1.NodeState_NODE_STATE_DEALLOCATING, apiv1.NodeState_NODE_STATE_DEALLOCATED:
		return batcherr.Of(batcherr.CodeNodeStateUnusable)
	}
	return nil
}

func (s *nodeService) GetNodeRemoteLoginSettings(ctx context.Context, req *apiv1.GetNodeRemoteLoginSettingsRequest) (*apiv1.NodeRemoteLoginSettings, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	info, err := s.node(ctx, g, req.GetPoolId(), req.GetNodeId())
	if err != nil {
		return nil, err
	}
	if info.Node.IpAddress == "" {
		return nil, workingOr(info, batcherr.Of(batcherr.CodeOperationNotValidOnNode).With(batcherr.ValueReason, "The node has told no address."))
	}
	return &apiv1.NodeRemoteLoginSettings{RemoteLoginIpAddress: info.Node.IpAddress, RemoteLoginPort: sshPort}, nil
}

func workingOr(info state.NodeInfo, other error) error {
	if err := workingNode(info); err != nil {
		return err
	}
	return other
}

func (s *nodeService) UploadNodeLogs(ctx context.Context, req *apiv1.UploadNodeLogsRequest) (*apiv1.UploadBatchServiceLogsResult, error) {
	options := req.GetOptions()
	if options == nil {
		return nil, batcherr.MissingProperty("containerUrl")
	}
	if err := s.rules.check(options, ""); err != nil {
		return nil, err
	}
	if err := checkURL("containerUrl", options.ContainerUrl); err != nil {
		return nil, err
	}
	if end := options.EndTime; end != nil && end.AsTime().Before(options.StartTime.AsTime()) {
		return nil, invalid("endTime", "", "The end is not before the start.")
	}
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	access, err := s.store(g.Account)
	if err != nil {
		return nil, err
	}
	directory := fmt.Sprintf("%s-%s-%s-%s", g.Account, strings.ToLower(req.GetPoolId()), strings.ToLower(req.GetNodeId()), strconv.FormatInt(s.Now().UnixNano(), 36))
	result := &apiv1.UploadBatchServiceLogsResult{VirtualDirectoryName: directory}
	_, err = s.order(ctx, req, &agentv1.NodeOrder{Order: &agentv1.NodeOrder_UploadLogs{UploadLogs: &agentv1.UploadNodeLogs{
		ContainerUrl: options.ContainerUrl, Prefix: directory, StartTime: options.StartTime, EndTime: options.EndTime, Store: access,
	}}}, func(c *agentv1.TransferChunk) error {
		if n, ok := c.Content.(*agentv1.TransferChunk_Uploaded); ok {
			result.NumberOfFilesUploaded = n.Uploaded
		}
		return nil
	})
	if err != nil {
		return nil, uploadRefusal(err)
	}
	return result, nil
}

// uploadRefusal makes what the store said of the container the caller's error: it is no fault of this system's.
func uploadRefusal(err error) error {
	known := batcherr.From(err)
	if known.Kind == batcherr.KindInternal && strings.HasPrefix(known.Code, "FileUpload") {
		return invalid("containerUrl", "", known.Message)
	}
	return err
}
