package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/batchyard/batchyard/agent/files/beneath"
	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

const (
	// chunkSize is how many bytes travel at once.
	chunkSize = 256 << 10
	// A followed file is looked at again after these times, the longer the quieter it is.
	pollFirst = 10 * time.Millisecond
	pollMost  = 200 * time.Millisecond
)

// Reader is one open file of a Tree.
type Reader struct {
	file *os.File
	name string
	// File describes it as it was when opened.
	File *apiv1.NodeFile
}

// Read opens a regular file. It never waits, whatever stands under the name.
func (t *Tree) Read(name string) (*Reader, error) {
	if err := t.check(name); err != nil {
		return nil, err
	}
	f, info, err := t.dir.File(name)
	if err != nil {
		if seen, statErr := t.dir.Stat(name); statErr == nil && seen.IsDir() {
			return nil, isDirectory(name)
		}
		return nil, coded(err, name)
	}
	return &Reader{file: f, name: name, File: nodeFile(name, info)}, nil
}

// Close gives the handle back.
func (r *Reader) Close() { _ = r.file.Close() }

// Copy sends length bytes from offset on, or to the end that the file had when opened if length is 0; it sends as much as
// there is when the range ends beyond the end. An offset at or beyond the end gives InvalidRange, but that an empty file
// has the empty range 0. send may not keep the bytes.
func (r *Reader) Copy(ctx context.Context, offset, length int64, send func([]byte) error) error {
	if err := r.checkRange(offset, length); err != nil {
		return err
	}
	size := r.File.GetProperties().GetContentLength()
	end := size
	if length > 0 && length < size-offset {
		end = offset + length
	}
	at, err := r.stream(ctx, offset, end, send)
	if err == nil && at < end {
		return batcherr.New(batcherr.KindForbidden, batcherr.CodeIOError,
			"The file %s became shorter while it was read.", beneath.Quote(r.name))
	}
	return err
}

func (r *Reader) checkRange(offset, length int64) error {
	if size := r.File.GetProperties().GetContentLength(); offset < 0 || length < 0 || offset > 0 && offset >= size {
		return outOfRange(offset, size)
	}
	return nil
}

// Follow sends bytes from offset on as the file grows, until done is closed; then what the file has at that moment, and
// ends. A length other than 0 ends it earlier. A file that becomes shorter is waited for: bytes already sent are not
// sent again.
func (r *Reader) Follow(ctx context.Context, offset, length int64, done <-chan struct{}, send func([]byte) error) error {
	if offset < 0 || length < 0 {
		return outOfRange(offset, r.File.GetProperties().GetContentLength())
	}
	last := int64(1<<63 - 1)
	if length > 0 && length < last-offset {
		last = offset + length
	}
	for wait := pollFirst; ; {
		over := closed(done)
		info, err := r.file.Stat()
		if err != nil {
			return coded(err, r.name)
		}
		at, err := r.stream(ctx, offset, min(info.Size(), last), send)
		if err != nil || at == last || over {
			return err
		}
		wait = nextWait(wait, at > offset)
		offset = at
		if err := pause(ctx, done, wait); err != nil {
			return err
		}
	}
}

// stream sends the bytes from offset up to end, or to where the file ends before.
func (r *Reader) stream(ctx context.Context, offset, end int64, send func([]byte) error) (int64, error) {
	if offset >= end {
		return offset, nil
	}
	buf := make([]byte, min(chunkSize, end-offset))
	for offset < end {
		if err := ctx.Err(); err != nil {
			return offset, err
		}
		n, err := r.file.ReadAt(buf[:min(int64(len(buf)), end-offset)], offset)
		if n > 0 {
			if err := send(buf[:n]); err != nil {
				return offset, fmt.Errorf("sending %s: %w", beneath.Quote(r.name), err)
			}
			offset += int64(n)
		}
		if errors.Is(err, io.EOF) {
			return offset, nil
		}
		if err != nil {
			return offset, coded(err, r.name)
		}
	}
	return offset, nil
}

// await opens a file that may not exist yet, and a directory that may not, while the attempt lives.
func await(ctx context.Context, open func() (*Reader, error), done <-chan struct{}) (*Reader, error) {
	for wait := pollFirst; ; wait = nextWait(wait, false) {
		over := closed(done)
		r, err := open()
		if err == nil || over || !batcherr.HasCode(err, batcherr.CodeFileNotFound, batcherr.CodeTaskFilesUnavailable) {
			return r, err
		}
		if err := pause(ctx, done, wait); err != nil {
			return nil, err
		}
	}
}

func nextWait(wait time.Duration, progress bool) time.Duration {
	if progress {
		return pollFirst
	}
	return min(wait*3/2, pollMost)
}

// pause waits for a time, or for the attempt's end.
func pause(ctx context.Context, done <-chan struct{}, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-done:
	case <-timer.C:
	}
	return nil
}

// closed says whether the attempt is over; a nil channel is of one that never lived.
func closed(done <-chan struct{}) bool {
	if done == nil {
		return true
	}
	select {
	case <-done:
		return true
	default:
		return false
	}
}
