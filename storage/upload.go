package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// UploadOptions qualify an Upload. Zero fields ask for nothing and take the defaults.
type UploadOptions struct {
	PutOptions
	MaxBytes int64 // ErrTooLarge beyond it when positive

	Retry    Retry
	Stall    time.Duration                // ErrTimeout for an attempt that takes no byte and ends not for so long; default 10 minutes
	Progress func(done, total int64)      // bytes handed to the store; calls do not overlap
	OnRetry  func(attempt int, err error) // called before a wait
}

// Upload writes the file name in root to the store. Links that lead out of root are refused, as is what is not a
// regular file.
func Upload(ctx context.Context, s Store, key string, root *os.Root, name string, opts UploadOptions) (Object, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return Object{}, Fail("open file of", key, err)
	}
	defer f.Close()
	return UploadFile(ctx, s, key, f, opts)
}

// UploadFile writes an open regular file, as long as it is now, to the store. Bytes added meanwhile are left out; a file
// that is cut meanwhile gives ErrTruncated. With IfAbsent, ErrExists after a retry may mean the earlier attempt.
func UploadFile(ctx context.Context, s Store, key string, f *os.File, opts UploadOptions) (Object, error) {
	fi, err := f.Stat()
	if err != nil {
		return Object{}, Fail("upload", key, err)
	}
	if !fi.Mode().IsRegular() {
		return Object{}, &Error{Op: "upload", Key: key, Kind: ErrInvalid, Err: errors.New("not a regular file")}
	}
	size := fi.Size()
	if opts.MaxBytes > 0 && size > opts.MaxBytes {
		return Object{}, &Error{Op: "upload", Key: key, Kind: ErrTooLarge, Err: fmt.Errorf("%d bytes, at most %d are allowed", size, opts.MaxBytes)}
	}
	if opts.Stall <= 0 {
		opts.Stall = 10 * time.Minute
	}
	retry := opts.Retry.withDefaults()
	for attempt := 1; ; attempt++ {
		obj, err := uploadOnce(ctx, s, key, f, size, opts)
		if err == nil {
			return obj, nil
		}
		if ctx.Err() != nil || !Retryable(err) || attempt >= retry.Attempts {
			return Object{}, err
		}
		if opts.OnRetry != nil {
			opts.OnRetry(attempt, err)
		}
		if err := retry.wait(ctx, attempt); err != nil {
			return Object{}, Fail("upload", key, err)
		}
	}
}

func uploadOnce(parent context.Context, s Store, key string, f *os.File, size int64, opts UploadOptions) (Object, error) {
	ctx, w := newWatch(parent, opts.Stall)
	defer w.stop()
	body := &fileBody{SectionReader: io.NewSectionReader(f, 0, size), size: size, watch: w, progress: opts.Progress}
	obj, err := s.Put(ctx, key, body, size, opts.PutOptions)
	return obj, explain(ctx, "upload", key, err)
}

// fileBody reads a fixed stretch of a file, also at offsets and from several goroutines, so that a store can send parts
// side by side and again.
type fileBody struct {
	*io.SectionReader
	size     int64
	watch    *watch
	progress func(done, total int64)

	mu   sync.Mutex
	done int64
}

func (b *fileBody) Read(p []byte) (int, error) {
	n, err := b.SectionReader.Read(p)
	b.count(n)
	return n, err
}

func (b *fileBody) ReadAt(p []byte, off int64) (int, error) {
	n, err := b.SectionReader.ReadAt(p, off)
	b.count(n)
	if err == io.EOF && off+int64(n) < b.size {
		err = &Error{Op: "read source of", Kind: ErrTruncated, Err: fmt.Errorf("%d of %d bytes", off+int64(n), b.size)}
	}
	return n, err
}

func (b *fileBody) count(n int) {
	if n == 0 {
		return
	}
	b.watch.moved()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done = min(b.done+int64(n), b.size)
	if b.progress != nil {
		b.progress(b.done, b.size)
	}
}
