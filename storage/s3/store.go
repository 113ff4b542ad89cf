package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/batchyard/batchyard/storage"
)

// Store is a bucket, or the part of it below a prefix, as a storage.Store.
type Store struct {
	c              *Client
	bucket, prefix string
}

// Stat implements storage.Store. S3 does not tell a missing bucket from a missing object here.
func (s *Store) Stat(ctx context.Context, key string) (storage.Object, error) {
	info, err := s.c.minio.StatObject(ctx, s.bucket, s.prefix+key, minio.StatObjectOptions{})
	if err != nil {
		return storage.Object{}, fail("stat", key, err)
	}
	return object(key, info), nil
}

// Open implements storage.Store.
func (s *Store) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, storage.Object, error) {
	if offset < 0 {
		return nil, storage.Object{}, &storage.Error{Op: "open", Key: key, Kind: storage.ErrRange}
	}
	if length == 0 {
		return s.openNothing(ctx, key, offset)
	}
	var opts minio.GetObjectOptions
	if offset > 0 || length > 0 {
		opts.Set("Range", rangeHeader(offset, length))
	}
	rc, info, header, err := s.c.core.GetObject(ctx, s.bucket, s.prefix+key, opts)
	if err != nil {
		err = fail("open", key, err)
		if offset == 0 && errors.Is(err, storage.ErrRange) { // bytes 0 to n of an empty object
			return s.openNothing(ctx, key, 0)
		}
		return nil, storage.Object{}, err
	}
	obj := object(key, info)
	if text := header.Get("Content-Range"); text != "" {
		first, total, ok := parseContentRange(text)
		if !ok || first != offset {
			err = &storage.Error{Op: "open", Key: key, Kind: storage.ErrTemporary, Err: errors.New("the answer has another range")}
			return nil, storage.Object{}, errors.Join(err, rc.Close())
		}
		obj.Size = total
	} else if offset > 0 {
		err = &storage.Error{Op: "open", Key: key, Kind: storage.ErrUnsupported, Err: errors.New("the answer has no range")}
		return nil, storage.Object{}, errors.Join(err, rc.Close())
	}
	return &body{rc, key}, obj, nil
}

func (s *Store) openNothing(ctx context.Context, key string, offset int64) (io.ReadCloser, storage.Object, error) {
	obj, err := s.Stat(ctx, key)
	if err == nil && offset > 0 && offset >= obj.Size {
		err = &storage.Error{Op: "open", Key: key, Kind: storage.ErrRange}
	}
	return http.NoBody, obj, err
}

func rangeHeader(offset, length int64) string {
	end := offset + length - 1
	if length < 0 || end < offset {
		return fmt.Sprintf("bytes=%d-", offset)
	}
	return fmt.Sprintf("bytes=%d-%d", offset, end)
}

// parseContentRange reads "bytes 5-9/100".
func parseContentRange(text string) (first, total int64, ok bool) {
	span, whole, found := strings.Cut(strings.TrimPrefix(text, "bytes "), "/")
	from, _, dash := strings.Cut(span, "-")
	first, err1 := strconv.ParseInt(from, 10, 64)
	total, err2 := strconv.ParseInt(whole, 10, 64)
	return first, total, found && dash && err1 == nil && err2 == nil
}

// List implements storage.Store.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		// The library asks for the next page in the background until its context ends.
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		for info := range s.c.minio.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true}) {
			if info.Err != nil {
				yield(storage.Object{}, fail("list", prefix, info.Err))
				return
			}
			if !yield(object(strings.TrimPrefix(info.Key, s.prefix), info), nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(storage.Object{}, storage.Fail("list", prefix, err))
		}
	}
}

// Delete implements storage.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	err := fail("delete", key, s.c.minio.RemoveObject(ctx, s.bucket, s.prefix+key, minio.RemoveObjectOptions{}))
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	return err
}

// PresignGet gives a URL with which anybody may read the object for a time, at most 7 days.
func (s *Store) PresignGet(ctx context.Context, key string, valid time.Duration) (string, error) {
	u, err := s.c.minio.PresignedGetObject(ctx, s.bucket, s.prefix+key, valid, nil)
	if err != nil {
		return "", fail("presign", key, err)
	}
	return u.String(), nil
}

// PresignPut gives a URL with which anybody may write the object for a time, at most 7 days.
func (s *Store) PresignPut(ctx context.Context, key string, valid time.Duration) (string, error) {
	u, err := s.c.minio.PresignedPutObject(ctx, s.bucket, s.prefix+key, valid)
	if err != nil {
		return "", fail("presign", key, err)
	}
	return u.String(), nil
}

func object(key string, info minio.ObjectInfo) storage.Object {
	return storage.Object{Key: key, Size: info.Size, ModTime: info.LastModified, ETag: strings.Trim(info.ETag, `"`), ContentType: info.ContentType}
}

// body gives failures of reading their kind.
type body struct {
	io.ReadCloser
	key string
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fail("read", b.key, err)
	}
	return n, err
}
