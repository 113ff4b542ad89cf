//go:build linux || darwin

package stage

import "golang.org/x/sys/unix"

// freeBytes is how much an ordinary process may still write to the disk that path is on.
func freeBytes(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail * uint64(st.Bsize)), nil
}
