package process

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	"golang.org/x/sys/unix"
)

// machine is this system as the supervisor uses it: a process that adopts the orphans of all its descendants, with a
// control group for each attempt where the system allows it, and what /proc shows where it does not.
type machine struct {
	log    *slog.Logger
	self   int
	bootID string
	null   int      // /dev/null, open
	groups *cgroups // nil: none
	// born wakes reap after a start.
	born chan struct{}

	// forking is read-locked from before a process is created until it is in mains, so that who holds it does not take a new
	// main process for an orphan.
	forking sync.RWMutex
	mu      sync.Mutex
	mains   map[int]*child // main processes that are not released, by pid
}

// child is the process tree of one attempt.
type child struct {
	pid      int
	from, to int64 // boot clock before and after its creation
	dir      string
	outputs  [2]string
	group    *cgroup // nil: none

	mu       sync.Mutex
	released bool
}

func newMachine(log *slog.Logger) (*machine, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become the reaper of orphans: %w", err)
	}
	syscall.Umask(0o027)
	// What this process has inherited must not go on to tasks. A kernel before 5.11 does not know the flag.
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		log.Debug("cannot mark inherited descriptors", "error", err)
	}
	m := &machine{log: log, self: os.Getpid(), born: make(chan struct{}, 1), mains: map[int]*child{}}
	var err error
	if m.bootID, err = bootID(); err != nil {
		return nil, err
	}
	if m.null, err = unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	return m, nil
}

// openGroups makes the control groups for attempts, if there can be any.
func (m *machine) openGroups(cfg ServeConfig) {
	if cfg.noGroups {
		return
	}
	sum := sha256.Sum256([]byte(cfg.StateDir))
	var err error
	if m.groups, err = newCgroups(fmt.Sprintf("batchyard-%x", sum[:8]), !cfg.noUnified); err != nil {
		m.log.Info("tasks get no control groups of their own", "reason", err)
	}
}

func (m *machine) header() *agentv1.SupervisorRecord {
	h := &agentv1.SupervisorHeader{BootId: m.bootID}
	if m.groups != nil {
		h.Cgroup = m.groups.dir
	}
	return &agentv1.SupervisorRecord{Record: &agentv1.SupervisorRecord_Header{Header: h}}
}

func (m *machine) close() error {
	err := unix.Close(m.null)
	if m.groups != nil {
		err = errors.Join(err, m.groups.close())
	}
	return err
}

// start creates an attempt's process.
func (m *machine) start(spec *agentv1.StartProcess) (*child, *startError) {
	program := spec.GetArgv()[0]
	if !strings.Contains(program, "/") {
		var err error
		if program, err = LookPath(program, spec.GetDir(), spec.GetEnv()); err != nil {
			return nil, launchError(spec, err)
		}
	}
	out, closeOut, err := m.openOutputs(spec)
	if err != nil {
		return nil, &startError{agentv1.StartFailure_START_FAILURE_OUTPUT_FILE, err.Error()}
	}
	defer closeOut()
	env := spec.GetEnv()
	if env == nil {
		env = []string{}
	}
	c := &child{dir: spec.GetDir(), outputs: [2]string{spec.GetStdoutPath(), spec.GetStderrPath()}}
	attr := &syscall.ProcAttr{
		Dir: spec.GetDir(), Env: env, Files: []uintptr{uintptr(m.null), out[0], out[1]},
		Sys: &syscall.SysProcAttr{Setsid: true, Credential: credential(spec.GetUser())},
	}
	if err := m.group(c, spec, attr.Sys); err != nil {
		return nil, &startError{agentv1.StartFailure_START_FAILURE_LAUNCH_FAILED, err.Error()}
	}
	if err := m.create(c, program, spec, attr); err != nil {
		if c.group != nil {
			m.groups.put(c.group)
		}
		return nil, launchError(spec, err)
	}
	if l := spec.GetLimits(); l != nil {
		m.limit(c.pid, l)
	}
	return c, nil
}

// group gives an attempt its control group. Only limits need one.
func (m *machine) group(c *child, spec *agentv1.StartProcess, sys *syscall.SysProcAttr) error {
	bounded := bounds(spec.GetLimits())
	if m.groups == nil {
		if bounded {
			return errors.New("the task can't be limited: this system has no control groups")
		}
		return nil
	}
	var err error
	if c.group, err = m.groups.take(spec.GetLimits()); err != nil {
		if bounded {
			return err
		}
		m.log.Warn("no control group for an attempt", "attempt", spec.GetAttemptId(), "error", err)
		return nil
	}
	if c.group.fd >= 0 {
		sys.UseCgroupFD, sys.CgroupFD = true, c.group.fd
	}
	return nil
}

