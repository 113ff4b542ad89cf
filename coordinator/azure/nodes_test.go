package azure_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// Every action of a node reaches its service with what the request says.
func TestNodeActions(t *testing.T) {
	h := filled(t)
	const node, id = "/pools/Pool-1/nodes/tvmps_000_d", "tvmps_000_d"
	at := time.Date(2030, 1, 2, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		method, path, body string
		status             int
		want               proto.Message
	}{
		{"POST", "/reboot", "", 202, &apiv1.RebootNodeRequest{Options: &apiv1.NodeRebootOptions{}}},
		{"POST", "/reboot", `{"nodeRebootOption":"taskcompletion"}`, 202, &apiv1.RebootNodeRequest{
			Options: &apiv1.NodeRebootOptions{NodeRebootOption: apiv1.NodeRebootKind_NODE_REBOOT_KIND_TASK_COMPLETION}}},
		{"POST", "/reimage", `{"nodeReimageOption":"terminate"}`, 202, &apiv1.ReimageNodeRequest{
			Options: &apiv1.NodeReimageOptions{NodeReimageOption: apiv1.NodeReimageOption_NODE_REIMAGE_OPTION_TERMINATE}}},
		{"POST", "/deallocate", "", 202, &apiv1.DeallocateNodeRequest{Options: &apiv1.NodeDeallocateOptions{}}},
		{"POST", "/start", "", 202, &apiv1.StartNodeRequest{}},
		{"POST", "/users", `{"name":"ann","isAdmin":true,"password":"p","expiryTime":"2030-01-02T00:00:00Z"}`, 201, &apiv1.CreateNodeUserRequest{
			User: &apiv1.NodeUserCreateOptions{Name: "ann", IsAdmin: proto.Bool(true), Password: "p", ExpiryTime: timestamppb.New(at)}}},
		{"PUT", "/users/ann", `{"sshPublicKey":"key"}`, 200, &apiv1.UpdateNodeUserRequest{Name: "ann", User: &apiv1.NodeUserUpdateOptions{SshPublicKey: "key"}}},
		{"DELETE", "/users/ann", "", 200, &apiv1.DeleteNodeUserRequest{Name: "ann"}},
		{"GET", "/remoteloginsettings", "", 200, &apiv1.GetNodeRemoteLoginSettingsRequest{}},
		{"POST", "/uploadbatchservicelogs", `{"containerUrl":"https://h/c","startTime":"2030-01-02T00:00:00Z"}`, 200, &apiv1.UploadNodeLogsRequest{
			Options: &apiv1.UploadBatchServiceLogsOptions{ContainerUrl: "https://h/c", StartTime: timestamppb.New(at)}}},
	} {
		a := h.do(c.method, node+c.path, c.body)
		require.Equal(t, c.status, a.StatusCode, "%s %s", c.path, a.text)
		fields := c.want.ProtoReflect().Descriptor().Fields()
		c.want.ProtoReflect().Set(fields.ByName("pool_id"), protoreflect.ValueOfString("Pool-1"))
		c.want.ProtoReflect().Set(fields.ByName("node_id"), protoreflect.ValueOfString(id))
		require.True(t, proto.Equal(c.want, h.fake.lastNode), "%s %s: %v", c.method, c.path, h.fake.lastNode)
		require.Equal(t, "NodeNotFound", h.do(c.method, "/pools/Pool-1/nodes/none"+c.path, c.body).code())
	}
	login := h.do("GET", node+"/remoteloginsettings", "")
	require.Equal(t, "10.0.0.4", login.json["remoteLoginIPAddress"])
	require.InDelta(t, 22, login.json["remoteLoginPort"], 0)
	logs := h.do("POST", node+"/uploadbatchservicelogs", `{"containerUrl":"https://h/c","startTime":"2030-01-02T00:00:00Z"}`)
	require.Equal(t, "logs", logs.json["virtualDirectoryName"])
	require.InDelta(t, 2, logs.json["numberOfFilesUploaded"], 0)
}

func TestPreparationAndReleaseStatus(t *testing.T) {
	h := filled(t)
	const path = "/jobs/job1/jobpreparationandreleasetaskstatus"
	require.Equal(t, "JobPreparationTaskNotSpecified", h.do("GET", path, "").code())
	h.fake.jobs["job1"].JobPreparationTask = &apiv1.JobPreparationTask{Id: "jobpreparation", CommandLine: "a"}
	a := h.do("GET", path, "")
	require.Equal(t, 200, a.StatusCode, a.text)
	status := a.json["value"].([]any)[0].(map[string]any)
	require.Equal(t, "tvmps_000_d", status["nodeId"])
	require.Contains(t, status["nodeUrl"], "/pools/Pool-1/nodes/tvmps_000_d")
	require.Equal(t, "running", status["jobPreparationTaskExecutionInfo"].(map[string]any)["state"])
	require.NotContains(t, status, "jobReleaseTaskExecutionInfo")
}
