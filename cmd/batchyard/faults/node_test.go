//go:build linux

package faults

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// allTasks lists a job's tasks by id.
func (c *cluster) allTasks(job string) map[string]*apiv1.Task {
	c.t.Helper()
	page, err := apiv1.NewTaskServiceClient(c.dial()).ListTasks(c.t.Context(), &apiv1.ListTasksRequest{JobId: job})
	require.NoError(c.t, err)
	require.Empty(c.t, page.GetNextPageToken())
	out := map[string]*apiv1.Task{}
	for _, task := range page.GetTasks() {
		out[task.GetId()] = task
	}
	return out
}

// allRun says whether the coordinator has heard of all tasks of a job that they run, which is a moment after they do: what it has not heard of counts as not
// begun, and its loss as no requeue.
func (c *cluster) allRun(job string) bool {
	for _, task := range c.allTasks(job) {
		if task.GetState() != apiv1.TaskState_TASK_STATE_RUNNING {
			return false
		}
	}
	return true
}

// The whole process tree of a node is killed: agent, supervisor and tasks. Its tasks run elsewhere; what the node says of them when it comes back does not
// count.
func TestKilledNode(t *testing.T) {
	const tasks = 4
	c := newCluster(t, options{members: 1, nodes: 2, slots: tasks, tuning: []string{"--lease", "4s", "--grace", "2s", "--heartbeat", "500ms"}})
	begun, release := filepath.Join(c.dir, "begun"), filepath.Join(c.dir, "release")
	c.must("submit", c.write("job.yaml", fmt.Sprintf(`
job: {id: job, poolInfo: {poolId: pool}}
tasks:
  - id: "t{{n}}"
    commandLine: "/bin/sh -c 'echo {{n}} >> %s; until [ -e %s ]; do sleep 0.1; done'"
    sweep: {n: {first: 1, last: %d}}
`, begun, release, tasks)))
	waited := c.waitFor("job")
	c.eventually(patience, "all tasks run", func() bool { return lines(begun) == tasks && c.allRun("job") })

	for pid := range processesIn(t, filepath.Join(c.dir, c.nodes[0].name)) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = c.nodes[0].cmd.Wait()
	c.eventually(patience, "the lost tasks run again", func() bool { return lines(begun) > tasks })
	lost := 0
	c.eventually(patience, "all tasks are on the other node", func() bool {
		nodes := map[string]bool{}
		lost = 0
		for _, task := range c.allTasks("job") {
			nodes[task.GetNodeInfo().GetNodeId()] = true
			lost += int(task.GetExecutionInfo().GetRequeueCount())
		}
		return len(nodes) == 1 && lines(begun) == tasks+lost
	})
	require.Equal(t, tasks/2, lost, "tasks are spread over both nodes")
	left := onlyNode(c.allTasks("job"))

	// Back again, it knows its old attempts, and says that they are lost.
	c.nodes[0].start()
	c.awaitOther(left)
	require.NoError(t, os.WriteFile(release, nil, 0o600))
	c.requireDone(waited, fmt.Sprintf("%d succeeded", tasks))
	for id, task := range c.allTasks("job") {
		require.Equal(t, left, task.GetNodeInfo().GetNodeId(), id)
		require.Equal(t, apiv1.TaskExecutionResult_TASK_EXECUTION_RESULT_SUCCESS, task.GetExecutionInfo().GetResult(), id)
		require.Zero(t, task.GetExecutionInfo().GetRetryCount(), id)
	}
	require.Equal(t, tasks+lost, lines(begun))
}

// One node of a task that runs on two is killed: the task runs again as a whole, on the two that are left.
func TestKilledNodeOfAMultiInstanceTask(t *testing.T) {
	c := newCluster(t, options{members: 1, nodes: 0, tuning: []string{"--lease", "4s", "--grace", "2s", "--heartbeat", "500ms"}})
	c.must("pool", "create", "pool", "--slots", "1", "--inter-node", "--nodes", "3")
	token := c.token("--pool", "pool", "--uses", "3")
	for i := range 3 {
		c.addNode(fmt.Sprintf("node%d", i), token).start()
	}
	c.awaitNodes(3)
	begun, release := filepath.Join(c.dir, "begun"), filepath.Join(c.dir, "release")
	c.must("job", "create", "job", "--pool", "pool")
	c.must("task", "add", "job", "--id", "gang", "--instances", "2", "--coordination", "/bin/sh -c 'pwd >> "+begun+"'", "--shell", "--",
		fmt.Sprintf("echo primary >> %s; until [ -e %s ]; do sleep 0.1; done", begun, release))
	waited := c.waitFor("job")
	c.eventually(patience, "it runs", func() bool { return lines(begun) == 3 && c.allRun("job") })

	// The subtask's directory says which node has it.
	victim := -1
	for dir := range witness(t, begun) {
		for i := range c.nodes {
			if strings.HasPrefix(dir, filepath.Join(c.dir, c.nodes[i].name)+"/") && strings.HasSuffix(dir, "/gang/1/wd") {
				victim = i
			}
		}
	}
	require.GreaterOrEqual(t, victim, 0)
	for pid := range processesIn(t, filepath.Join(c.dir, c.nodes[victim].name)) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = c.nodes[victim].cmd.Wait()
	c.eventually(patience, "it runs again", func() bool { return lines(begun) == 6 })
	require.NoError(t, os.WriteFile(release, nil, 0o600))
	c.requireDone(waited, "1 succeeded")
	info := c.allTasks("job")["gang"].GetExecutionInfo()
	require.EqualValues(t, []int32{1, 0}, []int32{info.GetRequeueCount(), info.GetRetryCount()})
}

