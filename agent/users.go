package agent

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"sync"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/trust"
)

// nodeUsers are the users with whom people log in to the node.
type nodeUsers struct {
	path string      // of the list of users that were made here
	mu   *sync.Mutex // the tools that change users lock the same files
}

const usersName = "users.json"

func (o *orders) users() *nodeUsers {
	return &nodeUsers{path: filepath.Join(o.cfg.DataDir, usersName), mu: &o.userMu}
}

// known are the users that were made through this node; others of the machine are none of its business.
func (u *nodeUsers) known() []string {
	data, err := trust.ReadPrivate(u.path)
	var out []string
	if err != nil || json.Unmarshal(data, &out) != nil {
		return nil
	}
	return out
}

func (u *nodeUsers) save(names []string) error {
	data, err := json.Marshal(names)
	if err != nil {
		return err
	}
	return trust.WritePrivate(u.path, data)
}

// mine says that the user was made here, or the error that there is none.
func (u *nodeUsers) mine(name string) error {
	if !slices.Contains(u.known(), name) {
		return batcherr.Of(batcherr.CodeNodeUserNotFound)
	}
	return nil
}

func noUsers(reason string) error {
	return batcherr.Of(batcherr.CodeOperationNotValidOnNode).With(batcherr.ValueReason, reason)
}
