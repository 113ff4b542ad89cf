package process

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	"golang.org/x/sys/unix"
)

// cgroups are control groups, one for each attempt that runs, used again and again: of version 2 where it is mounted, else of version 1. A process
// cannot leave its group without the right to, so the group knows the whole tree of an attempt, and creating a process inside costs nothing.
type cgroups struct {
	dir      string
	field    string   // the controller of version 1 whose hierarchy it is; empty: version 2
	limiters limiters // how attempts can be bounded

	mu   sync.Mutex
	free []*cgroup
	all  map[string]*cgroup // by name
	made int
}

type cgroup struct {
	name, dir string
	fd        int      // of the directory; -1 for version 1
	events    int      // of cgroup.events; -1 for version 1
	spent     bool     // it has been killed, or has limits: not used again
	join      []string // files that a thread writes 0 to before it creates the process
	more      []string // directories of other hierarchies
}

// newCgroups makes a group for the supervisor of a state directory. The error says why there can be none.
func newCgroups(name string, unified bool) (*cgroups, error) {
	if !unified {
		return newGroups1(name)
	}
	g, err := newGroups2(name)
	if err == nil {
		return g, nil
	}
	if old, oldErr := newGroups1(name); oldErr == nil {
		return old, nil
	}
	return nil, err
}

