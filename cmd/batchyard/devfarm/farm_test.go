//go:build linux

package devfarm_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// program is the real program, built once for all tests.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "batchyard-program")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "batchyard")
	build := exec.Command("go", "build", "-o", program, "github.com/batchyard/batchyard/cmd/batchyard")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("build: %v\n%s", err, out))
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// farm is a real farm: processes, disk, Raft, object store.
type farm struct {
	t   *testing.T
	dir string
	dev *exec.Cmd
	log *bytes.Buffer
}

func startFarm(t *testing.T, args ...string) *farm {
	f := &farm{t: t, dir: t.TempDir()}
	f.start(args...)
	t.Cleanup(f.stop)
	return f
}

func (f *farm) start(args ...string) {
	f.dev = exec.Command(program, append([]string{"dev", "--data-dir", filepath.Join(f.dir, "farm"), "--any-ports"}, args...)...)
	f.dev.Env = f.env()
	f.log = &bytes.Buffer{}
	out, err := os.Create(filepath.Join(f.dir, "dev.out"))
	require.NoError(f.t, err)
	defer out.Close()
	f.dev.Stdout, f.dev.Stderr = out, f.log
	require.NoError(f.t, f.dev.Start())
	require.Eventually(f.t, func() bool {
		b, _ := os.ReadFile(out.Name())
		return bytes.Contains(b, []byte("is ready"))
	}, 30*time.Second, 20*time.Millisecond, "the farm is ready")
}

func (f *farm) env() []string {
	return append(os.Environ(), "BATCHYARD_CONFIG="+filepath.Join(f.dir, "contexts.yaml"))
}

// kill ends the coordinator's process without a word; nodes and the store stay.
func (f *farm) kill() {
	require.NoError(f.t, f.dev.Process.Signal(syscall.SIGKILL))
	_ = f.dev.Wait()
}

func (f *farm) stop() {
	_ = f.dev.Process.Signal(syscall.SIGTERM)
	_ = f.dev.Wait()
	require.Empty(f.t, f.processes(), "nothing is left running")
	if f.t.Failed() {
		f.t.Logf("log of dev:\n%s", f.log)
		logs, _ := filepath.Glob(filepath.Join(f.dir, "farm", "nodes", "*", "agent.log"))
		for _, name := range logs {
			text, _ := os.ReadFile(name)
			f.t.Logf("%s:\n%s", name, text)
		}
	}
}

// processes are the command lines of everything that works under the farm's directory.
func (f *farm) processes() (out []string) {
	entries, err := os.ReadDir("/proc")
	require.NoError(f.t, err)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && bytes.Contains(b, []byte(f.dir)) {
			out = append(out, string(bytes.ReplaceAll(b, []byte{0}, []byte{' '})))
		}
	}
	return out
}

func (f *farm) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(f.t.Context(), program, args...)
	cmd.Env = f.env()
	return cmd
}

// run runs a command and returns what it prints and its exit code.
func (f *farm) run(args ...string) (string, int) {
	out, err := f.command(args...).CombinedOutput()
	if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // never wrapped
		return string(out), exit.ExitCode()
	}
	require.NoError(f.t, err)
	return string(out), 0
}

