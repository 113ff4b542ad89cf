package azure_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/batchyard/batchyard/coordinator/azure"
	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/stretchr/testify/require"
)

const poolBody = `{"id":"Pool-1","vmSize":"STANDARD_D2_v2","targetDedicatedNodes":2,"virtualMachineConfiguration":{"imageReference":` +
	`{"publisher":"canonical","offer":"0001-com-ubuntu-server-jammy","sku":"22_04-lts"},"nodeAgentSKUId":"batch.node.ubuntu 22.04"},"metadata":[{"name":"a","value":"b"}]}`

const jobBody = `{"id":"job1","poolInfo":{"poolId":"Pool-1"},"maxParallelTasks":-1}`

// filled is a harness with a pool and a job.
func filled(t testing.TB) *harness {
	h := newHarness(t)
	require.Equal(t, 201, h.do("POST", "/pools", poolBody).StatusCode)
	require.Equal(t, 201, h.do("POST", "/jobs", jobBody).StatusCode)
	return h
}

func TestCreateEnvelope(t *testing.T) {
	h := newHarness(t)
	a := h.do("POST", "/pools", poolBody, "client-request-id", "abc", "return-client-request-id", "true")
	require.Equal(t, 201, a.StatusCode, a.text)
	require.Empty(t, a.text)
	require.Equal(t, h.url+"/pools/Pool-1", a.Header.Get("Location"))
	require.Equal(t, h.url+"/pools/Pool-1", a.Header.Get("DataServiceId"))
	require.Equal(t, "0x8D1", a.Header.Get("ETag"))
	require.Equal(t, "Wed, 04 Mar 2026 05:06:07 GMT", a.Header.Get("Last-Modified"))
	require.Equal(t, "3.0", a.Header.Get("DataServiceVersion"))
	require.Equal(t, "nosniff", a.Header.Get("X-Content-Type-Options"))
	require.Equal(t, "abc", a.Header.Get("client-request-id"))
	require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, a.Header.Get("request-id"))
	require.Equal(t, []azure.Caller{{Account: testAccount, Role: apiv1.TokenRole_TOKEN_ROLE_USER}}, h.callers)

	a = h.do("POST", "/pools", poolBody, "client-request-id", "abc")
	require.Equal(t, 409, a.StatusCode)
	require.Empty(t, a.Header.Get("client-request-id"), "it is echoed on demand only")
	require.Equal(t, "PoolExists", a.code())
}

// TestGoldenBodies holds the exact bytes of answers against those in the reference of the service.
func TestGoldenBodies(t *testing.T) {
	h := filled(t)
	a := h.do("GET", "/jobs/JOB1", "")
	require.Equal(t, 200, a.StatusCode)
	require.Equal(t, "application/json;odata=minimalmetadata", a.Header.Get("Content-Type"))
	require.Equal(t, "0x8D2", a.Header.Get("ETag"))
	require.Equal(t, `{"odata.metadata":"`+h.url+`/$metadata#jobs/@Element","id":"job1","usesTaskDependencies":false,"url":"`+h.url+`/jobs/job1",`+
		`"eTag":"0x8D2","lastModified":"2026-03-04T05:06:07.8912345Z","creationTime":"2026-03-04T05:06:07.8912345Z","state":"active",`+
		`"stateTransitionTime":"2026-03-04T05:06:07.8912345Z","priority":0,"allowTaskPreemption":false,"maxParallelTasks":-1,`+
		`"constraints":{"maxWallClockTime":"P10675199DT2H48M5.4775807S","maxTaskRetryCount":0},"poolInfo":{"poolId":"Pool-1"},`+
		`"onAllTasksComplete":"noaction","onTaskFailure":"noaction",`+
		`"executionInfo":{"startTime":"2026-03-04T05:06:07.8912345Z","poolId":"Pool-1"}}`, a.text)

	a = h.do("GET", "/jobs?$select=id,%20state", "")
	require.Equal(t, `{"odata.metadata":"`+h.url+`/$metadata#jobs","value":[{"id":"job1","state":"active"}]}`, a.text)
	require.Equal(t, "id,state", h.fake.lastList.GetSelect())

	a = h.do("GET", "/pools/Pool-1?$select=id&$expand=stats", "")
	require.Equal(t, `{"odata.metadata":"`+h.url+`/$metadata#pools/@Element","id":"Pool-1"}`, a.text)
	require.Equal(t, "0x8D1", a.Header.Get("ETag"), "headers are not selected")

	a = h.do("GET", "/jobs/job1/taskcounts", "")
	require.Equal(t, `{"odata.metadata":"`+h.url+`/$metadata#taskcountsresult/@Element",`+
		`"taskCounts":{"active":0,"running":0,"completed":0,"succeeded":0,"failed":0},`+
		`"taskSlotCounts":{"active":0,"running":0,"completed":0,"succeeded":0,"failed":0}}`, a.text)

	a = h.do("GET", "/applications/blender", "")
	require.Equal(t, `{"odata.metadata":"`+h.url+`/$metadata#applications/@Element","id":"blender","displayName":"Blender","versions":["4.0"]}`, a.text)

	a = h.do("GET", "/pools/nosuch", "")
	require.Equal(t, 404, a.StatusCode)
	require.Equal(t, `{"odata.metadata":"`+h.url+`/$metadata#Microsoft.Azure.Batch.Protocol.Entities.Container.errors/@Element","code":"PoolNotFound",`+
		`"message":{"lang":"en-US","value":"The specified pool does not exist.\nRequestId:`+a.Header.Get("request-id")+`\nTime:2026-03-04T05:06:07.8912345Z"}}`, a.text)
}

