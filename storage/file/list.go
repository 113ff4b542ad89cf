package file

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"path"
	"sort"
	"strings"

	"github.com/batchyard/batchyard/storage"
)

// List implements storage.Store. Links and special files are left out.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		dir := "."
		if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
			dir = prefix[:i]
		}
		if prefix != "" && dir != "." && storage.ValidateKey(dir) != nil {
			return // no key starts so
		}
		s.walk(ctx, dir, prefix, yield)
	}
}

// walk yields what is below dir and starts with prefix. It says false when the caller has had enough.
func (s *Store) walk(ctx context.Context, dir, prefix string, yield func(storage.Object, error) bool) bool {
	if err := ctx.Err(); err != nil {
		return yield(storage.Object{}, storage.Fail("list", prefix, err))
	}
	entries, err := s.readDir(dir)
	if gone(err) {
		return true
	}
	if err != nil {
		return yield(storage.Object{}, fail("list", prefix, err))
	}
	for _, e := range entries {
		key := path.Join(dir, e.Name())
		switch {
		case e.IsDir() && key == staging:
		case e.IsDir() && (strings.HasPrefix(key+"/", prefix) || strings.HasPrefix(prefix, key+"/")):
			if !s.walk(ctx, key, prefix, yield) {
				return false
			}
		case e.Type().IsRegular() && strings.HasPrefix(key, prefix):
			if !s.yieldEntry(key, e, yield) {
				return false
			}
		}
	}
	return true
}

func (s *Store) yieldEntry(key string, e fs.DirEntry, yield func(storage.Object, error) bool) bool {
	fi, err := e.Info()
	if gone(err) {
		return true
	}
	if err != nil {
		return yield(storage.Object{}, fail("list", key, err))
	}
	obj, err := object("list", key, fi)
	return yield(obj, err)
}

// readDir gives the entries of dir so that the keys below them come in byte order: "a.b" before "a/b".
func (s *Store) readDir(dir string) ([]fs.DirEntry, error) {
	f, err := s.root.Open(dir)
	if err != nil {
		return nil, err
	}
	entries, err := f.ReadDir(-1)
	name := func(i int) string {
		if entries[i].IsDir() {
			return entries[i].Name() + "/"
		}
		return entries[i].Name()
	}
	sort.Slice(entries, func(i, j int) bool { return name(i) < name(j) })
	return entries, errors.Join(err, f.Close())
}

func gone(err error) bool { return err != nil && errors.Is(fail("", "", err), storage.ErrNotFound) }
