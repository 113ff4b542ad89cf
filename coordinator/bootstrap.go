package coordinator

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"google.golang.org/grpc"

	"github.com/batchyard/batchyard/coordinator/api"
	"github.com/batchyard/batchyard/coordinator/identity"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// PrepareKeyring loads the cluster's secrets from a data directory, or makes those of a new cluster: for who needs a certificate before the coordinator runs.
func PrepareKeyring(dataDir, clusterName string, now time.Time) (*identity.Keyring, error) {
	dir := filepath.Join(dataDir, "identity")
	keyring, err := identity.LoadKeyring(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return keyring, err
	}
	if keyring, err = identity.NewKeyring(clusterName, now, rand.Reader); err != nil {
		return nil, err
	}
	return keyring, keyring.Save(dir)
}

// Local reaches the services of users from within the process. Calls need a caller: see AsAdmin.
func (c *Coordinator) Local() grpc.ClientConnInterface { return c.local }

// AsAdmin makes calls in this process those of the cluster's administrator, about one account.
func AsAdmin(ctx context.Context, account string) context.Context {
	return api.WithCaller(ctx, api.Caller{Account: account, Access: identity.AccessAdmin, Subject: "this coordinator"})
}

// AdminToken makes a token for everything, with account as the one that it means where none is named.
func (c *Coordinator) AdminToken(ctx context.Context, account string, life time.Duration) (string, error) {
	token, _, err := c.tokens.Issue(identity.Claims{Subject: "administrator", Account: account, Access: identity.AccessAdmin}, life)
	if err != nil {
		return "", err
	}
	return string(token.Reveal()), nil
}

// EnsureAccount makes an account unless there is one. Where the cluster makes no credentials in its store, the account gets the cluster's.
func (c *Coordinator) EnsureAccount(ctx context.Context, id string) error {
	accounts, ctx := apiv1.NewAccountServiceClient(c.local), AsAdmin(ctx, id)
	return retryUntil(ctx, func(ctx context.Context) error {
		attempt, cancel := context.WithTimeout(ctx, ensureAttempt)
		defer cancel()
		err := c.ensureAccount(attempt, accounts, id)
		if err != nil && ctx.Err() == nil {
			c.logger.Warn("the account can't be made yet: is the object store there, and its authority known?",
				"account", id, "store", c.cfg.Store.Endpoint, "err", err)
		}
		return err
	})
}

// ensureAttempt is how long one attempt may take: a store that does not answer is told of, not waited for in silence.
const ensureAttempt = 10 * time.Second

func (c *Coordinator) ensureAccount(ctx context.Context, accounts apiv1.AccountServiceClient, id string) error {
	rec, ok := c.state.Account(id)
	switch {
	case ok && (len(rec.SealedStore) > 0 || c.cfg.StoreUsers == nil):
		return nil
	case ok:
		// It was made when accounts had no credentials of their own.
		_, err := accounts.RegenerateStoreKey(ctx, &apiv1.RegenerateStoreKeyRequest{AccountId: id})
		return err
	}
	req := &apiv1.CreateAccountRequest{AccountId: id}
	if c.cfg.StoreUsers == nil {
		req.Store = &apiv1.StoreAccess{AccessKey: c.cfg.Store.AccessKey, SecretKey: c.cfg.Store.SecretKey, SessionToken: c.cfg.Store.SessionToken}
	}
	_, err := accounts.CreateAccount(ctx, req)
	return err
}