func TestAddTaskCollection(t *testing.T) {
	h := filled(t)
	a := h.do("POST", "/jobs/job1/addtaskcollection", `{"value":[{"id":"t1","commandLine":"a"},{"id":"t2","commandLine":"b"}]}`)
	require.Equal(t, 200, a.StatusCode, a.text)
	require.Equal(t, `{"odata.metadata":"`+h.url+`/$metadata#taskaddresult","value":[`+
		`{"status":"success","taskId":"t1","eTag":"0x8D3","lastModified":"2026-03-04T05:06:07.8912345Z","location":"`+h.url+`/jobs/job1/tasks/t1"},`+
		`{"status":"success","taskId":"t2","eTag":"0x8D4","lastModified":"2026-03-04T05:06:07.8912345Z","location":"`+h.url+`/jobs/job1/tasks/t2"}]}`, a.text)
	require.Empty(t, a.Header.Get("DataServiceId"))

	a = h.do("POST", "/jobs/job1/addtaskcollection", `{"value":[{"id":"T1","commandLine":"a"}]}`)
	require.Equal(t, 200, a.StatusCode)
	item := a.json["value"].([]any)[0].(map[string]any)
	require.Equal(t, "clienterror", item["status"])
	require.Equal(t, "TaskExists", item["error"].(map[string]any)["code"])
	require.Contains(t, item["error"].(map[string]any)["message"].(map[string]any)["value"], "already exists")

	a = h.do("POST", "/jobs/nosuch/addtaskcollection", `{"value":[{"id":"t1","commandLine":"a"}]}`)
	require.Equal(t, 404, a.StatusCode)
	require.Equal(t, "JobNotFound", a.code())

	for body, code := range map[string]string{
		`{}`:                      "MissingRequiredProperty",
		`{"value":[]}`:            "MissingRequiredProperty",
		`{"value":null}`:          "InvalidPropertyValue",
		`{"value":[{"id":"t9"}]}`: "MissingRequiredProperty",
		`{"value":[{"id":"t9"`:    "InvalidRequestBody",
		`[]`:                      "InvalidRequestBody",
		``:                        "InvalidRequestBody",
	} {
		a = h.do("POST", "/jobs/job1/addtaskcollection", body)
		require.Equal(t, 400, a.StatusCode, body)
		require.Equal(t, code, a.code(), body)
	}
	require.Equal(t, "value[0].commandLine", h.do("POST", "/jobs/job1/addtaskcollection", `{"value":[{"id":"t9"}]}`).value("PropertyName"))
}

func tasksBody(n int) string {
	var items []string
	for i := range n {
		items = append(items, fmt.Sprintf(`{"id":"many-%d","commandLine":"x"}`, i))
	}
	return `{"value":[` + strings.Join(items, ",") + `]}`
}

func TestAddTaskCollectionLimits(t *testing.T) {
	h := filled(t)
	require.Equal(t, 200, h.do("POST", "/jobs/job1/addtaskcollection", tasksBody(100)).StatusCode)
	a := h.do("POST", "/jobs/job1/addtaskcollection", tasksBody(101))
	require.Equal(t, 413, a.StatusCode)
	require.Equal(t, "RequestBodyTooLarge", a.code())

	large := `{"value":[{"id":"t","commandLine":"` + strings.Repeat("x", 1<<20) + `"}]}`
	a = h.do("POST", "/jobs/job1/addtaskcollection", large)
	require.Equal(t, 413, a.StatusCode)
	require.Equal(t, "RequestBodyTooLarge", a.code())

	// A body of unknown length is refused once it is over the limit.
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+"/jobs/job1/tasks?api-version=2025-06-01", struct{ *strings.Reader }{strings.NewReader(large)})
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer good")
	a = h.send(r)
	require.Equal(t, 413, a.StatusCode)
	require.Equal(t, "RequestBodyTooLarge", a.code())
}

