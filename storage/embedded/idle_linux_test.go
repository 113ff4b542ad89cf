package embedded_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ticks is the processor time that a process has used, in hundredths of a second.
func ticks(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	user, err := strconv.Atoi(fields[11])
	require.NoError(t, err)
	system, err := strconv.Atoi(fields[12])
	require.NoError(t, err)
	return user + system
}

func TestIdleStoreRests(t *testing.T) {
	c := start(t, options(t))
	before := -100 // the first look comes at once
	require.Eventually(t, func() bool {
		now := ticks(t, c.PID())
		used := now - before
		before = now
		return used <= 10
	}, 10*time.Second, time.Second)
}
