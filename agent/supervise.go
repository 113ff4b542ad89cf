package agent

import (
	"context"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/batchyard/batchyard/agent/process"
	"github.com/batchyard/batchyard/agent/task"
	"github.com/batchyard/batchyard/internal/batcherr"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

// supervisor speaks for package task with the supervisor process.
type supervisor struct {
	client *process.Client
	grace  time.Duration
	limits func(slots, of int32) *agentv1.ProcessLimits // of a command with so many of the node's slots

	mu      sync.Mutex
	pending []task.Event
	news    chan struct{}
	pumped  chan struct{}
}

func newSupervisor(client *process.Client, grace time.Duration, limits func(slots, of int32) *agentv1.ProcessLimits) *supervisor {
	s := &supervisor{client: client, grace: grace, limits: limits, news: make(chan struct{}, 1), pumped: make(chan struct{})}
	go s.pump()
	return s
}

// pump keeps the connection's events moving, also while nobody handles them yet. It ends with the connection.
func (s *supervisor) pump() {
	defer close(s.pumped)
	for events := range s.client.Events() {
		s.mu.Lock()
		for _, e := range events {
			if event, ok := eventOf(e); ok {
				s.pending = append(s.pending, event)
			}
		}
		s.mu.Unlock()
		select {
		case s.news <- struct{}{}:
		default:
		}
	}
}

// close ends the connection, not the supervisor.
func (s *supervisor) close() {
	_ = s.client.Close()
	<-s.pumped
}

// Start hands commands over.
func (s *supervisor) Start(_ context.Context, commands []task.Command) error {
	specs := make([]*agentv1.StartProcess, len(commands))
	for i := range commands {
		c := &commands[i]
		specs[i] = &agentv1.StartProcess{
			AttemptId: c.Ref.String(), Argv: c.Args, Env: c.Env, Dir: c.Dir, StdoutPath: c.Stdout, StderrPath: c.Stderr,
			GraceNanos: int64(s.grace), MaxWallClockNanos: int64(c.WallClock), Lingers: c.Lingers, Limits: s.limits(c.Slots, c.OfSlots),
		}
		if c.User.Set {
			specs[i].User = &agentv1.ProcessUser{Uid: c.User.UID, Gid: c.User.GID, Groups: []uint32{task.TasksGroup}}
			specs[i].NoNewPrivileges = c.User.UID != 0
		}
	}
	return s.client.Start(specs...)
}

// Stop ends commands.
func (s *supervisor) Stop(_ context.Context, refs []task.Ref) error {
	for _, ref := range refs {
		if err := s.client.Stop(ref.String(), s.grace); err != nil {
			return err
		}
	}
	return nil
}

// Forget lets go of ended commands.
func (s *supervisor) Forget(_ context.Context, refs []task.Ref) error {
	ids := make([]string, len(refs))
	for i, ref := range refs {
		ids[i] = ref.String()
	}
	return s.client.Ack(ids...)
}

// List gives what the supervisor holds.
func (s *supervisor) List(ctx context.Context) ([]task.Event, error) {
	list, err := s.client.List(ctx)
	if err != nil {
		return nil, err
	}
	var out []task.Event
	for _, held := range list.GetProcesses() {
		if event, ok := heldEvent(held); ok {
			out = append(out, event)
		}
	}
	return out, nil
}

// Events hands on what happens until ctx or the connection ends.
func (s *supervisor) Events(ctx context.Context, handle func([]task.Event)) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.pumped:
			return s.client.Err()
		case <-s.news:
			s.mu.Lock()
			events := s.pending
			s.pending = nil
			s.mu.Unlock()
			handle(events)
		}
	}
}

// Renew sets the time at which all commands are stopped.
func (s *supervisor) Renew(_ context.Context, until time.Time) error {
	left := time.Until(until)
	if left <= 0 {
		return nil // it is over: the supervisor sees to it by itself
	}
	return s.client.Renew(left, s.grace)
}