func TestCreateTask(t *testing.T) {
	h := filled(t)
	a := h.do("POST", "/jobs/job1/tasks", `{"id":"t1","commandLine":"a"}`)
	require.Equal(t, 201, a.StatusCode)
	require.Equal(t, h.url+"/jobs/job1/tasks/t1", a.Header.Get("Location"))
	require.NotEmpty(t, a.Header.Get("ETag"))
	a = h.do("POST", "/jobs/job1/tasks", `{"id":"t1","commandLine":"a"}`)
	require.Equal(t, 409, a.StatusCode)
	require.Equal(t, "TaskExists", a.code())
	a = h.do("GET", "/jobs/job1/tasks/t1/subtasksinfo", "")
	require.Equal(t, `{"odata.metadata":"`+h.url+`/$metadata#subtasks","value":[]}`, a.text)
	require.Equal(t, 201, h.do("POST", "/jobs/job1/tasks", `{"id":"multi","commandLine":"a"}`).StatusCode)
	a = h.do("GET", "/jobs/job1/tasks/multi/subtasksinfo", "")
	require.Contains(t, a.text, `"nodeUrl":"`+h.url+`/pools/p/nodes/n1","poolId":"p","nodeId":"n1","taskRootDirectory":"workitems/j/job-1/t",`+
		`"taskRootDirectoryUrl":"`+h.url+`/pools/p/nodes/n1/files/workitems/j/job-1/t"`)
}

func TestPaging(t *testing.T) {
	h := filled(t)
	require.Equal(t, 200, h.do("POST", "/jobs/job1/addtaskcollection", tasksBody(100)).StatusCode)
	seen := map[string]bool{}
	target := "/jobs/job1/tasks?maxresults=30&$filter=startswith(id,%20%27many-%27)&$select=id,url&$expand=stats&api-version=" + testVersion
	pages := 0
	for target != "" {
		a := h.raw("GET", target, "")
		require.Equal(t, 200, a.StatusCode, a.text)
		for _, item := range a.json["value"].([]any) {
			task := item.(map[string]any)
			require.Len(t, task, 2)
			require.Equal(t, h.url+"/jobs/job1/tasks/"+task["id"].(string), task["url"])
			seen[task["id"].(string)] = true
		}
		pages++
		link, _ := a.json["odata.nextLink"].(string)
		if link == "" {
			break
		}
		require.True(t, strings.HasPrefix(link, h.url+"/jobs/job1/tasks?maxresults=30&$filter=startswith(id,%20%27many-%27)&$select=id,url&$expand=stats&api-version="+testVersion+"&$skiptoken="), link)
		_, token, _ := strings.Cut(link, "skiptoken=")
		require.NotContains(t, token, "/", "the token is escaped")
		require.Equal(t, 1, strings.Count(link, "skiptoken"))
		target = strings.TrimPrefix(link, h.url)
	}
	require.Equal(t, 4, pages)
	require.Len(t, seen, 100)
}

func TestQueryErrors(t *testing.T) {
	h := filled(t)
	for target, want := range map[string]struct{ code, name string }{
		"/jobs":                                                 {"MissingRequiredQueryParameter", "api-version"},
		"/jobs?api-version=":                                    {"MissingRequiredQueryParameter", "api-version"},
		"/jobs?api-version=yesterday":                           {"InvalidQueryParameterValue", "api-version"},
		"/jobs?api-version=2025-06-01x":                         {"InvalidQueryParameterValue", "api-version"},
		"/jobs?api-version=2025-06-01&maxresults=0":             {"OutOfRangeQueryParameterValue", "maxresults"},
		"/jobs?api-version=2025-06-01&maxresults=1001":          {"OutOfRangeQueryParameterValue", "maxresults"},
		"/jobs?api-version=2025-06-01&maxresults=x":             {"InvalidQueryParameterValue", "maxresults"},
		"/jobs?api-version=2025-06-01&$filter=state%20is%20x":   {"InvalidQueryParameterValue", "$filter"},
		"/jobs?api-version=2025-06-01&$filter=nosuch%20eq%201":  {"InvalidQueryParameterValue", "$filter"},
		"/jobs?api-version=2025-06-01&$select=nosuch":           {"InvalidQueryParameterValue", "$select"},
		"/jobs?api-version=2025-06-01&$expand=everything":       {"InvalidQueryParameterValue", "$expand"},
		"/jobs?api-version=2025-06-01&$skiptoken=forged":        {"InvalidQueryParameterValue", "$skiptoken"},
		"/jobs?api-version=2025-06-01&timeout=soon":             {"InvalidQueryParameterValue", "timeout"},
		"/jobs?api-version=2025-06-01&$filter=%zz":              {"RequestUrlFailedToParse", ""},
		"/jobs?api-version=2025-06-01&$filter=%ff":              {"RequestUrlFailedToParse", ""},
		"/supportedimages?api-version=2025-06-01&$skiptoken=99": {"InvalidQueryParameterValue", "$skiptoken"},
	} {
		a := h.raw("GET", target, "", "Authorization", "Bearer good")
		require.Equal(t, 400, a.StatusCode, target)
		require.Equal(t, want.code, a.code(), target)
		require.Equal(t, want.name, a.value("QueryParameterName"), target)
	}
	a := h.do("DELETE", "/jobs/job1?force=perhaps", "")
	require.Equal(t, "InvalidQueryParameterValue", a.code())
	for _, version := range []string{"2016-02-01.3.0", "2022-10-01.16.0", "2024-07-01.20.0", "2026-10-01", "2030-01-01-preview"} {
		require.Equal(t, 200, h.raw("GET", "/jobs?api-version="+version, "").StatusCode, version)
	}
}