// newGroups1 uses the first hierarchy of version 1 that there is.
func newGroups1(name string) (*cgroups, error) {
	l := newLimiters(name)
	var errs []error
	for _, controller := range controllers1 {
		dir, err := l.ensure1(controller)
		if err == nil {
			return &cgroups{dir: dir, field: controller, limiters: l, all: map[string]*cgroup{}}, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func newGroups2(name string) (*cgroups, error) {
	own, err := ownCgroup("")
	if err != nil {
		return nil, err
	}
	g := &cgroups{dir: filepath.Join(own, name), limiters: newLimiters(name), all: map[string]*cgroup{}}
	if err := os.Mkdir(g.dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := g.probe(); err != nil {
		return nil, errors.Join(err, g.close())
	}
	return g, nil
}

// probe creates a process inside a group, whose program does not exist: only a kernel that can do the former notices.
func (g *cgroups) probe() error {
	c, err := g.take(nil)
	if err != nil {
		return err
	}
	defer g.put(c)
	attr := &syscall.ProcAttr{Sys: &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: c.fd}}
	pid, err := syscall.ForkExec(filepath.Join(g.dir, "no such program"), []string{"none"}, attr)
	switch {
	case err == nil:
		_, err = syscall.Wait4(pid, nil, 0, nil)
		return errors.Join(errors.New("a process in a new control group is killed at once"), err)
	case !errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("create a process in a control group: %w", err)
	}
	return nil
}

// ownCgroup is the directory of the group that this process is in: of a controller of version 1, or of version 2 for none.
func ownCgroup(controller string) (string, error) {
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	return findCgroup(string(groups), string(mounts), controller)
}

func findCgroup(groups, mounts, controller string) (string, error) {
	own, found := "", false
	for line := range strings.Lines(groups) {
		if path, ok := membership(line, controller); ok {
			own, found = path, true
		}
	}
	if !found {
		return "", fmt.Errorf("no control group of %s", nameOf(controller))
	}
	for line := range strings.Lines(mounts) {
		// "36 35 98:0 /root /mount options - type source options", with any number of fields before the dash.
		before, after, ok := strings.Cut(line, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(kind) < 3 || !mounted(kind, controller) {
			continue
		}
		rest, ok := strings.CutPrefix(own, strings.TrimSuffix(fields[3], "/"))
		if ok && (rest == "" || rest[0] == '/') {
			return filepath.Join(fields[4], rest), nil
		}
	}
	return "", fmt.Errorf("control groups of %s are not mounted", nameOf(controller))
}

func mounted(kind []string, controller string) bool {
	if controller == "" {
		return kind[0] == "cgroup2"
	}
	return kind[0] == "cgroup" && slices.Contains(strings.Split(kind[2], ","), controller)
}

func nameOf(controller string) string {
	if controller == "" {
		return "version 2"
	}
	return "the controller " + controller
}

// take returns an empty group with these limits, which may be nil.
func (g *cgroups) take(limits *agentv1.ProcessLimits) (*cgroup, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	bounded := bounds(limits)
	if n := len(g.free); n > 0 && !bounded {
		c := g.free[n-1]
		g.free = g.free[:n-1]
		return c, nil
	}
	dir := g.dir
	if bounded && g.field == "" {
		if g.limiters.dir == "" {
			g.limiters.ensure2(g.dir, controllers2)
		}
		dir = g.limiters.dir
	}
	c, err := g.newGroup(dir)
	if err != nil {
		return nil, err
	}
	g.all[c.name] = c
	if !bounded {
		return c, nil
	}
	c.spent = true
	if err := g.limiters.set(c, limits); err != nil {
		delete(g.all, c.name)
		c.remove()
		return nil, fmt.Errorf("limit a task: %w", err)
	}
	return c, nil
}

func (g *cgroups) newGroup(above string) (*cgroup, error) {
	name := fmt.Sprintf("%d-%d", os.Getpid(), g.made)
	g.made++
	c := &cgroup{name: name, dir: filepath.Join(above, name), fd: -1, events: -1}
	if err := os.Mkdir(c.dir, 0o755); err != nil {
		return nil, err
	}
	if g.field != "" {
		c.join = []string{filepath.Join(c.dir, "tasks")}
		return c, nil
	}
	var err error
	if c.fd, err = unix.Open(c.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
		c.events, err = unix.Open(filepath.Join(c.dir, "cgroup.events"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		c.remove()
		return nil, err
	}
	return c, nil
}

// put takes an empty group back. One that was killed is not used again: Linux compares a counter of kills of the new
// process's group with that of its parent's, and kills it if they differ.
func (g *cgroups) put(c *cgroup) {
	if c.spent {
		g.drop(c)
		return
	}
	var st unix.Stat_t
	if err := unix.Stat(c.dir, &st); err == nil && st.Nlink > 2 {
		removeGroups(c.dir, false)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.free = append(g.free, c)
}

func (g *cgroups) drop(c *cgroup) {
	g.mu.Lock()
	delete(g.all, c.name)
	g.mu.Unlock()
	c.remove()
}

// remove removes a group that is empty.
func (c *cgroup) remove() {
	for _, fd := range []int{c.fd, c.events} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	for _, dir := range append(c.more, c.dir) {
		removeGroups(dir, true)
	}
}

// owner is the group, by its name, that a process is in; empty if it is in none of these.
func (g *cgroups) owner(pid int) string {
	b, err := readSmall("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(b) {
		path, ok := membership(string(line), g.field)
		if !ok {
			continue
		}
		_, rest, _ := strings.Cut(path, "/"+filepath.Base(g.dir)+"/")
		name, _, _ := strings.Cut(rest, "/")
		return name
	}
	return ""
}

// membership is the group in a line of /proc/PID/cgroup, if the line is about a controller of version 1, or about version 2 for "".
func membership(line, controller string) (path string, ok bool) {
	_, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
	controllers, path, ok := strings.Cut(rest, ":")
	return path, ok && slices.Contains(strings.Split(controllers, ","), controller)
}

// populated says whether a process runs in the group or below it.
func (c *cgroup) populated() bool {
	if c.events < 0 {
		return len(c.procs()) > 0
	}
	var buf [64]byte
	n, err := unix.Pread(c.events, buf[:], 0)
	return err != nil || !bytes.Contains(buf[:n], []byte("populated 0"))
}

// kill ends every process in the group, also those that are being forked; before Linux 5.14, and in version 1, it does nothing.
func (c *cgroup) kill() {
	c.spent = true
	_ = os.WriteFile(filepath.Join(c.dir, "cgroup.kill"), []byte("1"), 0)
}

// procs lists the processes in the group and below it. This process is seen in one of version 1 while a thread that has created a process inside
// has not ended: it does not belong there.
func (c *cgroup) procs() []int {
	var pids []int
	self := os.Getpid()
	// What vanishes meanwhile has no processes.
	_ = filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "cgroup.procs" {
			return nil //nolint:nilerr // another file, or it vanished
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil //nolint:nilerr // it vanished
		}
		for _, text := range bytes.Fields(b) {
			if pid, err := strconv.Atoi(string(text)); err == nil && pid > 0 && pid != self {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}

// removeGroups removes the groups below dir, and dir itself if it is asked to, as far as they are empty.
func removeGroups(dir string, itself bool) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.IsDir() {
			removeGroups(filepath.Join(dir, e.Name()), true)
		}
	}
	if itself {
		_ = unix.Rmdir(dir)
	}
}

// close removes the groups, which are empty unless a process does not die.
func (g *cgroups) close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.all {
		c.remove()
	}
	g.all, g.free = nil, nil
	removeGroups(g.dir, true)
	g.limiters.close()
	return nil
}

// killGroup ends everything in a group that an earlier supervisor made, and removes it.
func killGroup(dir string, patience time.Duration) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	c := &cgroup{dir: dir}
	for begun := time.Now(); ; time.Sleep(firstPause) {
		c.kill()
		alive := 0
		for _, pid := range c.procs() {
			if p, err := readStat(pid); err == nil && !p.dead() {
				alive++
				_ = p.signal(unix.SIGKILL)
			}
		}
		if alive == 0 {
			removeGroups(dir, true)
			return nil
		}
		if time.Since(begun) > patience {
			return fmt.Errorf("%d processes in %s do not die", alive, dir)
		}
	}
}
