package storage

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// part is the hidden file that a download fills before it takes its name, and the note beside it that says which
// contents it holds.
type part struct {
	root            *os.Root
	name, tmp, note string
	f               *os.File
	size            int64
	validator       string
}

// openPart finds what an earlier call left for name, or makes an empty part file.
func openPart(root *os.Root, name string, mode fs.FileMode) (*part, error) {
	sum := sha256.Sum256([]byte(path.Base(name)))
	tmp := path.Join(path.Dir(name), ".part-"+hex.EncodeToString(sum[:8]))
	p := &part{root: root, name: name, tmp: tmp, note: tmp + ".of"}
	if fi, err := root.Lstat(p.tmp); err == nil && fi.Mode().IsRegular() {
		p.validator = p.readNote()
	}
	flags := os.O_RDWR
	if p.validator == "" {
		if err := p.remove(); err != nil {
			return nil, err
		}
		flags |= os.O_CREATE | os.O_EXCL
	}
	f, err := root.OpenFile(p.tmp, flags|openFlags, 0o600)
	if err != nil {
		return nil, err
	}
	p.f = f
	if err := p.prepare(mode); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return p, nil
}

func (p *part) prepare(mode fs.FileMode) error {
	fi, err := p.f.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", p.tmp)
	}
	// The umask does not reduce a mode that somebody asked for.
	if err := p.f.Chmod(mode.Perm()); err != nil {
		return err
	}
	p.size, err = p.f.Seek(0, io.SeekEnd)
	return err
}

func (p *part) readNote() string {
	f, err := p.root.OpenFile(p.note, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4<<10))
	if err != nil {
		return ""
	}
	return string(b)
}

// begin empties the part file and notes what will be in it; "" means that nobody can go on with it.
func (p *part) begin(validator string) error {
	p.validator, p.size = "", 0
	if err := p.root.Remove(p.note); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := p.f.Truncate(0); err != nil {
		return err
	}
	if _, err := p.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if validator == "" {
		return nil
	}
	if err := p.root.WriteFile(p.note, []byte(validator), 0o600); err != nil {
		return err
	}
	p.validator = validator
	return nil
}

func (p *part) write(b []byte) error {
	n, err := p.f.Write(b)
	p.size += int64(n)
	return err
}

// publish gives the part file its name.
func (p *part) publish() error {
	if err := p.f.Close(); err != nil {
		return errors.Join(err, p.remove())
	}
	if err := p.root.Rename(p.tmp, p.name); err != nil {
		return errors.Join(err, p.remove())
	}
	return p.remove()
}

// leave closes the part file and removes it unless it is to be kept. Its errors change nothing for the caller, who has
// a reason already.
func (p *part) leave(keep bool) {
	_ = p.f.Close()
	if !keep || p.validator == "" {
		_ = p.remove()
	}
}

func (p *part) remove() error {
	for _, name := range []string{p.tmp, p.note} {
		if err := p.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