func TestConditions(t *testing.T) {
	h := filled(t)
	etag := h.do("GET", "/pools/Pool-1", "").Header.Get("ETag")
	before, after := fakeNow.Add(-time.Hour).Format(http.TimeFormat), fakeNow.Add(time.Hour).Format(http.TimeFormat)
	for _, c := range []struct {
		method, name, value string
		status              int
	}{
		{"GET", "If-Match", etag, 200},
		{"GET", "If-Match", `"` + etag + `"`, 200},
		{"GET", "If-Match", "*", 200},
		{"GET", "If-Match", "0xBAD", 412},
		{"GET", "If-None-Match", etag, 304},
		{"HEAD", "If-None-Match", etag, 304},
		{"HEAD", "If-Match", "0xBAD", 412},
		{"GET", "If-Modified-Since", before, 200},
		{"GET", "If-Modified-Since", after, 304},
		{"GET", "If-Unmodified-Since", before, 412},
		{"GET", "If-Unmodified-Since", fakeNow.Format(http.TimeFormat), 200},
		{"GET", "If-Unmodified-Since", "whenever", 400},
		{"DELETE", "If-Match", "0xBAD", 412},
	} {
		a := h.do(c.method, "/pools/Pool-1", "", c.name, c.value)
		require.Equal(t, c.status, a.StatusCode, "%+v %s", c, a.text)
		if c.method != "HEAD" && c.status == 412 {
			require.Equal(t, "ConditionNotMet", a.code())
		}
	}
	a := h.do("GET", "/pools/Pool-1", "", "If-Match", etag, "If-Modified-Since", before)
	require.Equal(t, 400, a.StatusCode)
	require.Equal(t, "MultipleConditionHeadersNotSupported", a.code())
	require.Equal(t, 200, h.do("GET", "/pools/Pool-1/nodes/tvmps_000_d", "", "If-Match", "0xBAD").StatusCode, "nodes take no conditions")
}