func (m *machine) create(c *child, program string, spec *agentv1.StartProcess, attr *syscall.ProcAttr) (err error) {
	var join []string
	if c.group != nil {
		join = c.group.join
	}
	m.forking.RLock()
	defer m.forking.RUnlock()
	c.from = bootClock()
	c.pid, err = forkIn(join, spec.GetNoNewPrivileges(), program, spec.GetArgv(), attr)
	if errors.Is(err, syscall.ENODEV) && c.group != nil && len(join) == 0 {
		// Somebody has removed the group.
		attr.Sys.UseCgroupFD, c.group = false, nil
		c.pid, err = forkIn(nil, spec.GetNoNewPrivileges(), program, spec.GetArgv(), attr)
	}
	if err != nil {
		return err
	}
	c.to = bootClock()
	m.mu.Lock()
	m.mains[c.pid] = c
	m.mu.Unlock()
	wake(m.born)
	return nil
}

func (m *machine) limit(pid int, l *agentv1.ProcessLimits) {
	for _, r := range []struct {
		resource int
		value    uint64
		zero     bool
	}{
		{unix.RLIMIT_NOFILE, l.GetOpenFiles(), false}, {unix.RLIMIT_FSIZE, l.GetFileSizeBytes(), false},
		{unix.RLIMIT_AS, l.GetAddressSpaceBytes(), false}, {unix.RLIMIT_NPROC, l.GetProcesses(), false},
		{unix.RLIMIT_CORE, l.GetCoreBytes(), l.GetNoCore()},
	} {
		if r.value == 0 && !r.zero {
			continue
		}
		if r.zero {
			r.value = 0
		}
		err := unix.Prlimit(pid, r.resource, &unix.Rlimit{Cur: r.value, Max: r.value}, nil)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			m.log.Warn("cannot set a resource limit", "pid", pid, "resource", r.resource, "error", err)
		}
	}
}

// empty says whether nothing of an attempt runs any more whose main process has ended, without looking at everything.
func (m *machine) empty(c *child) bool {
	if c.group != nil && c.group.populated() {
		return false
	}
	if unix.Kill(-c.pid, 0) == nil {
		return false
	}
	orphans, ok := m.orphans()
	if ok && len(orphans) == 0 {
		return true
	}
	if !ok {
		return m.deserted(c)
	}
	m.forking.Lock()
	defer m.forking.Unlock()
	orphans, ok = m.orphans()
	for _, pid := range orphans {
		if p, err := readStat(pid); err == nil && !p.dead() && m.owns(c, p) {
			return false
		}
	}
	return ok
}

// orphans lists the adopted children; not every kernel does.
func (m *machine) orphans() ([]int, bool) {
	self := strconv.Itoa(m.self)
	// The kernel gives orphans to the first thread.
	b, err := readSmall("/proc/self/task/" + self + "/children")
	if err != nil || len(b) == 4096 {
		return nil, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var pids []int
	for _, text := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(text)
		if err != nil {
			return nil, false
		}
		if m.mains[pid] == nil {
			pids = append(pids, pid)
		}
	}
	return pids, true
}

// owns says whether an orphan belongs to an attempt: by its group, its session, its working directory or output, and if
// nothing tells, whether no other attempt runs that could have made it.
func (m *machine) owns(c *child, p procStat) bool {
	if m.groups != nil {
		if name := m.groups.owner(p.pid); name != "" {
			return c.group != nil && c.group.name == name
		}
	}
	m.mu.Lock()
	owner, disputed := m.mains[p.session], false
	for _, other := range m.mains {
		disputed = disputed || (other != c && p.start >= other.from/tick)
	}
	m.mu.Unlock()
	if owner != nil {
		return owner == c
	}
	return c.marks(p.pid) || (!disputed && p.start >= c.from/tick)
}

// marks says whether a process works in the attempt's directory or writes to its output files.
func (c *child) marks(pid int) bool {
	proc := "/proc/" + strconv.Itoa(pid)
	if cwd, err := os.Readlink(proc + "/cwd"); err == nil && c.dir != "" {
		if cwd == c.dir || strings.HasPrefix(cwd, strings.TrimSuffix(c.dir, "/")+"/") {
			return true
		}
	}
	return c.writes(proc)
}

func (c *child) writes(proc string) bool {
	for _, fd := range []string{"/fd/1", "/fd/2"} {
		target, err := os.Readlink(proc + fd)
		if err != nil {
			continue
		}
		for _, path := range c.outputs {
			if path != "" && target == path {
				return true
			}
		}
	}
	return false
}

// release lets go of an attempt of which nothing runs any more.
func (m *machine) release(c *child) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.released {
		return
	}
	c.released = true
	m.mu.Lock()
	if m.mains[c.pid] == c {
		delete(m.mains, c.pid)
	}
	m.mu.Unlock()
	if c.group != nil {
		m.groups.put(c.group)
	}
}
