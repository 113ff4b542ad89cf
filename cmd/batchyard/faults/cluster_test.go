//go:build linux

package faults

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/client"
	"github.com/batchyard/batchyard/internal/client/apijson"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/batchyard/batchyard/storage/embedded"
)

// patience is how long a test waits for what should take seconds: the machine may be busy.
const patience = 2 * time.Minute

// program is the real program, built once for all tests.
var program string

// programVariable names the program where another process of these tests has built it.
const programVariable = "BATCHYARD_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if program = os.Getenv(programVariable); program != "" {
		os.Exit(m.Run())
	}
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

// process is one real process that can be started again.
type process struct {
	t    *testing.T
	name string
	args []string
	env  []string
	log  string
	cmd  *exec.Cmd
	// through is a command that runs the program, and attr how it is started; empty: nothing of the kind.
	through []string
	attr    *syscall.SysProcAttr
}

func (p *process) start() {
	argv := append(append(slices.Clone(p.through), program), p.args...)
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.SysProcAttr = p.attr
	p.cmd.Env = append(os.Environ(), p.env...)
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(p.t, err)
	defer out.Close()
	p.cmd.Stdout, p.cmd.Stderr = out, out
	require.NoError(p.t, p.cmd.Start())
}

func (p *process) signal(sig syscall.Signal) { _ = p.cmd.Process.Signal(sig) }

// kill ends it without a word.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	_ = p.cmd.Wait()
}

// stop ends it politely, also when it is paused.
func (p *process) stop() {
	if p.cmd == nil || p.cmd.ProcessState != nil {
		return
	}
	p.signal(syscall.SIGTERM)
	p.signal(syscall.SIGCONT)
	_ = p.cmd.Wait()
}

func (p *process) tail() string {
	b, _ := os.ReadFile(p.log)
	return string(b[max(0, len(b)-8000):])
}

// cluster is coordinators, an object store and nodes: real processes of the real program.
type cluster struct {
	t       *testing.T
	dir     string
	store   *embedded.Child
	members []*process
	grpc    []string // the members' addresses
	nodes   []*process
	tuning  []string // flags of every coordinator
	proxy   *proxy   // nil: none
	work    string
}

// options of a cluster.
type options struct {
	members, nodes, slots int
	tuning                []string
	// proxied puts a proxy, which can hold everything back, before the first member.
	proxied bool
	// host is the address of the coordinators and the store; empty: 127.0.0.1.
	host string
	// state is where the coordinators keep theirs; empty: the test's directory.
	state string
	// work is where the nodes keep theirs; empty: the test's directory.
	work string
}

func newCluster(t *testing.T, o options) *cluster {
	c := &cluster{t: t, dir: t.TempDir(), tuning: o.tuning}
	if o.state == "" {
		o.state = c.dir
	}
	if c.work = o.work; c.work == "" {
		c.work = c.dir
	}
	t.Cleanup(c.stop)
	if o.host == "" {
		o.host = "127.0.0.1"
	}
	var err error
	c.store, err = embedded.Start(t.Context(), embedded.Options{
		Config:  embedded.Config{DataDir: filepath.Join(c.dir, "store"), Address: o.host + ":0", AccessKey: "faults", SecretKey: "faults-secret-key"},
		Command: []string{program, "objectstore"},
	})
	require.NoError(t, err)
	for i := range o.members {
		c.addMember(i, o)
	}
	if o.nodes == 0 {
		return c
	}
	c.must("pool", "create", "pool", "--slots", fmt.Sprint(o.slots), "--nodes", fmt.Sprint(o.nodes))
	token := c.token("--pool", "pool", "--uses", fmt.Sprint(o.nodes))
	for i := range o.nodes {
		c.addNode(fmt.Sprintf("node%d", i), token).start()
	}
	c.awaitNodes(o.nodes)
	return c
}

