package stage

import (
	"os"

	"golang.org/x/sys/unix"
)

// flush brings everything under a directory to the disk at once, before a rename says that it is whole.
func flush(dir *os.Root) error {
	f, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	return os.NewSyscallError("syncfs", unix.Syncfs(int(f.Fd())))
}
