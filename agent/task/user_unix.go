//go:build unix

package task

import (
	"io/fs"
	"syscall"
)

func ownerOf(info fs.FileInfo) uint32 {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return st.Uid
}
