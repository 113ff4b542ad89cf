package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	"golang.org/x/sys/unix"
)

// limiters know where each controller can be set for a supervisor's attempts: in hierarchies of version 1, or in the group of version 2.
type limiters struct {
	name string            // of the supervisor's group
	v1   map[string]string // by controller: its directory there
	v2   map[string]bool   // what can be set in groups below dir
	dir  string            // a group of the supervisor in version 2; empty: none was tried
}

// controllers1 are those of version 1 that are used; any can tell what an attempt's processes are.
var controllers1 = []string{"pids", "freezer", "memory", "cpu"}

// bounds says whether limits need a control group.
func bounds(l *agentv1.ProcessLimits) bool {
	return max(l.GetGroupMemoryBytes(), l.GetGroupCpuMillis(), l.GetGroupProcesses()) > 0
}

func newLimiters(name string) limiters {
	return limiters{name: name, v1: map[string]string{}, v2: map[string]bool{}}
}

// controllers2 are those of version 2 that limits are set with.
var controllers2 = []string{"memory", "cpu", "pids"}

// ensure2 finds where controllers of version 2 can be set: below the supervisor's group, or, since a group that holds processes itself passes none
// on unless it is the root, below one of the same name beside the group that this process is in.
func (l *limiters) ensure2(group string, controllers []string) {
	own := filepath.Dir(group)
	for _, above := range []string{own, filepath.Dir(own)} {
		l.dir = filepath.Join(above, l.name)
		if _, err := os.Stat(filepath.Join(above, "cgroup.controllers")); err != nil {
			break
		}
		if err := os.Mkdir(l.dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			continue
		}
		for _, controller := range controllers {
			enable := []byte("+" + controller)
			// It may be enabled there already.
			_ = os.WriteFile(filepath.Join(above, "cgroup.subtree_control"), enable, 0)
			if os.WriteFile(filepath.Join(l.dir, "cgroup.subtree_control"), enable, 0) == nil {
				l.v2[controller] = true
			}
		}
		if len(l.v2) > 0 {
			return
		}
		if l.dir != group {
			_ = unix.Rmdir(l.dir)
		}
	}
	l.dir = group
}

// ensure1 makes the supervisor's group in the hierarchy of a controller of version 1.
func (l *limiters) ensure1(controller string) (string, error) {
	if dir := l.v1[controller]; dir != "" {
		return dir, nil
	}
	own, err := ownCgroup(controller)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(own, l.name)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	l.v1[controller] = dir
	return dir, nil
}

// otherGroups are the other groups that the supervisor with this one may have.
func otherGroups(group string) []string {
	name := filepath.Base(group)
	dirs := []string{filepath.Join(filepath.Dir(filepath.Dir(group)), name)}
	for _, controller := range controllers1 {
		if own, err := ownCgroup(controller); err == nil {
			dirs = append(dirs, filepath.Join(own, name))
		}
	}
	return dirs
}

func (l *limiters) close() {
	if l.dir != "" {
		removeGroups(l.dir, true)
	}
	for _, dir := range l.v1 {
		removeGroups(dir, true)
	}
}

// set bounds a group before anything runs in it.
func (l *limiters) set(c *cgroup, limits *agentv1.ProcessLimits) error {
	const period = 100_000 // microseconds
	memory := strconv.FormatUint(limits.GetGroupMemoryBytes(), 10)
	quota := strconv.FormatUint(limits.GetGroupCpuMillis()*period/1000, 10)
	processes := strconv.FormatUint(limits.GetGroupProcesses(), 10)
	var err error
	if limits.GetGroupMemoryBytes() > 0 {
		err = l.apply(c, "memory",
			[]setting{{"memory.max", memory, false}, {"memory.swap.max", "0", true}, {"memory.oom.group", "1", true}},
			[]setting{{"memory.limit_in_bytes", memory, false}, {"memory.memsw.limit_in_bytes", memory, true}})
	}
	if limits.GetGroupCpuMillis() > 0 && err == nil {
		err = l.apply(c, "cpu", []setting{{"cpu.max", quota + " " + strconv.Itoa(period), false}},
			[]setting{{"cpu.cfs_period_us", strconv.Itoa(period), false}, {"cpu.cfs_quota_us", quota, false}})
	}
	if limits.GetGroupProcesses() > 0 && err == nil {
		err = l.apply(c, "pids", []setting{{"pids.max", processes, false}}, []setting{{"pids.max", processes, false}})
	}
	return err
}

type setting struct {
	file, value string
	optional    bool // not every kernel has it
}

func (l *limiters) apply(c *cgroup, controller string, v2, v1 []setting) error {
	dir, settings := c.dir, v2
	if !l.v2[controller] {
		above, err := l.ensure1(controller)
		if err != nil {
			return fmt.Errorf("the controller %s: %w", controller, err)
		}
		dir, settings = filepath.Join(above, c.name), v1
		if dir != c.dir {
			if err := os.Mkdir(dir, 0o755); err != nil {
				return err
			}
			c.more = append(c.more, dir)
			c.join = append(c.join, filepath.Join(dir, "tasks"))
		}
	}
	for _, s := range settings {
		err := os.WriteFile(filepath.Join(dir, s.file), []byte(s.value), 0)
		missing := errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
		if err != nil && (!s.optional || !missing) {
			return err
		}
	}
	return nil
}

// forkIn creates a process from a thread of its own, which has joined groups of version 1 and given up what the process must not have: so the
// process is inside from its first moment.
func forkIn(join []string, noNewPrivileges bool, program string, argv []string, attr *syscall.ProcAttr) (pid int, err error) {
	if len(join) == 0 && !noNewPrivileges {
		return syscall.ForkExec(program, argv, attr)
	}
	onThread(func() {
		if noNewPrivileges {
			if err = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
				return
			}
		}
		for _, file := range join {
			if err = os.WriteFile(file, []byte("0"), 0); err != nil {
				err = fmt.Errorf("join %s: %w", strings.TrimSuffix(file, "/tasks"), err)
				return
			}
		}
		pid, err = syscall.ForkExec(program, argv, attr)
	})
	return pid, err
}

// onThread calls f on a thread that ends with it. The first thread of a process never does: it would stay in what f has joined.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // a thread ends with the goroutine that has not unlocked it
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			onThread(f) // not here: this one is taken
			return
		}
		f()
	}()
	<-done
}
