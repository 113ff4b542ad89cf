//go:build linux

package devfarm_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/client"
)

// rest gets a path of the REST API.
func (f *farm) rest(path string) (int, string) {
	contexts, err := client.LoadContexts(f.dir + "/contexts.yaml")
	require.NoError(f.t, err)
	own := contexts.Contexts[0]
	request, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, own.HTTPS+path, http.NoBody)
	require.NoError(f.t, err)
	request.Header.Set("Authorization", "Bearer "+own.Token)
	answer, err := http.DefaultClient.Do(request)
	require.NoError(f.t, err)
	text, err := io.ReadAll(answer.Body)
	require.NoError(f.t, answer.Body.Close())
	require.NoError(f.t, err)
	return answer.StatusCode, string(text)
}

// A million tasks are one object: they are added at once, and each is a task like any other.
func TestAMillionElements(t *testing.T) {
	f := startFarm(t, "--nodes", "1", "--slots", "4")
	f.must("job", "create", "work", "--pool", "none")
	begun := time.Now()
	require.Contains(t, f.must("task", "add", "work", "--id", "sim", "--array", "1-1000000%50", "--element-id", "sim-{{index:07}}",
		"--", "/bin/echo", "{{index}}"), "array sim added: 1000000 tasks")
	took := time.Since(begun)
	t.Logf("a million elements were added in %s, with the start of the command", took)
	require.Less(t, took, 10*time.Second) // the benchmark holds it against 200 ms
	require.Regexp(t, `sim +1-1000000 +1000000 +1000000 +0 +0 +0 +50`, f.must("array", "list", "work"))

	code, text := f.rest("/jobs/work/tasks/sim-0777777?api-version=2024-07-01.20.0")
	require.Equal(t, http.StatusOK, code, text)
	var task struct {
		ID          string
		CommandLine string
		State       string
		URL         string
	}
	require.NoError(t, json.Unmarshal([]byte(text), &task))
	require.Equal(t, []string{"sim-0777777", "/bin/echo '777777'", "active"}, []string{task.ID, task.CommandLine, task.State})
	require.Contains(t, task.URL, "/jobs/work/tasks/sim-0777777")
	code, text = f.rest("/jobs/work/tasks?api-version=2024-07-01.20.0&maxresults=1000")
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, text, `"id":"sim-0001000"`)
	require.Contains(t, text, "odata.nextLink")
	code, text = f.rest("/jobs/work/taskcounts?api-version=2024-07-01.20.0")
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, text, `"active":1000000`)
	code, text = f.rest("/jobs/work/tasks/sim-1000001?api-version=2024-07-01.20.0")
	require.Equal(t, http.StatusNotFound, code, text)

	require.Contains(t, f.must("task", "terminate", "work", "--array", "sim", "--range", "5000-9999"), "5000 tasks of job work terminated")
	require.Equal(t, 5000, strings.Count(f.must("task", "list", "work", "--failed", "--limit", "0", "-q"), "sim-"))
	require.Equal(t, "sim-0005001\nsim-0005002\n", f.must("task", "list", "work", "--array", "sim", "--range", "5001-5002", "--failed", "-q"))
	require.Contains(t, f.must("task", "retry", "work", "--array", "sim", "--range", "5000-5999"), "1000 tasks of job work run again")
	require.Contains(t, f.must("task", "delete", "work", "--array", "sim", "--range", "6000-6999"), "1000 tasks of job work deleted")
	require.Regexp(t, `sim +1-1000000 +999000 +996000 +0 +0 +3000 +50`, f.must("array", "list", "work"))
	f.must("job", "delete", "work")
}

