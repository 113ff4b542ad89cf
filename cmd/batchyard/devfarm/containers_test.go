//go:build linux

package devfarm_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/batcherr"
)

const registryPassword = "registry-canary"

// yard is a farm whose tasks run in containers of an engine of its own.
type yard struct {
	*farm
	engine   *engine
	registry string
}

func startYard(t *testing.T) *yard {
	engine := startEngine(t)
	image := newImage(t)
	image.load(engine, "box:1")
	y := &yard{farm: &farm{t: t, dir: t.TempDir()}, engine: engine, registry: image.startRegistry(t, "ann", registryPassword)}
	require.NoError(t, os.Chmod(filepath.Dir(y.dir), 0o711)) // tasks have to get through
	y.start("--nodes", "0", "--task-users", "--limit-tasks", "--container-engine", engine.address)
	t.Cleanup(func() {
		y.stop()
		require.Empty(t, engine.containers(), "no container is left")
	})
	return y
}

// pool makes a pool of one node for containers, and a job of the same name.
func (y *yard) pool(id, password string, more ...string) {
	y.t.Helper()
	out := y.ok("pool", "create", "--file", y.write(id+".yaml", fmt.Sprintf(`
id: %s
vmSize: local
taskSlotsPerNode: 2
targetDedicatedNodes: 1
virtualMachineConfiguration:
  imageReference: {publisher: any, offer: any, sku: any}
  nodeAgentSKUId: any
  containerConfiguration:
    type: dockerCompatible
    containerImageNames: ["box:1", "%s/private/%s:1"]
    containerRegistries: [{registryServer: "http://%s", username: ann, password: %s}]
%s
`, id, y.registry, id, y.registry, password, strings.Join(more, "\n"))))
	require.NotContains(y.t, out, password)
}

// add adds a task to the job "work".
func (y *yard) add(id, line, container string, more ...string) {
	y.t.Helper()
	text := fmt.Sprintf("id: %s\ncommandLine: |-\n  %s\ncontainerSettings: {%s}\n%s\n", id, line, container, strings.Join(more, "\n"))
	y.ok("task", "add", "work", "--file", y.write(id+".yaml", text))
}

type shownTask struct {
	State         string
	ExecutionInfo struct {
		ExitCode      *int
		FailureInfo   *failure
		RequeueCount  int
		ContainerInfo *struct{ ContainerID, State, Error string }
	}
}

func (y *yard) task(id string) (t shownTask) {
	y.t.Helper()
	y.shown(&t, "task", "show", "work", id)
	return t
}

// ended waits for a task's end.
func (y *yard) ended(id string) (t shownTask) {
	y.t.Helper()
	y.eventually("the task "+id+" ends", func() bool {
		t = y.task(id)
		return t.State == "completed"
	})
	return t
}

func sh(script string) string { return "sh -c '" + script + "'" }

const box = `imageName: "box:1"`

// Everything that a task may be given in a container, and what becomes of it.
func TestTasksRunInContainers(t *testing.T) {
	y := startYard(t)
	y.pool("boxes", registryPassword, `startTask: {commandLine: "sh -c \"id -u; echo started > out\"", containerSettings: {imageName: "box:1"}, userIdentity: {autoUser: {elevationLevel: admin}}}`)
	y.until("boxes", "idle")
	require.True(t, y.engine.has(y.registry+"/private/boxes:1"), "the pool's images are there before the first task")
	require.NotContains(t, y.ok("pool", "show", "boxes", "-o", "json"), registryPassword)
	y.ok("job", "create", "--file", y.write("job.yaml", `
id: work
poolInfo: {poolId: boxes}
jobPreparationTask: {commandLine: "sh -c \"echo prepared > out\"", containerSettings: {imageName: "box:1"}}
jobReleaseTask: {commandLine: "sh -c \"test -e $AZ_BATCH_JOB_PREP_WORKING_DIR/out\"", containerSettings: {imageName: "box:1"}}
`))
	y.succeeds()
	y.refusals()
	y.stops()
}

