// Package storage says what Batchyard asks of a place that keeps objects, and moves files to and from such a place.
package storage

import (
	"context"
	"io"
	"iter"
	"time"
)

// Store keeps objects by key. Implementations are safe for concurrent use and report failures as *Error, so that
// errors.Is works with the kinds of this package. A store never shows an object whose writing did not end well.
type Store interface {
	// Stat describes an object, or fails with ErrNotFound.
	Stat(ctx context.Context, key string) (Object, error)

	// Open reads an object from offset on, length bytes of it or to its end when length is negative. The Object
	// describes the whole object and comes from the same answer as the bytes. An offset at or past the end gives
	// ErrRange, except that offset 0 of an empty object reads nothing. A connection that is cut shows as a
	// temporary error from Read, never as a clean end. The caller closes the reader.
	Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, Object, error)

	// Put writes an object of size bytes, or of unknown size when size is negative, and replaces one of the same
	// key. A reader that ends early gives ErrTruncated, one that goes on gives ErrTooLarge, contents that differ
	// from the given checksum give ErrChecksum; none of them leaves an object.
	Put(ctx context.Context, key string, r io.Reader, size int64, opts PutOptions) (Object, error)

	// List yields the objects whose keys start with prefix, in ascending byte order of their keys. The prefix is a
	// plain string and may end inside a file name. The first error ends the sequence.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]

	// Delete removes an object. A key that is not there is no error.
	Delete(ctx context.Context, key string) error
}

// Object describes one object.
type Object struct {
	Key         string
	Size        int64 // bytes; -1 where the store does not say
	ModTime     time.Time
	ETag        string // opaque and unquoted; differs when the contents differ; "" where the store has none
	ContentType string
}

// Validator is a string that changes when the object's contents change, or "" where the store gives no ground for one.
func (o Object) Validator() string {
	switch {
	case o.ETag != "":
		return "etag:" + o.ETag
	case !o.ModTime.IsZero() && o.Size >= 0:
		return "time:" + o.ModTime.UTC().Format(time.RFC3339Nano)
	default:
		return ""
	}
}

// PutOptions qualify a Put.
type PutOptions struct {
	ContentType string            // "" lets the store choose
	Metadata    map[string]string // user metadata (S3) or request headers (plain HTTP)
	SHA256      string            // expected contents, 64 hexadecimal digits; "" does not check
	IfAbsent    bool              // ErrExists when the key is taken; at most 5 GiB on S3
}
