package state

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

func protoValue(m proto.Message) protoreflect.Value {
	return protoreflect.ValueOfMessage(m.ProtoReflect())
}

// storedTask is a task as the tables have it.
type storedTask struct {
	entry *raftlogv1.TaskEntry
	exec  *raftlogv1.TaskExecution
	fresh bool // no execution is stored
	slots int64
	// instances is on how many nodes it runs; several: as a multi-instance task.
	instances int
	several   bool
	affinity  string
	// waits, and blocked, with the array that it is an element of.
	waits, blocked bool
}

// storedTasks reads all tasks of a job from the tables.
func storedTasks(t require.TestingT, s *Store, j *job) map[uint64]*storedTask {
	out := map[uint64]*storedTask{}
	require.NoError(t, s.scan(keyNumber(tableEntry, j.rec.Uid), func(key, value []byte) error {
		entry := &raftlogv1.TaskEntry{}
		require.NoError(t, proto.Unmarshal(value, entry))
		out[binary.BigEndian.Uint64(key)] = freshTask(t, s, j, entry)
		return nil
	}))
	for _, a := range j.arrays.inOrder {
		for n := a.rec.FirstTask; n < a.end(); n++ {
			if a.has(n) {
				out[n] = storedElement(t, s, j, a, n)
			}
		}
	}
	require.NoError(t, s.scan(keyNumber(tableExecution, j.rec.Uid), func(key, value []byte) error {
		task := out[binary.BigEndian.Uint64(key)]
		require.NotNil(t, task, "an execution without a task")
		task.fresh, task.exec = false, &raftlogv1.TaskExecution{}
		return proto.Unmarshal(value, task.exec)
	}))
	return out
}

func freshTask(t require.TestingT, s *Store, j *job, entry *raftlogv1.TaskEntry) *storedTask {
	task := &storedTask{entry: entry, fresh: true, exec: &raftlogv1.TaskExecution{Phase: queued}}
	spec, err := s.specOf(j, task.entry.Spec)
	require.NoError(t, err)
	task.slots = int64(max(1, spec.GetRequiredSlots()))
	task.affinity = affinityOf(spec)
	task.instances, task.several = 1, spec.MultiInstanceSettings != nil
	if task.several {
		task.instances = int(max(1, spec.MultiInstanceSettings.GetNumberOfInstances()))
	}
	return task
}

// checkInvariants checks what must hold between any two entries.
func checkInvariants(t require.TestingT, s *Store) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, j := range s.jobByUID {
		tasks := storedTasks(t, s, j)
		checkFailures(t, j, tasks)
		checkCounts(t, "job "+j.rec.Job.Id, false, j.counts, tasks)
		checkArrays(t, s, j, tasks)
		checkQueue(t, j, tasks)
		checkHeldTasks(t, s, j, tasks)
		checkWaiting(t, s, j, tasks)
		checkJob(t, s, j, tasks)
		checkSites(t, s, j)
		checkInstances(t, s, j, tasks)
	}
	checkNodes(t, s)
	checkSchedules(t, s)
	again := reload(t, s)
	require.Equal(t, dumpHot(again), dumpHot(s), "what is in memory is not what is on disk")
	require.Equal(t, []any{s.clock, s.applied, s.digest}, []any{again.clock, again.applied, again.digest})
}

