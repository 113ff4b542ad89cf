package process

import "golang.org/x/sys/unix"

// bootClock is the time since boot in nanoseconds; it runs on while the machine is suspended.
func bootClock() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// The clock exists since Linux 2.6.39, and the call has no other way to fail.
		panic(err)
	}
	return ts.Nano()
}
