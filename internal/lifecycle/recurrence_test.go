package lifecycle

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// at is a time some minutes after the first job is due.
func at(minutes float64) int64 {
	return time.Date(2030, 1, 2, 3, 0, 0, 0, time.UTC).Add(time.Duration(minutes * float64(time.Minute))).UnixNano()
}

func TestWhatIsDue(t *testing.T) {
	every := func(minutes, window int) Recurrence {
		return Recurrence{First: at(0), Interval: time.Duration(minutes) * time.Minute, Window: time.Duration(window) * time.Minute}
	}
	ended := every(10, 0)
	ended.End = at(25)
	for _, c := range []struct {
		name      string
		r         Recurrence
		now, next int64
		active    bool
		want      Due
	}{
		{"the first is not due yet", every(10, 0), at(-1), at(0), false, Due{Next: at(0)}},
		{"the first is due", every(10, 0), at(0), at(0), false, Due{Run: at(0), Next: at(10)}},
		{"the leader looks late", every(10, 0), at(3), at(0), false, Due{Run: at(0), Next: at(10)}},
		{"the next is not due yet", every(10, 0), at(9.9), at(10), false, Due{Next: at(10)}},
		{"what was missed is not made up for", every(10, 0), at(57), at(10), false, Due{Run: at(50), Next: at(60)}},
		{"the one before still runs", every(10, 0), at(12), at(10), true, Due{Next: at(10)}},
		{"it still runs when the next but one is due", every(10, 0), at(31), at(10), true, Due{Next: at(30)}},
		{"it has ended late", every(10, 0), at(38), at(30), false, Due{Run: at(30), Next: at(40)}},
		{"it has ended in the start window", every(10, 3), at(12.9), at(10), false, Due{Run: at(10), Next: at(20)}},
		{"it has ended behind the start window", every(10, 3), at(13), at(10), false, Due{Next: at(20)}},
		{"it still runs behind the start window", every(10, 3), at(14), at(10), true, Due{Next: at(20)}},
		{"one job only", every(0, 0), at(5), at(0), false, Due{Run: at(0)}},
		{"the only job runs", every(0, 0), at(5), 0, true, Due{}},
		{"the only job has ended", every(0, 0), at(5), 0, false, Due{Complete: true}},
		{"the only job has missed its start window", every(0, 3), at(5), at(0), false, Due{Complete: true}},
		{"due at the last moment", ended, at(25), at(20), false, Due{Run: at(20), Next: at(30)}},
		{"due too late", ended, at(25.1), at(20), false, Due{Next: at(20), Complete: true}},
		{"the last one still runs", ended, at(40), at(30), true, Due{Next: at(30)}},
		{"before its end though nothing is due before that", ended, at(24), at(30), false, Due{Next: at(30)}},
		{"the clock jumped ahead", every(10, 0), at(1e6 + 4), at(10), false, Due{Run: at(1e6), Next: at(1e6 + 10)}},
		{"the clock was set back a little", every(10, 0), at(9.9), at(20), false, Due{Next: at(20)}},
		{"the clock was set back by an interval", every(10, 0), at(0), at(20), false, Due{Next: at(20)}},
		{"the clock was set back by more", every(10, 0), at(8), at(30), false, Due{Next: at(10)}},
		{"the clock was set back by days", every(10, 0), at(12), at(1e6), false, Due{Next: at(20)}},
		{"the clock was set back before the first", every(10, 0), at(-500), at(20), false, Due{Next: at(0)}},
		{"the clock is behind the first job", every(10, 0), at(-500), at(0), false, Due{Next: at(0)}},
		{"never", every(10, 0), at(0), math.MaxInt64, false, Due{Next: at(10)}},
	} {
		require.Equal(t, c.want, c.r.At(c.now, c.next, c.active), c.name)
	}
}

// TestJobsOfADay walks a clock through a day and counts the jobs.
func TestJobsOfADay(t *testing.T) {
	r := Recurrence{First: at(0), Interval: 7 * time.Minute, Window: 2 * time.Minute}
	// A job of 8 minutes makes the next one a minute late, and that one the next but one later than its window.
	for took, every := range map[float64]float64{0.5: 7, 6.9: 7, 8: 10.5, 9.5: 14, 20: 21} {
		next, ends, last, jobs := at(0), at(-1), at(-100), 0
		for minute := 0.0; minute < 24*60; minute += 0.25 {
			due := r.At(at(minute), next, at(minute) < ends)
			next = due.Next
			if due.Run == 0 {
				continue
			}
			jobs++
			require.GreaterOrEqual(t, at(minute), ends, "two jobs at once")
			require.Less(t, at(minute)-due.Run, int64(r.Window), "outside its window")
			require.GreaterOrEqual(t, due.Run-last, int64(r.Interval))
			last, ends = due.Run, at(minute+took)
		}
		require.InDelta(t, 24*60/every, jobs, 1, "jobs of %v minutes", took)
	}
}

func TestRecurrenceOf(t *testing.T) {
	c := &apiv1.JobScheduleConfiguration{
		DoNotRunUntil: timestamppb.New(time.Unix(0, at(5))), DoNotRunAfter: timestamppb.New(time.Unix(0, at(50))),
		StartWindow: durationpb.New(time.Minute), RecurrenceInterval: durationpb.New(time.Hour),
	}
	require.Equal(t, at(5), FirstRun(c, at(0)))
	require.Equal(t, at(9), FirstRun(nil, at(9)))
	require.Equal(t, Recurrence{First: at(5), Interval: time.Hour, Window: time.Minute, End: at(50)}, RecurrenceOf(c, at(5)))
	c.StartWindow = c.RecurrenceInterval
	require.Zero(t, RecurrenceOf(c, at(5)).Window, "a window as long as the interval has no end")
	require.Equal(t, Recurrence{First: at(1)}, RecurrenceOf(nil, at(1)))
	far := &apiv1.JobScheduleConfiguration{DoNotRunUntil: timestamppb.New(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))}
	require.Equal(t, int64(math.MaxInt64), FirstRun(far, at(0)))
	early := &apiv1.JobScheduleConfiguration{DoNotRunUntil: timestamppb.New(time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC))}
	require.Equal(t, int64(math.MinInt64), FirstRun(early, at(0)))
}

func TestReplan(t *testing.T) {
	config := func(interval time.Duration, until float64) *apiv1.JobScheduleConfiguration {
		c := &apiv1.JobScheduleConfiguration{}
		if interval > 0 {
			c.RecurrenceInterval = durationpb.New(interval)
		}
		if until != 0 {
			c.DoNotRunUntil = timestamppb.New(time.Unix(0, at(until)))
		}
		return c
	}
	for _, c := range []struct {
		name                string
		config              *apiv1.JobScheduleConfiguration
		first, last         int64
		wantFirst, wantNext int64
	}{
		{"no job yet", config(time.Hour, 0), at(5), 0, at(5), at(5)},
		{"no job yet, and only one", config(0, 30), at(30), 0, at(30), at(30)},
		{"another interval", config(2*time.Hour, 0), at(70), at(60), at(60), at(180)},
		{"not before a time to come", config(time.Hour, 500), at(500), at(60), at(500), at(500)},
		{"not before a time that has passed", config(time.Hour, 1), at(1), at(60), at(60), at(120)},
		{"no more jobs", config(0, 0), at(70), at(60), at(60), 0},
		{"one job only, and it was made", config(0, 500), at(500), at(60), at(60), 0},
	} {
		first, next := Replan(c.config, c.first, c.last)
		require.Equal(t, []int64{c.wantFirst, c.wantNext}, []int64{first, next}, c.name)
	}
}
