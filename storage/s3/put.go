package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/minio/minio-go/v7"

	"github.com/batchyard/batchyard/storage"
)

// Put implements storage.Store. An object of more than one part goes in parts, side by side when the reader can read at
// offsets and no checksum over the whole is asked for, and one after the other through a buffer of one part otherwise.
// What failed in the middle is aborted.
func (s *Store) Put(ctx context.Context, key string, r io.Reader, size int64, opts storage.PutOptions) (storage.Object, error) {
	if err := errors.Join(storage.ValidateKey(key), storage.ValidateKey(s.prefix+key)); err != nil {
		return storage.Object{}, err
	}
	if err := ctx.Err(); err != nil {
		return storage.Object{}, storage.Fail("put", key, err)
	}
	src, err := source(key, r, size, s.c.part, opts)
	if err != nil {
		return storage.Object{}, err
	}
	put := minio.PutObjectOptions{
		ContentType:  opts.ContentType,
		UserMetadata: opts.Metadata,
		PartSize:     uint64(partSize(size, s.c.part)),
		NumThreads:   uint(s.c.threads),
	}
	if opts.IfAbsent {
		if size < 0 {
			return storage.Object{}, &storage.Error{Op: "put", Key: key, Kind: storage.ErrUnsupported, Err: errors.New("if absent needs a size")}
		}
		// A server that refuses hangs up on a long body, and the refusal is lost.
		if _, err := s.Stat(ctx, key); err == nil {
			return storage.Object{}, &storage.Error{Op: "put", Key: key, Kind: storage.ErrExists}
		}
		put.SetMatchETagExcept("*")
		put.DisableMultipart = true // servers do not agree on conditions for uploads in parts
	}
	if put.UserMetadata == nil {
		put.UserMetadata = map[string]string{}
	}
	if size < 0 {
		size = -1
	}
	info, err := s.c.minio.PutObject(ctx, s.bucket, s.prefix+key, src, size, put)
	if serr := src.Err(); serr != nil {
		return storage.Object{}, storage.Fail("put", key, serr)
	}
	if err != nil {
		err = fail("put", key, err)
		if opts.IfAbsent && errors.Is(err, storage.ErrPrecondition) {
			err = &storage.Error{Op: "put", Key: key, Kind: storage.ErrExists}
		}
		return storage.Object{}, err
	}
	return storage.Object{Key: key, Size: info.Size, ModTime: info.LastModified, ETag: info.ETag, ContentType: opts.ContentType}, nil
}

// partSize is large enough for size bytes in as many parts as S3 allows, in whole MiB.
func partSize(size, least int64) int64 {
	const mib = 1 << 20
	need := (size + maxParts - 1) / maxParts
	need = (need + mib - 1) / mib * mib
	return min(max(need, least), math.MaxInt64)
}

// checked is a body that remembers why it refused to go on, since the library hides it.
type checked interface {
	io.Reader
	Err() error
}

func source(key string, r io.Reader, size, part int64, opts storage.PutOptions) (checked, error) {
	at, seeks := r.(interface {
		io.ReaderAt
		io.Seeker
	})
	if !seeks || opts.SHA256 != "" || opts.IfAbsent || size <= part {
		return storage.NewSource(key, r, size, opts.SHA256)
	}
	start, err := at.Seek(0, io.SeekCurrent)
	if err != nil {
		return storage.NewSource(key, r, size, opts.SHA256)
	}
	if n, _ := at.ReadAt(make([]byte, 1), start+size); n > 0 {
		return nil, &storage.Error{Op: "put", Key: key, Kind: storage.ErrTooLarge, Err: fmt.Errorf("more than %d bytes", size)}
	}
	p := &sections{key: key, r: at, start: start, size: size}
	p.SectionReader = io.NewSectionReader(readerAt(p.readAt), 0, size)
	return p, nil
}

// sections reads a body at offsets, from several goroutines, and refuses to end early.
type sections struct {
	*io.SectionReader
	key         string
	r           io.ReaderAt
	start, size int64

	mu  sync.Mutex
	err error
}

type readerAt func(p []byte, off int64) (int, error)

func (f readerAt) ReadAt(p []byte, off int64) (int, error) { return f(p, off) }

func (s *sections) readAt(p []byte, off int64) (int, error) {
	n, err := s.r.ReadAt(p, s.start+off)
	if err == nil || err == io.EOF && off+int64(n) >= s.size {
		return n, err
	}
	if err == io.EOF {
		err = &storage.Error{Op: "read source of", Key: s.key, Kind: storage.ErrTruncated, Err: fmt.Errorf("%d of %d bytes", off+int64(n), s.size)}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	return n, err
}

func (s *sections) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
