package task

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"golang.org/x/sync/errgroup"
)

// ErrUnknownSpec says that an assignment refers to a job or spec that this session has not sent: begin a new session.
var ErrUnknownSpec = errors.New("assignment refers to a job or spec that was not sent")

// Supervisor runs commands and outlives the agent. Start, Stop and Forget are called by one goroutine, in the order in
// which they matter; Renew beside them.
type Supervisor interface {
	// Start takes commands over. Each ends in an Event, one that cannot be started too. An error means that it is not
	// known which of them were taken over.
	Start(ctx context.Context, commands []Command) error
	// Stop ends commands: gracefully, then by force. Unknown ones are passed over.
	Stop(ctx context.Context, refs []Ref) error
	// Forget lets go of what is remembered of ended commands.
	Forget(ctx context.Context, refs []Ref) error
	// List gives every command that runs, or has ended and is not forgotten. Events of what happens after List begins
	// are delivered.
	List(ctx context.Context) ([]Event, error)
	// Events hands on what happens until ctx ends; handle must not be called concurrently.
	Events(ctx context.Context, handle func([]Event)) error
	// Renew sets the time at which all commands are stopped unless it is renewed before.
	Renew(ctx context.Context, until time.Time) error
}

// Command is what the supervisor is to run.
type Command struct {
	Ref       Ref
	Lingers   bool // what it leaves behind with exit code 0 goes on until it is stopped
	Args      []string
	Env       []string
	Dir       string // absolute, as the next two
	Stdout    string
	Stderr    string
	WallClock time.Duration // 0: no limit
	User      User
	// Slots of all that the node has are the command's share of it.
	Slots, OfSlots int32
}

// Event is news of a command.
type Event struct {
	Ref     Ref
	Running bool // it runs; nothing else is set
	Left    bool // its main process has exited with 0, and it lingers; nothing else is set
	// Error says why it could not be started.
	Error error
	Exit  Exited
}

// Stager brings files in and out. A Failed, or an error that carries a code (batcherr), becomes the task's failure
// information.
type Stager interface {
	// In brings packages and resource files; it returns the packages' variables as NAME=value.
	In(ctx context.Context, w Work) (variables []string, err error)
	// Out uploads the output files whose condition the exit code meets.
	Out(ctx context.Context, w Work, exitCode int32) error
}

// Work is an attempt as staging sees it.
type Work struct {
	Ref         Ref
	Root        string // absolute path of the node's root
	Directory   string // relative to it, with slashes: exists, with Place in it
	Place       string // what the command's files and its working directory are in, relative to Directory; empty: Directory
	Fetching    bool   // a primary's own resource files are to be brought, after what all instances get
	TaskID      string
	Kind        agentv1.AssignmentKind
	Job         *agentv1.JobContext
	Spec        *agentv1.TaskSpec
	Store       *apiv1.StoreAccess // nil: none was given
	User        User               // whose the files become; for In only
	Environment []string           // NAME=value; for Out only
}

// Config says what a Runner works with.
type Config struct {
	StateDir   string // absolute; holds the journal
	Place      Place  // AccountURL may be empty until the first Configure
	BootID     string
	Fresh      bool // the node has just joined: that there is no journal means nothing
	Users      Users
	Supervisor Supervisor
	Stager     Stager
	Containers Containers // nil: the node has none
	Split      func(commandLine string) ([]string, error)
	Logger     *slog.Logger
	Now        func() time.Time // nil: time.Now
}

// Runner runs attempts: it owns their states, takes assignments and observations, and carries out what Step decides.
type Runner struct {
	cfg     Config
	journal *journal
	dirs    *directories
	numbers *numbers
	outbox  *Outbox
	lease   lease
	inbox   mailbox[func()]
	hands   mailbox[handful]
	workers sync.WaitGroup // staging and uploads
	work    context.Context
	found   map[Ref]bool // what was live when the runner was opened

	// What follows belongs to the goroutine of the loop.
	book book
	fx   effects
}

// book is what the loop knows.
type book struct {
	live      map[Ref]*attempt
	owners    map[string]*attempt // by directory: who began last in it
	retained  *retention
	queue     queue
	slots     int32 // of the node
	used      int32
	specs     specs
	store     *apiv1.StoreAccess
	uncertain bool // what was begun before this start may be unknown: see add
	confirmed bool // the session has said what it wants
}

// attempt is an attempt with what is needed to act for it. All but state and what follows it is set once.
type attempt struct {
	ref        Ref
	assignment *agentv1.Assignment
	job        *agentv1.JobContext // nil: taken over from the supervisor, not assigned in this life
	spec       *agentv1.TaskSpec
	own        *agentv1.TaskSpec // the spec as it is for this task, see ownSpec
	directory  string
	priority   int32
	slots      int32
	arrival    uint64

	state      State
	journaled  bool
	variables  []string           // of packages
	cancel     context.CancelFunc // of staging or upload that is under way
	postponed  bool               // staging or an upload waits for a session, a lease or a spec
	unlaunched bool               // the launch waits for a session: see Unlaunched
	settling   bool               // its command has ended, and what became of its container is being found out
	followers  []*attempt         // wait for the directory
	ended      chan struct{}      // closed when it has ended; nil: nobody asked
}

