//go:build linux

package conformance_test

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/coordinator/azure"
	"github.com/batchyard/batchyard/coordinator/azure/conformance"
)

// caller calls a cluster without a client between.
type caller struct {
	t               *testing.T
	endpoint, token string
}

func newCaller(t *testing.T, account conformance.Account) caller {
	c := caller{t: t}
	for _, variable := range account {
		name, value, _ := strings.Cut(variable, "=")
		switch name {
		case "AZURE_BATCH_ENDPOINT":
			c.endpoint = value
		case "BATCHYARD_TOKEN":
			c.token = value
		}
	}
	return c
}

// call returns the status and the body, which is a BatchError for every status from 400 on.
func (c caller) call(method, target string, body io.Reader) (int, map[string]any) {
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.endpoint+target, body)
	require.NoError(c.t, err, target)
	r.Header.Set("Authorization", "Bearer "+c.token)
	r.Header.Set("Content-Type", "application/json; odata=minimalmetadata; charset=utf-8")
	answer, err := http.DefaultClient.Do(r)
	require.NoError(c.t, err, "%s %s", method, target)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(c.t, err, "%s %s", method, target)
	var out map[string]any
	if strings.HasPrefix(answer.Header.Get("Content-Type"), "application/json") && len(text) > 0 {
		require.NoError(c.t, json.Unmarshal(text, &out), "%s %s: %s", method, target, text)
	}
	assert.Less(c.t, answer.StatusCode, 500, "%s %s: %s", method, target, text)
	if answer.StatusCode >= 400 && method != http.MethodHead {
		assert.NotEmpty(c.t, out["code"], "%s %s: %d %s", method, target, answer.StatusCode, text)
		assert.Contains(c.t, out["message"], "value", "%s %s", method, target)
	}
	return answer.StatusCode, out
}

func (c caller) must(status int, method, target, body string) map[string]any {
	got, out := c.call(method, target, strings.NewReader(body))
	require.Equal(c.t, status, got, "%s %s: %v", method, target, out)
	return out
}

const version = "?api-version=2025-06-01"

// lastly orders routes: deletes come late, and at the end what takes the node away for a while, during which it is busy by right.
func lastly(r azure.Route) string {
	switch r.Operation {
	case "Nodes_RebootNode", "Nodes_ReimageNode", "Nodes_DeallocateNode", "Nodes_StartNode":
		return "~~"
	}
	return strings.ReplaceAll(r.Method, http.MethodDelete, "~")
}

// TestClusterAnswersAnything sends every route what makes no sense: whatever comes back, it is a success or an error of Azure Batch.
func TestClusterAnswersAnything(t *testing.T) {
	c := newCaller(t, startCluster(t))
	c.must(201, "POST", "/pools"+version, `{"id":"p","vmSize":"x","targetDedicatedNodes":1}`)
	c.must(201, "POST", "/jobs"+version, `{"id":"j","poolInfo":{"poolId":"p"}}`)
	c.must(201, "POST", "/jobs/j/tasks"+version, `{"id":"t","commandLine":"/bin/sh -c 'mkdir d; echo x > d/f'"}`)
	require.Eventually(t, func() bool { return c.must(200, "GET", "/jobs/j/tasks/t"+version, "")["state"] == "completed" },
		time.Minute, 50*time.Millisecond)
	nodes, _ := c.must(200, "GET", "/pools/p/nodes"+version, "")["value"].([]any)
	require.Len(t, nodes, 1)
	node, _ := nodes[0].(map[string]any)["id"].(string)

	exist := map[string]string{
		"poolId": "p", "jobId": "j", "taskId": "t", "nodeId": node, "filePath...": "wd%2Fd%2Ff", "key": "thumbprintAlgorithm=sha1,thumbprint=a",
		"jobScheduleId": "s", "applicationId": "a", "userName": "u", "extensionName": "e",
	}
	wrong := map[string]string{}
	for name := range exist {
		wrong[name] = "no%20such"
	}
	bodies := []string{
		"", "null", "{}", "[]", `"text"`, "nonsense", `{"id":"x"`, `{"value":[{},{}]}`, `{"id":"a","id":5,"commandLine":null,"poolInfo":[]}`,
		strings.Repeat("[", 100_000), `{"value":` + strings.Repeat(`[{"a":`, 10_000), "{\"id\":\"\xff\"}", `{"id":"` + strings.Repeat("x", 2<<20) + `"}`,
	}
	queries := []string{
		version, "?api-version=2022-10-01.16.0", "", "?api-version=", "?api-version=x", version + "&$filter=((id%20eq%20'", version + "&$filter=%00",
		version + "&maxresults=-1&timeout=9&recursive=maybe", version + "&$skiptoken=nonsense", version + "&$select=,,id/x&$expand=all", version + "&%zz=%",
	}
	routes := azure.Routes()
	slices.SortStableFunc(routes, func(a, b azure.Route) int { // what takes away comes last
		return strings.Compare(lastly(a), lastly(b))
	})
	for _, ids := range []map[string]string{wrong, exist} {
		for _, route := range routes {
			path := route.Pattern
			for name, value := range ids {
				path = strings.ReplaceAll(path, "{"+name+"}", value)
			}
			for _, query := range queries {
				c.call(route.Method, path+query, http.NoBody)
			}
			for _, body := range bodies {
				c.call(route.Method, path+version, strings.NewReader(body))
			}
			c.call(route.Method, path+"/more"+version, http.NoBody)
			c.call("OPTIONS", path+version, http.NoBody)
		}
	}
	for _, target := range []string{"/", "/nosuch", "//", "/%2e%2e/jobs", "/jobs/%00", "/jobs/%ff", "/jobs(", "/certificates()", "/pools/p/nodes//"} {
		c.call("GET", target+version, http.NoBody)
	}
}

// endless is a body that never ends.
type endless struct{ read atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	e.read.Add(int64(len(p)))
	return len(p), nil
}

// TestClusterRefusesOversizedBodies: a body over a limit is refused before it is read whole.
func TestClusterRefusesOversizedBodies(t *testing.T) {
	c := newCaller(t, startCluster(t))
	c.must(201, "POST", "/jobs"+version, `{"id":"j","poolInfo":{"poolId":"p"}}`)
	const most = 16 << 20 // buffers on the way included
	for name, begin := range map[string]string{
		"bytes": `{"value":[`,
		"tasks": `{"value":[` + strings.Repeat(`{"id":"t","commandLine":"x"},`, 101),
	} {
		rest := &endless{}
		status, out := c.call("POST", "/jobs/j/addtaskcollection"+version, io.MultiReader(strings.NewReader(begin), rest))
		require.Equal(t, 413, status, name)
		require.Equal(t, "RequestBodyTooLarge", out["code"], name)
		require.Less(t, rest.read.Load(), int64(most), name)
	}
	counts, _ := c.must(200, "GET", "/jobs/j/taskcounts"+version, "")["taskCounts"].(map[string]any)
	require.InDelta(t, 0, counts["active"], 0, "nothing of what was refused is there")
}
