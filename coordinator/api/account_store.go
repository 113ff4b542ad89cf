package api

import (
	"context"
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/trust"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
	"github.com/batchyard/batchyard/storage"
)

// Stores makes the places in which accounts keep their objects.
type Stores interface {
	// Plan says where a new account's objects are to be, with credentials of its own; given is what an administrator has chosen, or nil. Nothing is
	// made. A plan without an endpoint is one in the cluster's own store.
	Plan(ctx context.Context, account string, given *apiv1.StoreAccess) (*apiv1.StoreAccess, error)
	// Rekey changes the secret of a plan in the cluster's own store.
	Rekey(plan *apiv1.StoreAccess) error
	// Provide makes what the plan says: credentials that reach the plan's bucket and nothing else, and the bucket. Doing it again is no error.
	Provide(ctx context.Context, plan *apiv1.StoreAccess) error
	// Withdraw ends the credentials of the cluster's own store that none of the plans has. The objects stay.
	Withdraw(ctx context.Context, plans []*apiv1.StoreAccess) error
	// Complete adds to a plan what all that use the cluster's own store share.
	Complete(plan *apiv1.StoreAccess) *apiv1.StoreAccess
	// Open gives the objects of a complete plan, and what closes it.
	Open(plan *apiv1.StoreAccess) (storage.Store, func(), error)
}

// storeContext binds sealed credentials to their account.
func storeContext(account string) []byte { return []byte("store of " + account) }

func (c *core) sealPlan(account string, plan *apiv1.StoreAccess) ([]byte, error) {
	raw, err := proto.Marshal(plan)
	if err != nil {
		return nil, internal(err)
	}
	sealed, err := c.Sealer.Seal(trust.NewSecret(raw), storeContext(account))
	if err != nil {
		return nil, internal(err)
	}
	return sealed, nil
}

// plan is where an account's objects are; nil where it has no store.
func (c *core) plan(rec *raftlogv1.AccountRecord) (*apiv1.StoreAccess, error) {
	if len(rec.SealedStore) == 0 {
		return nil, nil
	}
	secret, err := c.Sealer.Unseal(rec.SealedStore, storeContext(rec.Account.Id))
	if err != nil {
		return nil, internal(err)
	}
	plan := &apiv1.StoreAccess{}
	if err := proto.Unmarshal(secret.Reveal(), plan); err != nil {
		return nil, internal(err)
	}
	return plan, nil
}

// Store is how an account's objects are reached; nil where it has no store.
func (s *Server) Store(account string) (*apiv1.StoreAccess, error) { return s.core.store(account) }

func (c *core) store(account string) (*apiv1.StoreAccess, error) {
	rec, ok := c.State.Account(account)
	if !ok {
		return nil, nil
	}
	plan, err := c.plan(rec)
	if plan == nil || err != nil {
		return nil, err
	}
	return c.Stores.Complete(plan), nil
}

// ProvideStores makes in the store what the state says of the accounts, and ends what it does not say: for when an earlier change of both was cut
// short, or the store has lost what it knew.
func (s *Server) ProvideStores(ctx context.Context) error {
	s.core.changing.Lock()
	defer s.core.changing.Unlock()
	var errs []error
	for _, rec := range s.core.State.Accounts() {
		plan, err := s.core.plan(rec)
		if err == nil && plan != nil {
			err = s.core.Stores.Provide(ctx, plan)
		}
		errs = append(errs, err)
	}
	return errors.Join(append(errs, s.core.withdraw(ctx))...)
}

// withdraw ends the credentials that no account has any more.
func (c *core) withdraw(ctx context.Context) error {
	var plans []*apiv1.StoreAccess
	for _, rec := range c.State.Accounts() {
		plan, err := c.plan(rec)
		if err != nil {
			return err
		}
		if plan != nil {
			plans = append(plans, plan)
		}
	}
	return c.Stores.Withdraw(ctx, plans)
}

