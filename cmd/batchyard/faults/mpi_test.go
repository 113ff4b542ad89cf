//go:build linux

package faults

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	// insideVariable tells a test that its process has a network of its own.
	insideVariable = "BATCHYARD_TEST_INSIDE_NETWORK"
	hubAddress     = "10.77.0.1"
)

// insideNetwork runs the test in a process whose network is empty but for what it makes itself, and in which it may mount. True: this is that process.
func insideNetwork(t *testing.T) bool {
	if os.Getenv(insideVariable) != "" {
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=8m")
	cmd.Env = append(os.Environ(), insideVariable+"=1", programVariable+"="+program)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		lacking(t, "a network of its own, for which it has to run as root")
	}
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: "+t.Name()+" ")
	return false
}

// lacking ends a test that needs what is not there: that is a fault where everything has to be tested.
func lacking(t *testing.T, what string) {
	t.Helper()
	require.NotEqual(t, "true", os.Getenv("CI"), "the test needs %s", what)
	t.Skipf("NOT TESTED: the test needs %s", what)
}

func (c *cluster) must1(name string, args ...string) {
	c.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(c.t, err, "%s %v: %s", name, args, out)
}

// addHost makes a node that has, like a machine, a name, a network address and a node root of its own, the latter under the same path as all others.
func (c *cluster) addHost(i int, tokenFile string) {
	name, root := fmt.Sprintf("host%d", i), filepath.Join(c.dir, "batch")
	p := c.addNode(name, tokenFile)
	for k, arg := range p.args {
		if arg == "--node-root" {
			p.args[k+1] = root
		}
	}
	own := filepath.Join(c.dir, name+"-batch")
	require.NoError(c.t, os.MkdirAll(own, 0o755))
	require.NoError(c.t, os.MkdirAll(root, 0o755))
	p.through = []string{"/bin/sh", "-c", `set -e
mount --make-rprivate /
mount --bind "$1" "$2"
echo "$3" > /proc/sys/kernel/hostname
ip link set lo up
until ip -4 addr show dev eth0 2>/dev/null | grep -q inet; do sleep 0.05; done
shift 3
exec "$@"`, "sh", own, root, name}
	p.attr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS}
	p.start()
	pid, port := strconv.Itoa(p.cmd.Process.Pid), "port"+strconv.Itoa(i)
	c.must1("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", pid)
	c.must1("ip", "link", "set", port, "master", "hub", "up")
	c.must1("nsenter", "-t", pid, "-n", "ip", "link", "set", "eth0", "up")
	c.must1("nsenter", "-t", pid, "-n", "ip", "addr", "add", fmt.Sprintf("10.77.0.%d/24", 10+i), "dev", "eth0")
}

// A program of Open MPI runs across four nodes, each in a network namespace of its own with its own address. The coordination command starts what such
// programs need: an SSH server on each node.
func TestMPI(t *testing.T) {
	const hosts = 4
	for _, tool := range []string{"mpicc", "mpirun", "ssh", "ssh-keygen", "ip", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			lacking(t, tool)
		}
	}
	if _, err := os.Stat("/usr/sbin/sshd"); err != nil {
		lacking(t, "sshd")
	}
	if !insideNetwork(t) {
		return
	}
	c := &cluster{t: t}
	c.must1("ip", "link", "set", "lo", "up")
	c.must1("ip", "link", "add", "hub", "type", "bridge")
	c.must1("ip", "addr", "add", hubAddress+"/24", "dev", "hub")
	c.must1("ip", "link", "set", "hub", "up")
	c = newCluster(t, options{members: 1, host: hubAddress})
	c.must("pool", "create", "mpi", "--slots", "1", "--inter-node", "--nodes", strconv.Itoa(hosts))
	token := c.token("--pool", "mpi", "--uses", strconv.Itoa(hosts))
	for i := range hosts {
		c.addHost(i, token)
	}
	c.eventually(patience, "the nodes are there", func() bool {
		out, code := c.run("node", "list", "mpi", "--filter", "state eq 'idle'", "-q")
		return code == 0 && len(strings.Fields(out)) == hosts
	})

	files := filepath.Join(c.dir, "files")
	require.NoError(t, os.Mkdir(files, 0o700))
	c.must1("mpicc", "-O2", "-o", filepath.Join(files, "ring"), "testdata/ring.c")
	c.must1("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(files, "key"))
	for _, name := range []string{"coordinate.sh", "ssh.sh", "solve.sh"} {
		c.must1("cp", "testdata/"+name, files)
	}
	for _, name := range []string{"ring", "key", "key.pub", "coordinate.sh", "ssh.sh", "solve.sh"} {
		c.must("file", "upload", filepath.Join(files, name), "--to", "mpi/")
	}
	c.must("job", "create", "job", "--pool", "mpi")
	c.must("task", "add", "job", "--id", "ring", "--max-wall-clock", "2m", "--instances", strconv.Itoa(hosts), "--common-input", "mpi/",
		"--coordination", `/bin/sh -c '. "$AZ_BATCH_TASK_SHARED_DIR/coordinate.sh"'`, "--shell", "--", `. "$AZ_BATCH_TASK_SHARED_DIR/solve.sh"`)
	out, code := c.run("job", "wait", "job")
	require.Zero(t, code, "%s\n%s\n%s", out, c.must("task", "show", "job", "ring", "-o", "json"), c.said("ring"))

	said := c.must("task", "logs", "job", "ring")
	require.Contains(t, said, "token 4 pi 3.141593")
	ranks, names := map[string]bool{}, map[string]bool{}
	for _, line := range regexp.MustCompile(`rank (\d) of 4 on (host\d)`).FindAllStringSubmatch(said, -1) {
		ranks[line[1]], names[line[2]] = true, true
	}
	require.Len(t, ranks, hosts, said)
	require.Len(t, names, hosts, said)
	c.eventually(patience, "the subtasks are completed", func() bool {
		return strings.Count(c.must("task", "subtasks", "job", "ring"), "completed  success") == hosts-1
	})
}

// said is all that a task's instances have written on their nodes.
func (c *cluster) said(task string) (text string) {
	for _, pattern := range []string{"*-batch/workitems/*/job-1/" + task + "/*.txt", "*-batch/workitems/*/job-1/" + task + "/*/*.txt", "*-batch/workitems/*/job-1/" + task + "/wd/*.log"} {
		paths, _ := filepath.Glob(filepath.Join(c.dir, pattern))
		for _, path := range paths {
			b, _ := os.ReadFile(path)
			text += path + ":\n" + string(b)
		}
	}
	return text
}