func (c *cluster) addMember(i int, o options) {
	id := fmt.Sprintf("c%d", i)
	data := filepath.Join(o.state, id)
	grpc, host := freeAddress(c.t, o.host), o.host
	listen := grpc
	if o.proxied {
		// What others are told is the same port of another address.
		host = "127.0.0.2"
		_, port, err := net.SplitHostPort(grpc)
		require.NoError(c.t, err)
		grpc = net.JoinHostPort(host, port)
		c.proxy = startProxy(c.t, grpc, listen)
	}
	args := []string{"coordinator"}
	if i > 0 {
		args = append(args, "join", c.grpc[0], "--join-token-file", c.token("--coordinator"))
	}
	args = append(args, "--id", id, "--data-dir", data, "--host", host, "--listen-grpc", listen, "--listen-https", freeAddress(c.t, o.host), "--listen-raft", freeAddress(c.t, o.host),
		"--store-endpoint", c.store.Endpoint(), "-v")
	args = append(args, c.tuning...)
	first := args
	if i == 0 {
		first = append([]string{}, args...)
		first = append(first, "--bootstrap")
	}
	p := &process{t: c.t, name: id, args: first, log: filepath.Join(c.dir, id+".log"), env: []string{
		"BATCHYARD_STORE_ACCESS_KEY=faults", "BATCHYARD_STORE_SECRET_KEY=faults-secret-key",
	}}
	c.members, c.grpc = append(c.members, p), append(c.grpc, grpc)
	p.start()
	if i == 0 {
		p.args = args // later starts
		c.eventually(patience, "the first member is ready", func() bool {
			b, err := os.ReadFile(filepath.Join(data, "admin-context.yaml"))
			if err != nil {
				return false
			}
			return os.WriteFile(c.config(), b, 0o600) == nil
		})
	}
	c.eventually(patience, id+" is a member", func() bool {
		status, err := c.status()
		return err == nil && len(status.GetMembers()) == i+1 && status.GetMembers()[i].GetDigest() != ""
	})
}

// addNode makes a node's process without starting it.
func (c *cluster) addNode(name, tokenFile string) *process {
	p := &process{t: c.t, name: name, log: filepath.Join(c.dir, name+".log"), args: []string{
		"agent", "-v", "--stop-tasks-on-exit", "--data-dir", filepath.Join(c.work, name), "--node-root", filepath.Join(c.work, name, "root"),
		"--coordinator", strings.Join(c.grpc, ","), "--join-token-file", tokenFile,
	}}
	c.nodes = append(c.nodes, p)
	return p
}

func (c *cluster) config() string { return filepath.Join(c.dir, "contexts.yaml") }

// token makes a join token and returns the file that holds it.
func (c *cluster) token(args ...string) string {
	out := c.must(append([]string{"cluster", "token"}, args...)...)
	f, err := os.CreateTemp(c.dir, "token-")
	require.NoError(c.t, err)
	_, err = f.WriteString(out)
	require.NoError(c.t, err)
	require.NoError(c.t, f.Close())
	return f.Name()
}

func (c *cluster) awaitNodes(n int) {
	c.eventually(patience, "the nodes are there", func() bool {
		out, code := c.run("node", "list", "pool", "--filter", "state eq 'idle'", "-q")
		return code == 0 && len(strings.Fields(out)) == n
	})
}

