package reconcile

import (
	"fmt"
	"strings"
	"time"

	"github.com/batchyard/batchyard/coordinator/state"
)

// Quarantine says when a node on which much fails is taken out of service. Failures are attempts of a job's tasks that failed on the node one after the other
// since the last that succeeded there. The zero value never does.
type Quarantine struct {
	// Failures is how many there have to be, 0: quarantine is off; Jobs of how many jobs.
	Failures, Jobs int
	// Window is how long a failure counts.
	Window time.Duration
	// Share is how much of a pool may be in quarantine at once; one node may in any case.
	Share float64
}

// DefaultQuarantine is for nodes that fail at once what they are given.
func DefaultQuarantine() Quarantine {
	return Quarantine{Failures: 6, Jobs: 2, Window: 10 * time.Minute, Share: 0.2}
}

// Validate says what is wrong with q.
func (q Quarantine) Validate() error {
	if q.Failures < 0 || q.Failures > 0 && (q.Jobs < 2 || q.Window <= 0 || q.Share < 0 || q.Share > 1) {
		return fmt.Errorf("quarantine: failures of at least two jobs, a time, and a share between 0 and 1 are needed")
	}
	return nil
}

// suspect is a node that is to be taken out of service, and why.
type suspect struct {
	node     state.NodeHealth
	attempts int64
	jobs     []string
	tasks    []state.TaskKey
}

// judge picks the nodes of a pool that break what they are given. A job whose tasks fail on other nodes too is no evidence: it is the job that is broken. One
// of which no task has ever succeeded counts half. And another node, on which fewer jobs fail, has to have succeeded in something meanwhile.
func (q Quarantine) judge(nodes []state.NodeHealth, now time.Time) []suspect {
	since := now.Add(-q.Window).UnixNano()
	allowed := max(1, int(q.Share*float64(len(nodes))))
	failing, healthy := map[uint64]int{}, 0
	for _, n := range nodes {
		if n.Quarantined {
			allowed--
		}
		if !n.Usable {
			continue
		}
		recent := 0
		for _, streak := range n.Streaks {
			if streak.Last >= since {
				failing[streak.Job]++
				recent++
			}
		}
		if recent < q.Jobs && n.LastSuccess >= since {
			healthy++
		}
	}
	if healthy == 0 || q.Failures == 0 {
		return nil
	}
	elsewhere := int(q.Share * float64(len(nodes)-1)) // on so many others a job may fail for the same reason
	var out []suspect
	for _, n := range nodes {
		if len(out) >= allowed {
			break
		}
		if s := q.weigh(n, since, func(job uint64) bool { return failing[job]-1 <= elsewhere }); n.Usable && s != nil {
			out = append(out, *s)
		}
	}
	return out
}

// weigh adds up what speaks against a node; nil if it is not enough.
func (q Quarantine) weigh(n state.NodeHealth, since int64, evidence func(job uint64) bool) *suspect {
	s, halves := &suspect{node: n}, 0
	for _, streak := range n.Streaks {
		if streak.Last < since || !evidence(streak.Job) {
			continue
		}
		if halves++; streak.Proven {
			halves++
		}
		s.attempts += streak.Attempts
		s.jobs = append(s.jobs, streak.JobID)
		s.tasks = append(s.tasks, state.TaskKey{Job: streak.Job, Task: streak.Task})
	}
	if len(s.jobs) < 2 || halves < 2*q.Jobs || s.attempts < int64(q.Failures) {
		return nil
	}
	return s
}

func (s suspect) reason() string {
	return fmt.Sprintf("%d attempts of tasks of %d jobs failed here one after the other while other nodes succeed: %s",
		s.attempts, len(s.jobs), strings.Join(s.jobs, ", "))
}
