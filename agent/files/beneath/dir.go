// Package beneath works on files under a directory that somebody hostile may be changing, without ever following a link.
package beneath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// Dir is an open directory. Every name given to it is relative, with / as separator, and must pass CheckName; each
// element on the way is opened by itself, relative to the one before, and refused unless it is a real directory. A Dir
// is safe for concurrent use.
type Dir struct{ root *os.Root }

// Open opens a directory by a path that is trusted: links in it are followed.
func Open(trusted string) (*Dir, error) {
	root, err := os.OpenRoot(trusted)
	if err != nil {
		return nil, err
	}
	return &Dir{root: root}, nil
}

// Close gives the handle back.
func (d *Dir) Close() { _ = d.root.Close() }

// Sub opens a directory.
func (d *Dir) Sub(name string) (*Dir, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	root, err := d.descend(strings.Split(name, "/"), openElement)
	if err != nil {
		return nil, err
	}
	return &Dir{root: root}, nil
}

// Stat describes what stands under name, a link as a link.
func (d *Dir) Stat(name string) (fs.FileInfo, error) {
	parent, base, err := d.parent(name)
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	return parent.Lstat(base)
}

// Self describes the directory itself.
func (d *Dir) Self() (fs.FileInfo, error) { return d.root.Stat(".") }

// File opens a regular file for reading; it never waits, whatever stands there. A file with several links that does
// not belong to the owner of its directory is refused, since whoever linked it may not have been allowed to read it.
func (d *Dir) File(name string) (*os.File, fs.FileInfo, error) {
	parent, base, err := d.parent(name)
	if err != nil {
		return nil, nil, err
	}
	defer parent.Close()
	before, err := parent.Lstat(base)
	if err != nil {
		return nil, nil, err
	}
	if err := regular(name, before); err != nil {
		return nil, nil, err
	}
	f, err := parent.OpenFile(base, os.O_RDONLY|nonBlocking, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := checkOpened(parent, f, name, before)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// Entries lists the directory, sorted by name in byte order.
func (d *Dir) Entries() ([]fs.DirEntry, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// parent opens the directory that name stands in.
func (d *Dir) parent(name string) (parent *os.Root, base string, err error) {
	if err := CheckName(name); err != nil {
		return nil, "", err
	}
	dir, base := path.Split(name)
	if dir == "" {
		parent, err = d.root.OpenRoot(".")
		return parent, base, err
	}
	parent, err = d.descend(strings.Split(strings.TrimSuffix(dir, "/"), "/"), openElement)
	return parent, base, err
}

// descend goes down one element after the other; open opens one relative to its parent.
func (d *Dir) descend(elements []string, open func(*os.Root, string) (*os.Root, error)) (*os.Root, error) {
	at := d.root
	for _, element := range elements {
		next, err := open(at, element)
		if at != d.root {
			_ = at.Close()
		}
		if err != nil {
			return nil, err
		}
		at = next
	}
	return at, nil
}

// openElement opens a directory that is neither a link nor reached through one. An os.Root follows links that stay
// beneath it; comparing what was seen with what was opened refuses those too, even when they are exchanged in between.
func openElement(parent *os.Root, element string) (*os.Root, error) {
	before, err := parent.Lstat(element)
	if err != nil {
		return nil, err
	}
	if before.Mode()&fs.ModeSymlink != 0 {
		return nil, fmt.Errorf("%s: %w", Quote(element), ErrLink)
	}
	if !before.IsDir() {
		return nil, fmt.Errorf("%s: %w", Quote(element), ErrNotDir)
	}
	child, err := parent.OpenRoot(element)
	if err != nil {
		return nil, err
	}
	after, err := child.Stat(".")
	if err == nil && !os.SameFile(before, after) {
		err = fmt.Errorf("%s: %w", Quote(element), ErrLink)
	}
	if err != nil {
		return nil, errors.Join(err, child.Close())
	}
	return child, nil
}

func regular(name string, info fs.FileInfo) error {
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%s: %w", Quote(name), ErrLink)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s: %w", Quote(name), ErrNotFile)
	}
	return nil
}

func checkOpened(parent *os.Root, f *os.File, name string, before fs.FileInfo) (fs.FileInfo, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !os.SameFile(before, info) {
		return nil, fmt.Errorf("%s: %w", Quote(name), ErrLink)
	}
	if err := regular(name, info); err != nil {
		return nil, err
	}
	dir, err := parent.Stat(".")
	if err != nil {
		return nil, err
	}
	if foreignLink(info, dir) {
		return nil, fmt.Errorf("%s: a second link to a file of another user: %w", Quote(name), ErrLink)
	}
	return info, nil
}

// Root is the handle itself, for libraries that write through one; they follow links that stay beneath the directory.
func (d *Dir) Root() *os.Root { return d.root }

// Reopen gives a second handle of the directory.
func (d *Dir) Reopen() (*Dir, error) {
	root, err := d.root.OpenRoot(".")
	if err != nil {
		return nil, err
	}
	return &Dir{root: root}, nil
}
