package stage

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/batchyard/batchyard/storage"
)

// bucket opens a bucket of the account's store. Its credentials may change while a task is staged.
func (s *Stager) bucket(name string) (storage.Store, error) {
	open := func() (storage.Store, error) { return s.cfg.Stores.Bucket(s.cfg.Access(), name) }
	if _, err := open(); err != nil {
		return nil, err
	}
	again := func(ctx context.Context, do func() error) error { return s.again(ctx, name, do) }
	return renewed{open, again}, nil
}

// renewed uses the credentials of the moment. A refusal is worth another attempt: the node and the store learn of new credentials one after the other.
type renewed struct {
	open  func() (storage.Store, error)
	again func(ctx context.Context, do func() error) error
}

// refusal is an access that was denied and may be granted in a moment.
type refusal struct{ error }

func (r refusal) Unwrap() []error { return []error{r.error, storage.ErrTemporary} }

func retryRefusal(err error) error {
	if errors.Is(err, storage.ErrForbidden) {
		return refusal{err}
	}
	return err
}

func (r renewed) Stat(ctx context.Context, key string) (storage.Object, error) {
	store, err := r.open()
	if err != nil {
		return storage.Object{}, err
	}
	object, err := store.Stat(ctx, key)
	return object, retryRefusal(err)
}

func (r renewed) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, storage.Object, error) {
	store, err := r.open()
	if err != nil {
		return nil, storage.Object{}, err
	}
	body, object, err := store.Open(ctx, key, offset, length)
	return body, object, retryRefusal(err)
}

func (r renewed) Put(ctx context.Context, key string, body io.Reader, size int64, opts storage.PutOptions) (storage.Object, error) {
	store, err := r.open()
	if err != nil {
		return storage.Object{}, err
	}
	object, err := store.Put(ctx, key, body, size, opts)
	return object, retryRefusal(err)
}

// List begins again where it was refused before anything was listed.
func (r renewed) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		begun := false
		err := r.again(ctx, func() error {
			store, err := r.open()
			if err != nil {
				return err
			}
			for object, err := range store.List(ctx, prefix) {
				if err != nil && !begun {
					return retryRefusal(err)
				}
				begun = true
				if !yield(object, err) {
					return nil
				}
			}
			return nil
		})
		if err != nil {
			yield(storage.Object{}, err)
		}
	}
}

func (r renewed) Delete(ctx context.Context, key string) error {
	store, err := r.open()
	if err != nil {
		return err
	}
	return retryRefusal(store.Delete(ctx, key))
}
