package beneath

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// tempPrefix starts the names of files that are being written.
const tempPrefix = ".batchyard-"

// Owner is whose new files and directories are; not Set leaves them to the process.
type Owner struct {
	UID, GID int
	Set      bool
}

// MkdirAll opens a directory and makes what is missing on the way; mode (not cut by the umask) and owner are for what it
// makes, existing directories stay as they are.
func (d *Dir) MkdirAll(name string, mode fs.FileMode, owner Owner) (*Dir, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	root, err := d.descend(strings.Split(name, "/"), func(parent *os.Root, element string) (*os.Root, error) {
		return openOrMake(parent, element, mode, owner)
	})
	if err != nil {
		return nil, err
	}
	return &Dir{root: root}, nil
}

func openOrMake(parent *os.Root, element string, mode fs.FileMode, owner Owner) (*os.Root, error) {
	child, err := openElement(parent, element)
	if !errors.Is(err, fs.ErrNotExist) {
		return child, err
	}
	err = parent.Mkdir(element, 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	made := err == nil
	child, err = openElement(parent, element)
	if err != nil || !made {
		return child, err
	}
	if owner.Set {
		err = child.Lchown(".", owner.UID, owner.GID)
	}
	if err == nil {
		err = child.Chmod(".", mode)
	}
	if err != nil {
		return nil, errors.Join(err, child.Close())
	}
	return child, nil
}

// Pending is a file that is being written; it stands under its name only after Commit. Exactly one of Commit and Abort
// ends it.
type Pending struct {
	*os.File
	parent     *os.Root
	temp, base string
	mode       fs.FileMode
	owner      Owner
}

// Create starts a file whose directory exists. It replaces a regular file when committed; a directory, link or anything
// else under its name is an error at once.
func (d *Dir) Create(name string, mode fs.FileMode, owner Owner) (*Pending, error) {
	parent, base, err := d.parent(name)
	if err != nil {
		return nil, err
	}
	if err := replaceable(parent, name, base); err != nil {
		return nil, errors.Join(err, parent.Close())
	}
	temp := tempPrefix + rand.Text()
	f, err := parent.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, errors.Join(err, parent.Close())
	}
	return &Pending{File: f, parent: parent, temp: temp, base: base, mode: mode, owner: owner}, nil
}

func replaceable(parent *os.Root, name, base string) error {
	info, err := parent.Lstat(base)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s: a directory of this name exists: %w", Quote(name), ErrNotFile)
	default:
		return regular(name, info)
	}
}

// Commit sets mode and owner and gives the file its name. On an error nothing is left.
func (p *Pending) Commit() error {
	var err error
	if p.owner.Set {
		err = p.Chown(p.owner.UID, p.owner.GID)
	}
	if err == nil {
		err = p.Chmod(p.mode)
	}
	if closed := p.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = p.parent.Rename(p.temp, p.base)
	}
	if err != nil {
		_ = p.parent.Remove(p.temp)
	}
	return errors.Join(err, p.parent.Close())
}

// Abort leaves nothing behind.
func (p *Pending) Abort() {
	_ = p.Close()
	_ = p.parent.Remove(p.temp)
	_ = p.parent.Close()
}
