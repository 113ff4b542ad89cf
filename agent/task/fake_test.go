package task

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/batcherr"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// fakeSupervisor runs nothing: a test says how commands end. It outlives Runners as the real one outlives agents.
type fakeSupervisor struct {
	mu       sync.Mutex
	commands map[Ref]Command
	starts   map[Ref]int
	ended    map[Ref]Event
	stopped  map[Ref]bool
	left     map[Ref]bool
	pending  []Event
	news     chan struct{}
	instant  bool // commands end at once, with 0
	swallow  bool // commands get lost on their way
	lease    time.Time
}

func newFakeSupervisor() *fakeSupervisor {
	return &fakeSupervisor{
		commands: map[Ref]Command{}, starts: map[Ref]int{}, ended: map[Ref]Event{}, stopped: map[Ref]bool{}, left: map[Ref]bool{}, news: make(chan struct{}, 1),
	}
}

func (f *fakeSupervisor) tell(events ...Event) {
	f.pending = append(f.pending, events...)
	select {
	case f.news <- struct{}{}:
	default:
	}
}

func (f *fakeSupervisor) Start(_ context.Context, commands []Command) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range commands {
		f.starts[c.Ref]++
		if f.swallow {
			continue
		}
		f.commands[c.Ref] = c
		switch {
		case c.Args[0] == "missing":
			delete(f.commands, c.Ref)
			f.tell(Event{Ref: c.Ref, Error: os.ErrNotExist})
		case f.instant:
			f.finishLocked(c.Ref, Exited{At: time.Now().UnixNano()})
		}
	}
	return nil
}

func (f *fakeSupervisor) Stop(_ context.Context, refs []Ref) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, ref := range refs {
		f.stopped[ref] = true
		if _, ok := f.commands[ref]; ok {
			f.finishLocked(ref, Exited{At: time.Now().UnixNano(), Reason: EndedOnStop, ExitCode: 143})
		}
	}
	return nil
}

func (f *fakeSupervisor) finish(ref Ref, exit Exited) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.finishLocked(ref, exit)
}

// leave ends the main process of a command that lingers.
func (f *fakeSupervisor) leave(ref Ref) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left[ref] = true
	f.tell(Event{Ref: ref, Left: true})
}

func (f *fakeSupervisor) finishLocked(ref Ref, exit Exited) {
	delete(f.commands, ref)
	f.ended[ref] = Event{Ref: ref, Exit: exit}
	f.tell(f.ended[ref])
}

func (f *fakeSupervisor) Forget(_ context.Context, refs []Ref) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, ref := range refs {
		delete(f.ended, ref)
	}
	return nil
}

func (f *fakeSupervisor) List(context.Context) ([]Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Event
	for ref := range f.commands {
		out = append(out, Event{Ref: ref, Running: !f.left[ref], Left: f.left[ref]})
	}
	for _, e := range f.ended {
		out = append(out, e)
	}
	f.pending = nil
	return out, nil
}

func (f *fakeSupervisor) Events(ctx context.Context, handle func([]Event)) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.news:
			f.mu.Lock()
			events := f.pending
			f.pending = nil
			f.mu.Unlock()
			handle(events)
		}
	}
}

func (f *fakeSupervisor) Renew(_ context.Context, until time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lease = until
	return nil
}

func (f *fakeSupervisor) runs(ref Ref) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.commands[ref]
	return ok
}

func (f *fakeSupervisor) started(ref Ref) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.starts[ref]
}

// fakeStager fails for resource files and output files whose names say so, and waits for hold.
type fakeStager struct {
	hold chan struct{} // nil: do not wait
	mu   sync.Mutex
	outs []Work
}

func (s *fakeStager) In(ctx context.Context, w Work) ([]string, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	files, where := w.Spec.GetTask().GetResourceFiles(), "/wd/"
	if several := w.Spec.GetTask().GetMultiInstanceSettings(); several != nil && !w.Fetching {
		files, where = several.GetCommonResourceFiles(), "/"
	}
	for _, file := range files {
		if file.GetFilePath() == "missing" {
			return nil, batcherr.New(batcherr.KindNotFound, batcherr.CodeBlobNotFound, "no such blob")
		}
		path := absolute(w.Root, w.Directory+where+file.GetFilePath())
		if err := os.WriteFile(path, []byte("input"), 0o600); err != nil {
			return nil, err
		}
	}
	return []string{"AZ_BATCH_APP_PACKAGE_tool=/apps/tool"}, nil
}

func (s *fakeStager) Out(ctx context.Context, w Work, _ int32) error {
	s.mu.Lock()
	s.outs = append(s.outs, w)
	s.mu.Unlock()
	if err := s.wait(ctx); err != nil {
		return err
	}
	for _, file := range w.Spec.GetTask().GetOutputFiles() {
		if file.GetFilePattern() == "denied" {
			return batcherr.New(batcherr.KindForbidden, batcherr.CodeFileUploadAccessDenied, "not allowed")
		}
	}
	return nil
}

