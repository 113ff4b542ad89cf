//go:build linux || darwin

// Package diskspace says how much room a disk has left.
package diskspace

import "golang.org/x/sys/unix"

// Free is how many bytes an ordinary process may still write to the disk that path is on.
func Free(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail * uint64(st.Bsize)), nil
}
