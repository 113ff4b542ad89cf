//go:build linux

package devfarm_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type shownJob struct {
	ID, State     string
	CreationTime  time.Time
	ExecutionInfo struct {
		PoolID, TerminateReason string
	}
}

type shownSchedule struct {
	State         string
	ExecutionInfo struct {
		NextRunTime, EndTime *time.Time
		RecentJob            *struct{ ID string }
	}
}

// interval is the shortest that there is.
const interval = time.Minute

// scheduled makes a job schedule whose jobs run one command and end with it.
func (f *farm) scheduled(id, command, pool string, flags ...string) {
	f.t.Helper()
	f.ok(append([]string{"schedule", "create", id, "--file", f.write(id+".yaml", jobSpecification(command, pool))}, flags...)...)
}

func jobSpecification(command, pool string) string {
	return fmt.Sprintf("jobSpecification:\n  jobManagerTask: {id: manager, runExclusive: false, commandLine: %q}\n  poolInfo: %s\n", command, pool)
}

func (f *farm) jobsOf(schedule string) (out []shownJob) {
	f.t.Helper()
	f.shown(&out, "schedule", "jobs", schedule)
	return out
}

func (f *farm) schedule(id string) (out shownSchedule) {
	f.t.Helper()
	f.shown(&out, "schedule", "show", id)
	return out
}

// onTime waits for what takes up to an interval of a schedule.
func (f *farm) onTime(what string, is func() bool) {
	f.t.Helper()
	require.Eventually(f.t, is, 2*interval, 200*time.Millisecond, what)
}

func (f *farm) poolExists(id string) bool {
	_, code := f.run("pool", "show", id)
	return code == 0
}

// onGrid says that each of the jobs was made when another time of the schedule was due, from the first on.
func (f *farm) onGrid(first time.Time, jobs []shownJob) {
	f.t.Helper()
	seen := map[time.Duration]bool{}
	for _, job := range jobs {
		late := job.CreationTime.Sub(first)
		require.GreaterOrEqual(f.t, late, time.Duration(0), job.ID)
		require.False(f.t, seen[late/interval], "%s is the second of its time", job.ID)
		seen[late/interval] = true
		require.Less(f.t, late%interval, interval/2, "%s is made when it is due", job.ID)
	}
}

const aPool = "{poolId: default}"

// TestJobSchedules takes schedules of all kinds through their second due time, with the coordinator killed in between.
func TestJobSchedules(t *testing.T) {
	t.Parallel()
	f := startFarm(t, "--nodes", "1", "--slots", "8")
	release := filepath.Join(f.dir, "release")
	waits := fmt.Sprintf("/bin/sh -c 'while [ ! -e %s ]; do sleep 0.1; done'", release)
	begin := time.Now().Add(5 * time.Second)
	every := []string{"--every", "1m"}
	f.scheduled("later", "true", aPool, "--every", "1m", "--not-before", begin.UTC().Format(time.RFC3339Nano))
	require.Nil(t, f.schedule("later").ExecutionInfo.RecentJob)
	f.scheduled("busy", waits, aPool, every...)
	f.scheduled("off", "true", aPool, every...)
	f.scheduled("once", "true", aPool)
	f.scheduled("until", "true", aPool, "--every", "1m", "--not-after", time.Now().Add(15*time.Second).UTC().Format(time.RFC3339Nano))
	f.scheduled("ended", waits, aPool, every...)
	f.scheduled("changed", "echo old", aPool, every...)
	f.scheduled("gone", waits, aPool, every...)
	_, code := f.run("schedule", "create", "hasty", "--file", filepath.Join(f.dir, "once.yaml"), "--every", "59s")
	require.NotZero(t, code, "an interval is a minute or more")

	f.firstTime(begin)
	f.kill()
	f.start()
	f.secondTime(begin, release)
}

// firstTime sees the first jobs of all, and changes what can be changed.
func (f *farm) firstTime(begin time.Time) {
	t := f.t
	for _, id := range []string{"off", "once", "changed", "until"} {
		f.onTime(id+"'s first job ends with its command", func() bool {
			jobs := f.jobsOf(id)
			return len(jobs) == 1 && jobs[0].State == "completed" && jobs[0].ExecutionInfo.TerminateReason == "JMComplete"
		})
	}
	require.Equal(t, "once:job-1", f.jobsOf("once")[0].ID)
	f.onTime("a schedule without recurrence is completed with its job", func() bool { return f.schedule("once").State == "completed" })
	f.ok("schedule", "disable", "off")
	require.Equal(t, "disabled", f.schedule("off").State)
	f.ok("schedule", "update", "changed", "--file", f.write("changes.yaml", jobSpecification("echo new", aPool)))
	f.ok("schedule", "terminate", "ended")
	f.onTime("a terminated schedule ends its active job", func() bool {
		jobs := f.jobsOf("ended")
		return len(jobs) == 1 && jobs[0].State == "completed" && jobs[0].ExecutionInfo.TerminateReason == "TerminateJobSchedule" &&
			f.schedule("ended").State == "completed"
	})
	f.ok("schedule", "delete", "gone")
	f.onTime("a deleted schedule takes its jobs with it", func() bool {
		_, schedule := f.run("schedule", "show", "gone")
		_, job := f.run("job", "show", "gone:job-1")
		return schedule != 0 && job != 0
	})
	f.onTime("the first job is made when the schedule begins", func() bool { return len(f.jobsOf("later")) == 1 })
	f.onGrid(begin, f.jobsOf("later"))
}

