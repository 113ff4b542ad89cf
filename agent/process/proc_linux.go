package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// procStat is a process as /proc shows it. A pid and a start time name it for as long as the machine runs.
type procStat struct {
	pid, ppid, session int
	state              byte
	threads            int   // those that have not ended, and the first in any case
	start              int64 // ticks since boot
}

// tick is the unit of times in /proc in nanoseconds; USER_HZ is 100 on every architecture that Go knows.
const tick = 1e9 / 100

// dead says that the process has ended and only waits to be reaped. The state is that of its first thread, which others can
// outlive, of their own will or for a moment when the process is killed.
func (p procStat) dead() bool { return p.state == 'X' || (p.state == 'Z' && p.threads <= 1) }

// createdBetween says whether the process was created between two readings of the boot clock.
func (p procStat) createdBetween(from, to int64) bool {
	return p.start >= from/tick && p.start <= to/tick
}

var errStat = errors.New("malformed process status")

// parseStat reads the content of /proc/PID/stat. A program's name may contain anything, also parentheses.
func parseStat(line []byte) (procStat, error) {
	open, closing := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 1 || closing < open {
		return procStat{}, errStat
	}
	const threadsField, startField = 17, 19 // of those after the name
	fields := bytes.Fields(line[closing+1:])
	if len(fields) <= startField {
		return procStat{}, errStat
	}
	var numbers [5]int64
	for i, text := range [][]byte{bytes.TrimSpace(line[:open]), fields[1], fields[3], fields[threadsField], fields[startField]} {
		n, err := strconv.ParseInt(string(text), 10, 64)
		if err != nil {
			return procStat{}, errStat
		}
		numbers[i] = n
	}
	return procStat{
		pid: int(numbers[0]), ppid: int(numbers[1]), session: int(numbers[2]), state: fields[0][0],
		threads: int(numbers[3]), start: numbers[4],
	}, nil
}

func readStat(pid int) (procStat, error) {
	b, err := readSmall("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procStat{}, err
	}
	return parseStat(b)
}

const rssUnit = 1024 // bytes in which rusage counts memory

// readSmall reads a file of /proc that fits a page, with three system calls.
func readSmall(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	buf := make([]byte, 4096)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}

// processes lists every process that can be seen.
func processes() (map[int]procStat, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	names, err := dir.Readdirnames(-1)
	if err := errors.Join(err, dir.Close()); err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	all := make(map[int]procStat, len(names))
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		// One that has gone meanwhile is no error.
		if p, err := readStat(pid); err == nil {
			all[pid] = p
		}
	}
	return all, nil
}

// signal sends a signal to exactly this process, never to another one that has got its pid.
func (p procStat) signal(sig unix.Signal) error {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if errors.Is(err, unix.ENOSYS) {
		return p.signalByPID(sig)
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	// The descriptor holds whatever has the pid now; if that is the process meant, it cannot change any more.
	if now, err := readStat(p.pid); err != nil || now.start != p.start {
		return unix.ESRCH
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

// signalByPID is for kernels before 5.3.
func (p procStat) signalByPID(sig unix.Signal) error {
	if now, err := readStat(p.pid); err != nil || now.start != p.start {
		return unix.ESRCH
	}
	return unix.Kill(p.pid, sig)
}

// descendants adds to roots all processes that descend from them.
func descendants(all map[int]procStat, roots map[int]procStat) {
	children := map[int][]int{}
	for pid, p := range all {
		children[p.ppid] = append(children[p.ppid], pid)
	}
	todo := make([]int, 0, len(roots))
	for pid := range roots {
		todo = append(todo, pid)
	}
	for len(todo) > 0 {
		pid := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, child := range children[pid] {
			if _, known := roots[child]; !known {
				roots[child] = all[child]
				todo = append(todo, child)
			}
		}
	}
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// startOf is when a process was created, in a unit of its own; 0 if there is no such process.
func startOf(pid int) int64 {
	p, err := readStat(pid)
	if err != nil {
		return 0
	}
	return p.start
}
