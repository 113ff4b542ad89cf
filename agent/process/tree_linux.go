package process

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	"golang.org/x/sys/unix"
)

// members lists all processes of an attempt: those of its group, its main process, its session and its orphans, and
// everything that descends from them.
func (m *machine) members(c *child) ([]procStat, error) {
	m.forking.Lock()
	defer m.forking.Unlock()
	all, err := processes()
	if err != nil {
		return nil, err
	}
	roots := map[int]procStat{}
	if c.group != nil {
		for _, pid := range c.group.procs() {
			if p, ok := all[pid]; ok {
				roots[pid] = p
			}
		}
	}
	m.mu.Lock()
	mine := m.mains[c.pid] == c
	adopted := map[int]procStat{}
	for pid, p := range all {
		switch {
		case pid == m.self:
		case mine && pid == c.pid && p.createdBetween(c.from, c.to):
			roots[pid] = p
		case mine && p.session == c.pid && p.start >= c.from/tick:
			roots[pid] = p
		case p.ppid == m.self && m.mains[pid] == nil:
			adopted[pid] = p
		}
	}
	m.mu.Unlock()
	for pid, p := range adopted {
		if m.owns(c, p) {
			roots[pid] = p
		}
	}
	descendants(all, roots)
	var alive []procStat
	for _, p := range roots {
		if !p.dead() {
			alive = append(alive, p)
		}
	}
	return alive, nil
}

// terminate asks every process of an attempt to end.
func (m *machine) terminate(c *child) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.released {
		return
	}
	members, err := m.members(c)
	if err != nil {
		m.log.Error("cannot find the processes of an attempt", "pid", c.pid, "error", err)
	}
	for _, p := range members {
		m.signal(p, unix.SIGTERM)
		// One that is stopped would not see it.
		m.signal(p, unix.SIGCONT)
	}
}

// killPasses bounds how often one kill looks again for processes that were forked meanwhile.
const killPasses = 16

// kill ends every process of an attempt. Without a group a tree can grow meanwhile; the caller looks again.
func (m *machine) kill(c *child) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.released {
		return
	}
	if c.group != nil {
		c.group.kill()
	}
	hit := map[procStat]bool{}
	for range killPasses {
		members, err := m.members(c)
		if err != nil {
			m.log.Error("cannot find the processes of an attempt", "pid", c.pid, "error", err)
			return
		}
		grown := false
		for _, p := range members {
			key := procStat{pid: p.pid, start: p.start}
			grown = grown || !hit[key]
			hit[key] = true
			m.signal(p, unix.SIGKILL)
		}
		if !grown {
			return
		}
	}
}

func (m *machine) signal(p procStat, sig unix.Signal) {
	if err := p.signal(sig); err != nil && !errors.Is(err, unix.ESRCH) {
		m.log.Warn("cannot signal a process", "pid", p.pid, "signal", sig, "error", err)
	}
}

// deserted says whether nothing of an attempt runs any more, looking at every process.
func (m *machine) deserted(c *child) bool {
	if c.group != nil && c.group.populated() {
		return false
	}
	members, err := m.members(c)
	return err == nil && len(members) == 0
}

// strayPatience is how long processes of an earlier supervisor may take to die.
const strayPatience = 10 * time.Second

// killStrays ends what an earlier supervisor's attempts left in this boot of the machine.
func (m *machine) killStrays(ctx context.Context, header *agentv1.SupervisorHeader, strays []stray) error {
	if header.GetBootId() != m.bootID {
		return nil
	}
	if dir := header.GetCgroup(); dir != "" {
		for _, dir := range append(otherGroups(dir), dir) {
			if err := killGroup(dir, strayPatience); err != nil {
				m.log.Error("cannot end the processes of an earlier supervisor", "error", err)
			}
		}
	}
	for begun := time.Now(); len(strays) > 0; {
		all, err := processes()
		if err != nil {
			return err
		}
		roots := map[int]procStat{}
		for pid, p := range all {
			if pid != m.self && belongs(p, strays) {
				roots[pid] = p
			}
		}
		descendants(all, roots)
		alive := 0
		for pid, p := range roots {
			if pid != m.self && !p.dead() {
				alive++
				m.signal(p, unix.SIGKILL)
			}
		}
		if alive == 0 {
			return nil
		}
		if time.Since(begun) > strayPatience {
			m.log.Error("processes of an earlier supervisor do not die", "count", alive)
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("end the processes of an earlier supervisor: %w", ctx.Err())
		case <-time.After(firstPause):
		}
	}
	return nil
}

// belongs says whether a process is, or was made by, one of these attempts.
func belongs(p procStat, strays []stray) bool {
	proc := "/proc/" + strconv.Itoa(p.pid)
	for _, s := range strays {
		if t := s.started; t != nil {
			if p.pid == int(t.GetPid()) && p.createdBetween(t.GetCreatedFrom(), t.GetCreatedTo()) {
				return true
			}
			if p.session == int(t.GetPid()) && p.start >= t.GetCreatedFrom()/tick {
				return true
			}
		}
		if i := s.intent; i != nil && p.start >= i.GetCreatedFrom()/tick {
			c := &child{outputs: [2]string{i.GetStdoutPath(), i.GetStderrPath()}}
			if c.writes(proc) {
				return true
			}
		}
	}
	return false
}