// checkSchedules checks that a schedule has at most one active job, the newest, and that its jobs know it.
func checkSchedules(t require.TestingT, s *Store) {
	require.Equal(t, s.schedules.Len(), len(s.scheduleByUID))
	for uid, schedule := range s.scheduleByUID {
		_, both := s.job(schedule.rec.Account, schedule.rec.Schedule.Id)
		require.False(t, both, "a job has the schedule's id")
		jobs := map[uint64]bool{}
		s.eachJob(schedule, func(j *job) bool {
			jobs[j.rec.Uid] = true
			if st := j.rec.Job.State; st != jobCompleted && st != jobDeleting {
				require.Equal(t, schedule.rec.RecentJob, j.rec.Uid, "a job that is not the newest is active")
			}
			return true
		})
		for _, j := range s.jobByUID {
			require.Equal(t, j.rec.JobSchedule == uid, jobs[j.rec.Uid], "job %s", j.rec.Job.Id)
		}
		if st := schedule.rec.Schedule.State; st == scheduleCompleted {
			require.Nil(t, s.activeJob(schedule))
			require.Zero(t, schedule.rec.NextRun)
		} else if st == scheduleTerminating {
			require.NotNil(t, s.activeJob(schedule), "a schedule waits for nothing")
		}
	}
	for _, j := range s.jobByUID {
		require.Equal(t, strings.Contains(j.rec.Job.Id, ":"), j.rec.JobSchedule != 0, "job %s", j.rec.Job.Id)
		if j.rec.JobSchedule != 0 {
			require.NotNil(t, s.scheduleByUID[j.rec.JobSchedule], "the schedule of job %s is gone", j.rec.Job.Id)
		}
		checkAutoPool(t, s, j)
	}
}

// checkAutoPool checks that a job's own pool goes when the job has ended.
func checkAutoPool(t require.TestingT, s *Store, j *job) {
	if j.rec.AutoPool == 0 {
		return
	}
	if p, ok := s.pool(j.rec.Account, j.poolID()); ok && p.rec.Uid == j.rec.AutoPool && j.rec.Job.State == jobCompleted {
		kept := j.rec.Job.PoolInfo.GetAutoPoolSpecification().GetKeepAlive()
		require.True(t, kept || p.rec.Pool.State == apiv1.PoolState_POOL_STATE_DELETING, "the pool of job %s has outlived it", j.rec.Job.Id)
	}
}

func checkCounts(t require.TestingT, what string, array bool, kept *raftlogv1.JobCounts, tasks map[uint64]*storedTask) {
	c := &raftlogv1.JobCounts{}
	for _, task := range tasks {
		switch task.exec.Phase {
		case waiting, queued, assigned:
			c.Active++
			c.ActiveSlots += task.slots
		case running, preparing:
			c.Running++
			c.RunningSlots += task.slots
		case completed:
			c.Completed++
			c.CompletedSlots += task.slots
			if task.exec.Succeeded {
				c.Succeeded++
				c.SucceededSlots += task.slots
			} else {
				c.Failed++
				c.FailedSlots += task.slots
			}
		default:
			require.FailNow(t, "phase", "%v", task.exec)
		}
		if array && task.exec.Phase == completed && task.exec.Satisfied {
			c.Satisfied++
		}
		if !array && task.waits && task.exec.Phase == queued {
			c.Waiting++
			if task.blocked {
				c.Blocked++
			}
		}
		if task.exec.Phase == waiting {
			c.Waiting++
		}
		if task.exec.Blocked {
			require.Equal(t, waiting, task.exec.Phase)
			c.Blocked++
		}
	}
	require.True(t, proto.Equal(c, kept), "%s: counted %v, kept %v", what, c, kept)
}

func checkQueue(t require.TestingT, j *job, tasks map[uint64]*storedTask) {
	queuedTasks := map[uint64]bool{}
	var last Run
	var sum, places uint64
	j.queue.runs.Ascend(func(r Run) bool {
		require.LessOrEqual(t, r.First, r.Last)
		require.Greater(t, r.First, last.Last, "runs overlap")
		require.False(t, last.Last+1 == r.First && sameClass(last, r), "runs %v and %v are one", last, r)
		for n := r.First; n <= r.Last; n++ {
			task := tasks[n]
			require.NotNil(t, task, "queued task %d does not exist", n)
			require.Equal(t, Run{Spec: task.entry.Spec, Slots: int32(task.slots), Fresh: task.fresh, Affinity: task.affinity},
				Run{Spec: r.Spec, Slots: r.Slots, Fresh: r.Fresh, Affinity: r.Affinity})
			require.Equal(t, j.arrayNumber(n), r.Array)
			require.Equal(t, task.several, r.Instances > 0)
			require.EqualValues(t, task.instances, max(1, r.Instances))
			places += uint64(task.instances)
			manager := j.rec.Job.JobManagerTask
			require.Equal(t, n == managerTask && manager != nil && unlessFalse(manager.RunExclusive), r.Exclusive)
			queuedTasks[n] = true
		}
		sum += r.Last - r.First + 1
		last = r
		return true
	})
	require.Equal(t, sum, j.queue.count)
	require.Equal(t, places, j.queue.places)
	require.Empty(t, j.queue.touched, "runs that were not written")
	for n, task := range tasks {
		require.Equal(t, task.exec.Phase == queued, queuedTasks[n], "task %d is %v", n, task.exec.Phase)
	}
}

