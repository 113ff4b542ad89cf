package agent

import (
	"time"

	"golang.org/x/sys/unix"
)

func readBoot() boot {
	id, _ := unix.Sysctl("kern.bootsessionuuid") // without it, every start counts as the same boot
	out := boot{id: id}
	if at, err := unix.SysctlTimeval("kern.boottime"); err == nil {
		out.at = time.Unix(at.Unix())
	}
	return out
}

// readMemory gives bytes. What is available is not told by any one figure here: none counts as used.
func readMemory() (total, available int64) {
	size, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return 0, 0
	}
	return int64(size), int64(size)
}

// readCPU tells nothing: the kernel gives these times to C programs only.
func readCPU() cpuTimes { return cpuTimes{} }

// diskSpace gives bytes of the file system that holds path.
func diskSpace(path string) (total, free int64) {
	var fs unix.Statfs_t
	if unix.Statfs(path, &fs) != nil {
		return 0, 0
	}
	return int64(fs.Blocks) * int64(fs.Bsize), int64(fs.Bavail) * int64(fs.Bsize)
}
