package schedule

import (
	"fmt"
	"maps"
	"sort"
	"strings"

	"github.com/batchyard/batchyard/coordinator/state"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// Explain says why a task is not running. It is the plan's rules, read the other way round; connected says which nodes have a session.
func Explain(s state.Situation, connected func(node uint64) bool) *apiv1.TaskExplanation {
	e := &explainer{s: s, out: &apiv1.TaskExplanation{}}
	switch s.Phase {
	case raftlogv1.TaskPhase_TASK_PHASE_PREPARING, raftlogv1.TaskPhase_TASK_PHASE_RUNNING:
		e.out.Summary = "The task is with a node: it is " + shown(s.Task.State) + "."
		return e.out
	case raftlogv1.TaskPhase_TASK_PHASE_COMPLETED:
		e.out.Summary = "The task is completed."
		return e.out
	}
	e.out.AheadInJob, e.out.AheadInPool = int64(s.AheadInJob), int64(s.AheadInPool)
	e.dependencies()
	e.job()
	e.pool(connected)
	e.summarise()
	return e.out
}

type explainer struct {
	s   state.Situation
	out *apiv1.TaskExplanation
}

func (e *explainer) because(r *apiv1.WaitReason) {
	e.out.Reasons = append(e.out.Reasons, r)
	e.out.Never = e.out.Never || r.Never
}

func (e *explainer) dependencies() {
	if e.s.Phase != raftlogv1.TaskPhase_TASK_PHASE_WAITING {
		return
	}
	if len(e.s.Failed) > 0 {
		e.because(&apiv1.WaitReason{
			Kind: apiv1.WaitReasonKind_WAIT_REASON_KIND_DEPENDENCY_FAILED, Ids: e.s.Failed, Count: int64(len(e.s.Failed)), Never: true,
			Message: "It depends on tasks that failed or can't run: " + listed(e.s.Failed, int64(len(e.s.Failed))) + ".",
			Remedy:  "Reactivate those tasks, or delete this one and add it without the dependency.",
		})
	}
	if e.s.OpenCount > int64(len(e.s.Failed)) || len(e.s.Failed) == 0 {
		e.because(&apiv1.WaitReason{
			Kind: apiv1.WaitReasonKind_WAIT_REASON_KIND_DEPENDENCY_OPEN, Ids: e.s.Open, Count: e.s.OpenCount,
			Message: fmt.Sprintf("%d of the tasks that it depends on are not completed, or not added yet: %s.", e.s.OpenCount, listed(e.s.Open, e.s.OpenCount)),
			Remedy:  "It is ready when they have succeeded.",
		})
	}
}

func (e *explainer) job() {
	job := e.s.Job.Job
	switch job.State {
	case apiv1.JobState_JOB_STATE_DISABLED, apiv1.JobState_JOB_STATE_DISABLING, apiv1.JobState_JOB_STATE_ENABLING:
		e.because(&apiv1.WaitReason{
			Kind: apiv1.WaitReasonKind_WAIT_REASON_KIND_JOB_DISABLED, Never: true,
			Message: fmt.Sprintf("The job %s is %s.", job.Id, shown(job.State)), Remedy: "Enable the job.",
		})
	case apiv1.JobState_JOB_STATE_TERMINATING, apiv1.JobState_JOB_STATE_COMPLETED, apiv1.JobState_JOB_STATE_DELETING:
		e.because(&apiv1.WaitReason{
			Kind: apiv1.WaitReasonKind_WAIT_REASON_KIND_JOB_ENDED, Never: true,
			Message: fmt.Sprintf("The job %s is %s: tasks that had not begun stay as they are.", job.Id, shown(job.State)),
			Remedy:  "Add the task to another job.",
		})
	}
	if limit := job.GetMaxParallelTasks(); limit > 0 && e.s.Job.Held >= int(limit) && e.s.Holder == "" {
		e.because(&apiv1.WaitReason{
			Kind: apiv1.WaitReasonKind_WAIT_REASON_KIND_JOB_LIMIT, Count: int64(e.s.Job.Held),
			Message: fmt.Sprintf("The job runs at most %d tasks at once, and as many are with nodes.", limit),
			Remedy:  "It can start when one of them ends; a greater maxParallelTasks lets it start earlier.",
		})
	}
	e.array()
}

func (e *explainer) array() {
	a := e.s.Array
	if a == nil || a.MaxParallel == 0 || a.Held < int(a.MaxParallel) || e.s.Holder != "" {
		return
	}
	e.because(&apiv1.WaitReason{
		Kind: apiv1.WaitReasonKind_WAIT_REASON_KIND_ARRAY_LIMIT, Ids: []string{a.Id}, Count: int64(a.Held),
		Message: fmt.Sprintf("At most %d elements of the array %s run at once, and as many are with nodes.", a.MaxParallel, a.Id),
		Remedy:  "It can start when one of them ends; a greater maxParallelTasks of the array lets it start earlier.",
	})
}

func (e *explainer) pool(connected func(uint64) bool) {
	switch {
	case e.s.Pool == nil:
		message := fmt.Sprintf("The pool %s does not exist.", e.s.PoolID)
		if e.s.PoolID == "" {
			message = "The job's pool has not been made yet."
		}
		e.because(&apiv1.WaitReason{
			Kind: apiv1.WaitReasonKind_WAIT_REASON_KIND_POOL_MISSING, Never: e.s.PoolID != "", Message: message, Remedy: "Create the pool.",
		})
		return
	case e.s.Pool.Pool.State == apiv1.PoolState_POOL_STATE_DELETING:
		e.because(&apiv1.WaitReason{
			Kind: apiv1.WaitReasonKind_WAIT_REASON_KIND_POOL_DELETING, Never: true,
			Message: fmt.Sprintf("The pool %s is being deleted.", e.s.PoolID), Remedy: "Disable the job and move it to another pool.",
		})
		return
	}
	if e.unfit() {
		return
	}
	if e.s.Holder != "" {
		e.because(&apiv1.WaitReason{
			Kind: apiv1.WaitReasonKind_WAIT_REASON_KIND_WITH_NODE, Ids: []string{e.s.Holder}, Count: 1,
			Message: fmt.Sprintf("The node %s has it and has not started it.", e.s.Holder),
			Remedy:  "It starts when the node has a free slot; another node that has one takes it over.",
		})
		return
	}
	e.nodes(connected)
}

// unfit says whether no node of the pool can ever run the task.
func (e *explainer) unfit() bool {
	pool := e.s.Pool.Pool
	slots := max(1, pool.GetTaskSlotsPerNode())
	message, remedy := "", ""
	several := e.s.Task.MultiInstanceSettings
	switch {
	case e.s.Slots > slots:
		message = fmt.Sprintf("It needs %d slots, and the nodes of the pool %s have %d.", e.s.Slots, e.s.PoolID, slots)
		remedy = "Add it with fewer required slots, or move the job to a pool with more slots on each node."
	case several != nil && !pool.GetEnableInterNodeCommunication():
		message = fmt.Sprintf("It runs on several nodes, and the pool %s has no inter-node communication.", e.s.PoolID)
		remedy = "Move the job to a pool with enableInterNodeCommunication and one slot on each node."
	case several != nil && slots != 1:
		message = fmt.Sprintf("It runs on several nodes, and the nodes of the pool %s have more than one slot.", e.s.PoolID)
		remedy = "Move the job to a pool with one slot on each node."
	default:
		return false
	}
	e.because(&apiv1.WaitReason{Kind: apiv1.WaitReasonKind_WAIT_REASON_KIND_UNFIT_POOL, Never: true, Message: message, Remedy: remedy})
	return true
}

// tally is what the nodes of the pool are to the task.
type tally struct {
	// Nodes that can be given tasks, those that can be given this one, and of these the ones that are empty and that have room.
	usable, able, idle, room int
	barred                   []string
	// others counts, by why, nodes that can't be given this task; ids are some of them.
	others map[string]int
	ids    []string
}

func (e *explainer) tally(connected func(uint64) bool) tally {
	t := tally{others: map[string]int{}}
	for _, n := range e.s.Nodes {
		why := unavailable(n, connected)
		if why == "" {
			t.usable++
			why = e.unsuitable(n)
		}
		if why != "" {
			t.others[why]++
			if len(t.ids) < maxShown {
				t.ids = append(t.ids, n.ID)
			}
			if why == whyBarred {
				t.barred = append(t.barred, n.ID)
			}
			continue
		}
		t.able++
		if n.Used == 0 {
			t.idle++
		}
		if n.Slots-n.Used >= e.s.Slots && !n.Exclusive {
			t.room++
		}
	}
	return t
}

// Why a node can't be given a task that others could run there.
const (
	whyBarred      = "barred by the job's failed preparation task"
	whyLowPriority = "of low priority"
	whyQuarantined = "in quarantine"
)

func (e *explainer) unsuitable(n state.NodeStanding) string {
	switch {
	case n.Barred:
		return whyBarred
	case e.s.Dedicated && !n.Dedicated:
		return whyLowPriority
	}
	return ""
}

func (e *explainer) nodes(connected func(uint64) bool) {
	if len(e.s.Nodes) == 0 {
		e.emptyPool()
		return
	}
	switch t := e.tally(connected); {
	case t.able == 0 && len(t.barred) > 0:
		e.because(e.barred(t))
	case t.able == 0:
		e.because(e.noNode(t))
	case e.s.Instances > 0:
		e.several(t.able, t.idle, t.others, connected)
	case e.s.Alone && t.idle == 0:
		e.because(&apiv1.WaitReason{
			Kind: apiv1.WaitReasonKind_WAIT_REASON_KIND_NODE_ALONE, Count: int64(t.able),
			Message: fmt.Sprintf("It runs alone on its node, and none of the %d nodes that can run it is empty%s.", t.able, beside(t.others)),
			Remedy:  "It can start when a node is empty: the least busy one is given nothing more until then.",
		})
	case t.room == 0:
		e.because(e.full(t))
	case len(e.s.Managers) >= t.room && !e.s.Alone:
		e.because(&apiv1.WaitReason{
			Kind: apiv1.WaitReasonKind_WAIT_REASON_KIND_NODES_KEPT, Ids: e.s.Managers, Count: int64(len(e.s.Managers)),
			Message: fmt.Sprintf("Nodes are kept for manager tasks that run alone on theirs, of the jobs: %s.", strings.Join(e.s.Managers, ", ")),
			Remedy:  "It can start when those tasks have started and other nodes have room; a job of a higher priority does not wait for them.",
		})
	default:
		e.kept(connected)
	}
}

func (e *explainer) barred(t tally) *apiv1.WaitReason {
	return &apiv1.WaitReason{
		Kind: apiv1.WaitReasonKind_WAIT_REASON_KIND_NODES_BARRED, Ids: t.barred[:min(len(t.barred), maxShown)], Count: int64(len(t.barred)), Never: true,
		Message: fmt.Sprintf("The preparation task of the job %s failed on every node of the pool %s that could run it%s.",
			e.s.Job.Job.Id, e.s.PoolID, beside(without(t.others, whyBarred))),
		Remedy: "Look at what the preparation task wrote, and reboot the nodes: it runs again there. Or let other nodes join the pool.",
	}
}

func (e *explainer) noNode(t tally) *apiv1.WaitReason {
	r := &apiv1.WaitReason{
		Kind: apiv1.WaitReasonKind_WAIT_REASON_KIND_NODES_UNAVAILABLE, Ids: t.ids, Count: int64(len(e.s.Nodes)),
		Message: fmt.Sprintf("No node of the pool %s can be given tasks: %s.", e.s.PoolID, counted(t.others)),
		Remedy:  "It can start when a node is idle or running, connected, and enabled for scheduling.",
	}
	if t.usable > 0 {
		r.Message = fmt.Sprintf("No node of the pool %s can run it: %s.", e.s.PoolID, counted(t.others))
		r.Remedy = "It can start when there is a dedicated node."
	}
	if t.others[whyQuarantined] > 0 {
		r.Remedy += " Nodes in quarantine stay there until somebody enables them: node show tells what failed on them."
	}
	return r
}

func (e *explainer) full(t tally) *apiv1.WaitReason {
	r := &apiv1.WaitReason{
		Kind: apiv1.WaitReasonKind_WAIT_REASON_KIND_NO_FREE_SLOTS, Count: int64(t.able),
		Message: fmt.Sprintf("None of the %d nodes that can run it has %d free slots%s.", t.able, e.s.Slots, beside(t.others)),
		Remedy:  "It can start when running tasks end, and what is ahead of it has started; more nodes make that earlier.",
	}
	if e.s.GiveWay > 0 {
		r.Remedy += fmt.Sprintf(" Jobs of a lower priority allow their tasks, %d with nodes now, to be stopped for it, where that makes enough room.", e.s.GiveWay)
	}
	return r
}

// beside tells of the nodes that a message leaves out.
func beside(others map[string]int) string {
	if len(others) == 0 {
		return ""
	}
	return "; the others are: " + counted(others)
}

func without(states map[string]int, name string) map[string]int {
	out := maps.Clone(states)
	delete(out, name)
	return out
}

// unavailable is why a node can't be given tasks, empty if it can.
func unavailable(n state.NodeStanding, connected func(uint64) bool) string {
	switch {
	case n.Leaving:
		return "leaving the pool"
	case n.State != apiv1.NodeState_NODE_STATE_IDLE && n.State != apiv1.NodeState_NODE_STATE_RUNNING:
		if n.Problem != "" {
			return shown(n.State) + " (" + strings.TrimSuffix(n.Problem, ".") + ")"
		}
		return shown(n.State)
	case n.Quarantined:
		return whyQuarantined
	case !n.Scheduling:
		return "disabled for scheduling"
	case !connected(n.UID):
		return "not connected"
	}
	return ""
}

func (e *explainer) emptyPool() {
	pool := e.s.Pool.Pool
	r := &apiv1.WaitReason{Kind: apiv1.WaitReasonKind_WAIT_REASON_KIND_POOL_EMPTY, Message: fmt.Sprintf("The pool %s has no nodes.", e.s.PoolID)}
	switch targets := pool.GetTargetDedicatedNodes() + pool.GetTargetLowPriorityNodes(); {
	case pool.GetEnableAutoScale():
		r.Remedy = "Its autoscale formula has to ask for nodes."
	case targets == 0:
		r.Remedy, r.Never = "Resize the pool, or let machines join it.", true
	default:
		r.Remedy = fmt.Sprintf("It is to have %d: they are being made, or its resize errors say why not.", targets)
	}
	e.because(r)
}

func (e *explainer) summarise() {
	if len(e.out.Reasons) == 0 {
		e.out.Summary = "Nothing keeps the task: it is about to be given to a node."
		if ahead := e.out.AheadInJob + e.out.AheadInPool; ahead > 0 {
			e.out.Summary = fmt.Sprintf("Nothing keeps the task but %d ready tasks ahead of it.", ahead)
		}
		return
	}
	first := e.out.Reasons[0]
	for _, r := range e.out.Reasons {
		if r.Never {
			first = r
			break
		}
	}
	prefix := "The task waits: "
	if e.out.Never {
		prefix = "The task can't run as things are: "
	}
	e.out.Summary = prefix + first.Message
}

// maxShown is how many ids a reason names.
const maxShown = 10

func listed(ids []string, all int64) string {
	text := strings.Join(ids, ", ")
	if int64(len(ids)) < all {
		text += ", …"
	}
	return text
}

// counted is "2 offline, 1 starting".
func counted(states map[string]int) string {
	names := make([]string, 0, len(states))
	for name := range states {
		names = append(names, name)
	}
	sort.Strings(names)
	for i, name := range names {
		names[i] = fmt.Sprintf("%d %s", states[name], name)
	}
	return strings.Join(names, ", ")
}

// shown is an enum's value as users know it: without the type, in lower case.
func shown(value fmt.Stringer) string {
	text := value.String()
	if i := strings.Index(text, "_STATE_"); i >= 0 {
		text = text[i+len("_STATE_"):]
	}
	return strings.ToLower(strings.ReplaceAll(text, "_", ""))
}
