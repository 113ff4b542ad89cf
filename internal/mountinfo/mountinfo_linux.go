package mountinfo

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// List reads what is mounted.
func List() ([]Mount, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parse(f)
}

// Unmount takes away what is mounted at a path. With detach it is gone from the path at once, for those who use it when they let go of it.
func Unmount(point string, detach bool) error {
	flags := unix.UMOUNT_NOFOLLOW
	if detach {
		flags |= unix.MNT_DETACH
	}
	err := unix.Unmount(point, flags)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // there is no mount
		return nil
	}
	if err != nil {
		return fmt.Errorf("unmounting %s: %w", point, err)
	}
	return nil
}