func TestUpdates(t *testing.T) {
	h := filled(t)
	a := h.do("PATCH", "/pools/Pool-1", `{"metadata":[]}`)
	require.Equal(t, 200, a.StatusCode)
	require.Equal(t, []string{"metadata"}, h.fake.lastUpdatePool.GetCleared())
	require.Equal(t, h.url+"/pools/Pool-1", a.Header.Get("DataServiceId"))
	a = h.do("POST", "/pools/Pool-1/updateproperties", `{"certificateReferences":[],"applicationPackageReferences":[],"metadata":[{"name":"x","value":"y"}]}`)
	require.Equal(t, 204, a.StatusCode, a.text)
	require.Equal(t, h.url+"/pools/Pool-1/updateproperties", a.Header.Get("DataServiceId"))
	require.Equal(t, 202, h.do("POST", "/pools/Pool-1/resize", `{"targetDedicatedNodes":3}`).StatusCode)
	require.Equal(t, 202, h.do("POST", "/pools/Pool-1/stopresize", "").StatusCode)
	a = h.do("POST", "/pools/Pool-1/enableautoscale", `{"autoScaleFormula":"$x=1","autoScaleEvaluationInterval":"PT5M"}`, "If-Match", "0xBAD")
	require.Equal(t, 412, a.StatusCode)
	a = h.do("POST", "/pools/Pool-1/enableautoscale", `{"autoScaleFormula":"$x=1","autoScaleEvaluationInterval":"PT5M"}`)
	require.Equal(t, 200, a.StatusCode)
	require.NotEmpty(t, a.Header.Get("ETag"))
	a = h.do("GET", "/pools/Pool-1?$select=enableAutoScale,autoScaleFormula,autoScaleEvaluationInterval", "")
	require.Contains(t, a.text, `"enableAutoScale":true,"autoScaleFormula":"$x=1","autoScaleEvaluationInterval":"PT5M"}`)
	require.Equal(t, "MissingRequiredProperty", h.do("POST", "/pools/Pool-1/evaluateautoscale", `{}`).code())
	a = h.do("POST", "/pools/Pool-1/evaluateautoscale", `{"autoScaleFormula":"$x=1"}`)
	require.Equal(t, 200, a.StatusCode)
	require.Equal(t, `{"odata.metadata":"`+h.url+`/$metadata#Microsoft.Azure.Batch.Protocol.Entities.AutoScaleRun","timestamp":"2026-03-04T05:06:07.8912345Z",`+
		`"results":"$x=1","error":{"code":"InsufficientSampleData","message":"m","values":[{"name":"Message","value":"v"}]}}`, a.text)
	require.Equal(t, 200, h.do("POST", "/pools/Pool-1/disableautoscale", "").StatusCode)
	require.Equal(t, 202, h.do("POST", "/pools/Pool-1/removenodes", `{"nodeList":["tvmps_000_d"]}`).StatusCode)
	require.Equal(t, "MissingRequiredProperty", h.do("POST", "/pools/Pool-1/removenodes", `{}`).code())
	require.Equal(t, 200, h.do("PATCH", "/jobs/job1", `{"priority":5,"constraints":{"maxWallClockTime":"PT1H"}}`).StatusCode)
	require.Equal(t, int64(3600), h.fake.lastUpdateJob.GetUpdate().GetConstraints().GetMaxWallClockTime().GetSeconds())
	require.Equal(t, 200, h.do("PUT", "/jobs/job1", `{"id":"job1","poolInfo":{"poolId":"Pool-1"},"state":"active"}`).StatusCode)
	require.Equal(t, "MissingRequiredProperty", h.do("PUT", "/jobs/job1", `{"priority":1}`).code())
	require.Equal(t, 202, h.do("POST", "/jobs/job1/disable", `{"disableTasks":"Requeue"}`).StatusCode)
	require.Equal(t, "MissingRequiredProperty", h.do("POST", "/jobs/job1/disable", `{}`).code())
	require.Equal(t, 202, h.do("POST", "/jobs/job1/enable", "").StatusCode)
	require.Equal(t, 202, h.do("POST", "/jobs/job1/terminate", "").StatusCode, "the body is optional")
	require.Equal(t, 202, h.do("POST", "/jobs/job1/terminate?force=true", `{"terminateReason":"enough"}`).StatusCode)
	require.True(t, h.fake.lastTerminate.GetForce())
	require.Equal(t, "enough", h.fake.lastTerminate.GetOptions().GetTerminateReason())
	require.Equal(t, 201, h.do("POST", "/jobs/job1/tasks", `{"id":"t1","commandLine":"a"}`).StatusCode)
	require.Equal(t, 200, h.do("PUT", "/jobs/job1/tasks/t1", `{"constraints":{"maxTaskRetryCount":2}}`).StatusCode)
	require.Equal(t, 204, h.do("POST", "/jobs/job1/tasks/t1/terminate", "").StatusCode)
	require.Equal(t, "TaskCompleted", h.do("POST", "/jobs/job1/tasks/t1/terminate", "").code())
	require.Equal(t, 204, h.do("POST", "/jobs/job1/tasks/t1/reactivate", "").StatusCode)
	a = h.do("DELETE", "/jobs/job1/tasks/t1", "")
	require.Equal(t, 200, a.StatusCode)
	require.Empty(t, a.Header.Get("ETag"))
	require.Equal(t, 404, h.do("GET", "/jobs/job1/tasks/t1", "").StatusCode)
	require.Equal(t, 202, h.do("DELETE", "/jobs/job1", "").StatusCode)
	require.Equal(t, 202, h.do("DELETE", "/pools/Pool-1", "").StatusCode)
	require.Equal(t, 404, h.do("HEAD", "/pools/Pool-1", "").StatusCode)
}