func checkHeldTasks(t require.TestingT, s *Store, j *job, tasks map[uint64]*storedTask) {
	live := map[uint64]int{}
	for key, nodes := range j.held {
		require.NotEmpty(t, nodes)
		require.Equal(t, j.rec.Uid, key.Job)
		task := tasks[key.Task]
		for _, uid := range nodes {
			h := s.nodes[uid].held[key]
			require.NotNil(t, h)
			newest := task != nil && !task.fresh && task.exec.Attempt == h.Attempt
			require.Equal(t, newest, h.exec != nil, "task %v: attempt %d", key, h.Attempt)
			if newest {
				require.True(t, proto.Equal(task.exec, h.exec))
				if h.Instance.GetId() == 0 {
					require.Equal(t, uid, task.exec.Node)
				}
				require.Equal(t, task.several, h.Instance != nil)
			}
			if h.live() {
				live[key.Task]++
			} else {
				require.True(t, h.Stopping, "task %v: attempt %d has no effect and goes on", key, h.Attempt)
			}
		}
	}
	for n, task := range tasks {
		want := 0
		if p := task.exec.Phase; p == assigned || p == running || p == preparing {
			want = task.instances
		}
		if j.rec.Job.State == jobDeleting { // what its attempts say is not taken in any more
			require.LessOrEqual(t, live[n], want, "live attempts of task %d", n)
			continue
		}
		require.Equal(t, want, live[n], "live attempts of task %d, which is %v", n, task.exec.Phase)
	}
}

// checkInstances checks that all instances of a multi-instance task are with a node each, and that the records of its subtasks say so.
func checkInstances(t require.TestingT, s *Store, j *job, tasks map[uint64]*storedTask) {
	records := map[TaskKey]map[uint32]*raftlogv1.SubtaskRecord{}
	require.NoError(t, s.scan(keyNumber(tableSubtask, j.rec.Uid), func(rest, value []byte) error {
		key, rec := TaskKey{j.rec.Uid, binary.BigEndian.Uint64(rest)}, &raftlogv1.SubtaskRecord{}
		require.NotNil(t, tasks[key.Task], "a subtask without a task")
		if records[key] == nil {
			records[key] = map[uint32]*raftlogv1.SubtaskRecord{}
		}
		records[key][binary.BigEndian.Uint32(rest[8:])] = rec
		return proto.Unmarshal(value, rec)
	}))
	for n, task := range tasks {
		key := TaskKey{j.rec.Uid, n}
		if !task.several || task.exec.Attempt == 0 {
			require.Empty(t, records[key])
			continue
		}
		require.Len(t, records[key], task.instances-1)
		held := map[uint32]*held{}
		for _, one := range s.instances(key, task.exec.Attempt) {
			id := one.held.Instance.Id
			require.Nil(t, held[id], "instance %d is with two nodes", id)
			held[id] = one.held
			require.EqualValues(t, task.instances, one.held.Instance.Of)
			require.Equal(t, one.held.Attempt, task.exec.Attempt)
			if id > 0 {
				require.Equal(t, one.node.rec.Uid, records[key][id].Node)
			}
		}
		for id, rec := range records[key] {
			require.Equal(t, task.exec.Attempt, rec.Attempt)
			require.Equal(t, held[id] == nil, rec.State == subtaskCompleted, "subtask %d of %v is %v", id, key, rec.State)
			require.LessOrEqual(t, rec.PreviousStateTime, rec.StateTime)
			if rec.State == subtaskRunning {
				require.NotZero(t, rec.StartTime)
			}
		}
	}
}

