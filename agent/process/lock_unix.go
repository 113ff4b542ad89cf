//go:build unix

package process

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lockFile takes the lock on a file, which lasts until it is closed or this process ends. The error is ErrAlreadyServed if
// another process has it.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the state directory: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errors.Join(ErrAlreadyServed, f.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock the state directory: %w", err), f.Close())
	}
	return f, nil
}
