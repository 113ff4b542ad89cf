package task

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// User is whom a task's command runs as, and whose its directory is; not Set: the agent's own user.
type User struct {
	UID, GID uint32
	Set      bool
	// Open lets the node's other tasks read what is in the directory.
	Open bool
	// All gives the user all of the task's directory, not only the working directory: instances of a task share files there.
	All bool
}

// Users says what a node can do for tasks' users.
type Users struct {
	// Root: the agent may act as other users.
	Root bool
	// Auto gives tasks without a named account users of their own; otherwise they run as the agent.
	Auto bool
	// Admin lets tasks run as root that ask for it, also where Auto keeps the others from it.
	Admin bool
}

// Users of tasks are numbers that no system hands out: their names stand nowhere.
const (
	poolUser = lifecycle.FirstTaskUser // of all tasks that share the pool's automatic user
	// TasksGroup is a group that every task is in: of what start and preparation tasks leave for the others.
	TasksGroup   = lifecycle.FirstTaskUser + 1
	firstAccount = lifecycle.FirstTaskUser + 1_000_000
	accounts     = 50_000_000
	firstOwn     = lifecycle.FirstTaskUser + 100_000_000 // each task's own
	owns         = 100_000_000
)

// choose finds a task's user; own gives the number of one that is the task's own.
func (u Users) choose(wanted *apiv1.UserIdentity, named []*agentv1.NodeAccount, own func() (uint32, error)) (User, error) {
	if name := wanted.GetUsername(); name != "" {
		return u.account(name, named)
	}
	auto := wanted.GetAutoUser()
	if auto.GetElevationLevel() == apiv1.ElevationLevel_ELEVATION_LEVEL_ADMIN {
		return u.root()
	}
	if !u.Auto {
		return User{}, nil
	}
	if auto != nil && auto.GetScope() != apiv1.AutoUserScope_AUTO_USER_SCOPE_TASK {
		return userOf(poolUser), nil
	}
	uid, err := own()
	return userOf(uid), err
}

func (u Users) account(name string, named []*agentv1.NodeAccount) (User, error) {
	for _, a := range named {
		switch {
		case !strings.EqualFold(a.GetName(), name):
			continue
		case a.GetAdmin():
			return u.root()
		case !u.Root:
			return User{}, refused("The node's agent does not run as root: it can't run tasks as other users.")
		case a.Uid != nil:
			return User{UID: a.GetUid(), GID: a.GetGid(), Set: true}, nil
		}
		hash := fnv.New32a() // the same on every node
		_, _ = hash.Write([]byte(strings.ToLower(name)))
		return userOf(firstAccount + hash.Sum32()%accounts), nil
	}
	return User{}, refused(fmt.Sprintf("The pool has no user account %q.", name))
}

func (u Users) root() (User, error) {
	switch {
	case !u.Root:
		return User{}, refused("The node's agent does not run as root: tasks can't be administrators.")
	case u.Auto && !u.Admin:
		return User{}, refused("The node does not let tasks be administrators; its agent's option --admin-tasks would.")
	}
	return User{Set: true}, nil
}

func userOf(uid uint32) User { return User{UID: uid, GID: uid, Set: true} }

func refused(reason string) error {
	return batcherr.New(batcherr.KindInvalid, batcherr.CodeTaskSchedulingConstraintFailed, "%s", reason)
}

const (
	numbersName  = "task-users"
	numbersBlock = 1024
)

// numbers hands out the tasks' own users, one after the other. It writes ahead which may be in use, so that a later life of the agent begins
// with others: files of earlier tasks may still be there.
type numbers struct {
	path string

	mu          sync.Mutex
	next, limit uint64
}

func newNumbers(stateDir string) *numbers {
	return &numbers{path: filepath.Join(stateDir, numbersName)}
}

func (n *numbers) take() (uint32, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.next == n.limit {
		if err := n.reserve(); err != nil {
			return 0, fmt.Errorf("finding a user for a task: %w", err)
		}
	}
	n.next++
	return firstOwn + uint32((n.next-1)%owns), nil
}

func (n *numbers) reserve() error {
	var begin uint64
	text, err := os.ReadFile(n.path)
	if err == nil {
		begin, err = strconv.ParseUint(string(text), 10, 64)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(n.path+".new", strconv.AppendUint(nil, begin+numbersBlock, 10), 0o600); err != nil {
		return err
	}
	if err := os.Rename(n.path+".new", n.path); err != nil {
		return err
	}
	n.next, n.limit = begin, begin+numbersBlock
	return nil
}

// userFor finds an attempt's user. One of its own is made with its directory, and afterwards the directory says who that is.
func (r *Runner) userFor(kind agentv1.AssignmentKind, job *agentv1.JobContext, spec *agentv1.TaskSpec, made string) (User, error) {
	own := r.numbers.take
	if made != "" {
		own = func() (uint32, error) { return r.dirs.owner(made) }
	}
	user, err := r.cfg.Users.choose(spec.GetTask().GetUserIdentity(), job.GetAccounts(), own)
	shared := kind == agentv1.AssignmentKind_ASSIGNMENT_KIND_START || kind == agentv1.AssignmentKind_ASSIGNMENT_KIND_PREPARATION
	user.Open = shared && r.cfg.Users.Root
	user.All = spec.GetTask().GetMultiInstanceSettings() != nil
	return user, err
}