// succeeds runs what succeeds.
func (y *yard) succeeds() {
	t := y.t
	y.write("in.txt", "input\n")
	y.ok("file", "upload", filepath.Join(y.dir, "in.txt"), "--to", "in/")
	y.add("all", sh(`id -u; id -g; pwd; echo $GREETING; echo $MORE; cat in.txt; cat $AZ_BATCH_JOB_PREP_WORKING_DIR/out; cat $AZ_BATCH_NODE_STARTUP_DIR/wd/out; hostname; grep -c . /proc/net/dev;
  grep NoNewPrivs /proc/self/status; echo $PATH; echo shared > /extra/shared; echo to stderr >&2; echo result > result.txt; exit 3`),
		box+`, containerRunOptions: "--rm --env MORE=more -v $AZ_BATCH_NODE_SHARED_DIR:/extra --hostname inside --network none --memory 64m"`,
		"environmentSettings: [{name: GREETING, value: hello}]", `resourceFiles: [{autoStorageContainerName: in, filePath: ""}]`)
	done := y.ended("all")
	require.Equal(t, 3, *done.ExecutionInfo.ExitCode, y.ok("task", "logs", "work", "all", "--stderr"))
	require.Equal(t, batcherr.CodeFailureExitCode, done.ExecutionInfo.FailureInfo.Code)
	require.Equal(t, "exited", done.ExecutionInfo.ContainerInfo.State)
	require.Len(t, done.ExecutionInfo.ContainerInfo.ContainerID, 64)
	words := strings.Fields(y.ok("task", "logs", "work", "all"))
	require.Regexp(t, "^2[0-9]{9}$", words[0])
	require.Equal(t, words[0], words[1])
	require.Equal(t, "wd", filepath.Base(words[2]))
	require.Equal(t, []string{"hello", "more", "input", "prepared", "started", "inside", "3", "NoNewPrivs:", "1", "/bin", "to", "stderr"}, words[3:])
	require.Equal(t, "to stderr\n", y.ok("task", "logs", "work", "all", "--stderr"))
	info, err := os.Stat(filepath.Join(words[2], "result.txt"))
	require.NoError(t, err)
	require.Equal(t, words[0], strconv.Itoa(int(info.Sys().(*syscall.Stat_t).Uid)))
	info, err = os.Stat(filepath.Join(words[2], "..", "stdout.txt"))
	require.NoError(t, err)
	require.Equal(t, words[0], strconv.Itoa(int(info.Sys().(*syscall.Stat_t).Uid)))

	y.add("own", "", box+`, workingDirectory: containerImageDefault`)
	y.add("private", sh("echo from a registry"), fmt.Sprintf(`imageName: "%s/private/other:1", registry: {registryServer: "%s", username: ann, password: %s}`,
		y.registry, y.registry, registryPassword))
	y.ok("task", "add", "work", "--id", "flags", "--container", "box:1", "--container-options", "--env 'A=two words'", "--", "sh", "-c", "echo $A")
	y.add("mounts", sh("ls -d $AZ_BATCH_TASK_DIR $AZ_BATCH_NODE_SHARED_DIR $AZ_BATCH_NODE_STARTUP_DIR 2>/dev/null | wc -l; (echo x > $AZ_BATCH_NODE_SHARED_DIR/y) 2>/dev/null || echo readonly"),
		box+`, containerHostBatchBindMounts: [{source: Task}, {source: Shared, isReadOnly: true}]`)
	y.add("root", sh("id -u; grep -c CapEff:.*1fffffffff /proc/self/status"), box, "userIdentity: {autoUser: {elevationLevel: admin}}")
	for id, want := range map[string]string{
		"own": "from the image\n/srv\na note of the image\n", "private": "from a registry\n", "mounts": "2\nreadonly\n", "root": "0\n0\n", "flags": "two words\n",
	} {
		y.ended(id)
		require.Equal(t, want, y.ok("task", "logs", "work", id), id)
	}
	require.NotContains(t, y.ok("task", "show", "work", "private", "-o", "json"), registryPassword)
}

