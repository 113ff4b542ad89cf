package reconcile

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/coordinator/state"
)

func TestJudgeNodes(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	recent := now.Add(-time.Minute).UnixNano()
	long := now.Add(-time.Hour).UnixNano()
	streak := func(job uint64, attempts, last int64, proven bool) state.JobStreak {
		return state.JobStreak{Job: job, JobID: fmt.Sprint("j", job), Attempts: attempts, Last: last, Proven: proven}
	}
	sick := func(streaks ...state.JobStreak) state.NodeHealth {
		return state.NodeHealth{Usable: true, Streaks: streaks}
	}
	well := func(streaks ...state.JobStreak) state.NodeHealth {
		return state.NodeHealth{Usable: true, LastSuccess: recent, Streaks: streaks}
	}
	bad := sick(streak(1, 3, recent, true), streak(2, 3, recent, true))
	isolated := state.NodeHealth{Quarantined: true}
	for name, c := range map[string]struct {
		nodes []state.NodeHealth
		want  []int
	}{
		"a node that breaks tasks of two jobs":       {[]state.NodeHealth{bad, well()}, []int{0}},
		"too few failures":                           {[]state.NodeHealth{sick(streak(1, 3, recent, true), streak(2, 2, recent, true)), well()}, nil},
		"of one job only":                            {[]state.NodeHealth{sick(streak(1, 99, recent, true)), well()}, nil},
		"failures of long ago":                       {[]state.NodeHealth{sick(streak(1, 3, long, true), streak(2, 9, recent, true)), well()}, nil},
		"no other node":                              {[]state.NodeHealth{bad}, nil},
		"no other node succeeds":                     {[]state.NodeHealth{bad, {Usable: true, LastSuccess: long}}, nil},
		"the other is out of service":                {[]state.NodeHealth{bad, {LastSuccess: recent}}, nil},
		"jobs that fail elsewhere too":               {[]state.NodeHealth{bad, well(streak(1, 1, recent, true))}, nil},
		"and another that does not":                  {[]state.NodeHealth{sick(streak(1, 2, recent, true), streak(2, 3, recent, true), streak(3, 3, recent, true)), well(streak(1, 1, recent, true))}, []int{0}},
		"two jobs that never succeeded":              {[]state.NodeHealth{sick(streak(1, 9, recent, false), streak(2, 9, recent, false)), well()}, nil},
		"four jobs that never succeeded":             {[]state.NodeHealth{sick(streak(1, 2, recent, false), streak(2, 2, recent, false), streak(3, 1, recent, false), streak(4, 1, recent, false)), well()}, []int{0}},
		"out of service already":                     {[]state.NodeHealth{{Streaks: bad.Streaks}, well()}, nil},
		"one of a small pool at a time":              {[]state.NodeHealth{bad, well(), isolated}, nil},
		"two in a pool of ten":                       {append([]state.NodeHealth{bad, bad, bad, isolated}, make([]state.NodeHealth, 6)...), nil},
		"two in a pool of ten, one healthy":          {append([]state.NodeHealth{bad, bad, well()}, make([]state.NodeHealth, 7)...), []int{0, 1}},
		"one more where one is in quarantine of ten": {append([]state.NodeHealth{bad, isolated, bad, well()}, make([]state.NodeHealth, 6)...), []int{0}},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range c.nodes {
				c.nodes[i].UID = uint64(i)
			}
			var got []int
			for _, s := range DefaultQuarantine().judge(c.nodes, now) {
				got = append(got, int(s.node.UID))
			}
			require.Equal(t, c.want, got)
		})
	}
	require.Empty(t, Quarantine{}.judge([]state.NodeHealth{bad, well()}, now), "off")
}

// A job that fails everywhere takes no node out of service, however many others there are like it.
func TestBrokenJobsCannotTakeOutAPool(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	nodes := make([]state.NodeHealth, 20)
	for i := range nodes {
		nodes[i] = state.NodeHealth{UID: uint64(i), Usable: true, LastSuccess: now.UnixNano()}
		for job := range uint64(8) {
			nodes[i].Streaks = append(nodes[i].Streaks, state.JobStreak{Job: job, Attempts: 100, Last: now.UnixNano(), Proven: true})
		}
	}
	require.Empty(t, DefaultQuarantine().judge(nodes, now))
	nodes[7].Streaks = nil // one on which they have not been
	require.Empty(t, DefaultQuarantine().judge(nodes, now))
}