// Elements run with what is theirs, and no more of them at once than may.
func TestElementsOfArraysRun(t *testing.T) {
	f := startFarm(t, "--nodes", "2", "--slots", "4")
	at := func(name string) string { return filepath.Join(f.dir, name) }
	f.write("models.csv", "model,paths\ngbm,10\n\"he'ston \"\"x\",20\n")
	f.write("names.txt", "anna\nb b\n")
	f.must("file", "upload", f.write("one.txt", "content"), f.write("two.txt", "content"), "--to", "pictures/")
	f.must("submit", f.write("job.yaml", `
parameters: {unit: m}
job: {id: work, usesTaskDependencies: true, poolInfo: {poolId: default}}
tasks:
  - id: "{{index}}"
    commandLine: "/bin/sh -c 'echo $BATCHYARD_ARRAY_ID {{index:03}}{{unit}} {{{{'"
    array: {id: numbers, first: 1, last: 20, atOnce: 3}
    dependsOn: {taskIds: [prepare]}
  - {id: prepare, commandLine: "/bin/true"}
  - {id: rows, commandLine: "/bin/sh -c 'echo \"$BATCHYARD_ARRAY_MODEL\" {{paths}} $P'", environmentSettings: [{name: P, value: "p{{paths}}"}], array: {csv: models.csv}}
  - {id: lines, commandLine: "/bin/sh -c 'echo \"$BATCHYARD_ARRAY_ITEM\" {{index}}'", array: {lines: names.txt}}
  - id: objects
    commandLine: "/bin/sh -c 'cat in.txt; echo {{item}}'"
    resourceFiles: [{httpUrl: "{{store}}/{{item}}", filePath: in.txt}]
    outputFiles:
      - filePattern: in.txt
        destination: {container: {containerUrl: "{{store}}", path: "copies/{{item}}"}}
        uploadOptions: {uploadCondition: tasksuccess}
    array: {objects: pictures/}
  - {id: merge, commandLine: "/bin/echo merged", dependsOn: {taskIds: [rows, lines, objects], taskIdRanges: [{start: 1, end: 20}]}}
`), "--wait")
	for id, want := range map[string]string{
		"7": "numbers 007m {{\n", "rows-1": "he'ston \"x 20 p20\n", "lines-1": "b b 1\n", "objects-0": "contentpictures/one.txt\n", "merge": "merged\n",
	} {
		require.Equal(t, want, f.must("task", "logs", "work", id), id)
	}
	require.Contains(t, f.must("file", "list", "copies/"), "copies/pictures/two.txt")
	require.Contains(t, f.must("array", "show", "work", "rows"), "Succeeded  2")

	for _, c := range [][]string{
		{"--array", "5-1"}, {"--array", "1-3", "--each-line", at("names.txt")}, {"--each-line", at("none")}, {"--at-once", "3"}, {"--each-row", at("one.txt")},
		{"--array", "1-3", "--element-id", "x"}, {"--array", "1-3", "--env", "A={{nothing}}"},
	} {
		out, code := f.run(append(append([]string{"task", "add", "work", "--id", "bad"}, c...), "--", "/bin/true")...)
		require.NotZero(t, code, "%v: %s", c, out)
	}
	require.NotContains(t, f.must("array", "list", "work", "-q"), "bad")
}

// No more elements run at once than the array's limit, which can be changed meanwhile.
func TestTheLimitOfAnArray(t *testing.T) {
	f := startFarm(t, "--nodes", "2", "--slots", "4")
	f.must("job", "create", "work", "--pool", "default")
	running, gate := filepath.Join(f.dir, "running"), filepath.Join(f.dir, "gate")
	require.NoError(t, os.Mkdir(running, 0o755))
	f.must("task", "add", "work", "--id", "a", "--array", "1-12%2", "--", "/bin/sh", "-c",
		"touch "+running+"/{{index}}; while [ ! -e "+gate+"{{index}} ]; do sleep 0.02; done; rm "+running+"/{{index}}")
	busy := func() int {
		entries, err := os.ReadDir(running)
		require.NoError(t, err)
		return len(entries)
	}
	atMost := 2
	reached := func() bool {
		require.LessOrEqual(t, busy(), atMost)
		return busy() == atMost
	}
	require.Eventually(t, reached, time.Minute, 10*time.Millisecond)
	require.Contains(t, f.must("task", "explain", "work", "a-12"), "At most 2 elements of the array a run at once")
	atMost = 5
	f.must("array", "update", "work", "a", "--at-once", "5")
	require.Eventually(t, reached, time.Minute, 10*time.Millisecond)
	for i := range 12 {
		require.NoError(t, os.WriteFile(gate+strconv.Itoa(i+1), nil, 0o600))
		require.LessOrEqual(t, busy(), atMost)
	}
	out := f.must("job", "wait", "work")
	require.Contains(t, out, "12 succeeded")
}
