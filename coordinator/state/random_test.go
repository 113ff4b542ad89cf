package state

import (
	"math"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// chooser draws commands that mostly make sense for what a store holds, and sometimes do not.
type chooser struct {
	*rapid.T
	s   *Store
	now int64
}

func (c *chooser) command() *raftlogv1.Command {
	// Clocks of new leaders may be behind.
	c.now += rapid.SampledFrom([]int64{tick, tick, 1, 0, -3 * tick}).Draw(c.T, "passed")
	kinds := []func() any{
		c.createPool, c.poolChange, c.nodes, c.nodes, c.nodeChange, c.createJob, c.jobChange, c.addTasks, c.addTasks, c.other,
		c.scheduleChange, c.stepSchedule, c.stepSchedule, c.addArray, c.addItems, c.advanceReleases,
	}
	for range 4 {
		kinds = append(kinds, c.assign, c.assign, c.assignInstances, c.report, c.report, c.report, c.taskChange, c.preempt)
	}
	return command(c.now, rapid.SampledFrom(kinds).Draw(c.T, "kind")())
}

func (c *chooser) among(label string, of ...string) string {
	return rapid.SampledFrom(of).Draw(c.T, label)
}

func (c *chooser) chance(label string, oneIn int) bool {
	return rapid.IntRange(1, oneIn).Draw(c.T, label) == 1
}

func (c *chooser) poolID() string { return c.among("pool", "p", "p", "p", "P", "P", "other") }

func (c *chooser) jobID() string {
	if c.chance("scheduled job", 8) {
		return c.among("job", "s:job-1", "S:job-2", "s:job-3")
	}
	return c.among("job", "j1", "j1", "J1", "j1", "j2")
}

func (c *chooser) nodeID() string { return c.among("node", "n1", "n2", "N2", "n3") }

func (c *chooser) taskID() string {
	return c.among("task", "a", "A", "b", "c", "d", "1", "01", "2", "3", "04", "4", "2147483647", "2147483648", "sweep-2", "sweep-03", "sweep")
}

func (c *chooser) createPool() any {
	slots := rapid.SampledFrom([]int32{1, 1, 2, 4}).Draw(c.T, "slots")
	pool := &apiv1.Pool{Id: c.poolID(), TaskSlotsPerNode: &slots, StartTask: c.startTask(), EnableInterNodeCommunication: proto.Bool(!c.chance("apart", 4))}
	if c.chance("images", 4) {
		withImages("box")(pool)
	}
	if c.chance("mounts", 4) {
		withMounts(pool)
	}
	return &raftlogv1.CreatePool{Pool: pool}
}

func (c *chooser) startTask() *apiv1.StartTask {
	if !c.chance("start task", 3) {
		return nil
	}
	return &apiv1.StartTask{CommandLine: "start", WaitForSuccess: proto.Bool(!c.chance("no wait", 3)), MaxTaskRetryCount: proto.Int32(1)}
}

func (c *chooser) deallocation() apiv1.NodeDeallocationOption {
	return apiv1.NodeDeallocationOption(rapid.IntRange(0, 4).Draw(c.T, "deallocation"))
}

func (c *chooser) poolChange() any {
	target := rapid.Int32Range(0, 3).Draw(c.T, "target")
	switch rapid.IntRange(0, 8).Draw(c.T, "pool change") {
	case 7:
		return c.autoScale()
	case 8:
		return &raftlogv1.UpdatePool{PoolId: c.poolID(), Update: &apiv1.PoolUpdateOptions{StartTask: c.startTask()}, Cleared: []string{"startTask"}}
	case 0:
		if c.chance("really", 5) {
			return &raftlogv1.DeletePool{PoolId: c.poolID()}
		}
		fallthrough
	case 1:
		return &raftlogv1.ResizePool{PoolId: c.poolID(), Options: &apiv1.PoolResizeOptions{
			TargetDedicatedNodes: &target, NodeDeallocationOption: c.deallocation(), ResizeTimeout: durationpb.New(math.MaxInt64),
		}}
	case 2:
		return &raftlogv1.StopPoolResize{PoolId: c.poolID()}
	case 3:
		return &raftlogv1.RemoveNodes{PoolId: c.poolID(), Options: &apiv1.NodeRemoveOptions{
			NodeList: []string{c.nodeID()}, NodeDeallocationOption: c.deallocation(),
		}}
	case 4:
		return &raftlogv1.LeaveNodes{PoolId: c.poolID(), NodeIds: []string{c.nodeID()}}
	case 5:
		return &raftlogv1.UpdatePool{PoolId: c.poolID(), Update: &apiv1.PoolUpdateOptions{Metadata: []*apiv1.MetadataItem{{Name: "a", Value: "b"}}}}
	}
	id := c.poolID()
	finish := &raftlogv1.FinishResize{PoolId: id, SeenTransition: 1}
	if p, ok := c.s.Pool("acct", id); ok {
		finish.SeenTransition = timeOf(p.Pool.AllocationStateTransitionTime)
	}
	return finish
}

func (c *chooser) autoScale() any {
	id := c.poolID()
	switch rapid.IntRange(0, 2).Draw(c.T, "autoscale") {
	case 0:
		return &raftlogv1.EnableAutoScale{PoolId: id, Options: &apiv1.PoolEnableAutoScaleOptions{AutoScaleFormula: c.among("formula", "", "x=1")}}
	case 1:
		return &raftlogv1.DisableAutoScale{PoolId: id}
	}
	record := &raftlogv1.RecordAutoScale{PoolId: id, Run: &apiv1.AutoScaleRun{Results: "x=1"}, Next: c.now}
	if p, ok := c.s.Pool("acct", id); ok {
		record.Due = p.AutoScaleDue
	}
	if !c.chance("failed", 3) {
		record.Targets = &raftlogv1.AutoScaleTargets{Dedicated: rapid.Int32Range(0, 3).Draw(c.T, "target"), Deallocation: c.deallocation()}
	}
	return record
}

func (c *chooser) nodes() any {
	if c.chance("create", 3) {
		return &raftlogv1.CreateNodes{PoolId: c.poolID(), NodeIds: []string{c.nodeID(), c.nodeID()}, Dedicated: c.chance("dedicated", 2)}
	}
	return &raftlogv1.NodeHello{PoolId: c.poolID(), NodeId: c.nodeID(), Facts: &agentv1.NodeFacts{
		Cpus: 2, BootId: c.among("boot", "b1", "b1", "b1", "b2"),
	}}
}

func (c *chooser) nodeChange() any {
	switch rapid.IntRange(0, 9).Draw(c.T, "node change") {
	case 7:
		m := &raftlogv1.NodeMounted{PoolId: c.poolID(), NodeId: c.nodeID(), Incarnation: c.incarnation(), BootId: c.among("boot", "b1", "b1", "b2")}
		if c.chance("not mounted", 3) {
			m.Errors = []*apiv1.NodeError{{Code: "c", Message: "m"}}
		}
		return m
	case 8, 9:
		return c.quarantine()
	case 6:
		return &raftlogv1.ActOnNode{
			PoolId: c.poolID(), NodeId: c.nodeID(), Option: raftlogv1.NodeActionOption(rapid.IntRange(0, 2).Draw(c.T, "option")),
			Target: rapid.SampledFrom([]apiv1.NodeState{
				apiv1.NodeState_NODE_STATE_REBOOTING, apiv1.NodeState_NODE_STATE_REIMAGING, apiv1.NodeState_NODE_STATE_DEALLOCATING, apiv1.NodeState_NODE_STATE_STARTING,
			}).Draw(c.T, "target"),
		}
	case 0:
		return &raftlogv1.DeleteNode{PoolId: c.poolID(), NodeId: c.nodeID()}
	case 1:
		return &raftlogv1.SetNodeState{PoolId: c.poolID(), NodeId: c.nodeID(), State: apiv1.NodeState(rapid.IntRange(0, 12).Draw(c.T, "state"))}
	case 2:
		return &raftlogv1.NodeLost{PoolId: c.poolID(), NodeId: c.nodeID(), Incarnation: c.incarnation()}
	default:
		return &raftlogv1.SetNodeScheduling{
			PoolId: c.poolID(), NodeId: c.nodeID(), Enabled: !c.chance("disable", 3),
			Option: apiv1.NodeDisableSchedulingOption(rapid.IntRange(0, 3).Draw(c.T, "option")),
		}
	}
}

func (c *chooser) incarnation() uint32 { return rapid.Uint32Range(1, 3).Draw(c.T, "incarnation") }

func (c *chooser) createJob() any {
	uses := !c.chance("no dependencies", 4)
	prepare, release := c.jobTasks()
	return &raftlogv1.CreateJob{AutoPoolId: c.autoPoolID(), Job: &apiv1.Job{
		JobPreparationTask: prepare, JobReleaseTask: release, JobManagerTask: c.manager(),
		AllowTaskPreemption: proto.Bool(c.chance("gives way", 2)),
		Id:                  c.among("job", "j1", "j1", "J1", "j2", "s"), PoolInfo: c.poolInfo(2), UsesTaskDependencies: &uses,
		OnTaskFailure:      rapid.SampledFrom([]apiv1.TaskFailureMode{0, 1, 1, 2}).Draw(c.T, "failure"),
		OnAllTasksComplete: rapid.SampledFrom([]apiv1.AllTasksCompleteMode{0, 1, 1, 1, 2}).Draw(c.T, "complete"),
	}}
}

func (c *chooser) jobTasks() (*apiv1.JobPreparationTask, *apiv1.JobReleaseTask) {
	if c.chance("no preparation", 2) {
		return nil, nil
	}
	prepare := &apiv1.JobPreparationTask{
		Id: "prep", WaitForSuccess: proto.Bool(!c.chance("no wait", 4)), RerunOnNodeRebootAfterSuccess: proto.Bool(!c.chance("no rerun", 3)),
		Constraints: &apiv1.TaskConstraints{MaxTaskRetryCount: proto.Int32(rapid.Int32Range(0, 1).Draw(c.T, "retries"))},
	}
	if c.chance("no release", 3) {
		return prepare, nil
	}
	return prepare, &apiv1.JobReleaseTask{Id: "rel"}
}

func (c *chooser) manager() *apiv1.JobManagerTask {
	if !c.chance("manager", 5) {
		return nil
	}
	return &apiv1.JobManagerTask{Id: c.among("manager id", "manager", "a"), KillJobOnCompletion: proto.Bool(c.chance("kill", 2))}
}

func (c *chooser) jobChange() any {
	id := c.jobID()
	switch rapid.IntRange(0, 9).Draw(c.T, "job change") {
	case 0, 1:
		if c.chance("delete", 4) {
			return &raftlogv1.DeleteJob{JobId: id}
		}
		if c.chance("terminate", 3) {
			return &raftlogv1.TerminateJob{JobId: id, Reason: "why"}
		}
		fallthrough
	case 2:
		return &raftlogv1.DisableJob{JobId: id, Option: apiv1.DisableJobOption(rapid.IntRange(0, 3).Draw(c.T, "option"))}
	case 3, 4, 5, 6:
		return &raftlogv1.EnableJob{JobId: id}
	case 7:
		return &raftlogv1.UpdateJob{JobId: id, Update: &apiv1.JobUpdateOptions{PoolInfo: c.poolInfo(2)}}
	case 8:
		mode := rapid.SampledFrom([]apiv1.AllTasksCompleteMode{1, 1, 1, 2}).Draw(c.T, "complete")
		u := &apiv1.JobUpdateOptions{OnAllTasksComplete: &mode, Priority: proto.Int32(3)}
		return &raftlogv1.UpdateJob{JobId: id, Update: u}
	}
	return &raftlogv1.AdvanceJob{Job: c.jobUID(), Limit: rapid.Uint32Range(0, 2).Draw(c.T, "limit")}
}

func (c *chooser) jobUID() uint64 {
	if j, ok := c.s.Job("acct", c.jobID()); ok {
		return j.Uid
	}
	return rapid.Uint64Range(0, 20).Draw(c.T, "uid")
}

func (c *chooser) specs() [][]byte {
	exit := &apiv1.ExitConditions{
		ExitCodes: []*apiv1.ExitCodeMapping{{Code: 3, ExitOptions: &apiv1.ExitOptions{
			DependencyAction: apiv1.DependencyAction_DEPENDENCY_ACTION_SATISFY, JobAction: apiv1.JobActionKind_JOB_ACTION_KIND_NONE,
		}}, {Code: 4, ExitOptions: &apiv1.ExitOptions{JobAction: apiv1.JobActionKind_JOB_ACTION_KIND_DISABLE}}},
		Default: &apiv1.ExitOptions{JobAction: apiv1.JobActionKind_JOB_ACTION_KIND_NONE},
	}
	return [][]byte{
		taskSpec(), taskSpec(withRetries(1)), taskSpec(withSlots(2), withExit(exit)), taskSpec(withSlots(-7)),
		{}, {0xff, 0xff, 0xff}, taskSpec(withInstances(2)), taskSpec(withInstances(3), withRetries(1)), taskSpec(withInstances(-1)),
		taskSpec(withAffinity("tvm:N1")), taskSpec(withAffinity("n1"), withInstances(2)),
	}
}

func (c *chooser) addTasks() any {
	cmd := &raftlogv1.AddTasks{JobId: c.jobID(), Specs: c.specs()}
	for range rapid.IntRange(0, 5).Draw(c.T, "tasks") {
		task := &raftlogv1.NewTask{Id: c.taskID(), Spec: rapid.SampledFrom([]uint32{0, 0, 0, 1, 2, 3, 4, 5, 6, 6, 6, 7, 8, 9, 9, 10, 11}).Draw(c.T, "spec")}
		if c.chance("depends", 2) {
			task.DependsOn = c.dependencies()
		}
		cmd.Tasks = append(cmd.Tasks, task)
	}
	return cmd
}

func (c *chooser) dependencies() *apiv1.TaskDependencies {
	d := &apiv1.TaskDependencies{}
	for range rapid.IntRange(0, 2).Draw(c.T, "ids") {
		d.TaskIds = append(d.TaskIds, c.taskID())
	}
	bounds := []int32{1, 1, 2, 3, 4, 5, 0, -2, math.MaxInt32, math.MinInt32}
	for range rapid.IntRange(0, 2).Draw(c.T, "ranges") {
		first := rapid.SampledFrom(bounds).Draw(c.T, "first")
		last := rapid.SampledFrom(append(bounds, first, first, first)).Draw(c.T, "last")
		d.TaskIdRanges = append(d.TaskIdRanges, &apiv1.TaskIdRange{Start: first, End: last})
	}
	return d
}

// someTask is a task of some job that may exist.
func (c *chooser) someTask() TaskKey {
	if j, ok := c.s.jobByUID[c.jobUID()]; ok && j.queue.count > 0 && !c.chance("any task", 4) {
		r, _ := j.queue.runs.Min()
		return TaskKey{j.rec.Uid, r.First}
	}
	return TaskKey{c.jobUID(), rapid.Uint64Range(0, 12).Draw(c.T, "number")}
}

func (c *chooser) someNode(good func(*node) bool) (uint64, uint32) {
	uids := slices.DeleteFunc(sortedKeys(c.s.nodes), func(uid uint64) bool { return !good(c.s.nodes[uid]) })
	if len(uids) == 0 || c.chance("any node", 10) {
		return rapid.Uint64Range(0, 20).Draw(c.T, "node"), 1
	}
	uid := rapid.SampledFrom(uids).Draw(c.T, "node")
	if c.chance("wrong incarnation", 10) {
		return uid, c.incarnation()
	}
	return uid, c.s.nodes[uid].rec.Incarnation
}

func (c *chooser) assign() any {
	cmd := &raftlogv1.AssignTasks{}
	for range rapid.IntRange(1, 2).Draw(c.T, "plans") {
		plan := &raftlogv1.NodePlan{}
		plan.Node, plan.Incarnation = c.someNode((*node).ready)
		for range rapid.IntRange(1, 3).Draw(c.T, "planned") {
			key := c.someTask()
			plan.Tasks = append(plan.Tasks, &raftlogv1.PlannedTask{Job: key.Job, Task: key.Task})
		}
		cmd.Nodes = append(cmd.Nodes, plan)
	}
	return cmd
}

// assignInstances mostly finds a multi-instance task and as many nodes as it needs.
func (c *chooser) assignInstances() any {
	key := c.someTask()
	var r Run
	for _, uid := range sortedKeys(c.s.jobByUID) {
		c.s.jobByUID[uid].queue.runs.Ascend(func(other Run) bool {
			if other.Instances > 0 {
				key, r = TaskKey{uid, other.First}, other
			}
			return r.Instances == 0
		})
	}
	plan := &raftlogv1.InstancesPlan{Job: key.Job, Task: key.Task}
	for _, uid := range sortedKeys(c.s.nodes) {
		n := c.s.nodes[uid]
		if n.ready() && len(n.held) == 0 && len(plan.Nodes) < int(r.Instances) {
			plan.Nodes = append(plan.Nodes, &raftlogv1.InstanceNode{Node: uid, Incarnation: n.rec.Incarnation})
		}
	}
	if c.chance("wrong", 6) {
		uid, incarnation := c.someNode((*node).ready)
		plan.Nodes = append(plan.Nodes, &raftlogv1.InstanceNode{Node: uid, Incarnation: incarnation})
	}
	return &raftlogv1.AssignInstances{Tasks: []*raftlogv1.InstancesPlan{plan}}
}

func (c *chooser) someAttempt(uid uint64) *agentv1.AttemptRef {
	n := c.s.nodes[uid]
	if n != nil && c.chance("special", 2) {
		if specials := c.s.specials(n); len(specials) > 0 {
			return rapid.SampledFrom(specials).Draw(c.T, "special attempt").Ref()
		}
	}
	if n == nil || len(n.held) == 0 || c.chance("any attempt", 10) {
		key := c.someTask()
		return &agentv1.AttemptRef{Job: key.Job, Task: key.Task, Attempt: rapid.Uint32Range(0, 3).Draw(c.T, "attempt")}
	}
	key := rapid.SampledFrom(sortedTasks(n.held)).Draw(c.T, "held")
	return AttemptKey{key, n.held[key].Attempt}.Ref()
}

func (c *chooser) report() any {
	cmd := &raftlogv1.ReportAttempts{}
	cmd.Node, cmd.Incarnation = c.someNode(func(n *node) bool { return len(n.held) > 0 || len(c.s.specials(n)) > 0 })
	if c.chance("retract", 12) {
		return &raftlogv1.RetractTasks{Node: cmd.Node, Attempts: []*agentv1.AttemptRef{c.someAttempt(cmd.Node)}}
	}
	for range rapid.IntRange(1, 3).Draw(c.T, "reports") {
		r := &agentv1.AttemptReport{
			Ref:          c.someAttempt(cmd.Node),
			Phase:        rapid.SampledFrom([]agentv1.AttemptPhase{0, 1, 1, 1, 2, 2, 2, 2, 3, 4, 5, 6, 6}).Draw(c.T, "phase"),
			FailureStage: agentv1.FailureStage(rapid.IntRange(0, 3).Draw(c.T, "stage")),
			StartTime:    rapid.SampledFrom([]int64{0, -1, start, math.MaxInt64}).Draw(c.T, "started"),
		}
		if !c.chance("no code", 5) {
			code := rapid.SampledFrom([]int32{0, 0, 1, 3, 4, -1}).Draw(c.T, "code")
			r.ExitCode = &code
		}
		if c.chance("failure", 6) {
			r.Failure = &apiv1.TaskFailureInfo{Code: "Broken"}
		}
		if c.chance("no attempt named", 30) {
			r.Ref = nil
		}
		cmd.Reports = append(cmd.Reports, r)
	}
	return cmd
}

func (c *chooser) taskChange() any {
	job, task := c.jobID(), c.taskID()
	if j, ok := c.s.job("acct", job); ok && !c.chance("any task", 4) {
		if ids := c.tasksOf(j); len(ids) > 0 {
			task = rapid.SampledFrom(ids).Draw(c.T, "existing")
		}
	}
	switch rapid.IntRange(0, 7).Draw(c.T, "task change") {
	case 7:
		return c.actOnTasks(job)
	case 0:
		return &raftlogv1.DeleteTask{JobId: job, TaskId: task}
	case 1, 2:
		return &raftlogv1.TerminateTask{JobId: job, TaskId: task}
	case 3:
		retries := rapid.Int32Range(-1, 1).Draw(c.T, "retries")
		return &raftlogv1.UpdateTask{JobId: job, TaskId: task, Constraints: &apiv1.TaskConstraints{MaxTaskRetryCount: &retries}}
	}
	return &raftlogv1.ReactivateTask{JobId: job, TaskId: task}
}

// tasksOf lists the ids of a job's tasks, the completed ones twice.
func (c *chooser) tasksOf(j *job) []string {
	var ids []string
	tasks := storedTasks(c.T, c.s, j)
	for _, n := range sortedKeys(tasks) {
		ids = append(ids, tasks[n].entry.Id)
		if tasks[n].exec.Phase == completed {
			ids = append(ids, tasks[n].entry.Id)
		}
	}
	return ids
}

// other draws what has little to do with tasks, and commands that lack what they are about.
func (c *chooser) other() any {
	token := &raftlogv1.JoinTokenRecord{
		Id: c.among("token", "t1", "t2"), Account: "acct", Kind: apiv1.JoinTokenKind_JOIN_TOKEN_KIND_NODE, PoolId: c.poolID(),
		NodeId: c.among("bound", "", c.nodeID()), ExpiryTime: c.now + 60*tick, UsesLeft: rapid.Int32Range(0, 2).Draw(c.T, "uses"),
	}
	app := &raftlogv1.ApplicationRecord{Account: "acct", Application: &apiv1.ApplicationDetail{Id: "app"}}
	return slices.Clone([]any{
		&raftlogv1.PutJoinToken{Record: token}, &raftlogv1.UseJoinToken{Id: token.Id, NewNodeId: c.nodeID()},
		&raftlogv1.UseJoinToken{Id: token.Id, NewNodeId: c.nodeID()},
		&raftlogv1.PutAccount{Record: &raftlogv1.AccountRecord{Account: &apiv1.Account{Id: "acct"}}, Create: c.chance("create", 2)},
		&raftlogv1.DeleteAccount{}, &raftlogv1.PutApplication{Record: app, Create: true}, &raftlogv1.DeleteApplication{ApplicationId: "APP"},
		&raftlogv1.ChangeApplication{ApplicationId: "App", Change: &raftlogv1.ChangeApplication_AddPackage{AddPackage: &raftlogv1.AddPackage{
			Package: &apiv1.ApplicationPackage{Version: c.among("version", "1", "2"), StorageKey: "k"}, AtMost: 1,
		}}},
		&raftlogv1.ChangeApplication{ApplicationId: "app", Change: &raftlogv1.ChangeApplication_DeleteVersion{DeleteVersion: "1"}},
		&raftlogv1.ChangeApplication{ApplicationId: "app"},
		&raftlogv1.PutMember{Record: &raftlogv1.MemberRecord{Member: &apiv1.Member{Id: "m"}}}, &raftlogv1.DeleteMember{Id: "m"},
		&raftlogv1.CreatePool{}, &raftlogv1.CreateJob{}, &raftlogv1.UpdateJob{JobId: c.jobID()}, &raftlogv1.UpdatePool{PoolId: c.poolID()},
		&raftlogv1.ResizePool{PoolId: c.poolID()}, &raftlogv1.RemoveNodes{PoolId: c.poolID()}, &raftlogv1.PutAccount{},
		&raftlogv1.PutJoinToken{}, &raftlogv1.PutMember{}, &raftlogv1.PutApplication{}, &raftlogv1.UpdateTask{JobId: c.jobID(), TaskId: c.taskID()},
	})[rapid.IntRange(0, 22).Draw(c.T, "other")]
}
