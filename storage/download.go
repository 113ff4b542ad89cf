package storage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"
)

// DownloadOptions qualify a Download. Zero fields ask for nothing and take the defaults.
type DownloadOptions struct {
	Size      int64       // expected bytes when positive; another size gives ErrPrecondition
	SHA256    string      // expected contents in hexadecimal; others give ErrChecksum
	Validator string      // expected Object.Validator, as from List; another gives ErrPrecondition
	MaxBytes  int64       // ErrTooLarge beyond it when positive
	Mode      fs.FileMode // of the file; default 0644
	DirMode   fs.FileMode // of directories that are made on the way; default 0755

	Retry    Retry
	Stall    time.Duration                // ErrTimeout for an attempt that gets no byte for so long; default 1 minute
	Progress func(done, total int64)      // bytes; total is -1 when unknown. Called from Download's goroutine
	OnRetry  func(attempt int, err error) // called before a wait
}

// progressStep is how many new bytes make a failed attempt count as the first again.
const progressStep = 1 << 20

// Download copies an object to the file name in root. The bytes go to a hidden file beside it first, which a later
// call continues as long as the object is the same; the name appears when size and checksum are right. One call at a
// time may download to a name.
func Download(ctx context.Context, s Store, key string, root *os.Root, name string, opts DownloadOptions) (Object, error) {
	if opts.Mode == 0 {
		opts.Mode = 0o644
	}
	if opts.DirMode == 0 {
		opts.DirMode = 0o755
	}
	if opts.Stall <= 0 {
		opts.Stall = time.Minute
	}
	opts.Retry = opts.Retry.withDefaults()
	if dir := path.Dir(name); dir != "." {
		if err := root.MkdirAll(dir, opts.DirMode); err != nil {
			return Object{}, Fail("download", key, err)
		}
	}
	d := &download{store: s, key: key, opts: opts}
	var err error
	if d.part, err = openPart(root, name, opts.Mode); err != nil {
		return Object{}, Fail("download", key, err)
	}
	obj, err := d.run(ctx)
	if err != nil {
		d.part.leave(keepPart(err))
		return Object{}, err
	}
	if err := d.part.publish(); err != nil {
		return Object{}, Fail("download", key, err)
	}
	return obj, nil
}

// keepPart says whether what has arrived may be of use to a later call.
func keepPart(err error) bool {
	return Retryable(err) || errors.Is(err, context.Canceled)
}

type download struct {
	store Store
	key   string
	opts  DownloadOptions
	part  *part
}

func (d *download) run(ctx context.Context) (Object, error) {
	for attempt := 1; ; attempt++ {
		before := d.part.size
		obj, err := d.attempt(ctx)
		if err == nil {
			err = d.verify()
		}
		if err == nil {
			return obj, nil
		}
		if d.part.size-before >= progressStep {
			attempt = 1
		}
		if ctx.Err() != nil || !Retryable(err) || attempt >= d.opts.Retry.Attempts {
			return Object{}, err
		}
		if d.opts.OnRetry != nil {
			d.opts.OnRetry(attempt, err)
		}
		if err := d.opts.Retry.wait(ctx, attempt); err != nil {
			return Object{}, Fail("download", d.key, err)
		}
	}
}

// attempt goes on where the part file ends, or starts over when it cannot.
func (d *download) attempt(parent context.Context) (Object, error) {
	ctx, w := newWatch(parent, d.opts.Stall)
	defer w.stop()
	offset := d.part.size
	body, obj, err := d.store.Open(ctx, d.key, offset, -1)
	if err != nil && offset > 0 && errors.Is(err, ErrRange) {
		if obj, err = d.store.Stat(ctx, d.key); err == nil && obj.Size == offset && d.same(obj) {
			return obj, d.admit(obj)
		}
		if err == nil {
			err = d.restart("the object is shorter than before")
		}
	}
	if err != nil {
		return Object{}, explain(ctx, "download", d.key, err)
	}
	defer body.Close()
	if err := d.admit(obj); err != nil {
		return Object{}, err
	}
	if offset > 0 && !d.same(obj) {
		return Object{}, d.restart("the object has changed")
	}
	if offset == 0 {
		if err := d.part.begin(obj.Validator()); err != nil {
			return Object{}, Fail("download", d.key, err)
		}
	}
	if err := d.copy(watched{body, w}, obj); err != nil {
		return Object{}, explain(ctx, "download", d.key, err)
	}
	obj.Size = d.part.size
	return obj, nil
}

func (d *download) same(obj Object) bool {
	return d.part.validator != "" && d.part.validator == obj.Validator()
}

func (d *download) restart(why string) error {
	if err := d.part.begin(""); err != nil {
		return Fail("download", d.key, err)
	}
	return &Error{Op: "download", Key: d.key, Kind: ErrTemporary, Err: errors.New(why)}
}

// admit refuses an object that is not the expected one before its bytes are fetched.
func (d *download) admit(obj Object) error {
	refuse := func(kind error, format string, args ...any) error {
		return &Error{Op: "download", Key: d.key, Kind: kind, Err: fmt.Errorf(format, args...)}
	}
	switch {
	case d.opts.Validator != "" && obj.Validator() != d.opts.Validator:
		return refuse(ErrPrecondition, "the object has changed")
	case obj.Size < 0:
		return nil
	case d.opts.MaxBytes > 0 && obj.Size > d.opts.MaxBytes:
		return refuse(ErrTooLarge, "%d bytes, at most %d are allowed", obj.Size, d.opts.MaxBytes)
	case d.opts.Size > 0 && obj.Size != d.opts.Size:
		return refuse(ErrPrecondition, "%d bytes, not %d", obj.Size, d.opts.Size)
	}
	return nil
}

func (d *download) copy(body io.Reader, obj Object) error {
	buf := make([]byte, 256<<10)
	for {
		n, err := body.Read(buf)
		if over := d.opts.MaxBytes; over > 0 && d.part.size+int64(n) > over {
			return &Error{Op: "download", Key: d.key, Kind: ErrTooLarge, Err: fmt.Errorf("more than %d bytes", over)}
		}
		if werr := d.part.write(buf[:n]); werr != nil {
			return Fail("write file of", d.key, werr)
		}
		if n > 0 && d.opts.Progress != nil {
			d.opts.Progress(d.part.size, obj.Size)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return Fail("read", d.key, err)
		}
	}
	if obj.Size >= 0 && d.part.size < obj.Size {
		return &Error{Op: "read", Key: d.key, Kind: ErrTemporary, Err: fmt.Errorf("ended at %d of %d bytes", d.part.size, obj.Size)}
	}
	if obj.Size >= 0 && d.part.size > obj.Size {
		return d.restart("more bytes than announced")
	}
	return nil
}

// verify compares the finished part file with what is expected. What is on disk counts, since a part of it may have
// come in an earlier call.
func (d *download) verify() error {
	if d.opts.Size > 0 && d.part.size != d.opts.Size {
		return &Error{Op: "download", Key: d.key, Kind: ErrPrecondition, Err: fmt.Errorf("%d bytes, not %d", d.part.size, d.opts.Size)}
	}
	if d.opts.SHA256 == "" {
		return nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(d.part.f, 0, d.part.size)); err != nil {
		return Fail("download", d.key, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); !strings.EqualFold(got, d.opts.SHA256) {
		return &Error{Op: "download", Key: d.key, Kind: ErrChecksum, Err: fmt.Errorf("SHA-256 is %s, not %s", got, d.opts.SHA256)}
	}
	return nil
}