// Run works until ctx ends. Commands go on running under the supervisor.
func (r *Runner) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	r.work = ctx
	defer r.close()
	group.Go(func() error { return r.loop(ctx) })
	group.Go(func() error { return r.handle(ctx) })
	group.Go(func() error { return r.clean(ctx) })
	group.Go(func() error { return r.cfg.Supervisor.Events(ctx, r.Observe) })
	if r.cfg.Containers != nil {
		group.Go(func() error { r.cfg.Containers.Clean(ctx, r.found); return nil })
	}
	err := group.Wait()
	r.workers.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (r *Runner) close() {
	r.journal.close()
	r.dirs.close()
}

// Outbox is where reports are fetched.
func (r *Runner) Outbox() *Outbox { return r.outbox }

// loop carries out what is posted; everything that came meanwhile shares one journal write and one batch of each kind.
func (r *Runner) loop(ctx context.Context) error {
	tick := time.NewTicker(bucketSeconds * time.Second)
	defer tick.Stop()
	r.recoverLive()
	for {
		r.admit()
		r.flush()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			r.sweep()
		case <-r.inbox.ready:
			for _, f := range r.inbox.take() {
				f()
			}
		}
	}
}

// do runs f in the loop and waits for it.
func (r *Runner) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	r.inbox.put(func() { f(); close(done) })
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// observe applies an observation to an attempt.
func (r *Runner) observe(a *attempt, obs Observation) {
	held := a.state.Stage.HoldsSlots()
	state, actions := Step(a.state, obs)
	a.state = state
	if holds := state.Stage.HoldsSlots(); holds != held {
		r.occupy(a, holds)
	}
	if a.ended != nil && state.Stage >= Ended {
		close(a.ended)
		a.ended = nil
	}
	for _, action := range actions {
		r.act(a, action)
	}
}

func (r *Runner) occupy(a *attempt, holds bool) {
	if holds {
		r.book.used += a.slots
		return
	}
	r.book.used -= a.slots
	for _, follower := range a.followers {
		r.book.queue.push(follower)
	}
	a.followers = nil
}

// admit begins attempts whose turn it is while slots are free. An attempt that is too wide for the node runs alone.
func (r *Runner) admit() {
	if !r.book.confirmed || !r.lease.valid(r.cfg.Now()) {
		return
	}
	for a := r.book.queue.next(); a != nil; a = r.book.queue.next() {
		if a.slots > 0 && r.book.used > 0 && r.book.used+a.slots > r.book.slots || r.book.slots == 0 {
			return
		}
		r.book.queue.pop()
		if owner := r.book.owners[a.directory]; owner != nil && owner.state.Stage.HoldsSlots() {
			owner.followers = append(owner.followers, a)
			continue
		}
		r.begin(a)
	}
}

func (r *Runner) begin(a *attempt) {
	if _, kept := r.book.retained.get(a.directory); kept {
		r.release(a.directory)
	}
	r.book.owners[a.directory] = a
	r.observe(a, Admitted{At: r.nanos()})
}

// release makes a directory nobody's: it is deleted or given to another attempt.
func (r *Runner) release(directory string) {
	kept, _ := r.book.retained.get(directory)
	r.book.retained.remove(directory)
	r.journal.add(retainedRecord(kept.ref, directory, -1))
}

func (r *Runner) nanos() int64 { return r.cfg.Now().UnixNano() }

// sweep deletes the directories whose retention is over.
func (r *Runner) sweep() {
	for _, directory := range r.book.retained.due(r.cfg.Now().Unix()) {
		r.release(directory)
		r.fx.clean = append(r.fx.clean, directory)
	}
}

// Observe takes news from the supervisor.
func (r *Runner) Observe(events []Event) {
	r.inbox.put(func() {
		for i := range events {
			r.hear(&events[i])
		}
	})
}

func (r *Runner) hear(e *Event) {
	a := r.book.live[e.Ref.own()]
	if a != nil && e.Ref.Coordination == (a.state.Stage == Coordinating) {
		a.unlaunched = false
	}
	if e.Ref.Coordination {
		r.hearCoordination(a, e)
		return
	}
	switch {
	case e.Running && (a == nil || a.state.Stage >= Ended):
		// An earlier life of the agent had handed it over, and this one has settled it otherwise.
		r.fx.kills = append(r.fx.kills, e.Ref)
	case e.Running:
	case a == nil:
		r.fx.forgets = append(r.fx.forgets, e.Ref)
	case e.Error != nil:
		r.observe(a, LaunchFailed{At: r.nanos(), Failure: launchFailure(e.Error)})
	case a.mayBeContained():
		r.settle(a, e.Exit)
	default:
		r.observe(a, e.Exit)
	}
}
