//go:build !linux

package stage

import (
	"io/fs"
	"os"
)

// flush brings the files under a directory to the disk, before a rename says that it is whole.
func flush(dir *os.Root) error {
	return fs.WalkDir(dir.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := dir.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			_ = f.Close()
			return err
		}
		return f.Close()
	})
}
