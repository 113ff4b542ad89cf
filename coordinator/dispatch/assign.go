package dispatch

import (
	"context"
	"crypto/rand"
	"encoding/hex"

	"github.com/batchyard/batchyard/coordinator/state"
	"github.com/batchyard/batchyard/internal/lifecycle"
	"github.com/batchyard/batchyard/internal/sweep"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
	"google.golang.org/protobuf/proto"
)

// maxAssignments bounds the assignments of one message, so that none exceeds gRPC's limit.
const maxAssignments = 1000

func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// assignLoop sends the welcome, the complete set, then what changes.
func (s *session) assignLoop(welcome *agentv1.CoordinatorMessage) error {
	if err := s.send(welcome); err != nil {
		return err
	}
	if err := s.sendComplete(); err != nil {
		return err
	}
	if err := s.sendAction(); err != nil {
		return err
	}
	for {
		select {
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		case <-s.wake:
		}
		c := s.take()
		if c.Record && !s.current() {
			return errIncarnated
		}
		if c.Record {
			if err := s.sameStore(); err != nil {
				return err
			}
		}
		if err := s.sendChanges(c); err != nil {
			return err
		}
		if !c.Record && !c.Released {
			continue
		}
		if err := s.sendAction(); err != nil {
			return err
		}
	}
}

// sendAction has the node restart where a user wants it to and nothing is left on it.
func (s *session) sendAction() error {
	n, ok := s.server.cfg.State.NodeByUID(s.node.Uid)
	if !ok || n.Action.GetKind() == 0 || n.Held > 0 || n.Action.Number == s.ordered {
		return nil
	}
	s.ordered = n.Action.Number
	return s.send(&agentv1.CoordinatorMessage{Message: &agentv1.CoordinatorMessage_Order{Order: &agentv1.NodeOrder{
		Order: &agentv1.NodeOrder_Restart{Restart: &agentv1.RestartNode{
			Number: n.Action.Number, Reimage: n.Action.Kind == raftlogv1.NodeActionKind_NODE_ACTION_KIND_REIMAGE,
		}},
	}}})
}

// sendComplete sends everything that the node is to hold. Large sets go on as increments of the same set.
func (s *session) sendComplete() error {
	tasks, err := s.server.cfg.State.Held(s.node.Uid)
	if err != nil {
		return err
	}
	first := min(len(tasks), maxAssignments)
	// Everything that is held must be named at once, since the agent stops what the set does not name: a set is complete in one message or the rest
	// follows before the agent acts, which it does on the number that ends it.
	m, err := s.build(tasks[:first], true)
	if err != nil {
		return err
	}
	for rest := tasks[first:]; len(rest) > 0; {
		n := min(len(rest), maxAssignments)
		more, err := s.build(rest[:n], true)
		if err != nil {
			return err
		}
		m.Jobs, m.Specs = append(m.Jobs, more.Jobs...), append(m.Specs, more.Specs...)
		m.Add, m.Remove = append(m.Add, more.Add...), append(m.Remove, more.Remove...)
		rest = rest[n:]
	}
	return s.sendAssignments(m)
}

func (s *session) sendChanges(c *state.NodeChanges) error {
	if c.Resync {
		return s.sendComplete()
	}
	for assigned := c.Assigned; len(assigned) > 0; {
		n := min(len(assigned), maxAssignments)
		tasks, err := s.server.cfg.State.HeldTasks(s.node.Uid, assigned[:n])
		if err != nil {
			return err
		}
		m, err := s.build(tasks, false)
		if err != nil {
			return err
		}
		if err := s.sendAssignments(m); err != nil {
			return err
		}
		assigned = assigned[n:]
	}
	m := &agentv1.Assignments{}
	for _, key := range c.Stopping {
		m.Remove = append(m.Remove, &agentv1.Removal{Ref: key.Ref(), Kind: agentv1.RemovalKind_REMOVAL_KIND_STOP})
	}
	for _, key := range c.Retracting {
		m.Remove = append(m.Remove, &agentv1.Removal{Ref: key.Ref(), Kind: agentv1.RemovalKind_REMOVAL_KIND_RETRACT})
	}
	for _, clean := range c.Clean {
		m.Remove = append(m.Remove, &agentv1.Removal{
			Ref: clean.Attempt.Ref(), Kind: agentv1.RemovalKind_REMOVAL_KIND_CLEAN, JobId: clean.JobID, TaskId: clean.TaskID,
		})
	}
	if len(m.Remove) == 0 {
		return nil
	}
	return s.sendAssignments(m)
}

func (s *session) sendAssignments(m *agentv1.Assignments) error {
	s.number++
	m.Number = s.number
	return s.send(&agentv1.CoordinatorMessage{Message: &agentv1.CoordinatorMessage_Assignments{Assignments: m}})
}

