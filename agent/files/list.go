package files

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/batchyard/batchyard/agent/files/beneath"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// MaxPage is the largest, and the default, number of files in one page of a list.
const MaxPage = 1000

// ListOptions says which files to list.
type ListOptions struct {
	Prefix    string // of the full relative name
	After     string // names after this one in byte order; the last of the page before
	Limit     int    // 1..MaxPage; anything else means MaxPage
	Recursive bool   // every depth, with full relative names
}

// List gives one page of files and directories in byte order of their full names. What cannot be addressed is left out:
// links, devices, and names that are not UTF-8 or too deep. Files that come and go meanwhile may or may not be in it.
func (t *Tree) List(ctx context.Context, opts ListOptions) ([]*apiv1.NodeFile, error) {
	if opts.Limit < 1 || opts.Limit > MaxPage {
		opts.Limit = MaxPage
	}
	l := lister{tree: t, opts: opts}
	err := l.directory(ctx, t.dir, "")
	if err != nil && !errors.Is(err, errPageFull) {
		return nil, coded(err, ".")
	}
	return l.page, nil
}

var errPageFull = errors.New("page is full")

type lister struct {
	tree *Tree
	opts ListOptions
	page []*apiv1.NodeFile
}

// step is one thing to do in a directory: show an entry, or go into it. Sorted by key, the steps give the byte order of
// full names, in which "a-b" stands between "a" and "a/b".
type step struct {
	key  string
	name string
	into bool
}

func (l *lister) directory(ctx context.Context, dir *beneath.Dir, prefix string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := dir.Entries()
	if err != nil {
		return err
	}
	for _, s := range l.steps(prefix, entries) {
		if s.into {
			err = l.into(ctx, dir, s)
		} else {
			err = l.show(dir, s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// steps keeps what this page can still need.
func (l *lister) steps(prefix string, entries []fs.DirEntry) []step {
	var out []step
	for _, e := range entries {
		full := prefix + e.Name()
		if !e.IsDir() && !e.Type().IsRegular() || !utf8.ValidString(full) || beneath.CheckName(full) != nil {
			continue
		}
		if full > l.opts.After && strings.HasPrefix(full, l.opts.Prefix) {
			out = append(out, step{key: full, name: e.Name()})
		}
		if below := full + "/"; e.IsDir() && l.descends(below) {
			out = append(out, step{key: below, name: e.Name(), into: true})
		}
	}
	slices.SortFunc(out, func(a, b step) int { return strings.Compare(a.key, b.key) })
	return out
}

// descends says whether names that begin with below may belong to the page.
func (l *lister) descends(below string) bool {
	switch {
	case !l.opts.Recursive, l.tree.isNode && isPrivate(below):
		return false
	case !strings.HasPrefix(below, l.opts.Prefix) && !strings.HasPrefix(l.opts.Prefix, below):
		return false
	}
	return below > l.opts.After || strings.HasPrefix(l.opts.After, below)
}

func (l *lister) into(ctx context.Context, dir *beneath.Dir, s step) error {
	sub, err := dir.Sub(s.name)
	if err != nil {
		return passing(err)
	}
	defer sub.Close()
	return passing(l.directory(ctx, sub, s.key))
}

func (l *lister) show(dir *beneath.Dir, s step) error {
	info, err := dir.Stat(s.name)
	if err != nil {
		return passing(err)
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return nil
	}
	if len(l.page) == l.opts.Limit {
		return errPageFull
	}
	l.page = append(l.page, nodeFile(s.key, info))
	return nil
}

// passing drops the errors of what went away, was exchanged or is closed to the agent: the rest of the list stands.
func passing(err error) error {
	for _, e := range []error{fs.ErrNotExist, fs.ErrPermission, beneath.ErrLink, beneath.ErrNotDir, beneath.ErrName} {
		if errors.Is(err, e) {
			return nil
		}
	}
	return err
}
