//go:build unix

package process

import (
	"errors"
	"fmt"
	"syscall"
)

// detached puts a supervisor into a session of its own.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// reapChild takes note of a child's end, and says whether pid is not, or no longer, a child that runs.
func reapChild(pid int) bool {
	if pid <= 1 {
		return true
	}
	got, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
	return got == pid || errors.Is(err, syscall.ECHILD)
}

// childEnded returns an error if the child pid has ended.
func childEnded(pid int) error {
	var status syscall.WaitStatus
	got, err := syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
	switch {
	case errors.Is(err, syscall.EINTR) || (err == nil && got == 0):
		return nil
	case err != nil:
		return fmt.Errorf("process %d: %w", pid, err)
	}
	return fmt.Errorf("process %d ended with status %d, signal %d", pid, status.ExitStatus(), status.Signal())
}
