package stage

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/batchyard/batchyard/storage"
)

// rekeyed is a store that lets in who has its secret, and a node that is told of the secret a while after the store has changed it.
type rekeyed struct {
	Stores
	storage.Store
	known, secret string
	refusals      int // until the node is told
	asked         int
}

func (r *rekeyed) Bucket(access *apiv1.StoreAccess, _ string) (storage.Store, error) {
	r.known = access.GetSecretKey()
	return r, nil
}

func (r *rekeyed) access() *apiv1.StoreAccess {
	r.asked++
	if r.asked > r.refusals {
		return &apiv1.StoreAccess{SecretKey: "new"}
	}
	return &apiv1.StoreAccess{SecretKey: "old"}
}

func (r *rekeyed) check() error {
	if r.known != r.secret {
		return &storage.Error{Op: "test", Kind: storage.ErrForbidden}
	}
	return nil
}

func (r *rekeyed) Stat(context.Context, string) (storage.Object, error) {
	return storage.Object{Size: 1}, r.check()
}

func (r *rekeyed) Put(_ context.Context, _ string, body io.Reader, _ int64, _ storage.PutOptions) (storage.Object, error) {
	if err := r.check(); err != nil {
		return storage.Object{}, err
	}
	_, err := io.Copy(io.Discard, body)
	return storage.Object{}, err
}

func (r *rekeyed) List(context.Context, string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		if err := r.check(); err != nil {
			yield(storage.Object{}, err)
			return
		}
		yield(storage.Object{Key: "a"}, nil)
	}
}

func TestNewCredentialsOfTheStoreAreTakenUp(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, []byte("x"), 0o600))
	file, err := os.Open(name)
	require.NoError(t, err)
	defer file.Close()
	retry := storage.Retry{Attempts: 4, Base: time.Millisecond, Max: time.Millisecond}
	for name, do := range map[string]func(*Stager, storage.Store) error{
		"upload": func(_ *Stager, store storage.Store) error {
			_, err := storage.UploadFile(t.Context(), store, "key", file, storage.UploadOptions{Retry: retry})
			return err
		},
		"list": func(_ *Stager, store storage.Store) (err error) {
			for _, err = range store.List(t.Context(), "") {
			}
			return err
		},
		"stat": func(s *Stager, store storage.Store) error {
			return s.again(t.Context(), "key", func() error {
				_, err := store.Stat(t.Context(), "key")
				return err
			})
		},
	} {
		for refusals, fails := range map[int]bool{0: false, 3: false, 100: true} {
			r := &rekeyed{secret: "new", refusals: refusals}
			s := &Stager{cfg: Config{Stores: r, Access: r.access, Retry: retry}, log: slog.New(slog.DiscardHandler)}
			store, err := s.bucket("bucket")
			require.NoError(t, err)
			err = do(s, store)
			if fails {
				require.ErrorIs(t, err, storage.ErrForbidden, name)
			} else {
				require.NoError(t, err, name)
			}
		}
	}
}
