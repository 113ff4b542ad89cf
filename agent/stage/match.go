package stage

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"github.com/batchyard/batchyard/agent/files/beneath"
)

// The logs of uploads, in the task's directory; they are never uploaded themselves.
const (
	uploadLog      = "fileuploadout.txt"
	uploadErrorLog = "fileuploaderr.txt"
)

// matches are the regular files that a pattern matches, by names relative to the task's directory, in byte order of
// each directory, and what else it would have matched.
type matches struct {
	names   []string
	skipped []string // links, devices and the like
}

// find walks the directories that a pattern leads to, following no link. What goes away meanwhile is not found.
func find(ctx context.Context, task *beneath.Dir, p pattern) (matches, error) {
	var found matches
	err := found.walk(ctx, task, "", p, p.start())
	return found, err
}

func (m *matches) walk(ctx context.Context, dir *beneath.Dir, prefix string, p pattern, at places) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if name, ok := p.only(at); ok {
		info, err := dir.Stat(name)
		if err != nil {
			return passing(err)
		}
		return m.entry(ctx, dir, prefix, fs.FileInfoToDirEntry(info), p, p.step(at, name))
	}
	entries, err := dir.Entries()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := m.entry(ctx, dir, prefix, e, p, p.step(at, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (m *matches) entry(ctx context.Context, dir *beneath.Dir, prefix string, e fs.DirEntry, p pattern, at places) error {
	name := prefix + e.Name()
	switch {
	case len(at) == 0 || name == uploadLog || name == uploadErrorLog:
		return nil
	case e.IsDir() && p.open(at):
		sub, err := dir.Sub(e.Name())
		if err != nil {
			return passing(err)
		}
		defer sub.Close()
		return m.walk(ctx, sub, name+"/", p, at)
	case !p.matched(at) || e.IsDir():
		return nil
	case e.Type().IsRegular():
		m.names = append(m.names, name)
	default:
		m.skipped = append(m.skipped, name)
	}
	return nil
}

// passing drops the errors of names that stand for nothing that can be matched.
func passing(err error) error {
	for _, e := range []error{fs.ErrNotExist, beneath.ErrLink, beneath.ErrNotDir, beneath.ErrName} {
		if errors.Is(err, e) {
			return nil
		}
	}
	return err
}

// relative cuts the first n directories off a name.
func relative(name string, n int) string {
	for range n {
		_, name, _ = strings.Cut(name, "/")
	}
	return name
}