func (s *accountService) GetStore(ctx context.Context, req *apiv1.GetStoreRequest) (*apiv1.StoreAccess, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	rec, err := s.account(ctx, g, req.GetAccountId())
	if err != nil {
		return nil, err
	}
	plan, err := s.plan(rec)
	if err != nil {
		return nil, err
	}
	if plan == nil {
		return nil, batcherr.NotFound(batcherr.CodeStorageAccountNotFound, "The account has no object store.")
	}
	return s.Stores.Complete(plan), nil
}

func (s *accountService) SetStore(ctx context.Context, req *apiv1.SetStoreRequest) (*apiv1.Empty, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	if req.GetStore() == nil {
		return nil, batcherr.MissingProperty("store")
	}
	if err := checkGiven(req.GetStore()); err != nil {
		return nil, err
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	rec, err := s.account(ctx, g, req.GetAccountId())
	if err != nil {
		return nil, err
	}
	plan, err := s.Stores.Plan(ctx, rec.Account.Id, req.GetStore())
	if err != nil {
		return nil, err
	}
	if err := s.Stores.Provide(ctx, plan); err != nil {
		return nil, notProvided(plan, err)
	}
	if err := s.putPlan(ctx, g, rec, plan); err != nil {
		return nil, err
	}
	return &apiv1.Empty{}, s.withdraw(ctx)
}

func (s *accountService) RegenerateStoreKey(ctx context.Context, req *apiv1.RegenerateStoreKeyRequest) (*apiv1.StoreAccess, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	rec, err := s.account(ctx, g, req.GetAccountId())
	if err != nil {
		return nil, err
	}
	plan, err := s.plan(rec)
	switch {
	case err != nil:
		return nil, err
	case plan == nil:
		// An account of before accounts had credentials of their own keeps its bucket.
		plan, err = s.Stores.Plan(ctx, rec.Account.Id, nil)
		if err == nil && rec.Account.Bucket != "" {
			plan.Bucket = rec.Account.Bucket
		}
	default:
		err = s.Stores.Rekey(plan)
	}
	if err != nil {
		return nil, err
	}
	// The state first: what it says is made again by the next leader, what the store alone knows is forgotten.
	if err := s.putPlan(ctx, g, rec, plan); err != nil {
		return nil, err
	}
	if err := s.Stores.Provide(ctx, plan); err != nil {
		return nil, notProvided(plan, err)
	}
	return s.Stores.Complete(plan), nil
}

// putPlan records where an account's objects are from now on.
func (c *core) putPlan(ctx context.Context, g grant, rec *raftlogv1.AccountRecord, plan *apiv1.StoreAccess) error {
	sealed, err := c.sealPlan(rec.Account.Id, plan)
	if err != nil {
		return err
	}
	changed := proto.CloneOf(rec)
	changed.SealedStore, changed.Account.Bucket = sealed, plan.Bucket
	return c.putAccount(ctx, g, changed, false)
}

// checkGiven checks the place that an administrator has chosen.
func checkGiven(given *apiv1.StoreAccess) error {
	switch {
	case given.GetAccessKey() == "":
		return batcherr.MissingProperty("store.accessKey")
	case given.GetSecretKey() == "":
		return batcherr.MissingProperty("store.secretKey")
	}
	if e := given.GetEndpoint(); e != "" {
		loc, err := storage.ParseLocation(e)
		if err != nil || loc.Scheme != storage.HTTPS && loc.Scheme != storage.HTTP {
			return invalid("store.endpoint", e, "The endpoint is a URL: https://HOST[:PORT].")
		}
	}
	if b := given.GetBucket(); b != "" && storage.ValidateBucket(b) != nil {
		return invalid("store.bucket", b, "A bucket's name is 3 to 63 lower-case letters, digits, dots and hyphens.")
	}
	return nil
}

func notProvided(plan *apiv1.StoreAccess, err error) error {
	return batcherr.Unavailable("The account's bucket %q can't be made in the object store.", plan.Bucket).Wrap(err)
}
