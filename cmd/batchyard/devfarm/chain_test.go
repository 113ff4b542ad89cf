//go:build linux

package devfarm_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A task that waits for another starts when that has ended, not when somebody looks again. `make bench` measures how soon; here a pause would be noticed that
// is longer than machines under load are slow.
func TestADependentStartsWhenWhatItWaitsForHasEnded(t *testing.T) {
	f := startFarm(t, "--nodes", "1", "--slots", "2")
	const length = 15
	var text strings.Builder
	for i := range length {
		fmt.Fprintf(&text, "- id: '%d'\n  commandLine: /bin/date +%%s%%N\n", i)
		if i > 0 {
			fmt.Fprintf(&text, "  dependsOn: {taskIds: ['%d']}\n", i-1)
		}
	}
	f.must("job", "create", "chain", "--pool", "default", "--dependencies")
	f.must("task", "add", "chain", "--file", f.write("tasks.yaml", text.String()))
	f.must("job", "wait", "chain", "--timeout", "120s")
	var at []int64
	for i := range length {
		printed, err := strconv.ParseInt(strings.TrimSpace(f.must("task", "logs", "chain", strconv.Itoa(i))), 10, 64)
		require.NoError(t, err)
		at = append(at, printed)
	}
	var gaps []time.Duration
	for i := range length - 1 {
		gaps = append(gaps, time.Duration(at[i+1]-at[i]))
		require.Positive(t, gaps[i], "task %d ran before what it waits for", i+1)
	}
	slices.Sort(gaps)
	require.Less(t, gaps[len(gaps)/2], 500*time.Millisecond, "gaps: %v", gaps)
}