// build turns held tasks into assignments, with the jobs and specs that this session has not sent yet.
func (s *session) build(tasks []state.HeldTask, complete bool) (*agentv1.Assignments, error) {
	m := &agentv1.Assignments{Complete: complete}
	for _, task := range tasks {
		if task.Stopping || !task.Live {
			m.Remove = append(m.Remove, &agentv1.Removal{Ref: task.Ref(), Kind: agentv1.RemovalKind_REMOVAL_KIND_STOP})
			continue
		}
		if err := s.introduce(m, task); err != nil {
			return nil, err
		}
		m.Add = append(m.Add, &agentv1.Assignment{
			Ref: task.Ref(), Spec: task.Spec, TaskId: task.TaskID, CommandLine: task.CommandLine,
			Slots: task.Slots, Priority: task.Priority, Constraints: task.Constraints, Kind: task.Kind,
			AuthenticationToken: s.token(task), Instance: task.Instance, Element: elementOf(task.Element),
		})
	}
	return m, nil
}

func elementOf(e *sweep.Element) *agentv1.Element {
	if e == nil {
		return nil
	}
	return &agentv1.Element{ArrayId: e.Array, Index: e.Index, Columns: e.Columns, Values: e.Values}
}

// introduce adds a task's job and spec to the message, once a session.
func (s *session) introduce(m *agentv1.Assignments, task state.HeldTask) error {
	if key := (sentSpec{job: task.Job}); !s.sent[key] {
		s.sent[key] = true
		job, ok := s.server.cfg.State.JobByUID(task.Job)
		if !ok && task.Job != 0 {
			return nil
		}
		pool, _ := s.server.cfg.State.Pool(s.node.Account, s.node.PoolId)
		packages, err := s.packages(pool.GetPool().GetApplicationPackageReferences())
		if err != nil {
			return err
		}
		m.Jobs = append(m.Jobs, &agentv1.JobContext{
			Job: task.Job, JobId: job.GetJob().GetId(), Environment: job.GetJob().GetCommonEnvironmentSettings(), Packages: packages,
			PreparationId: job.GetJob().GetJobPreparationTask().GetId(), Accounts: accountsOf(pool.GetPool().GetUserAccounts()),
			Containers: containersOf(pool.GetPool()),
		})
	}
	key := sentSpec{job: task.Job, spec: task.Spec}
	if s.sent[key] {
		return nil
	}
	s.sent[key] = true
	spec, err := s.spec(task)
	if err != nil || spec == nil {
		return err
	}
	packages, err := s.packages(spec.ApplicationPackageReferences)
	if err != nil {
		return err
	}
	m.Specs = append(m.Specs, &agentv1.TaskSpec{
		Job: task.Job, Spec: task.Spec, Task: proto.CloneOf(spec), Packages: packages, Images: s.images(task),
	})
	return nil
}

// spec is what the node is to run.
func (s *session) spec(task state.HeldTask) (*apiv1.Task, error) {
	switch task.Spec {
	case state.StartSpec:
	case state.PrefetchSpec:
		return lifecycle.PrefetchTask(), nil
	default:
		return s.server.cfg.State.Spec(task.Job, task.Spec)
	}
	node, _ := s.server.cfg.State.NodeByUID(s.node.Uid)
	return lifecycle.StartTask(node.GetNode().GetStartTask()), nil
}

// token is what the task may speak to this service with, where it has asked for it; without one its command sees no variable.
func (s *session) token(task state.HeldTask) string {
	if !task.Token {
		return ""
	}
	token, err := s.server.cfg.TaskToken(task.Account, task.JobID, task.TaskID)
	if err != nil {
		s.server.cfg.Logger.Error("task gets no token", "job", task.JobID, "task", task.TaskID, "err", err)
		return ""
	}
	return token
}

func accountsOf(accounts []*apiv1.UserAccount) []*agentv1.NodeAccount {
	var out []*agentv1.NodeAccount
	for _, a := range accounts {
		account := &agentv1.NodeAccount{Name: a.Name, Admin: a.ElevationLevel == apiv1.ElevationLevel_ELEVATION_LEVEL_ADMIN}
		if c := a.LinuxUserConfiguration; c != nil && c.Uid != nil {
			account.Uid, account.Gid = proto.Uint32(uint32(c.GetUid())), proto.Uint32(uint32(c.GetGid()))
		}
		out = append(out, account)
	}
	return out
}

// packages finds the archives of application packages. A version that is gone has no archive: its task fails with ApplicationPackageError.
func (s *session) packages(refs []*apiv1.ApplicationPackageReference) ([]*agentv1.PackageLocation, error) {
	var out []*agentv1.PackageLocation
	for _, ref := range refs {
		rec, err := s.server.cfg.State.Application(s.node.Account, ref.ApplicationId)
		if err != nil {
			return nil, err
		}
		out = append(out, packageLocation(rec.GetApplication(), ref))
	}
	return out, nil
}

// packageLocation spells the application and its version as they were made, however the reference does: nodes make directories and variables of them.
func packageLocation(app *apiv1.ApplicationDetail, ref *apiv1.ApplicationPackageReference) *agentv1.PackageLocation {
	loc := &agentv1.PackageLocation{ApplicationId: ref.ApplicationId, Version: ref.Version, Fault: lifecycle.PackageFault(app, ref.Version)}
	if app != nil && loc.Version == "" {
		loc.Version, loc.IsDefault = app.DefaultVersion, true
	}
	if loc.Fault == "" {
		p := app.Packages[lifecycle.FindPackage(app, loc.Version)]
		loc.ApplicationId, loc.Version = app.Id, p.Version
		loc.StorageKey, loc.Sha256, loc.Size = p.StorageKey, p.Sha256, p.Size
	}
	return loc
}
