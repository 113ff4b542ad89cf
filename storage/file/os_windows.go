//go:build windows

package file

import (
	"errors"
	"syscall"
)

// syncDir does nothing: Windows keeps names without being asked.
func (s *Store) syncDir(string) error { return nil }

// notDirectory says that a parent in a path is a file.
func notDirectory(err error) bool {
	return errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ERROR_PATH_NOT_FOUND)
}
