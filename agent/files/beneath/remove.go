package beneath

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
)

const (
	// maxOpen bounds the directories held open at once; what is deeper is lifted to the top.
	maxOpen = 64
	// maxPasses bounds how often a directory that somebody keeps filling is emptied again.
	maxPasses = 16
	// maxLifts bounds how often, which allows trees millions of directories deep.
	maxLifts = 100_000
	// entryBatch is how many names of a directory are held at once.
	entryBatch = 1024
)

// ErrNotEmpty is Remove's reason for leaving a directory.
var ErrNotEmpty = errors.New("directory is not empty")

// Remove deletes a file, a link itself, or an empty directory.
func (d *Dir) Remove(name string) error {
	parent, base, err := d.parent(name)
	if err != nil {
		return err
	}
	defer parent.Close()
	err = parent.Remove(base)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if info, statErr := parent.Lstat(base); statErr == nil && info.IsDir() {
		if child, openErr := openElement(parent, base); openErr == nil {
			defer child.Close()
			if names, _ := someEntries(child); len(names) > 0 {
				return fmt.Errorf("%s: %w", Quote(name), ErrNotEmpty)
			}
		}
	}
	return err
}

// RemoveAll deletes a file or a directory with everything in it; that it does not exist is no error. Directories that
// their owner closed are opened, however deep a tree is only a few of its directories are held open, and somebody who
// keeps filling it makes it fail rather than go on for ever.
func (d *Dir) RemoveAll(ctx context.Context, name string) error {
	parent, base, err := d.parent(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	return removeEntry(ctx, parent, base)
}

func removeEntry(ctx context.Context, parent *os.Root, base string) error {
	for range maxPasses {
		err := parent.Remove(base)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		top, openErr := openForRemoval(parent, base)
		if openErr != nil {
			return errors.Join(err, openErr)
		}
		r := remover{top: top}
		err = r.empty(ctx, top, ".", 0)
		_ = top.Close()
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("%s: still filled by somebody: %w", Quote(base), ErrNotEmpty)
}

// remover empties one directory, top, which everything that is moved stays beneath.
type remover struct {
	top    *os.Root
	lifted int
}

func (r *remover) empty(ctx context.Context, dir *os.Root, path string, depth int) error {
	for passes := 0; passes < maxPasses; passes++ {
		lifted := r.lifted
		empty, err := r.pass(ctx, dir, path, depth)
		if err != nil || empty {
			return err
		}
		if depth == 0 && r.lifted > lifted && r.lifted < maxLifts {
			passes--
		}
	}
	return fmt.Errorf("%s: still filled by somebody: %w", Quote(path), ErrNotEmpty)
}

// pass deletes what one reading of dir shows.
func (r *remover) pass(ctx context.Context, dir *os.Root, path string, depth int) (empty bool, err error) {
	f, err := dir.Open(".")
	if err != nil {
		return false, err
	}
	defer f.Close()
	empty = true
	for {
		entries, err := f.ReadDir(entryBatch)
		for _, e := range entries {
			empty = false
			if err := r.remove(ctx, dir, path, e, depth); err != nil {
				return false, err
			}
		}
		if errors.Is(err, io.EOF) || err == nil && len(entries) == 0 {
			return empty, nil
		}
		if err != nil {
			return false, err
		}
	}
}

func (r *remover) remove(ctx context.Context, dir *os.Root, path string, e fs.DirEntry, depth int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	name := e.Name()
	err := dir.Remove(name)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if errors.Is(err, fs.ErrPermission) && dir.Chmod(".", 0o700) == nil {
		if err = dir.Remove(name); err == nil {
			return nil
		}
	}
	if info, statErr := dir.Lstat(name); statErr != nil || !info.IsDir() {
		if errors.Is(statErr, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	at := path + "/" + name
	if depth >= maxOpen {
		r.lifted++
		_ = dir.Chmod(name, 0o700) // moving a directory writes to it
		return r.top.Rename(at, tempPrefix+"lifted-"+strconv.Itoa(r.lifted))
	}
	child, openErr := openForRemoval(dir, name)
	if openErr != nil {
		return errors.Join(err, openErr)
	}
	err = r.empty(ctx, child, at, depth+1)
	_ = child.Close()
	if err != nil {
		return err
	}
	if err := dir.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// openForRemoval opens a directory that is to go, after making it readable where its owner did not leave it so.
func openForRemoval(parent *os.Root, name string) (*os.Root, error) {
	child, err := openElement(parent, name)
	if err != nil && errors.Is(err, fs.ErrPermission) {
		if chmodErr := parent.Chmod(name, 0o700); chmodErr != nil {
			return nil, err
		}
		child, err = openElement(parent, name)
	}
	return child, err
}

func someEntries(dir *os.Root) ([]string, error) {
	f, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(1)
}
