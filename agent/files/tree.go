// Package files serves the files of a node and of its tasks: lists them, describes them, reads, follows and deletes them.
package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/batchyard/batchyard/agent/files/beneath"
	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// private is the directory under a node's root that is the agent's own: it is shown and never opened.
const private = "volatile"

// Tree is a directory whose files are served; names are relative to it. Errors carry the codes of Azure Batch
// (*batcherr.Error). Links are neither listed nor followed, and only regular files are read.
type Tree struct {
	dir    *beneath.Dir
	isNode bool // the node's root, not a task's directory
}

// Open opens a directory under a node's root; under is "" for the root itself, a task's directory otherwise. A task's
// directory that is not there gives TaskFilesUnavailable.
func Open(nodeRoot, under string) (*Tree, error) {
	root, err := beneath.Open(nodeRoot)
	if err != nil {
		return nil, batcherr.Of(batcherr.CodeInternalError).Wrap(err)
	}
	if under == "" {
		return &Tree{dir: root, isNode: true}, nil
	}
	defer root.Close()
	if isPrivate(under) {
		return nil, batcherr.Of(batcherr.CodeFileNotFound)
	}
	dir, err := root.Sub(under)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, batcherr.Of(batcherr.CodeTaskFilesUnavailable).Wrap(err)
	}
	if err != nil {
		return nil, coded(err, under)
	}
	return &Tree{dir: dir}, nil
}

// Close gives the handle back.
func (t *Tree) Close() { t.dir.Close() }

// Properties describes one file or directory.
func (t *Tree) Properties(name string) (*apiv1.NodeFile, error) {
	if err := t.check(name); err != nil {
		return nil, err
	}
	info, err := t.dir.Stat(name)
	if err != nil {
		return nil, coded(err, name)
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return nil, notServed(name)
	}
	return nodeFile(name, info), nil
}

// Delete removes a file or a directory; a directory with something in it only when recursive. The directories that a
// node's root consists of stay.
func (t *Tree) Delete(ctx context.Context, name string, recursive bool) error {
	if err := t.check(name); err != nil {
		return err
	}
	info, err := t.dir.Stat(name)
	if err != nil {
		return coded(err, name)
	}
	if t.isNode && info.IsDir() && !strings.Contains(name, "/") {
		return batcherr.New(batcherr.KindConflict, batcherr.CodeOperationInvalidForCurrentState,
			"%s is part of the node's directory layout and can't be deleted; delete what is in it.", beneath.Quote(name))
	}
	if recursive {
		err = t.dir.RemoveAll(ctx, name)
	} else {
		err = t.dir.Remove(name)
	}
	if err != nil {
		return coded(err, name)
	}
	return nil
}

// check refuses names that may not be asked for.
func (t *Tree) check(name string) error {
	if err := beneath.CheckName(name); err != nil {
		return coded(err, name)
	}
	if t.isNode && isPrivate(name) && strings.Contains(name, "/") {
		return batcherr.Of(batcherr.CodeFileNotFound)
	}
	return nil
}

func isPrivate(name string) bool {
	first, _, _ := strings.Cut(name, "/")
	return strings.EqualFold(first, private)
}

// coded gives an error of the file system its Azure Batch code.
func coded(err error, name string) error {
	var known *batcherr.Error
	switch {
	case errors.As(err, &known), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, beneath.ErrNotDir), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENAMETOOLONG):
		return batcherr.Of(batcherr.CodeFileNotFound).Wrap(err)
	case errors.Is(err, beneath.ErrName):
		return batcherr.New(batcherr.KindInvalid, batcherr.CodeInvalidInput, "%v.", err)
	case errors.Is(err, beneath.ErrLink), errors.Is(err, beneath.ErrNotFile):
		return notServed(name)
	case errors.Is(err, beneath.ErrNotEmpty):
		return batcherr.New(batcherr.KindConflict, batcherr.CodeOperationInvalidForCurrentState,
			"The directory %s is not empty; delete it recursively.", beneath.Quote(name)).Wrap(err)
	default:
		reason := err
		var p *fs.PathError
		if errors.As(err, &p) {
			reason = p.Err
		}
		return batcherr.New(batcherr.KindForbidden, batcherr.CodeIOError,
			"The operation on the file %s failed: %v.", beneath.Quote(name), reason).Wrap(err)
	}
}

func notServed(name string) error {
	return batcherr.New(batcherr.KindNotFound, batcherr.CodeFileNotFound,
		"%s is not a regular file or a directory, and links are not followed.", beneath.Quote(name))
}

func isDirectory(name string) error {
	return batcherr.New(batcherr.KindConflict, batcherr.CodeOperationInvalidForCurrentState,
		"%s is a directory; list it instead.", beneath.Quote(name))
}

func outOfRange(offset, size int64) error {
	return batcherr.Of(batcherr.CodeInvalidRange).With("Offset", fmt.Sprint(offset)).With("ContentLength", fmt.Sprint(size))
}