func (c *cluster) stop() {
	for _, n := range c.nodes {
		n.stop()
	}
	for i := len(c.members) - 1; i >= 0; i-- {
		c.members[i].stop()
	}
	if c.store != nil {
		_ = c.store.Stop()
	}
	if c.proxy != nil {
		c.proxy.stop()
	}
	left := processesIn(c.t, c.dir)
	for pid := range left {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	if !c.t.Failed() {
		require.Empty(c.t, left, "nothing is left running")
	}
	if c.t.Failed() {
		for _, p := range append(append([]*process{}, c.members...), c.nodes...) {
			c.t.Logf("log of %s:\n%s", p.name, p.tail())
		}
	}
}

// processesIn are the command lines of everything that works under a directory, by pid.
func processesIn(t *testing.T, dir string) map[int]string {
	out := map[int]string{}
	entries, err := os.ReadDir("/proc")
	require.NoError(t, err)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		cwd, _ := os.Readlink(filepath.Join("/proc", e.Name(), "cwd"))
		if err == nil && (bytes.Contains(b, []byte(dir)) || strings.HasPrefix(cwd, dir)) {
			var pid int
			_, _ = fmt.Sscan(e.Name(), &pid)
			out[pid] = string(bytes.ReplaceAll(b, []byte{0}, []byte{' '}))
		}
	}
	return out
}

func (c *cluster) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(c.t.Context(), program, args...)
	cmd.Env = append(os.Environ(), client.EnvConfig+"="+c.config())
	return cmd
}

// run runs a command and returns its output, what it says on stderr only where it fails, and its exit code.
func (c *cluster) run(args ...string) (string, int) {
	var out, errs bytes.Buffer
	cmd := c.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // never wrapped
		return out.String() + errs.String(), exit.ExitCode()
	}
	require.NoError(c.t, err)
	return out.String(), 0
}

func (c *cluster) must(args ...string) string {
	c.t.Helper()
	out, code := c.run(args...)
	require.Zero(c.t, code, "%v: %s", args, out)
	return out
}

func (c *cluster) write(name, text string) string {
	path := filepath.Join(c.dir, name)
	require.NoError(c.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// status asks the cluster how it and each of its members is.
func (c *cluster) status() (*apiv1.Cluster, error) {
	out, code := c.run("cluster", "status", "-o", "json", "--retry-for", "100ms")
	if code != 0 {
		return nil, fmt.Errorf("cluster status: %s", out)
	}
	nodes, err := apijson.Parse(strings.NewReader(out))
	if err != nil {
		return nil, err
	}
	status := &apiv1.Cluster{}
	return status, apijson.Decode(nodes[0], status)
}

// leader is the member that leads, as soon as one does.
func (c *cluster) leader() *process {
	c.t.Helper()
	var found *process
	c.eventually(patience, "a member leads", func() bool {
		status, err := c.status()
		if err != nil {
			return false
		}
		found = c.member(status.GetLeaderId())
		return found != nil
	})
	return found
}

func (c *cluster) member(id string) *process {
	for _, m := range c.members {
		if m.name == id {
			return m
		}
	}
	return nil
}

// agree waits until all members have applied equally much, and returns the number of different digests.
func (c *cluster) agree() {
	c.t.Helper()
	digests := map[string]bool{}
	c.eventually(patience, "the members have applied equally much", func() bool {
		status, err := c.status()
		if err != nil || len(status.GetMembers()) != len(c.members) {
			return false
		}
		clear(digests)
		applied := map[uint64]bool{}
		for _, m := range status.GetMembers() {
			if m.GetDigest() == "" {
				return false
			}
			digests[m.GetDigest()], applied[m.GetAppliedIndex()] = true, true
		}
		return len(applied) == 1
	})
	require.Len(c.t, digests, 1, "the members' states differ")
}

func (c *cluster) eventually(limit time.Duration, what string, done func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(limit); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			require.FailNow(c.t, "did not happen: "+what)
		}
	}
}

func freeAddress(t *testing.T, host string) string {
	l, err := net.Listen("tcp", host+":0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// witness counts the lines of a file to which tasks write when they run.
func witness(t *testing.T, path string) map[string]int {
	seen := map[string]int{}
	b, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return seen
	}
	require.NoError(t, err)
	for line := range strings.Lines(string(b)) {
		seen[strings.TrimSpace(line)]++
	}
	return seen
}

func lines(path string) int {
	b, _ := os.ReadFile(path)
	return bytes.Count(b, []byte("\n"))
}
