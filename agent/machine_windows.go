package agent

import (
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// readBoot names a boot by its time, rounded since the two clocks that it is made of drift.
func readBoot() boot {
	const grain = time.Minute
	at := time.Now().Add(-windows.DurationSinceBoot()).Round(grain)
	return boot{id: strconv.FormatInt(at.Unix(), 10), at: at}
}

// memoryStatus is MEMORYSTATUSEX.
type memoryStatus struct {
	length               uint32
	load                 uint32
	totalPhysical        uint64
	availablePhysical    uint64
	totalPageFile        uint64
	availablePageFile    uint64
	totalVirtual         uint64
	availableVirtual     uint64
	availableExtendedVir uint64
}

// readMemory gives bytes.
func readMemory() (total, available int64) {
	status := memoryStatus{}
	status.length = uint32(unsafe.Sizeof(status))
	call := windows.NewLazySystemDLL("kernel32.dll").NewProc("GlobalMemoryStatusEx")
	if ok, _, _ := call.Call(uintptr(unsafe.Pointer(&status))); ok == 0 {
		return 0, 0
	}
	return int64(status.totalPhysical), int64(status.availablePhysical)
}

func readCPU() cpuTimes {
	var idle, kernel, user windows.Filetime
	call := windows.NewLazySystemDLL("kernel32.dll").NewProc("GetSystemTimes")
	ok, _, _ := call.Call(uintptr(unsafe.Pointer(&idle)), uintptr(unsafe.Pointer(&kernel)), uintptr(unsafe.Pointer(&user)))
	if ok == 0 {
		return cpuTimes{}
	}
	ticks := func(t windows.Filetime) uint64 { return uint64(t.HighDateTime)<<32 | uint64(t.LowDateTime) }
	total := ticks(kernel) + ticks(user) // the kernel's time contains the idle time
	return cpuTimes{busy: total - ticks(idle), total: total}
}

// diskSpace gives bytes of the volume that holds path.
func diskSpace(path string) (total, free int64) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0, 0
	}
	var available, size, unused uint64
	if windows.GetDiskFreeSpaceEx(name, &available, &size, &unused) != nil {
		return 0, 0
	}
	return int64(size), int64(available)
}
