package task

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

func report(ref Ref, phase agentv1.AttemptPhase) []*agentv1.AttemptReport {
	return []*agentv1.AttemptReport{{Ref: ref.Message(), Phase: phase}}
}

// outboxAt is an outbox with a clock that stands still until it is moved.
func outboxAt(t *testing.T) (o *Outbox, committed *[]Ref, move func(time.Duration)) {
	t.Helper()
	now := time.Unix(1_700_000_000, 0)
	committed = &[]Ref{}
	o = newOutbox(func() time.Time { return now }, func(refs []Ref) { *committed = append(*committed, refs...) })
	return o, committed, func(d time.Duration) { now = now.Add(d) }
}

func TestRunningAndEndedTravelTogether(t *testing.T) {
	o, committed, move := outboxAt(t)
	o.put([]Ref{at(1)}, report(at(1), phaseRunning))
	o.put([]Ref{at(2)}, report(at(2), phaseRunning))
	require.Empty(t, o.Take(1, 10), "it may end yet")
	o.put([]Ref{at(1)}, report(at(1), phaseEnded))
	out := o.Take(2, 10)
	require.Len(t, out, 1)
	require.Equal(t, phaseEnded, out[0].GetPhase())
	move(runningLinger)
	out = o.Take(3, 10)
	require.Len(t, out, 1)
	require.Equal(t, at(2), RefOf(out[0].GetRef()))
	o.Committed(2)
	o.Committed(3)
	require.Equal(t, []Ref{at(1)}, *committed, "running is nothing to act on")
	require.Zero(t, o.Len())
}

func TestWhatIsNewerThanTheBatchStays(t *testing.T) {
	o, committed, move := outboxAt(t)
	o.put([]Ref{at(1)}, report(at(1), phaseRunning))
	move(runningLinger)
	require.Len(t, o.Take(1, 10), 1)
	o.put([]Ref{at(1)}, report(at(1), phaseEnded))
	o.Committed(1)
	require.Empty(t, *committed)
	require.Len(t, o.Take(2, 10), 1)
	o.Committed(7) // never sent
	o.Committed(2)
	o.Committed(2)
	require.Equal(t, []Ref{at(1)}, *committed)
}

func TestRewindSendsAllAgainAndForgetsBatches(t *testing.T) {
	o, committed, _ := outboxAt(t)
	o.put([]Ref{at(1)}, report(at(1), phaseEnded))
	o.put([]Ref{at(2)}, report(at(2), phaseRunning))
	require.Len(t, o.Take(1, 10), 1)
	o.Rewind()
	o.Committed(1) // of the session before
	require.Empty(t, *committed)
	require.Len(t, o.Take(1, 1), 1)
	require.Len(t, o.Take(2, 1), 1)
	require.Empty(t, o.Take(3, 1))
}