// secondTime sees what is made after an interval, and what is not.
func (f *farm) secondTime(begin time.Time, release string) {
	t := f.t
	require.Equal(t, "disabled", f.schedule("off").State, "after a restart as before")
	f.onTime("a job is made after an interval", func() bool { return len(f.jobsOf("later")) == 2 && len(f.jobsOf("changed")) == 2 })
	f.onGrid(begin, f.jobsOf("later"))
	changed := f.jobsOf("changed")
	f.onGrid(changed[0].CreationTime, changed)
	f.ok("job", "wait", "changed:job-2")
	require.Contains(t, f.ok("task", "logs", "changed:job-1", "manager"), "old")
	require.Contains(t, f.ok("task", "logs", "changed:job-2", "manager"), "new")

	busy := f.jobsOf("busy")
	require.Len(t, busy, 1, "one job at most is active")
	require.Equal(t, "active", busy[0].State)
	require.True(t, time.Now().After(busy[0].CreationTime.Add(interval)))
	require.NoError(t, os.WriteFile(release, nil, 0o600))
	f.onTime("what was due meanwhile is made once the former job has ended", func() bool { return len(f.jobsOf("busy")) >= 2 })

	require.Len(t, f.jobsOf("off"), 1, "a disabled schedule makes none")
	f.ok("schedule", "enable", "off")
	f.onTime("an enabled one goes on", func() bool { return len(f.jobsOf("off")) >= 2 })
	f.onGrid(f.jobsOf("off")[0].CreationTime, f.jobsOf("off")[:1])
	for _, id := range []string{"once", "until", "ended"} {
		require.Len(t, f.jobsOf(id), 1, id)
		s := f.schedule(id)
		require.Equal(t, "completed", s.State, id)
		require.NotNil(t, s.ExecutionInfo.EndTime, id)
		require.Nil(t, s.ExecutionInfo.NextRunTime, id)
	}
}

const autoPool = `{autoPoolSpecification: {autoPoolIdPrefix: %s, poolLifetimeOption: %s, keepAlive: %t, pool: {vmSize: local, targetDedicatedNodes: 1}}}`

// TestAutomaticPools runs jobs on pools that are made for them, through the second job of schedules whose jobs share one or have their own.
func TestAutomaticPools(t *testing.T) {
	t.Parallel()
	f := startFarm(t, "--nodes", "0")
	f.scheduled("shared", "true", fmt.Sprintf(autoPool, "together", "jobschedule", false), "--every", "1m")
	f.scheduled("own", "true", fmt.Sprintf(autoPool, "alone", "job", false), "--every", "1m")
	f.scheduled("kept", "true", fmt.Sprintf(autoPool, "stays", "jobschedule", true))
	for _, keep := range []bool{false, true} {
		id := fmt.Sprintf("job-%t", keep)
		f.ok("job", "create", "--file", f.write(id+".yaml", fmt.Sprintf("id: %s\nonAllTasksComplete: noaction\npoolInfo: ", id)+fmt.Sprintf(autoPool, id, "job", keep)))
		f.ok("task", "add", id, "--id", "t", "--", "echo", "ran")
		f.ok("job", "wait", id)
		require.Contains(t, f.ok("task", "logs", id, "t"), "ran")
		pool := f.job(id).ExecutionInfo.PoolID
		require.True(t, strings.HasPrefix(pool, id), pool)
		require.True(t, f.poolExists(pool), "it lives as long as its job")
		f.ok("job", "terminate", id)
		f.onTime("the job ends", func() bool { return f.job(id).State == "completed" })
		if keep {
			require.True(t, f.poolExists(pool))
			f.ok("pool", "delete", pool)
		}
		f.onTime("the pool goes", func() bool { return !f.poolExists(pool) })
	}
	done := func(schedule string, n int) bool {
		jobs := f.jobsOf(schedule)
		return len(jobs) >= n && jobs[n-1].State == "completed"
	}
	f.onTime("the first jobs run", func() bool { return done("shared", 1) && done("own", 1) && done("kept", 1) })
	first := f.jobsOf("own")[0].ExecutionInfo.PoolID
	f.onTime("the pool of one job goes with it", func() bool { return !f.poolExists(first) })
	together := f.jobsOf("shared")[0].ExecutionInfo.PoolID
	require.True(t, f.poolExists(together), "that of a schedule waits for the next")
	kept := f.jobsOf("kept")[0].ExecutionInfo.PoolID
	f.onTime("the schedule without recurrence is completed", func() bool { return f.schedule("kept").State == "completed" })

	f.kill()
	f.start("--nodes", "0")
	f.onTime("the second jobs run", func() bool { return done("shared", 2) && done("own", 2) })
	require.Equal(t, together, f.jobsOf("shared")[1].ExecutionInfo.PoolID)
	require.NotEqual(t, first, f.jobsOf("own")[1].ExecutionInfo.PoolID)
	f.ok("schedule", "terminate", "shared", "own")
	f.onTime("pools go with their schedules", func() bool { return !f.poolExists(together) })
	require.True(t, f.poolExists(kept), "one that is to be kept alive stays")
}

func (f *farm) job(id string) (out shownJob) {
	f.t.Helper()
	f.shown(&out, "job", "show", id)
	return out
}
