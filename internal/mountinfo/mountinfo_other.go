//go:build !linux

package mountinfo

// List reads what is mounted: on this system nothing that this program knows of.
func List() ([]Mount, error) { return nil, nil }

// Unmount takes away what is mounted at a path.
func Unmount(string, bool) error { return nil }
