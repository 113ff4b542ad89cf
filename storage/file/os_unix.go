//go:build unix

package file

import (
	"errors"
	"syscall"
)

func (s *Store) syncDir(dir string) error {
	d, err := s.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// notDirectory says that a parent in a path is a file.
func notDirectory(err error) bool { return errors.Is(err, syscall.ENOTDIR) }
