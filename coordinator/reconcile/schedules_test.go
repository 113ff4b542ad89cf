package reconcile

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/batchyard/batchyard/coordinator/state"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// world is a state with a clock of its own; each leader of it is new.
type world struct {
	t         *testing.T
	s         *state.Store
	now       time.Time
	index     uint64
	proposals int
}

func newWorld(t *testing.T) *world {
	s, err := state.Open(t.TempDir()+"/state", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return &world{t: t, s: s, now: time.Date(2030, 1, 2, 3, 0, 0, 0, time.UTC)}
}

// Propose applies a command at once.
func (w *world) Propose(_ context.Context, cmd *raftlogv1.Command) (state.Result, error) {
	raw, err := proto.Marshal(cmd)
	require.NoError(w.t, err)
	w.index++
	w.proposals++
	answers, _ := w.s.Apply(w.index, [][]byte{raw})
	return answers[0].(state.Result), nil
}

func (w *world) do(cmd *raftlogv1.Command) {
	cmd.Now, cmd.Account = w.now.UnixNano(), "acct"
	r, err := w.Propose(w.t.Context(), cmd)
	require.NoError(w.t, err)
	require.Nil(w.t, r.Err)
}

// look is what the loop of a leader that has just begun does first.
func (w *world) look() {
	l := &Loops{State: w.s, Proposer: w, Now: func() time.Time { return w.now }, NewPoolID: func(prefix string) string { return prefix + "1" }}
	require.NoError(w.t, l.sweepSchedules(w.t.Context()))
}

func (w *world) schedule(c *apiv1.JobScheduleConfiguration) {
	first := w.now
	if c.DoNotRunUntil != nil {
		first = c.DoNotRunUntil.AsTime()
	}
	w.do(&raftlogv1.Command{Kind: &raftlogv1.Command_CreateJobSchedule{CreateJobSchedule: &raftlogv1.CreateJobSchedule{
		FirstRun: first.UnixNano(), Schedule: &apiv1.JobSchedule{
			Id: "s", Schedule: c, JobSpecification: &apiv1.JobSpecification{PoolInfo: &apiv1.PoolInfo{PoolId: "p"}},
		},
	}}})
}

func (w *world) info() state.JobScheduleInfo {
	s, ok := w.s.JobSchedule("acct", "s")
	require.True(w.t, ok)
	return s
}

func (w *world) jobs() int { return len(w.s.Jobs("acct", "", 1000)) }

// end ends the active job.
func (w *world) end() {
	require.True(w.t, w.info().Active)
	w.do(&raftlogv1.Command{Kind: &raftlogv1.Command_TerminateJob{TerminateJob: &raftlogv1.TerminateJob{JobId: w.info().RecentJobID}}})
}

func hourly() *apiv1.JobScheduleConfiguration {
	return &apiv1.JobScheduleConfiguration{RecurrenceInterval: durationpb.New(time.Hour)}
}

func TestSchedulesAcrossLeadersAndClocks(t *testing.T) {
	w := newWorld(t)
	w.schedule(hourly())
	w.look()
	w.look()
	require.Equal(t, 1, w.jobs(), "every leader looks, one job is made")
	w.end()
	w.look()
	require.Equal(t, 1, w.jobs())

	w.now = w.now.Add(59 * time.Minute)
	w.look()
	require.Equal(t, 1, w.jobs())
	w.now = w.now.Add(time.Minute)
	w.look()
	require.Equal(t, 2, w.jobs())
	w.end()

	w.now = w.now.Add(100*time.Hour + time.Minute)
	w.look()
	w.end()
	w.look()
	require.Equal(t, 3, w.jobs(), "nothing is made up for after the coordinators were away")

	before := w.now
	w.now = w.now.Add(20 * 365 * 24 * time.Hour)
	w.look()
	w.end()
	w.look()
	require.Equal(t, 4, w.jobs(), "a clock that is years ahead makes one job")
	w.now = before
	w.look()
	require.Equal(t, 4, w.jobs())
	w.now = w.now.Add(time.Hour)
	w.look()
	require.Equal(t, 5, w.jobs(), "and does not keep the schedule from going on")
	quiet := w.proposals
	w.look()
	w.look()
	require.Equal(t, quiet, w.proposals, "a look without a cause writes nothing")
}

// A clock that is set back by less than an interval makes no job a second time, whoever leads.
func TestClockThatIsSetBackALittle(t *testing.T) {
	w := newWorld(t)
	w.schedule(hourly())
	w.look()
	w.end()
	for hour := range 5 {
		w.now = w.now.Add(time.Hour)
		w.look()
		require.Equal(t, hour+2, w.jobs())
		w.end()
		due := w.now
		w.now = due.Add(-50 * time.Minute)
		w.look()
		w.now = due.Add(-time.Second)
		w.look()
		w.now = due.Add(time.Second)
		w.look()
		require.Equal(t, hour+2, w.jobs(), "the time that comes again")
		w.now = due
	}
}

func TestScheduleThatIsToBeginLaterAndEnds(t *testing.T) {
	w := newWorld(t)
	c := hourly()
	c.DoNotRunUntil = timestamppb.New(w.now.Add(2 * time.Hour))
	c.DoNotRunAfter = timestamppb.New(w.now.Add(210 * time.Minute))
	w.schedule(c)
	for range 300 {
		w.look()
		w.now = w.now.Add(time.Minute)
		if s := w.info(); s.Active {
			w.end()
		}
	}
	require.Equal(t, 2, w.jobs(), "at two hours and at three")
	require.Equal(t, apiv1.JobScheduleState_JOB_SCHEDULE_STATE_COMPLETED, w.info().Schedule.State)
	require.NotNil(t, w.info().Schedule.ExecutionInfo.EndTime)
}

func TestScheduleWhoseJobsTakeLong(t *testing.T) {
	w := newWorld(t)
	c := hourly()
	c.StartWindow = durationpb.New(10 * time.Minute)
	w.schedule(c)
	w.look()
	w.now = w.now.Add(65 * time.Minute)
	w.look()
	require.Equal(t, 1, w.jobs())
	w.end()
	w.look()
	require.Equal(t, 2, w.jobs(), "within the start window")
	w.now = w.now.Add(66 * time.Minute)
	w.look()
	w.end()
	w.look()
	require.Equal(t, 2, w.jobs(), "behind the start window")
	w.now = w.now.Add(50 * time.Minute)
	w.look()
	require.Equal(t, 3, w.jobs())
}

func TestDeletedSchedulesGo(t *testing.T) {
	w := newWorld(t)
	w.schedule(hourly())
	for range 50 {
		w.look()
		w.end()
		w.now = w.now.Add(time.Hour)
	}
	w.do(&raftlogv1.Command{Kind: &raftlogv1.Command_DeleteJobSchedule{DeleteJobSchedule: &raftlogv1.DeleteJobSchedule{JobScheduleId: "s"}}})
	l := &Loops{State: w.s, Proposer: w, Now: func() time.Time { return w.now }}
	for range 10 {
		w.look()
		require.NoError(t, l.sweep(t.Context()))
	}
	require.Zero(t, w.jobs())
	_, ok := w.s.JobSchedule("acct", "s")
	require.False(t, ok)
}
