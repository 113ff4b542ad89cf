package process

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cgroups are control groups (version 2), one for each attempt that runs, used again and again. A process cannot leave its
// group without the right to, so the group knows the whole tree of an attempt, and creating a process inside costs nothing.
type cgroups struct {
	dir string

	mu   sync.Mutex
	free []*cgroup
	all  map[string]*cgroup // by name
	made int
}

type cgroup struct {
	name, dir string
	fd        int  // of the directory
	events    int  // of cgroup.events
	killed    bool // cgroup.kill has been written
}

// newCgroups makes a group for the supervisor of a state directory. The error says why there can be none.
func newCgroups(name string) (*cgroups, error) {
	own, err := ownCgroup()
	if err != nil {
		return nil, err
	}
	g := &cgroups{dir: filepath.Join(own, name), all: map[string]*cgroup{}}
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
	c, err := g.take()
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

// ownCgroup is the directory of the version 2 group that this process is in.
func ownCgroup() (string, error) {
	membership, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	return findCgroup(string(membership), string(mounts))
}

func findCgroup(membership, mounts string) (string, error) {
	own, found := "", false
	for line := range strings.Lines(membership) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			own, found = path, true
		}
	}
	if !found {
		return "", errors.New("no control group of version 2")
	}
	for line := range strings.Lines(mounts) {
		// "36 35 98:0 /root /mount options - type source options", with any number of fields before the dash.
		before, after, ok := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if !ok || len(fields) < 5 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		rest, ok := strings.CutPrefix(own, strings.TrimSuffix(fields[3], "/"))
		if ok && (rest == "" || rest[0] == '/') {
			return filepath.Join(fields[4], rest), nil
		}
	}
	return "", errors.New("control groups of version 2 are not mounted")
}

// take returns an empty group.
func (g *cgroups) take() (*cgroup, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n := len(g.free); n > 0 {
		c := g.free[n-1]
		g.free = g.free[:n-1]
		return c, nil
	}
	name := fmt.Sprintf("%d-%d", os.Getpid(), g.made)
	g.made++
	c := &cgroup{name: name, dir: filepath.Join(g.dir, name), fd: -1, events: -1}
	if err := os.Mkdir(c.dir, 0o755); err != nil {
		return nil, err
	}
	var err error
	if c.fd, err = unix.Open(c.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return nil, err
	}
	if c.events, err = unix.Open(filepath.Join(c.dir, "cgroup.events"), unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return nil, errors.Join(err, unix.Close(c.fd))
	}
	g.all[name] = c
	return c, nil
}

// put takes an empty group back. One that was killed is not used again: Linux compares a counter of kills of the new
// process's group with that of its parent's, and kills it if they differ.
func (g *cgroups) put(c *cgroup) {
	if c.killed {
		g.drop(c)
		return
	}
	var st unix.Stat_t
	if err := unix.Fstat(c.fd, &st); err == nil && st.Nlink > 2 {
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
	_ = unix.Close(c.fd)
	_ = unix.Close(c.events)
	removeGroups(c.dir, true)
}

// owner is the group, by its name, that a process is in; empty if it is in none of these.
func (g *cgroups) owner(pid int) string {
	b, err := readSmall("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(b) {
		if path, ok := bytes.CutPrefix(line, []byte("0::")); ok {
			_, rest, _ := strings.Cut(string(path), "/"+filepath.Base(g.dir)+"/")
			name, _, _ := strings.Cut(strings.TrimSpace(rest), "/")
			return name
		}
	}
	return ""
}

// populated says whether a process runs in the group or below it.
func (c *cgroup) populated() bool {
	var buf [64]byte
	n, err := unix.Pread(c.events, buf[:], 0)
	return err != nil || !bytes.Contains(buf[:n], []byte("populated 0"))
}

// kill ends every process in the group, also those that are being forked; before Linux 5.14 it does nothing.
func (c *cgroup) kill() {
	c.killed = true
	_ = os.WriteFile(filepath.Join(c.dir, "cgroup.kill"), []byte("1"), 0)
}

// procs lists the processes in the group and below it.
func (c *cgroup) procs() []int {
	var pids []int
	// What vanishes meanwhile has no processes.
	_ = filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "cgroup.procs" {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		for _, text := range bytes.Fields(b) {
			if pid, err := strconv.Atoi(string(text)); err == nil && pid > 0 {
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
	var err error
	for _, c := range g.all {
		err = errors.Join(err, unix.Close(c.fd), unix.Close(c.events))
	}
	g.all, g.free = nil, nil
	removeGroups(g.dir, true)
	return err
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