// refusals are of what can't be had.
func (y *yard) refusals() {
	t := y.t
	for id, c := range map[string]struct{ line, container, code, says string }{
		"no-image":    {sh("true"), fmt.Sprintf(`imageName: "%s/private/box:none"`, y.registry), batcherr.CodeContainerInvalidImage, "box:none"},
		"no-pull":     {sh("true"), `imageName: "nowhere:1", containerRunOptions: "--pull never"`, batcherr.CodeContainerInvalidImage, "nowhere:1"},
		"bad-image":   {sh("true"), `imageName: "UPPER/case"`, batcherr.CodeContainerInvalidImage, "UPPER/case"},
		"no-password": {sh("true"), fmt.Sprintf(`imageName: "%s/private/third:1", registry: {registryServer: "%s", username: ann, password: wrong-canary}`, y.registry, y.registry), batcherr.CodeContainerInvalidRegistry, "credentials"},
		"no-registry": {sh("true"), `imageName: "127.0.0.1:1/box:1"`, batcherr.CodeContainerInvalidRegistry, "127.0.0.1:1"},
		"no-program":  {"/no/such/program", box, batcherr.CodeCommandProgramNotFound, "/no/such/program"},
		"no-option":   {sh("true"), box + `, containerRunOptions: "--rm --frobnicate"`, batcherr.CodeContainerInvalidSettings, "--frobnicate"},
		"no-path":     {sh("true"), box + `, containerRunOptions: "-v /etc:/host"`, batcherr.CodeContainerInvalidSettings, "/etc"},
		"no-rights":   {sh("true"), box + `, containerRunOptions: "--privileged"`, batcherr.CodeContainerInvalidSettings, "--privileged"},
		"no-user":     {sh("true"), box + `, containerRunOptions: "--user 0"`, batcherr.CodeContainerInvalidSettings, "run as 0"},
	} {
		y.add(id, c.line, c.container)
		done := y.ended(id)
		require.NotNil(t, done.ExecutionInfo.FailureInfo, id)
		require.Equal(t, c.code, done.ExecutionInfo.FailureInfo.Code, "%s: %s", id, done.ExecutionInfo.FailureInfo.Message)
		require.Contains(t, done.ExecutionInfo.FailureInfo.Message, c.says, id)
		require.NotContains(t, done.ExecutionInfo.FailureInfo.Message, "canary", id)
	}
	out, code := y.run("task", "add", "work", "--id", "plain", "--", "true")
	require.Equal(t, batcherr.ExitInvalid, code, out)
	require.Contains(t, out, "containerSettings")
}

// inside is the process on the machine that runs in a container and has the text in its command line.
func inside(text string) (pid int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && bytes.HasPrefix(line, []byte("sh\x00-c\x00")) && bytes.Contains(line, []byte(text)) {
			pid, _ = strconv.Atoi(e.Name())
		}
	}
	return pid
}

// runner is the program that runs a container on behalf of the supervisor; there is one at a time in these tests.
func (y *yard) runner() (pid int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && bytes.Contains(line, []byte("\x00container\x00--engine\x00"+y.engine.address)) {
			pid, _ = strconv.Atoi(e.Name())
		}
	}
	return pid
}

// begun waits until a task has written to its stdout.
func (y *yard) begun(id string) {
	y.t.Helper()
	y.eventually(id+" has begun", func() bool {
		out, code := y.run("task", "logs", "work", id)
		return code == 0 && strings.Contains(out, "begun")
	})
}