func TestNodes(t *testing.T) {
	h := filled(t)
	const node = "/pools/Pool-1/nodes/tvmps_001_d"
	a := h.do("GET", "/pools/Pool-1/nodes?$filter=state%20eq%20%27idle%27", "")
	require.Len(t, a.json["value"], 2)
	a = h.do("GET", node, "")
	require.Equal(t, h.url+node, a.json["url"])
	require.Equal(t, h.url+"/jobs/j/tasks/t", a.json["recentTasks"].([]any)[0].(map[string]any)["taskUrl"])
	require.Equal(t, 200, h.do("POST", node+"/disablescheduling", `{"nodeDisableSchedulingOption":"terminate"}`).StatusCode)
	require.Equal(t, 200, h.do("POST", node+"/disablescheduling", "").StatusCode)
	require.Equal(t, "NodeAlreadyInTargetSchedulingState", h.do("POST", node+"/enablescheduling", "").code())
	a = h.do("GET", "/nodecounts?$filter=poolId%20eq%20%27Pool-1%27", "")
	require.Contains(t, a.text, `"idle":2`)
	a = h.do("GET", "/pools/Pool-1/nodes/tvmps_001_d/extensions", "")
	require.Equal(t, `{"odata.metadata":"`+h.url+`/$metadata#extensions","value":[]}`, a.text)
	require.Equal(t, 404, h.do("GET", node+"/extensions/x", "").StatusCode)
	require.Equal(t, "NodeNotFound", h.do("GET", "/pools/Pool-1/nodes/nosuch/extensions", "").code())
}

func TestImages(t *testing.T) {
	h := newHarness(t)
	a := h.do("GET", "/supportedimages?$filter=osType%20eq%20%27linux%27%20and%20nodeAgentSKUId%20eq%20%27batch.node.ubuntu%2022.04%27", "")
	require.Len(t, a.json["value"], 1)
	count, target := 0, "/supportedimages?maxresults=3&api-version="+testVersion
	for target != "" {
		a = h.raw("GET", target, "")
		count += len(a.json["value"].([]any))
		link, _ := a.json["odata.nextLink"].(string)
		target = strings.TrimPrefix(link, h.url)
	}
	require.Equal(t, 8, count)
	require.Len(t, h.do("GET", "/poolusagemetrics?startTime=2024-01-01T00:00:00Z", "").json["value"], 0)
	require.Equal(t, 400, h.do("GET", "/poolusagemetrics?starttime=x", "").StatusCode)
}

func TestOlder(t *testing.T) {
	h := filled(t)
	const v = "?api-version=2022-10-01.16.0"
	require.Equal(t, `{"odata.metadata":"`+h.url+`/$metadata#certificates","value":[]}`, h.raw("GET", "/certificates"+v, "").text)
	require.Equal(t, "InvalidRestAPIForAccountSetting", h.raw("POST", "/certificates"+v, `{}`).code())
	const certificate = "/certificates(thumbprintAlgorithm=sha1,thumbprint=abc)"
	require.Equal(t, "CertificateNotFound", h.raw("GET", certificate+v, "").code())
	require.Equal(t, "CertificateNotFound", h.raw("DELETE", certificate+v, "").code())
	require.Equal(t, "CertificateNotFound", h.raw("POST", certificate+"/canceldelete"+v, "").code())
	require.Equal(t, "InvalidUri", h.raw("GET", "/certificates(thumbprint=abc)"+v, "").code())
	require.Equal(t, "OperationNotValidOnNode", h.raw("GET", "/pools/Pool-1/nodes/tvmps_000_d/rdp"+v, "").code())
	require.Equal(t, "ResourceNotFound", h.do("GET", "/certificates", "").code(), "gone in 2025-06-01")
	require.Equal(t, 409, h.raw("GET", "/lifetimepoolstats"+v, "").StatusCode)
	require.Equal(t, 404, h.raw("GET", "/lifetimejobstats?api-version=2023-05-01.17.0", "").StatusCode)
	require.Equal(t, 404, h.raw("POST", "/pools/Pool-1/nodes/tvmps_000_d/start"+v, "").StatusCode)
}