// checkSites checks what becomes of start, preparation and release tasks.
func checkSites(t require.TestingT, s *Store, j *job) {
	if j.rec.Job.State == jobCompleted {
		require.Empty(t, j.sites)
	}
	preparing, releasing, unreleased := 0, 0, 0
	for uid, site := range j.sites {
		n := s.nodes[uid]
		require.Equal(t, n == nil, site.Gone, "node %d of job %s", uid, j.rec.Job.Id)
		require.NotNil(t, site.Preparation)
		if inFlight(site.Preparation) {
			preparing++
			require.NotNil(t, n, "a task on a node that is gone")
			require.False(t, site.Stale)
			require.NotEqual(t, jobCompleted, j.rec.Job.State)
		}
		if site.Release != nil {
			require.False(t, inFlight(site.Preparation))
			require.Contains(t, []apiv1.JobState{jobTerminating, jobDeleting}, j.rec.Job.State)
		} else if !site.Gone && j.rec.Job.JobReleaseTask != nil {
			unreleased++
		}
		if inFlight(site.Release) {
			releasing++
			require.NotNil(t, n, "a task on a node that is gone")
		}
	}
	require.Equal(t, []int{preparing, releasing, unreleased}, []int{j.preparing, j.releasing, j.unreleased})
	for key, nodes := range j.held {
		for _, uid := range nodes {
			h, site := s.nodes[uid].held[key], j.sites[uid]
			if h.Waiting {
				require.True(t, inFlight(site.GetPreparation()), "task %v waits for nothing", key)
			} else if h.live() && j.rec.Job.JobPreparationTask != nil {
				require.NotNil(t, site, "task %v runs where the job was not prepared", key)
			}
		}
	}
}

func checkNodes(t require.TestingT, s *Store) {
	count := 0
	s.pools.Ascend(func(p *pool) bool {
		count += p.nodes.Len()
		named := map[uint64]*job{}
		for uid, j := range s.jobByUID {
			if j.rec.Account == p.rec.Account && lifecycle.IDKey(j.poolID()) == lifecycle.IDKey(p.rec.Pool.Id) {
				named[uid] = j
			}
		}
		require.Equal(t, slices.Sorted(maps.Keys(named)), slices.Sorted(maps.Keys(p.jobs)), "jobs of pool %s", p.rec.Pool.Id)
		return true
	})
	require.Equal(t, count, len(s.nodes))
	for uid, n := range s.nodes {
		var used, stopping int32
		for key, h := range n.held {
			if h.Stopping {
				stopping += h.Slots
			}
			require.False(t, h.Exclusive && len(n.held) > 1, "an exclusive task is not alone")
			used += h.Slots
			j := s.jobByUID[key.Job]
			require.NotNil(t, j, "a held task's job is gone")
			require.Contains(t, j.held[key], uid)
		}
		require.Equal(t, []int32{used, stopping}, []int32{n.used, n.stopping})
		for j := range n.sites {
			require.NotNil(t, s.jobByUID[j].sites[uid])
		}
	}
}