func onlyNode(tasks map[string]*apiv1.Task) (node string) {
	for _, task := range tasks {
		node = task.GetNodeInfo().GetNodeId()
	}
	return node
}

// awaitOther waits until a node other than this one is idle.
func (c *cluster) awaitOther(not string) {
	c.eventually(patience, "the node is back", func() bool {
		out, code := c.run("node", "list", "pool", "--filter", "state eq 'idle'", "-q")
		for _, id := range strings.Fields(out) {
			if code == 0 && id != not {
				return true
			}
		}
		return false
	})
}

// A connection that carries nothing for 30 s, in neither direction, and is not closed either: nothing but time is lost.
func TestCutConnection(t *testing.T) {
	const tasks, cut = 300, 30 * time.Second
	c := newCluster(t, options{members: 1, proxied: true, nodes: 1, slots: 3})
	path, release := filepath.Join(c.dir, "witness"), filepath.Join(c.dir, "release")
	long := filepath.Join(c.dir, "long")
	c.must("job", "create", "long", "--pool", "pool")
	c.must("task", "add", "long", "--id", "long", "--shell", "--", fmt.Sprintf("echo long >> %s; until [ -e %s ]; do sleep 0.1; done", long, release))
	c.eventually(patience, "the long task runs", func() bool { return lines(long) == 1 })
	c.submitEchoes("short", path, tasks)
	waited, waitedLong := c.waitFor("short"), c.waitFor("long")
	c.eventually(patience, "work has begun", func() bool { return lines(path) > 20 })

	c.proxy.block(true)
	began := time.Now()
	<-time.After(cut)
	during := lines(path)
	c.proxy.block(false)
	require.Less(t, during, tasks, "the cut came too late to prove anything")
	c.requireDone(waited, fmt.Sprintf("%d succeeded", tasks))
	t.Logf("cut for %v; the job was done %v after it began", cut, time.Since(began).Round(time.Second))
	require.NoError(t, os.WriteFile(release, nil, 0o600))
	c.requireDone(waitedLong, "1 succeeded")
	c.requireOnce("short", path, nil)
	c.requireOnce("long", long, nil)
	for _, job := range []string{"short", "long"} {
		for id, task := range c.allTasks(job) {
			require.Zero(t, task.GetExecutionInfo().GetRequeueCount(), id)
		}
	}
	c.awaitNodes(1)
}

// proxy passes connections on until it is blocked; then it holds back everything, as a network that loses all packets does.
type proxy struct {
	listener net.Listener
	target   string
	wait     sync.WaitGroup

	mu    sync.Mutex
	open  chan struct{} // closed while bytes pass
	conns map[net.Conn]bool
}

func startProxy(t *testing.T, address, target string) *proxy {
	l, err := net.Listen("tcp", address)
	require.NoError(t, err)
	p := &proxy{listener: l, target: target, open: make(chan struct{}), conns: map[net.Conn]bool{}}
	close(p.open)
	p.wait.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.wait.Go(func() { p.serve(conn) })
		}
	})
	return p
}

func (p *proxy) block(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if yes {
		p.open = make(chan struct{})
	} else {
		close(p.open)
	}
}

func (p *proxy) pass() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open
}

func (p *proxy) keep(conn net.Conn, yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if yes {
		p.conns[conn] = true
	} else {
		delete(p.conns, conn)
		_ = conn.Close()
	}
}

func (p *proxy) serve(near net.Conn) {
	p.keep(near, true)
	defer p.keep(near, false)
	<-p.pass()
	far, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	p.keep(far, true)
	defer p.keep(far, false)
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		both.Go(func() {
			_, _ = io.Copy(held{way[1], p}, way[0])
			<-p.pass() // an end is not seen either
			_, _ = near.Close(), far.Close()
		})
	}
	both.Wait()
}

// held writes while the proxy is open.
type held struct {
	io.Writer
	p *proxy
}

func (h held) Write(b []byte) (int, error) {
	<-h.p.pass()
	return h.Writer.Write(b)
}

func (p *proxy) stop() {
	select {
	case <-p.pass():
	default:
		p.block(false)
	}
	_ = p.listener.Close()
	p.mu.Lock()
	for conn := range p.conns {
		_ = conn.Close()
	}
	p.mu.Unlock()
	p.wait.Wait()
}
