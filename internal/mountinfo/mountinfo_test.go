package mountinfo

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	list, err := parse(strings.NewReader(strings.Join([]string{
		"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw",
		`36 22 0:31 / /mnt/a\040b rw,nosuid,nodev - fuse.rclone mnt:bucket\134x rw,user_id=0`,
		"nonsense",
		"37 22 0:32 / /mnt/c rw master:1 propagate_from:2 - nfs4 host:/x rw",
		"38 22 0:33 / /mnt/c rw - tmpfs tmpfs rw",
		"39 22 0:34 / /mnt/c/inner rw - tmpfs tmpfs rw",
		"40 22 0:35 / /mnt/cd rw - tmpfs tmpfs rw",
	}, "\n")))
	require.NoError(t, err)
	require.Len(t, list, 6)
	m, ok := At(list, "/mnt/a b")
	require.True(t, ok)
	require.Equal(t, Mount{"/mnt/a b", "fuse.rclone", `mnt:bucket\x`, []string{"rw", "nosuid", "nodev"}}, m)
	m, _ = At(list, "/mnt/c")
	require.Equal(t, "tmpfs", m.Type, "the topmost")
	var below []string
	for _, m := range Under(list, "/mnt/c") {
		below = append(below, m.Point)
	}
	require.Equal(t, []string{"/mnt/c/inner", "/mnt/c", "/mnt/c"}, below)
	_, ok = At(list, "/mnt")
	require.False(t, ok)
}

func TestListHasTheRoot(t *testing.T) {
	list, err := List()
	require.NoError(t, err)
	if len(list) > 0 {
		_, ok := At(list, "/")
		require.True(t, ok)
	}
}