// checkWaiting counts open dependencies, and who can never run, by brute force.
func checkWaiting(t require.TestingT, s *Store, j *job, tasks map[uint64]*storedTask) {
	uses := j.rec.Job.GetUsesTaskDependencies()
	byID, hopeless := map[string]*storedTask{}, map[int32]uint64{}
	for _, task := range tasks {
		byID[lifecycle.IDKey(task.entry.Id)] = task
		if n, ok := numericID(task.entry.Id); ok && uses && isHopeless(task) {
			hopeless[n]++
		}
	}
	require.Equal(t, hopeless, j.deps.hopeless)
	for n, task := range tasks {
		if task.exec.Phase != waiting {
			if j.waitingAt(n) == nil {
				require.Zero(t, j.deps.ranges[n])
			}
			continue
		}
		checkOpen(t, j, n, byID, hopeless, task.entry.Id, task.exec.WaitingFor, task.exec.Blocked)
	}
	for _, a := range j.arrays.inOrder {
		if a.rec.WaitingFor > 0 {
			checkOpen(t, j, a.rec.FirstTask, byID, hopeless, a.rec.Id, a.rec.WaitingFor, a.rec.Blocked)
		}
	}
	for id, waiters := range j.deps.byID {
		require.NotEmpty(t, waiters, id)
		require.True(t, slices.IsSorted(waiters))
		for _, n := range waiters {
			if j.waitingAt(n) == nil {
				require.Equal(t, waiting, tasks[n].exec.Phase)
			}
		}
	}
}

// checkOpen counts what a task, or the array with that first number, waits for.
func checkOpen(t require.TestingT, j *job, n uint64, byID map[string]*storedTask, hopeless map[int32]uint64, name string, waitingFor uint32, isBlocked bool) {
	var open int64
	blocked := false
	for id, waiters := range j.deps.byID {
		if !slices.Contains(waiters, n) {
			continue
		}
		open++
		on := byID[id]
		late := slices.ContainsFunc(j.deps.releases, func(r keptRelease) bool { return r.rec.Id == id && n < r.rec.Until })
		require.False(t, !late && on != nil && on.exec.Phase == completed && on.exec.Satisfied, "%s still waits for %s", name, id)
		blocked = blocked || on != nil && isHopeless(on)
		if a := j.arrays.byID[id]; a != nil {
			require.False(t, !late && a.standing().done, "%s still waits for the array %s", name, id)
			blocked = blocked || a.standing().hopeless
		}
	}
	for _, r := range j.deps.ranges[n] {
		open += int64(r.End) - int64(r.Start) + 1 - j.deps.done.count(r.Start, r.End)
		for _, kept := range j.deps.releases {
			if m := kept.rec.Number; m != nil && r.Start <= *m && *m <= r.End && kept.rec.After < n && n < kept.rec.Until {
				open++
			}
		}
		for m := range hopeless {
			blocked = blocked || r.Start <= m && m <= r.End && j.deps.done.count(m, m) == 0
		}
	}
	if open > math.MaxUint32/2 { // more than will ever be: saturated
		open = max(math.MaxUint32/2, int64(waitingFor))
	}
	require.EqualValues(t, open, waitingFor, "task %s", name)
	require.NotZero(t, open)
	if len(j.deps.news) == 0 {
		require.Equal(t, blocked, isBlocked, "task %s", name)
	}
}

func isHopeless(task *storedTask) bool {
	return task.exec.Phase == completed && !task.exec.Satisfied || task.exec.Phase == waiting && task.exec.Blocked
}

func checkJob(t require.TestingT, s *Store, j *job, tasks map[uint64]*storedTask) {
	switch j.rec.Job.State {
	case jobDisabled, jobCompleted:
		require.Empty(t, j.held, "job %s is %v", j.rec.Job.Id, j.rec.Job.State)
	case jobDisabling:
		require.NotEmpty(t, j.held, "job %s is %v and waits for nothing", j.rec.Job.Id, j.rec.Job.State)
	case jobTerminating:
		require.False(t, j.wound(), "job %s is %v and waits for nothing", j.rec.Job.Id, j.rec.Job.State)
	}
	for n, task := range tasks {
		require.Less(t, n, j.rec.NextTask)
		number, found, err := s.number(j, task.entry.Id)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, n, number)
		require.False(t, idAfter(lifecycle.IDKey(task.entry.Id), j.lastID))
	}
}