func (s *fakeStager) wait(ctx context.Context) error {
	if s.hold == nil {
		return nil
	}
	select {
	case <-s.hold:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// node is a Runner with everything around it. The coordinator is the test.
type node struct {
	t          *testing.T
	cfg        Config
	supervisor *fakeSupervisor
	stager     *fakeStager
	runner     *Runner
	stop       func()
	batch      uint64
	newest     map[Ref]*agentv1.AttemptReport
}

func newNode(t *testing.T) *node {
	base := t.TempDir()
	n := &node{t: t, supervisor: newFakeSupervisor(), stager: &fakeStager{}}
	n.cfg = Config{
		StateDir: base, Place: place(filepath.Join(base, "root")), BootID: "boot-1", Fresh: true,
		Supervisor: n.supervisor, Stager: n.stager, Logger: slog.New(slog.DiscardHandler),
		Split: func(line string) ([]string, error) {
			if strings.HasPrefix(line, `"`) {
				return nil, errors.New("unbalanced quote")
			}
			return strings.Fields(line), nil
		},
	}
	n.start()
	t.Cleanup(func() { n.stop() })
	return n
}

// start begins a life of the agent; end it with stop.
func (n *node) start() {
	n.t.Helper()
	runner, err := Open(n.t.Context(), n.cfg)
	require.NoError(n.t, err)
	n.runner, n.newest, n.batch = runner, map[Ref]*agentv1.AttemptReport{}, 0
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- runner.Run(ctx) }()
	n.stop = func() {
		cancel()
		require.NoError(n.t, <-done)
		n.stop = func() {}
	}
}

// register is what a session does first.
func (n *node) register(slots int32) {
	n.t.Helper()
	ctx := n.t.Context()
	require.NoError(n.t, n.runner.Configure(ctx, &agentv1.Welcome{TaskSlots: slots}))
	require.NoError(n.t, n.runner.Renew(ctx, time.Now().Add(time.Hour)))
	n.runner.Outbox().Rewind()
}

func (n *node) assign(m *agentv1.Assignments) {
	n.t.Helper()
	require.NoError(n.t, n.runner.Assign(n.t.Context(), m))
}

// reports takes what is in the outbox until cond holds of the newest reports.
func (n *node) reports(cond func() bool) {
	n.t.Helper()
	require.Eventually(n.t, func() bool {
		n.batch++
		for _, report := range n.runner.Outbox().Take(n.batch, 100) {
			n.newest[RefOf(report.GetRef())] = report
		}
		return cond()
	}, time.Minute, time.Millisecond)
}

func (n *node) phase(ref Ref, phase agentv1.AttemptPhase) *agentv1.AttemptReport {
	n.t.Helper()
	n.reports(func() bool { return n.newest[ref].GetPhase() == phase })
	return n.newest[ref]
}

// commit acknowledges everything that was taken.
func (n *node) commit() {
	for batch := range n.batch {
		n.runner.Outbox().Committed(batch + 1)
	}
}

func (n *node) dir(task string) string {
	return filepath.Join(n.cfg.Place.Root, "workitems", "j", "job-1", task)
}

func (n *node) eventually(cond func() bool) {
	n.t.Helper()
	require.Eventually(n.t, cond, time.Minute, time.Millisecond)
}

// idle says that nothing is held.
func (n *node) idle() bool {
	held, err := n.runner.Held(n.t.Context())
	require.NoError(n.t, err)
	return len(held) == 0
}

func at(task uint64) Ref { return Ref{Job: 1, Task: task, Attempt: 1} }

// set is an Assignments message of tasks of job 1 ("j") with one spec.
func set(complete bool, task *apiv1.Task, tasks ...uint64) *agentv1.Assignments {
	m := &agentv1.Assignments{
		Complete: complete,
		Jobs:     []*agentv1.JobContext{{Job: 1, JobId: "j", Environment: []*apiv1.EnvironmentSetting{setting("OF", "job")}}},
		Specs:    []*agentv1.TaskSpec{{Job: 1, Spec: 1, Task: task}},
	}
	for _, number := range tasks {
		m.Add = append(m.Add, &agentv1.Assignment{Ref: at(number).Message(), Spec: 1, TaskId: name(number), Slots: 1})
	}
	return m
}

func name(task uint64) string { return "t" + string(rune('0'+task)) }

func command(line string) *apiv1.Task { return &apiv1.Task{CommandLine: line} }

func removal(ref Ref, kind agentv1.RemovalKind) *agentv1.Assignments {
	return &agentv1.Assignments{Remove: []*agentv1.Removal{{Ref: ref.Message(), Kind: kind, JobId: "j", TaskId: name(ref.Task)}}}
}