func TestRouting(t *testing.T) {
	h := filled(t)
	a := h.do("GET", "/nosuch", "")
	require.Equal(t, 404, a.StatusCode)
	require.Equal(t, "ResourceNotFound", a.code())
	a = h.do("PUT", "/pools/Pool-1", "")
	require.Equal(t, 405, a.StatusCode)
	require.Equal(t, "UnsupportedHttpVerb", a.code())
	require.Equal(t, "DELETE, GET, HEAD, PATCH", a.Header.Get("Allow"))
	require.Equal(t, 405, h.do("HEAD", "/jobs/job1", "").StatusCode)
	require.Equal(t, 404, h.do("GET", "/jobs//tasks", "").StatusCode)
	require.Equal(t, 200, h.do("GET", "/jobs/", "").StatusCode)
	require.Equal(t, "InvalidUri", h.raw("GET", "/jobs/%00?api-version="+testVersion, "", "Authorization", "Bearer good").code())
	require.Equal(t, "InvalidUri", h.raw("GET", "/jobs/%ff?api-version="+testVersion, "", "Authorization", "Bearer good").code())

	require.Equal(t, 201, h.do("POST", "/jobs", `{"id":"nightly:job-1","poolInfo":{"poolId":"p"}}`).StatusCode)
	for _, path := range []string{"/jobs/nightly:job-1", "/jobs/nightly%3Ajob-1"} {
		a = h.do("GET", path, "")
		require.Equal(t, "nightly:job-1", a.json["id"])
		require.Equal(t, h.url+"/jobs/nightly:job-1", a.json["url"])
	}
	require.Len(t, h.do("GET", "/jobschedules/nightly/jobs", "").json["value"], 1)
}

func TestRoutesTable(t *testing.T) {
	routes := azure.Routes()
	require.Len(t, routes, 80)
	operations, paths := map[string]bool{}, map[string]bool{}
	for _, r := range routes {
		require.False(t, operations[r.Operation], r.Operation)
		require.False(t, paths[r.Method+r.Pattern], r.Pattern)
		operations[r.Operation], paths[r.Method+r.Pattern] = true, true
	}
}

// TestEveryRouteAnswers calls every route with nothing prepared: whatever the answer, it is a BatchError or a success, and no fault
// of the server.
func TestEveryRouteAnswers(t *testing.T) {
	for _, prepared := range []bool{false, true} {
		h := newHarness(t)
		if prepared {
			h = filled(t)
			require.Equal(t, 201, h.do("POST", "/jobs/job1/tasks", `{"id":"t1","commandLine":"a"}`).StatusCode)
			h.fake.files["f"] = []byte("x")
		}
		for _, r := range azure.Routes() {
			path := strings.NewReplacer("{poolId}", "Pool-1", "{jobId}", "job1", "{taskId}", "t1", "{nodeId}", "tvmps_000_d",
				"{filePath...}", "f", "{key}", "thumbprintAlgorithm=sha1,thumbprint=a", "{jobScheduleId}", "s", "{applicationId}", "blender",
				"{userName}", "u", "{extensionName}", "e").Replace(r.Pattern)
			version := testVersion
			if r.Until != "" {
				version = "2022-10-01.16.0"
			}
			a := h.raw(r.Method, path+"?api-version="+version, "")
			require.Less(t, a.StatusCode, 500, "%s %s", r.Operation, a.text)
			if a.StatusCode >= 400 && r.Method != http.MethodHead {
				require.NotEmpty(t, a.code(), r.Operation)
				require.Contains(t, a.json["message"].(map[string]any)["value"], "RequestId:")
			}
			if a.StatusCode < 300 {
				require.Equal(t, r.Status, a.StatusCode, r.Operation)
			}
		}
	}
}

func TestFailuresOfServices(t *testing.T) {
	h := filled(t)
	h.fake.fail = errors.New("the disk is on fire")
	a := h.do("GET", "/pools/Pool-1", "")
	require.Equal(t, 500, a.StatusCode)
	require.Equal(t, "InternalError", a.code())
	h.fake.fail = batcherr.Unavailable("No leader.")
	a = h.do("GET", "/pools/Pool-1", "")
	require.Equal(t, 503, a.StatusCode)
	require.Equal(t, "1", a.Header.Get("Retry-After"))
	h.fake.fail = batcherr.InvalidProperty("vmSize", "x", "no")
	a = h.do("POST", "/pools", poolBody)
	require.Equal(t, 400, a.StatusCode)
	require.Equal(t, "no", a.value("Reason"))
}

