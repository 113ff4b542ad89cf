//go:build unix

package mount

import (
	"io/fs"
	"os"
	"syscall"
)

// ours says whether a directory is the agent's, so that nobody else puts another in its place.
func ours(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}
