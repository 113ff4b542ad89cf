package coordinator

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/base32"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/batchyard/batchyard/storage"
	"github.com/batchyard/batchyard/storage/s3"
)

// StoreUsers makes credentials in the cluster's object store, each of which reaches the buckets that it owns and nothing else.
type StoreUsers interface {
	// Put makes a user, or gives it another secret.
	Put(ctx context.Context, accessKey, secretKey string) error
	// Delete takes a user away; its buckets stay.
	Delete(ctx context.Context, accessKey string) error
	// List gives the users' access keys.
	List(ctx context.Context) ([]string, error)
	// MakeBucket makes a bucket that a user owns; storage.ErrExists when there is one of that name, whoever owns it.
	MakeBucket(ctx context.Context, bucket, accessKey string) error
	// GiveBucket makes a user the owner of a bucket that exists.
	GiveBucket(ctx context.Context, bucket, accessKey string) error
}

// accountStores are the places of the accounts' objects: buckets of the cluster's store with credentials that users makes, or where there are no
// users, places for which an administrator has given credentials.
type accountStores struct {
	cluster *apiv1.StoreAccess
	users   StoreUsers // nil: the cluster makes no credentials
}

const (
	accessKeyLetters = 20
	secretKeyLetters = 40
	bucketSuffix     = 4 // bytes
)

// Plan implements api.Stores. A plan without an endpoint is one whose credentials users makes.
func (s accountStores) Plan(ctx context.Context, account string, given *apiv1.StoreAccess) (*apiv1.StoreAccess, error) {
	if given == nil {
		return s.planOwn(ctx, account)
	}
	plan := proto.CloneOf(given)
	if plan.Endpoint == "" {
		if s.users != nil {
			return nil, batcherr.InvalidProperty("store.endpoint", "", "The cluster makes the credentials of its own store itself; name another store.")
		}
		plan.Endpoint, plan.CaPem = s.cluster.Endpoint, s.cluster.CaPem
	}
	if plan.Region == "" {
		plan.Region = s.cluster.Region
	}
	if plan.Bucket == "" {
		plan.Bucket = account
	}
	return plan, nil
}

func (s accountStores) planOwn(ctx context.Context, account string) (*apiv1.StoreAccess, error) {
	if s.users == nil {
		return nil, batcherr.Invalid(batcherr.CodeInvalidInput,
			"This cluster makes no credentials in its object store: give the account some that reach its own bucket only.")
	}
	taken, err := s.bucketExists(ctx, account)
	if err != nil {
		return nil, batcherr.Unavailable("The object store does not answer.").Wrap(err)
	}
	plan := &apiv1.StoreAccess{Bucket: account, AccessKey: randomLetters(accessKeyLetters), SecretKey: randomLetters(secretKeyLetters)}
	if taken {
		// What an earlier account of the name has left is not the new one's.
		plan.Bucket += "-" + randomHex(bucketSuffix)
	}
	return plan, nil
}

// Rekey implements api.Stores.
func (s accountStores) Rekey(plan *apiv1.StoreAccess) error {
	if plan.Endpoint != "" || s.users == nil {
		return batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState, "The account's store was given with its credentials: give it others.")
	}
	plan.SecretKey = randomLetters(secretKeyLetters)
	return nil
}

// Provide implements api.Stores.
func (s accountStores) Provide(ctx context.Context, plan *apiv1.StoreAccess) error {
	if plan.Endpoint != "" {
		client, err := s3Client(plan)
		if err != nil {
			return err
		}
		defer client.Close()
		return client.EnsureBucket(ctx, plan.Bucket)
	}
	if s.users == nil {
		return errors.New("the cluster makes no credentials in its object store any more")
	}
	if err := s.users.Put(ctx, plan.AccessKey, plan.SecretKey); err != nil {
		return err
	}
	err := s.users.MakeBucket(ctx, plan.Bucket, plan.AccessKey)
	if errors.Is(err, storage.ErrExists) {
		err = s.users.GiveBucket(ctx, plan.Bucket, plan.AccessKey)
	}
	return err
}

// Withdraw implements api.Stores.
func (s accountStores) Withdraw(ctx context.Context, plans []*apiv1.StoreAccess) error {
	if s.users == nil {
		return nil
	}
	keep := map[string]bool{}
	for _, plan := range plans {
		if plan.Endpoint == "" {
			keep[plan.AccessKey] = true
		}
	}
	known, err := s.users.List(ctx)
	if err != nil {
		return fmt.Errorf("list the users of the object store: %w", err)
	}
	var errs []error
	for _, key := range known {
		if !keep[key] {
			errs = append(errs, s.users.Delete(ctx, key))
		}
	}
	return errors.Join(errs...)
}

// Complete implements api.Stores.
func (s accountStores) Complete(plan *apiv1.StoreAccess) *apiv1.StoreAccess {
	if plan.Endpoint != "" {
		return plan
	}
	out := proto.CloneOf(plan)
	out.Endpoint, out.Region, out.CaPem = s.cluster.Endpoint, s.cluster.Region, s.cluster.CaPem
	return out
}

// Open implements api.Stores.
func (s accountStores) Open(plan *apiv1.StoreAccess) (storage.Store, func(), error) {
	client, err := s3Client(plan)
	if err != nil {
		return nil, nil, err
	}
	return client.Bucket(plan.Bucket, ""), client.Close, nil
}

func (s accountStores) bucketExists(ctx context.Context, bucket string) (bool, error) {
	client, err := s3Client(s.cluster)
	if err != nil {
		return false, err
	}
	defer client.Close()
	for _, err := range client.Bucket(bucket, "").List(ctx, "") {
		if errors.Is(err, storage.ErrNoBucket) {
			return false, nil
		}
		return err == nil, err
	}
	return true, nil
}

func s3Client(access *apiv1.StoreAccess) (*s3.Client, error) {
	cfg := s3.Config{
		Endpoint: access.Endpoint, Region: access.Region, AccessKey: access.AccessKey, SecretKey: access.SecretKey,
		SessionToken: access.SessionToken, PathStyle: true,
	}
	if len(access.CaPem) > 0 {
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(access.CaPem) {
			return nil, errors.New("the object store's authority is not PEM")
		}
	}
	return s3.NewClient(cfg)
}

// randomLetters makes n random letters and digits.
func randomLetters(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return base32.StdEncoding.EncodeToString(b)[:n]
}

// provideStores brings the object store up to the state once a term, in case a change of both was cut short.
func (c *Coordinator) provideStores(ctx context.Context) error {
	if c.cfg.StoreUsers == nil {
		return nil
	}
	err := retryUntil(ctx, func(ctx context.Context) error {
		attempt, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		err := c.api.ProvideStores(attempt)
		if err != nil && ctx.Err() == nil {
			c.logger.Warn("the accounts' stores can't be provided", "err", err)
		}
		return err
	})
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the term is over
	}
	return err
}