func TestFiles(t *testing.T) {
	h := filled(t)
	require.Equal(t, 201, h.do("POST", "/jobs/job1/tasks", `{"id":"t1","commandLine":"a"}`).StatusCode)
	const root = "/jobs/job1/tasks/t1/files"
	big := strings.Repeat("0123456789", 100_000)
	h.fake.files["stdout.txt"] = []byte("hello")
	h.fake.files["wd/a b.txt"] = []byte(big)
	h.fake.files["empty"] = nil
	h.fake.files["shrinks"] = []byte("12345")

	a := h.do("GET", root+"?recursive=true&$filter=startswith(name,%27wd%27)", "")
	require.Equal(t, `{"odata.metadata":"`+h.url+`/$metadata#files","value":[{"name":"wd","url":"`+h.url+root+`/wd","isDirectory":true},`+
		`{"name":"wd/a b.txt","url":"`+h.url+root+`/wd%2Fa%20b.txt","isDirectory":false,"properties":{"lastModified":"2026-03-04T05:06:07.8912345Z",`+
		`"contentLength":"1000000","contentType":"text/plain","fileMode":"0o100644"}}]}`, a.text)

	for _, name := range []string{"wd%2Fa%20b.txt", "wd/a%20b.txt"} {
		a = h.do("GET", root+"/"+name, "")
		require.Equal(t, 200, a.StatusCode)
		require.Equal(t, big, a.text)
		require.Equal(t, int64(1_000_000), a.ContentLength)
		require.Equal(t, "text/plain", a.Header.Get("Content-Type"))
		require.Equal(t, "False", a.Header.Get("ocp-batch-file-isdirectory"))
		require.Equal(t, "0o100644", a.Header.Get("ocp-batch-file-mode"))
		require.Equal(t, h.url+root+"/wd%2Fa%20b.txt", a.Header.Get("ocp-batch-file-url"))
		require.Equal(t, "Wed, 04 Mar 2026 05:06:07 GMT", a.Header.Get("Last-Modified"))
		require.Equal(t, "sandbox", a.Header.Get("Content-Security-Policy"))
	}
	a = h.do("HEAD", root+"/stdout.txt", "")
	require.Equal(t, 200, a.StatusCode)
	require.Equal(t, "5", a.Header.Get("Content-Length"))
	require.Equal(t, 200, h.do("GET", root+"/empty", "").StatusCode)

	for span, want := range map[string]string{"bytes=1-3": "ell", "bytes=2-": "llo", "bytes=3-99": "lo", "bytes=-2": "lo", "bytes=0-0": "h", "bytes=-99": "hello", "bytes=0-9223372036854775807": "hello"} {
		a = h.do("GET", root+"/stdout.txt", "", "ocp-range", span)
		require.Equal(t, 200, a.StatusCode, span)
		require.Equal(t, want, a.text, span)
	}
	for span, status := range map[string]int{"bytes=9-": 416, "bytes=3-1": 400, "bytes=-": 400, "bytes=a-b": 400, "1-2": 400, "bytes=-0": 416, "bytes=1-2,4-5": 400, "bytes=99999999999999999999-": 400} {
		require.Equal(t, status, h.do("GET", root+"/stdout.txt", "", "ocp-range", span).StatusCode, span)
	}
	require.Equal(t, 304, h.do("GET", root+"/stdout.txt", "", "If-Modified-Since", fakeNow.Format(http.TimeFormat)).StatusCode)
	require.Equal(t, 412, h.do("HEAD", root+"/stdout.txt", "", "If-Unmodified-Since", fakeNow.Add(-time.Minute).Format(http.TimeFormat)).StatusCode)
	require.Equal(t, "FileNotFound", h.do("GET", root+"/nosuch", "").code())
	require.Equal(t, 404, h.do("HEAD", root+"/nosuch", "").StatusCode)
	require.Equal(t, 200, h.do("DELETE", root+"/wd%2Fa%20b.txt?recursive=true", "").StatusCode)
	require.Equal(t, []string{"wd/a b.txt recursive=true"}, h.fake.deleted)
	require.Equal(t, 404, h.do("DELETE", root+"/wd%2Fa%20b.txt", "").StatusCode)

	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url+root+"/shrinks?api-version="+testVersion, nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer good")
	response, err := h.client.Do(r)
	if err == nil {
		defer response.Body.Close() //nolint:errcheck // broken on purpose
		_, err = io.Copy(io.Discard, response.Body)
	}
	require.ErrorContains(t, err, "EOF", "the client must see that the file is not whole")
}

func TestWriteError(t *testing.T) {
	w := httptest.NewRecorder()
	azure.WriteError(w, batcherr.Unavailable("No leader."))
	require.Equal(t, 503, w.Code)
	require.True(t, json.Valid(w.Body.Bytes()))
	require.Contains(t, w.Body.String(), `"code":"ServerBusy"`)
}

func TestErrorsAreJSON(t *testing.T) {
	h := newHarness(t)
	for _, path := range []string{"/", "//", "/pools/a/b/c", "/%2F", "/jobs(1)", "/certificates(x"} {
		a := h.raw("GET", path+"?api-version="+testVersion, "", "Authorization", "Bearer good")
		require.GreaterOrEqual(t, a.StatusCode, 400)
		require.Less(t, a.StatusCode, 500)
		require.True(t, json.Valid([]byte(a.text)), path)
		require.NotEmpty(t, a.code(), path)
	}
}
