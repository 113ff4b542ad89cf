package agent

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func readBoot() boot {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // without it, every start counts as the same boot
	out := boot{id: strings.TrimSpace(string(id))}
	stat, _ := os.ReadFile("/proc/stat")
	for line := range strings.Lines(string(stat)) {
		if text, ok := strings.CutPrefix(line, "btime "); ok {
			if seconds, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64); err == nil {
				out.at = time.Unix(seconds, 0)
			}
		}
	}
	return out
}

// readMemory gives bytes.
func readMemory() (total, available int64) {
	info, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(info)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kib, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			continue
		}
		switch fields[0] {
		case "MemTotal:":
			total = kib << 10
		case "MemAvailable:":
			available = kib << 10
		}
	}
	return total, available
}

func readCPU() cpuTimes {
	stat, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(stat), "\n")
	fields := strings.Fields(line)
	var out cpuTimes
	const idle, iowait, guest = 4, 5, 9
	for i := 1; i < len(fields) && i < guest; i++ { // guest times are part of user times
		ticks, err := strconv.ParseUint(fields[i], 10, 64)
		if err != nil {
			return cpuTimes{}
		}
		out.total += ticks
		if i != idle && i != iowait {
			out.busy += ticks
		}
	}
	return out
}

// diskSpace gives bytes of the file system that holds path.
func diskSpace(path string) (total, free int64) {
	var fs unix.Statfs_t
	if unix.Statfs(path, &fs) != nil {
		return 0, 0
	}
	return int64(fs.Blocks) * fs.Bsize, int64(fs.Bavail) * fs.Bsize
}
