// Package file keeps objects as files below one directory.
package file

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/batchyard/batchyard/storage"
)

// staging is where files are written before they take their names. It is no legal start of a key.
const staging = ".batchyard-staging"

// Store keeps each object in the file that its key names; links and ".." cannot lead out of the directory. A key cannot
// be both an object and the directory of others. Metadata and content types are not kept. Contents are on disk when Put
// returns.
type Store struct {
	root *os.Root
}

// Open opens the directory dir, which must exist. The caller closes the Store.
func Open(dir string) (*Store, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, storage.Fail("open store", "", err)
	}
	return &Store{root: root}, nil
}

// Close releases the directory.
func (s *Store) Close() error { return s.root.Close() }

// Stat implements storage.Store.
func (s *Store) Stat(ctx context.Context, key string) (storage.Object, error) {
	if err := check(ctx, "stat", key); err != nil {
		return storage.Object{}, err
	}
	fi, err := s.root.Stat(key)
	if err != nil {
		return storage.Object{}, fail("stat", key, err)
	}
	return object("stat", key, fi)
}

// Open implements storage.Store.
func (s *Store) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, storage.Object, error) {
	if err := check(ctx, "open", key); err != nil {
		return nil, storage.Object{}, err
	}
	// What is not a regular file is refused before it is opened: opening a FIFO waits.
	if _, err := s.Stat(ctx, key); err != nil {
		return nil, storage.Object{}, err
	}
	f, err := s.root.Open(key)
	if err != nil {
		return nil, storage.Object{}, fail("open", key, err)
	}
	obj, err := describe(f, key)
	if err == nil && (offset < 0 || offset > 0 && offset >= obj.Size) {
		err = &storage.Error{Op: "open", Key: key, Kind: storage.ErrRange}
	}
	if err != nil {
		return nil, storage.Object{}, errors.Join(err, f.Close())
	}
	if length < 0 || length > obj.Size-offset {
		length = obj.Size - offset
	}
	return &body{Reader: io.NewSectionReader(f, offset, length), ctx: ctx, f: f, key: key}, obj, nil
}

// Put implements storage.Store.
func (s *Store) Put(ctx context.Context, key string, r io.Reader, size int64, opts storage.PutOptions) (storage.Object, error) {
	if err := check(ctx, "put", key); err != nil {
		return storage.Object{}, err
	}
	src, err := storage.NewSource(key, r, size, opts.SHA256)
	if err != nil {
		return storage.Object{}, err
	}
	tmp := path.Join(staging, rand.Text())
	if err := s.root.MkdirAll(staging, 0o700); err != nil {
		return storage.Object{}, fail("put", key, err)
	}
	obj, err := s.stage(ctx, tmp, key, src)
	if err == nil {
		err = s.publish(tmp, key, opts.IfAbsent)
	}
	if err != nil {
		if rerr := s.root.Remove(tmp); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
		return storage.Object{}, fail("put", key, err)
	}
	return obj, nil
}

func (s *Store) stage(ctx context.Context, tmp, key string, src io.Reader) (storage.Object, error) {
	f, err := s.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return storage.Object{}, err
	}
	if _, err = io.Copy(f, ctxReader{ctx, src}); err == nil {
		err = f.Sync()
	}
	var obj storage.Object
	if err == nil {
		obj, err = describe(f, key)
	}
	return obj, errors.Join(err, f.Close())
}

// publish gives a staged file its name and makes the name last.
func (s *Store) publish(tmp, key string, ifAbsent bool) error {
	dir := path.Dir(key)
	// Delete may take an empty directory away between the two steps.
	for try := 0; ; try++ {
		if err := s.root.MkdirAll(dir, 0o755); notDirectory(err) {
			return &storage.Error{Op: "put", Key: key, Kind: storage.ErrExists, Err: errors.New("an object is in the place of a directory")}
		} else if err != nil {
			return err
		}
		err := s.rename(tmp, key, ifAbsent)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || try == 10 {
			return err
		}
	}
	for ; ; dir = path.Dir(dir) {
		// A directory that is gone again had its file deleted by somebody else.
		if err := s.syncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if dir == "." {
			return nil
		}
	}
}

func (s *Store) rename(tmp, key string, ifAbsent bool) error {
	if !ifAbsent {
		return s.root.Rename(tmp, key)
	}
	if err := s.root.Link(tmp, key); err != nil {
		return err
	}
	return s.root.Remove(tmp)
}

// Delete implements storage.Store. Directories that become empty go too.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := check(ctx, "delete", key); err != nil {
		return err
	}
	fi, err := s.root.Lstat(key)
	if err == nil && fi.IsDir() {
		return nil
	}
	if err == nil {
		err = s.root.Remove(key)
	}
	if err != nil && !errors.Is(fail("", key, err), storage.ErrNotFound) {
		return fail("delete", key, err)
	}
	for dir := path.Dir(key); dir != "."; dir = path.Dir(dir) {
		if s.root.Remove(dir) != nil {
			break
		}
	}
	return nil //nolint:nilerr // a directory that is not empty stays
}

func check(ctx context.Context, op, key string) error {
	if err := ctx.Err(); err != nil {
		return storage.Fail(op, key, err)
	}
	if err := storage.ValidateKey(key); err != nil {
		return err
	}
	if first, _, _ := strings.Cut(key, "/"); first == staging {
		return &storage.Error{Op: op, Key: key, Kind: storage.ErrInvalid, Err: errors.New("reserved name")}
	}
	return nil
}

// fail finds the kind of what os.Root reports.
func fail(op, key string, err error) error {
	var e *fs.PathError
	if errors.As(err, &e) && e.Err.Error() == "path escapes from parent" {
		return &storage.Error{Op: op, Key: key, Kind: storage.ErrForbidden, Err: e.Err}
	}
	if notDirectory(err) {
		return &storage.Error{Op: op, Key: key, Kind: storage.ErrNotFound, Err: err}
	}
	return storage.Fail(op, key, err)
}

func describe(f *os.File, key string) (storage.Object, error) {
	fi, err := f.Stat()
	if err != nil {
		return storage.Object{}, fail("stat", key, err)
	}
	return object("stat", key, fi)
}

// object describes a regular file. Files are replaced, not rewritten, so time and size tell contents apart.
func object(op, key string, fi fs.FileInfo) (storage.Object, error) {
	if !fi.Mode().IsRegular() {
		return storage.Object{}, &storage.Error{Op: op, Key: key, Kind: storage.ErrNotFound, Err: fmt.Errorf("not a regular file")}
	}
	etag := strconv.FormatInt(fi.ModTime().UnixNano(), 36) + "-" + strconv.FormatInt(fi.Size(), 36)
	return storage.Object{Key: key, Size: fi.Size(), ModTime: fi.ModTime(), ETag: etag}, nil
}

// body stops reading when its context ends.
type body struct {
	io.Reader
	ctx context.Context
	f   *os.File
	key string
}

func (b *body) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, storage.Fail("read", b.key, err)
	}
	n, err := b.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = storage.Fail("read", b.key, err)
	}
	return n, err
}

func (b *body) Close() error { return b.f.Close() }

type ctxReader struct {
	ctx context.Context
	io.Reader
}

func (r ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