// stops are the ways in which a container ends before its time, or its keepers do.
func (y *yard) stops() {
	t := y.t
	const forever = "while :; do sleep 0.05; done"
	y.add("terminated", sh(`trap "echo bye; exit 0" TERM; echo begun; : mark-terminated; `+forever), box)
	y.begun("terminated")
	require.NotZero(t, inside("mark-terminated"))
	y.ok("task", "terminate", "work", "terminated")
	require.Equal(t, batcherr.CodeTaskEnded, y.ended("terminated").ExecutionInfo.FailureInfo.Code)
	y.eventually("the container has ended", func() bool { return inside("mark-terminated") == 0 && len(y.engine.containers()) == 0 })
	require.Equal(t, "begun\nbye\n", y.ok("task", "logs", "work", "terminated"))

	y.add("limited", sh("echo begun; : mark-limited; "+forever), box, "constraints: {maxWallClockTime: PT1S}")
	require.Equal(t, batcherr.CodeTaskEnded, y.ended("limited").ExecutionInfo.FailureInfo.Code)
	require.Zero(t, inside("mark-limited"), "it does not run when the end is reported")

	y.add("orphan", sh("echo begun; : mark-orphan; "+forever), box)
	y.begun("orphan")
	require.NoError(t, syscall.Kill(y.runner(), syscall.SIGKILL))
	done := y.ended("orphan")
	require.Zero(t, inside("mark-orphan"), "it does not run when the end is reported")
	require.Equal(t, 137, *done.ExecutionInfo.ExitCode)

	y.add("survivor", sh(`echo begun >> $AZ_BATCH_NODE_SHARED_DIR/begun; echo begun; while [ ! -e $AZ_BATCH_NODE_SHARED_DIR/go ]; do sleep 0.05; done; wc -l < $AZ_BATCH_NODE_SHARED_DIR/begun; exit 4`), box)
	y.begun("survivor")
	before := y.engine.containers()
	require.Len(t, before, 1)
	name, _, _ := strings.Cut(before[0], " ")
	y.litter()
	y.killAgent()
	y.eventually("what an earlier life has left is removed", func() bool { return len(y.engine.containers()) == 1 })
	require.Equal(t, name+" running", y.engine.containers()[0])
	require.NoError(t, os.WriteFile(y.shared("go"), nil, 0o644))
	done = y.ended("survivor")
	require.Equal(t, 4, *done.ExecutionInfo.ExitCode)
	require.Equal(t, "begun\n1\n", y.ok("task", "logs", "work", "survivor"), "it ran once")
	require.Zero(t, done.ExecutionInfo.RequeueCount)
	y.eventually("its container is gone", func() bool { return len(y.engine.containers()) == 0 })
}

// litter makes a container as an earlier life of the node's agent could have left it.
func (y *yard) litter() {
	names, err := filepath.Glob(filepath.Join(y.dir, "farm", "nodes", "*", "state", "containers"))
	require.NoError(y.t, err)
	require.NotEmpty(y.t, names)
	node, err := os.ReadFile(names[0])
	require.NoError(y.t, err)
	_, err = y.engine.api.ContainerCreate(context.Background(), client.ContainerCreateOptions{
		Name: "litter", HostConfig: &container.HostConfig{NetworkMode: "none"},
		Config: &container.Config{Image: "box:1", Labels: map[string]string{
			"batchyard.node": strings.TrimSpace(string(node)), "batchyard.life": "earlier", "batchyard.attempt": "999.1.1",
		}},
	})
	require.NoError(y.t, err)
	require.Len(y.t, y.engine.containers(), 2)
}

// killAgent kills the agent of the only node that has one, and waits for the next.
func (y *yard) killAgent() {
	names, err := filepath.Glob(filepath.Join(y.dir, "farm", "nodes", "*", "agent.pid"))
	require.NoError(y.t, err)
	require.Len(y.t, names, 1)
	read := func() int {
		text, _ := os.ReadFile(names[0])
		fields := strings.FieldsFunc(string(text), func(c rune) bool { return c < '0' || c > '9' })
		if len(fields) == 0 {
			return 0
		}
		pid, _ := strconv.Atoi(fields[0])
		return pid
	}
	old := read()
	require.NotZero(y.t, old)
	require.NoError(y.t, syscall.Kill(old, syscall.SIGKILL))
	y.eventually("another agent runs", func() bool { now := read(); return now != 0 && now != old })
}

