package pidfile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Apart keeps a terminal's Ctrl-C from reaching a child: its owner stops it after those who use it.
func Apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

// started tells a process from a later one of the same pid: the boot it runs in, when it was started, and its command
// line. A zombie counts as gone.
func started(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The command in parentheses may hold anything; fields are counted behind the last one.
	_, rest, ok := bytes.Cut(stat[max(bytes.LastIndexByte(stat, ')'), 0):], []byte(" "))
	fields := bytes.Fields(rest)
	const state, startTime = 0, 19
	if !ok || len(fields) <= startTime {
		return "", errors.New("unreadable process state")
	}
	if bytes.ContainsAny(fields[state], "ZX") {
		return "", os.ErrProcessDone
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return "", err
	}
	if len(command) == 0 {
		return "", errNoCommand
	}
	return fmt.Sprintf("%s %s %q", bytes.TrimSpace(boot), fields[startTime], command), nil
}
