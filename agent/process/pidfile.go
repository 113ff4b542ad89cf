package process

import (
	"fmt"
	"os"
)

// writePID writes down which process this is. The file stays when the process ends: who started it finds its remains by it.
func writePID(path string) error {
	line := fmt.Appendf(nil, "%d %d\n", os.Getpid(), startOf(os.Getpid()))
	if err := os.WriteFile(path, line, 0o600); err != nil {
		return fmt.Errorf("write the pid file: %w", err)
	}
	return nil
}

// readPID is the pid of the process that wrote itself down, 0 if there is none that can still be it.
func readPID(path string) int {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	var pid int
	var start int64
	if _, err := fmt.Sscanf(string(b), "%d %d", &pid, &start); err != nil || pid <= 1 || startOf(pid) != start {
		return 0
	}
	return pid
}
