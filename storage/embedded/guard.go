package embedded

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/s3api/middlewares"
	"github.com/versity/versitygw/s3err"
	"github.com/versity/versitygw/s3response"
)

// guarded adds two promises to the gateway's disk backend, which has neither: an upload that ends early is no object and
// no part, and what was acknowledged is on disk.
type guarded struct {
	*posix.Posix
	root string // absolute; buckets are its directories
}

// guard fails where a body ends before its length. The gateway takes io.EOF and io.ErrUnexpectedEOF alike for an end.
type guard struct {
	r    io.Reader
	left int64
}

func (g *guard) Read(p []byte) (int, error) {
	n, err := g.r.Read(p)
	g.left -= int64(n)
	if (err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF)) && g.left > 0 {
		return n, s3err.GetAPIError(s3err.ErrIncompleteBody)
	}
	return n, err
}

// guardedSum is a guard that lets the gateway see the checksum which came behind a body.
type guardedSum struct {
	guard
	sum middlewares.ChecksumReader
}

func (g *guardedSum) Algorithm() string { return g.sum.Algorithm() }
func (g *guardedSum) Checksum() string  { return g.sum.Checksum() }

func whole(r io.Reader, length *int64) io.Reader {
	if r == nil || length == nil {
		return r
	}
	g := guard{r: r, left: *length}
	if sum, ok := r.(middlewares.ChecksumReader); ok {
		return &guardedSum{g, sum}
	}
	return &g
}

func syncFile(f *os.File) error { return f.Sync() }

// PutObject stores a whole object and makes it last before anybody can see it.
func (g guarded) PutObject(ctx context.Context, in s3response.PutObjectInput) (s3response.PutObjectOutput, error) {
	in.Body = whole(in.Body, in.ContentLength)
	out, err := g.PutObjectWithPostFunc(ctx, in, syncFile)
	if err == nil {
		err = g.sync(*in.Bucket, *in.Key)
	}
	return out, err
}

// UploadPart stores a whole part and makes it last: completing an upload after a power cut must not find holes.
func (g guarded) UploadPart(ctx context.Context, in *s3.UploadPartInput) (*s3.UploadPartOutput, error) {
	in.Body = whole(in.Body, in.ContentLength)
	return g.UploadPartWithPostFunc(ctx, in, syncFile)
}

// CompleteMultipartUpload puts the parts together and makes the object last before anybody can see it.
func (g guarded) CompleteMultipartUpload(ctx context.Context, in *s3.CompleteMultipartUploadInput) (s3response.CompleteMultipartUploadResult, string, error) {
	left := 0
	if in.MultipartUpload != nil {
		left = len(in.MultipartUpload.Parts)
	}
	var failed error
	// The gateway copies again itself when this fails, from where the two files stand, so that an error of the copy
	// shows there. One of the sync does not show a second time and is kept.
	out, version, err := g.CompleteMultipartUploadWithCopy(ctx, in, func(from, to *os.File) (bool, error) {
		left--
		if _, err := io.Copy(to, from); err != nil {
			return true, err
		}
		if left == 0 {
			failed = to.Sync()
		}
		return true, failed
	})
	if err == nil {
		err = failed
	}
	if err == nil {
		err = g.sync(*in.Bucket, *in.Key)
	}
	return out, version, err
}

// CopyObject makes the copy last.
func (g guarded) CopyObject(ctx context.Context, in s3response.CopyObjectInput) (s3response.CopyObjectOutput, error) {
	out, err := g.Posix.CopyObject(ctx, in)
	if err == nil {
		err = g.sync(*in.Bucket, *in.Key)
	}
	return out, err
}

// CreateBucket makes the bucket last.
func (g guarded) CreateBucket(ctx context.Context, in *s3.CreateBucketInput, acl []byte) error {
	if err := g.Posix.CreateBucket(ctx, in, acl); err != nil {
		return err
	}
	return g.sync(*in.Bucket, "")
}

// sync makes an object's attributes and its name last, and the names of the directories above it. One that is gone
// again was removed by somebody else.
func (g guarded) sync(bucket, key string) error {
	for name := filepath.Join(bucket, filepath.FromSlash(key)); ; name = filepath.Dir(name) {
		if err := g.syncName(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if name == "." {
			return nil
		}
	}
}

func (g guarded) syncName(name string) error {
	f, err := os.Open(filepath.Join(g.root, name))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