// A container goes on while its engine is away, and is ended with the supervisor that has lost its runner: the task runs again, and never twice at once.
func TestContainersOutliveTheirEngine(t *testing.T) {
	y := startYard(t)
	y.pool("boxes", registryPassword)
	y.until("boxes", "idle")
	y.ok("job", "create", "work", "--pool", "boxes")
	const wait = `while [ ! -e $AZ_BATCH_NODE_SHARED_DIR/go ]; do echo tick >> $AZ_BATCH_NODE_SHARED_DIR/ticks; sleep 0.05; done; `
	y.add("long", sh(`echo begun; `+wait+`echo end; exit 4`), box)
	y.begun("long")
	list, err := y.engine.api.ContainerList(t.Context(), client.ContainerListOptions{})
	require.NoError(t, err)
	require.Len(t, list.Items, 1)
	found, err := y.engine.api.ContainerInspect(t.Context(), list.Items[0].ID, client.ContainerInspectOptions{})
	require.NoError(t, err)
	require.Positive(t, found.Container.HostConfig.Memory, "it is held to the task's share")
	require.Positive(t, found.Container.HostConfig.NanoCPUs)

	y.engine.stop()
	ticks := func() int { return countLines(y.shared("ticks")) }
	before := ticks()
	y.eventually("it goes on", func() bool { return ticks() > before+3 })
	y.engine.run()
	require.Equal(t, "running", y.task("long").State)
	require.NoError(t, os.WriteFile(y.shared("go"), nil, 0o644))
	require.Equal(t, 4, *y.ended("long").ExecutionInfo.ExitCode)
	require.Zero(t, y.task("long").ExecutionInfo.RequeueCount)

	require.NoError(t, os.Remove(y.shared("go")))
	y.add("lost", sh(`echo begun; trap "" TERM; while [ ! -e $AZ_BATCH_NODE_SHARED_DIR/go ]; do hostname >> $AZ_BATCH_NODE_SHARED_DIR/hosts; sleep 0.05; done; exit 5`), box,
		"userIdentity: {autoUser: {scope: pool}}") // both runs write to the file
	y.begun("lost")
	y.killSupervisor()
	hosts := func() []string { return slices.Compact(lines(y.shared("hosts"))) }
	y.eventually("it runs again", func() bool { return len(hosts()) > 1 })
	require.NoError(t, os.WriteFile(y.shared("go"), nil, 0o644))
	done := y.ended("lost")
	require.Equal(t, 5, *done.ExecutionInfo.ExitCode)
	require.Equal(t, 1, done.ExecutionInfo.RequeueCount)
	require.Len(t, hosts(), 2, "one after the other")
}

// killSupervisor kills the supervisor of the only node.
func (y *yard) killSupervisor() {
	killed := 0
	entries, err := os.ReadDir("/proc")
	require.NoError(y.t, err)
	for _, e := range entries {
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && bytes.Contains(line, []byte("\x00supervisor\x00--state\x00"+y.dir)) {
			pid, err := strconv.Atoi(e.Name())
			require.NoError(y.t, err)
			require.NoError(y.t, syscall.Kill(pid, syscall.SIGKILL))
			killed++
		}
	}
	require.Equal(y.t, 1, killed)
}

// shared is a file in the shared directory of the only node.
func (y *yard) shared(name string) string {
	dirs, err := filepath.Glob(filepath.Join(y.dir, "farm", "nodes", "*", "root", "shared"))
	require.NoError(y.t, err)
	require.Len(y.t, dirs, 1)
	return filepath.Join(dirs[0], name)
}

// A node that can't have its pool's images is of no use, says why, and is mended by a boot once they are there.
func TestImagesThatCantBeHad(t *testing.T) {
	y := startYard(t)
	y.pool("boxes", "wrong-canary")
	y.until("boxes", "unusable")
	var nodes []struct {
		ID     string
		Errors []struct {
			Code         string
			ErrorDetails []struct{ Name, Value string }
		}
	}
	y.shown(&nodes, "node", "list", "boxes")
	require.Len(t, nodes[0].Errors, 1)
	require.Equal(t, batcherr.CodeContainerImagesFailed, nodes[0].Errors[0].Code)
	require.Equal(t, batcherr.CodeContainerInvalidRegistry, nodes[0].Errors[0].ErrorDetails[0].Name)
	require.NotContains(t, nodes[0].Errors[0].ErrorDetails[0].Value, "canary")
	newImage(t).load(y.engine, y.registry+"/private/boxes:1")
	y.ok("node", "reboot", "boxes", nodes[0].ID)
	y.until("boxes", "idle")
	var mended []struct{ Errors []any }
	y.shown(&mended, "node", "list", "boxes")
	require.Empty(t, mended[0].Errors)

	y.ok("pool", "create", "plain", "--nodes", "0")
	y.ok("job", "create", "work", "--pool", "plain")
	out, code := y.run("task", "add", "work", "--file", y.write("t.yaml", "id: t\ncommandLine: 'true'\ncontainerSettings: {imageName: \"box:1\"}\n"))
	require.Equal(t, batcherr.ExitInvalid, code, out)
	require.Contains(t, out, "containerConfiguration")
}
