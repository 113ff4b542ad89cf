//go:build unix && !linux

package pidfile

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// Apart keeps a terminal's Ctrl-C from reaching a child: its owner stops it after those who use it.
func Apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

// started tells a process from a later one of the same pid: when it was started and its command line. A zombie counts
// as gone.
func started(pid int) (string, error) {
	out, err := exec.Command("ps", "-o", "stat=,lstart=,command=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return "", err
	}
	state, rest, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if strings.HasPrefix(state, "Z") {
		return "", os.ErrProcessDone
	}
	return strings.TrimSpace(rest), nil
}