func heldEvent(held *agentv1.HeldProcess) (task.Event, bool) {
	switch {
	case held.GetExited() != nil:
		return exitEvent(held.GetExited())
	case held.GetStartFailed() != nil:
		return failEvent(held.GetStartFailed())
	case held.GetLingers() != nil:
		return leftEvent(held.GetAttemptId())
	default:
		ref, err := task.ParseRef(held.GetAttemptId())
		return task.Event{Ref: ref, Running: true}, err == nil
	}
}

// eventOf translates; ok is false for what is not about an attempt of ours.
func eventOf(e *agentv1.SupervisorEvent) (event task.Event, ok bool) {
	switch body := e.GetEvent().(type) {
	case *agentv1.SupervisorEvent_Started:
		ref, err := task.ParseRef(body.Started.GetAttemptId())
		return task.Event{Ref: ref, Running: true}, err == nil
	case *agentv1.SupervisorEvent_StartFailed:
		return failEvent(body.StartFailed)
	case *agentv1.SupervisorEvent_Exited:
		return exitEvent(body.Exited)
	case *agentv1.SupervisorEvent_Lingers:
		return leftEvent(body.Lingers.GetAttemptId())
	default:
		return task.Event{}, false
	}
}

func leftEvent(id string) (task.Event, bool) {
	ref, err := task.ParseRef(id)
	return task.Event{Ref: ref, Left: true}, err == nil
}

func exitEvent(m *agentv1.ProcessExited) (task.Event, bool) {
	ref, err := task.ParseRef(m.GetAttemptId())
	return task.Event{Ref: ref, Exit: task.Exited{
		At: m.GetEndedAt(), Reason: reasonOf(m.GetEnd()), ExitCode: m.GetExitCode(),
		Usage: task.Usage{
			UserCPU: time.Duration(m.GetUserNanos()), KernelCPU: time.Duration(m.GetSystemNanos()), MaxRSS: m.GetMaxRssBytes(),
		},
	}}, err == nil
}

func reasonOf(end agentv1.ProcessEnd) task.EndReason {
	switch end {
	case agentv1.ProcessEnd_PROCESS_END_BY_ITSELF:
		return task.EndedByItself
	case agentv1.ProcessEnd_PROCESS_END_STOPPED:
		return task.EndedOnStop
	case agentv1.ProcessEnd_PROCESS_END_WALL_CLOCK:
		return task.EndedByWallClock
	case agentv1.ProcessEnd_PROCESS_END_LEASE:
		return task.EndedByLease
	default: // shut down, lost, or unknown to this version
		return task.EndLost
	}
}

func failEvent(m *agentv1.ProcessStartFailed) (task.Event, bool) {
	ref, err := task.ParseRef(m.GetAttemptId())
	event := task.Event{Ref: ref}
	code := ""
	switch m.GetKind() {
	case agentv1.StartFailure_START_FAILURE_LEASE_OVER:
		event.Exit = task.Exited{At: m.GetFailedAt(), Reason: task.EndedByLease}
	case agentv1.StartFailure_START_FAILURE_SHUTTING_DOWN:
		event.Exit = task.Exited{At: m.GetFailedAt(), Reason: task.EndLost}
	case agentv1.StartFailure_START_FAILURE_PROGRAM_NOT_FOUND:
		code = batcherr.CodeCommandProgramNotFound
	case agentv1.StartFailure_START_FAILURE_DIRECTORY:
		code = batcherr.CodeResourceDirectoryCreateFailed
	case agentv1.StartFailure_START_FAILURE_OUTPUT_FILE:
		code = batcherr.CodeResourceFileCreateFailed
	default:
		code = batcherr.CodeCommandLaunchFailed
	}
	if code != "" {
		if strings.Contains(m.GetMessage(), syscall.ENOSPC.Error()) {
			code = batcherr.CodeDiskFull
		}
		event.Error = batcherr.New(batcherr.KindInvalid, code, "%s", m.GetMessage())
	}
	return event, err == nil
}
