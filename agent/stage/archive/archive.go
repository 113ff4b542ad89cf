// Package archive unpacks zip archives that nobody vouches for into a directory that nobody else uses.
package archive

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// ErrRefused marks archives that are malformed, hostile or beyond the limits, apart from failures of the disk.
var ErrRefused = errors.New("archive refused")

// Limits bound what an archive may cost. Zero fields take the defaults.
type Limits struct {
	Entries int   // files and directories; default 100,000
	Bytes   int64 // of all files unpacked; default 32 GiB
	Ratio   int64 // unpacked to packed bytes of one file; default 250
	Slack   int64 // unpacked bytes of one file that the ratio does not count for; default 16 MiB
	Depth   int   // elements of a name; default 64
}

func (l Limits) withDefaults() Limits {
	if l.Entries <= 0 {
		l.Entries = 100_000
	}
	if l.Bytes <= 0 {
		l.Bytes = 32 << 30
	}
	if l.Ratio <= 0 {
		l.Ratio = 250
	}
	if l.Slack <= 0 {
		l.Slack = 16 << 20
	}
	if l.Depth <= 0 {
		l.Depth = 64
	}
	return l
}

// Extract unpacks an archive of size bytes into an empty directory that only the caller can write. Only regular files
// and directories come out of it, readable and, where the archive says so, executable by everybody, writable by the
// owner alone. Everything is checked before anything is written, and lengths, limits and checksums again while
// writing. After an error the directory holds a part of the contents and is to be thrown away.
func Extract(ctx context.Context, r io.ReaderAt, size int64, into *os.Root, limits Limits) error {
	limits = limits.withDefaults()
	reader, err := open(r, size, limits)
	if err != nil {
		return err
	}
	items, err := plan(reader.File, size, limits)
	if err != nil {
		return err
	}
	x := extraction{into: into, left: limits.Bytes, limits: limits, buf: make([]byte, 128<<10)}
	for _, item := range items {
		if err := x.item(ctx, item); err != nil {
			return err
		}
	}
	return nil
}

// open reads the archive's directory, of which it takes no more into memory than the permitted entries can need.
func open(r io.ReaderAt, size int64, limits Limits) (*zip.Reader, error) {
	const perEntry, tail = 1 << 10, 1 << 20
	budget := &budgetReader{r: r, left: int64(limits.Entries)*perEntry + tail}
	reader, err := zip.NewReader(budget, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return nil, fmt.Errorf("%w: not a zip archive: %w", ErrRefused, err)
	}
	budget.left = -1
	return reader, nil
}

// budgetReader refuses to give more than left bytes until left is negative.
type budgetReader struct {
	r    io.ReaderAt
	left int64
}

func (b *budgetReader) ReadAt(p []byte, off int64) (int, error) {
	if b.left >= 0 {
		if int64(len(p)) > b.left {
			return 0, errors.New("its directory is too large")
		}
		b.left -= int64(len(p))
	}
	return b.r.ReadAt(p, off)
}

type extraction struct {
	into   *os.Root
	left   int64 // of Limits.Bytes
	limits Limits
	buf    []byte
	parent string // exists
}

func (x *extraction) item(ctx context.Context, item item) error {
	if item.dir {
		return x.directory(item.name)
	}
	if err := x.directory(item.parent()); err != nil {
		return err
	}
	f, err := x.into.OpenFile(item.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, item.mode)
	if errors.Is(err, fs.ErrExist) {
		return item.refuse("stands there twice")
	}
	if err != nil {
		return fmt.Errorf("unpacking: %w", err)
	}
	err = x.contents(ctx, f, item)
	if err == nil {
		err = f.Chmod(item.mode)
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

func (x *extraction) directory(name string) error {
	if name == "" || name == x.parent {
		return nil
	}
	for at := range len(name) + 1 {
		if at < len(name) && name[at] != '/' {
			continue
		}
		if err := x.makeOne(name[:at]); err != nil {
			return err
		}
	}
	x.parent = name
	return nil
}

// makeOne makes a directory unless it is there, with a mode that the umask does not cut.
func (x *extraction) makeOne(name string) error {
	err := x.into.Mkdir(name, 0o755)
	if err == nil {
		err = x.into.Chmod(name, 0o755)
	}
	if errors.Is(err, fs.ErrExist) {
		info, statErr := x.into.Lstat(name)
		if statErr == nil && !info.IsDir() {
			return fmt.Errorf("%w: %q is both a file and a directory", ErrRefused, name)
		}
		err = statErr
	}
	if err != nil {
		return fmt.Errorf("unpacking: %w", err)
	}
	return nil
}

func (x *extraction) contents(ctx context.Context, to io.Writer, item item) error {
	from, err := item.file.Open()
	if err != nil {
		return item.refuse(err.Error())
	}
	defer from.Close()
	for written := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, readErr := from.Read(x.buf)
		written += int64(n)
		x.left -= int64(n)
		if reason := x.beyond(item, written); reason != "" {
			return item.refuse(reason)
		}
		if _, err := to.Write(x.buf[:n]); err != nil {
			return fmt.Errorf("unpacking: %w", err)
		}
		if errors.Is(readErr, io.EOF) {
			return item.complete(written)
		}
		if readErr != nil {
			return item.refuse(readErr.Error())
		}
	}
}

func (x *extraction) beyond(item item, written int64) string {
	switch {
	case x.left < 0:
		return fmt.Sprintf("brings the unpacked bytes over %d", x.limits.Bytes)
	case written > item.size:
		return "is longer than it says"
	case written > x.limits.Slack && written/x.limits.Ratio > item.packed:
		return fmt.Sprintf("unpacks to more than %d times its packed size", x.limits.Ratio)
	}
	return ""
}
