package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// CheckTaskUsers says why tasks below a directory, which need not exist yet, can't have users of their own.
func CheckTaskUsers(dir string) error {
	if os.Geteuid() != 0 {
		return errors.New("only an agent that runs as root can give tasks users of their own")
	}
	for at := existing(dir); ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil {
			return fmt.Errorf("looking at the node's root directory: %w", err)
		}
		if info.Mode()&0o001 == 0 {
			return fmt.Errorf("the tasks' users can't get to %s: %s is closed to others (mode %04o)", dir, at, info.Mode().Perm())
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}
