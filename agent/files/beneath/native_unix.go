//go:build unix

package beneath

import (
	"io/fs"
	"syscall"
)

// nonBlocking keeps the opening of a FIFO from waiting for its other end.
const nonBlocking = syscall.O_NONBLOCK

func foreignLink(file, dir fs.FileInfo) bool {
	f, ok := file.Sys().(*syscall.Stat_t)
	if !ok {
		return true
	}
	d, ok := dir.Sys().(*syscall.Stat_t)
	return !ok || f.Nlink > 1 && f.Uid != d.Uid
}