func (f *farm) write(name, text string) string {
	path := filepath.Join(f.dir, name)
	require.NoError(f.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// Farms that start at the same moment find the same ports free, and must not choose the same ones.
func TestFarmsStartAtOnce(t *testing.T) {
	t.Run("all", func(t *testing.T) {
		for range 3 {
			t.Run("one", func(t *testing.T) {
				t.Parallel()
				startFarm(t, "--nodes", "0", "--any-ports=false")
			})
		}
	})
}

func TestRunStreamsOutputAndExitsWithTheTasksCode(t *testing.T) {
	f := startFarm(t)
	out, code := f.run("run", "--", "sh", "-c", "echo to stdout; echo to stderr >&2; exit 7")
	require.Equal(t, 7, code, out)
	require.Contains(t, out, "to stdout")
	require.Contains(t, out, "to stderr")

	out, code = f.run("run", "--", "/no/such/program")
	require.NotZero(t, code)
	require.Contains(t, out, "CommandProgramNotFound")
}

func TestRestartGoesOnWhereItWas(t *testing.T) {
	f := startFarm(t)
	_, code := f.run("pool", "create", "kept", "--nodes", "0")
	require.Zero(t, code)
	require.NoError(t, f.dev.Process.Signal(syscall.SIGTERM))
	require.NoError(t, f.dev.Wait(), "a clean end")
	require.Empty(t, f.processes(), "Ctrl-C stops everything it started")
	f.start()
	out, code := f.run("pool", "list", "-o", "json")
	require.Zero(t, code)
	require.Contains(t, out, `"kept"`)
	out, code = f.run("run", "--pool", "default", "--", "echo", "again")
	require.Zero(t, code, out)
	require.Contains(t, out, "again")
}

// The coordinator is killed in the middle of a job of 2,000 tasks, half of them elements of an array. Each task writes a line when it runs: none may run twice, none be lost, and a
// client that waits must not notice more than time. One more task runs all the while: it goes on while there is no coordinator.
func TestKilledCoordinatorLosesNothing(t *testing.T) {
	const tasks = 2000
	f := startFarm(t, "--nodes", "2", "--slots", "2")
	witness, beats, stop := filepath.Join(f.dir, "witness"), filepath.Join(f.dir, "beats"), filepath.Join(f.dir, "stop")
	file := f.write("job.yaml", fmt.Sprintf(`
job: {id: big, poolInfo: {poolId: default}}
tasks:
  - id: "t{{n:04}}"
    commandLine: "/bin/sh -c 'echo {{n}} >> %s; sleep 0.01'"
    sweep: {n: {first: 1, last: %d}}
  - id: "a{{index:04}}"
    commandLine: "/bin/sh -c 'echo {{index}} >> %s; sleep 0.01'"
    array: {first: %d, last: %d}
`, witness, tasks/2, witness, tasks/2+1, tasks))
	for _, args := range [][]string{
		{"job", "create", "steady", "--pool", "default"},
		{"task", "add", "steady", "--id", "beat", "--", "/bin/sh", "-c",
			fmt.Sprintf("echo beat >> %s; while [ ! -e %s ]; do echo >> %s; sleep 0.02; done", witness, stop, beats)},
	} {
		out, code := f.run(args...)
		require.Zero(t, code, out)
	}
	require.Eventually(t, func() bool { return countLines(beats) > 0 }, time.Minute, 5*time.Millisecond)
	out, code := f.run("submit", file)
	require.Zero(t, code, out)

	waited := make(chan string, 1)
	go func() {
		out, err := f.command("job", "wait", "big").CombinedOutput()
		waited <- fmt.Sprintf("%s\nerr=%v", out, err)
	}()
	const kills = 4
	for mark := range kills {
		// Any moment is as good as another.
		mark = mark*tasks/(kills+1) + rand.IntN(tasks/(kills+1))
		require.Eventually(t, func() bool { return countLines(witness) >= mark }, time.Minute, time.Millisecond)
		t.Logf("killed after %d tasks", mark)
		f.kill()
		before := countLines(beats)
		require.Eventually(t, func() bool { return countLines(beats) > before }, time.Minute, time.Millisecond,
			"a task that runs goes on meanwhile")
		f.start()
	}
	require.NoError(t, os.WriteFile(stop, nil, 0o600))
	select {
	case out := <-waited:
		require.Contains(t, out, "err=<nil>")
		require.Contains(t, out, fmt.Sprintf("%d succeeded", tasks))
	case <-time.After(3 * time.Minute):
		t.Fatal("the job does not end")
	}
	out, code = f.run("job", "wait", "steady")
	require.Zero(t, code, out)
	b, err := os.ReadFile(witness)
	require.NoError(t, err)
	seen := map[string]int{}
	for line := range strings.Lines(string(b)) {
		seen[strings.TrimSpace(line)]++
	}
	require.Len(t, seen, tasks+1)
	for id, times := range seen {
		require.Equal(t, 1, times, "task %s", id)
	}
}

func countLines(path string) int {
	b, _ := os.ReadFile(path)
	return bytes.Count(b, []byte("\n"))
}

// An agent is killed while its task runs: the task goes on, and its exit code arrives.
func TestKilledAgentKeepsItsTasks(t *testing.T) {
	f := startFarm(t)
	release := filepath.Join(f.dir, "release")
	begun := filepath.Join(f.dir, "begun")
	type answer struct {
		out  string
		code int
	}
	ended := make(chan answer, 1)
	go func() {
		out, code := f.run("run", "--", "sh", "-c", fmt.Sprintf("echo $$ >> %s; while [ ! -e %s ]; do sleep 0.05; done; exit 9", begun, release))
		ended <- answer{out, code}
	}()
	require.Eventually(t, func() bool { return countLines(begun) == 1 }, 30*time.Second, 10*time.Millisecond)
	agents := 0
	entries, err := os.ReadDir("/proc")
	require.NoError(t, err)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || !bytes.Contains(b, []byte("\x00agent\x00")) || !bytes.Contains(b, []byte(f.dir)) {
			continue
		}
		var pid int
		_, err = fmt.Sscan(e.Name(), &pid)
		require.NoError(t, err)
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		agents++
	}
	require.Equal(t, 1, agents)
	require.NoError(t, os.WriteFile(release, nil, 0o600))
	select {
	case a := <-ended:
		require.Equal(t, 9, a.code, a.out)
	case <-time.After(time.Minute):
		t.Fatal("the exit code does not arrive")
	}
	require.Equal(t, 1, countLines(begun), "the task ran once")
}
