package lifecycle

import (
	"math"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// MinRecurrence is the shortest recurrence interval and start window of a job schedule.
const MinRecurrence = time.Minute

// Recurrence is when jobs of a schedule are due: at First, and where there is an Interval at every multiple of it after First. A job that can't be made
// within Window (0: until the next is due) of its time is not made. All times are Unix nanoseconds.
type Recurrence struct {
	First            int64
	Interval, Window time.Duration
	// After it no job is made; 0: no end.
	End int64
}

// RecurrenceOf reads a schedule's times, of which first is the time of the first job.
func RecurrenceOf(c *apiv1.JobScheduleConfiguration, first int64) Recurrence {
	r := Recurrence{First: first, Interval: c.GetRecurrenceInterval().AsDuration(), Window: c.GetStartWindow().AsDuration()}
	if c.GetDoNotRunAfter() != nil {
		r.End = UnixNanos(c.DoNotRunAfter)
	}
	if r.Interval > 0 && r.Window >= r.Interval {
		r.Window = 0
	}
	return r
}

// FirstRun is when the first job of a schedule that is made, or changed, at a time is due.
func FirstRun(c *apiv1.JobScheduleConfiguration, now int64) int64 {
	if c.GetDoNotRunUntil() == nil {
		return now
	}
	return UnixNanos(c.DoNotRunUntil)
}

// Due is what a schedule is to do at a moment.
type Due struct {
	// When the job was due that is to be made now; 0: none.
	Run int64
	// When the next job is due after this; 0: never.
	Next int64
	// Nothing is to come any more.
	Complete bool
}

// At says what is to be done now, where next is when the next job is due (0: never) and active says that there is a job that is not completed. What was
// missed is not made up for. Clocks may jump: ahead, which makes one job due at most; and back, after which the schedule goes on by the new time.
func (r Recurrence) At(now, next int64, active bool) Due {
	if next == 0 || r.End != 0 && now > r.End {
		return Due{Next: next, Complete: !active}
	}
	next = r.current(now, next)
	switch {
	case now < next:
		return Due{Next: next}
	case r.Window > 0 && now-next >= int64(r.Window):
		later := r.Next(next)
		return Due{Next: later, Complete: later == 0 && !active}
	case active:
		return Due{Next: next}
	}
	return Due{Run: next, Next: r.Next(next)}
}

// current moves next to the newest time that has come.
func (r Recurrence) current(now, next int64) int64 {
	interval := int64(r.Interval)
	switch {
	case interval == 0:
	case next <= now:
		next += (now - next) / interval * interval
	case next > r.First && next-now > interval && next-now-interval > interval:
		// The clock was set back by more than an interval from when the last job was due: jobs made by it when it was ahead don't keep those from being
		// made that are due now. What comes again within less is not made again.
		next = r.First
		if now >= r.First {
			next = addNanos(r.First, ((now-r.First)/interval+1)*interval)
		}
	}
	return next
}

// Next is when the next job is due after one that was due at a time; 0: never.
func (r Recurrence) Next(run int64) int64 {
	if r.Interval == 0 {
		return 0
	}
	return addNanos(run, int64(r.Interval))
}

// Replan is when jobs are due after a change of a schedule's times: from first on if none was made yet, or if that is later than the last one was due; else an
// interval after that one. It returns the new first time too.
func Replan(c *apiv1.JobScheduleConfiguration, first, last int64) (newFirst, next int64) {
	interval := c.GetRecurrenceInterval().AsDuration()
	switch {
	case last == 0, interval > 0 && c.GetDoNotRunUntil() != nil && first > last:
		return first, first
	case interval == 0:
		return last, 0
	}
	return last, addNanos(last, int64(interval))
}

// UnixNanos is a time in Unix nanoseconds, the nearest that can be told for times before 1678 and after 2262.
func UnixNanos(t *timestamppb.Timestamp) int64 {
	switch seconds := t.GetSeconds(); {
	case seconds >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	case seconds <= math.MinInt64/int64(time.Second):
		return math.MinInt64
	}
	return t.AsTime().UnixNano()
}

// addNanos adds a positive duration, up to the end of time.
func addNanos(at, d int64) int64 {
	if at > math.MaxInt64-d {
		return math.MaxInt64
	}
	return at + d
}