// reload makes a second view of a store's tables.
func reload(t require.TestingT, s *Store) *Store {
	shadow := &Store{db: s.db, hot: newHot(), logger: slog.New(slog.DiscardHandler)}
	require.NoError(t, shadow.load())
	return shadow
}

// dump is all that a store holds, in a fixed form.
func dump(s *Store) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var b strings.Builder
	_ = s.scan(nil, func(key, value []byte) error {
		if name := string(key); name != string(metaApplied) && name != string(metaDigest) && name != string(metaClock) {
			fmt.Fprintf(&b, "%q=%x\n", key, value)
		}
		return nil
	})
	return b.String() + dumpHot(s)
}

func dumpHot(s *Store) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("uid %d", s.nextUID)
	for _, id := range slices.Sorted(maps.Keys(s.accounts)) {
		line("account %s %x", id, encode(s.accounts[id]))
	}
	for _, id := range slices.Sorted(maps.Keys(s.tokens)) {
		line("token %s %x", id, encode(s.tokens[id]))
	}
	for _, id := range slices.Sorted(maps.Keys(s.members)) {
		line("member %s %x", id, encode(s.members[id]))
	}
	s.pools.Ascend(func(p *pool) bool {
		line("pool %q %x jobs %v", p.key, encode(p.rec), slices.Sorted(maps.Keys(p.jobs)))
		p.nodes.Ascend(func(n *node) bool {
			line(" node %q %x totals %x used %d sites %v", n.key, encode(n.rec), encode(n.totals), n.used, sortedKeys(n.sites))
			for _, key := range sortedTasks(n.held) {
				h := n.held[key]
				line("  held %v %x live %v", key, encode(&h.NodeTask), h.live())
				if h.exec != nil {
					line("   exec %x", encode(h.exec))
				}
			}
			return true
		})
		return true
	})
	s.schedules.Ascend(func(schedule *jobSchedule) bool {
		line("schedule %q %x", schedule.key, encode(schedule.rec))
		return true
	})
	s.jobs.Ascend(func(j *job) bool {
		dumpJob(line, j)
		return true
	})
	return b.String()
}

func dumpJob(line func(string, ...any), j *job) {
	line("job %q %x counts %x last %q", j.key, encode(j.rec), encode(j.counts), j.lastID)
	for n, k := range j.failures {
		if k != nil {
			line(" failures %d %x", n, encode(k))
		}
	}
	j.queue.runs.Ascend(func(r Run) bool {
		line(" run %v", r)
		return true
	})
	for _, a := range j.arrays.inOrder {
		line(" array %x counts %x held %d gone %d", encode(a.rec), encode(a.counts), a.held, a.gone.count)
		a.gone.runs.Ascend(func(r numberSpan) bool {
			line("  gone %v", r)
			return true
		})
	}
	for _, key := range sortedTasks(j.held) {
		line(" held %v by %v", key, slices.Sorted(slices.Values(j.held[key])))
	}
	for _, id := range slices.Sorted(maps.Keys(j.deps.byID)) {
		line(" waits for %q: %v", id, j.deps.byID[id])
	}
	for _, n := range slices.Sorted(maps.Keys(j.deps.ranges)) {
		line(" %d waits for %x", n, encode(&apiv1.TaskDependencies{TaskIdRanges: j.deps.ranges[n]}))
	}
	for _, uid := range sortedKeys(j.sites) {
		line(" on %d: %x", uid, encode(j.sites[uid]))
	}
	line(" preparing %d releasing %d unreleased %d", j.preparing, j.releasing, j.unreleased)
	for _, r := range j.deps.releases {
		line(" release %d %x", r.seq, encode(r.rec))
	}
	for _, n := range j.deps.news {
		line(" news %d %x stored %v", n.seq, encode(n.rec), n.stored)
	}
	line(" done %v hopeless %v index %d", j.deps.done.runs, j.deps.hopeless, len(j.deps.index))
}
