package files

import (
	"context"
	"fmt"

	"github.com/batchyard/batchyard/internal/batcherr"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

// Serve answers one request for files under the node's root, the directory nodeRoot: a list as one chunk a file;
// properties as one; a read as the properties, then the bytes; a deletion as nothing; then the end. What goes wrong with
// the file is sent as a FileError instead; Serve itself fails only when send does or ctx ends. Following goes on until
// done is closed, nil counting as closed. send may not keep what it is given.
func Serve(ctx context.Context, nodeRoot string, req *agentv1.FileRequest, send func(*agentv1.TransferChunk) error, done <-chan struct{}) error {
	a := answer{id: req.GetId(), send: send}
	err := a.serve(ctx, nodeRoot, req, done)
	if a.broken != nil {
		return a.broken
	}
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("serving files: %w", ctx.Err())
	}
	if err != nil {
		known := batcherr.From(err)
		return a.chunk(&agentv1.TransferChunk{Content: &agentv1.TransferChunk_Error{
			Error: &agentv1.FileError{Code: known.Code, Message: known.Message},
		}})
	}
	return a.chunk(&agentv1.TransferChunk{Content: &agentv1.TransferChunk_End{End: true}})
}

// answer is the sequence of chunks to one request.
type answer struct {
	id     string
	begun  bool
	send   func(*agentv1.TransferChunk) error
	broken error
}

func (a *answer) chunk(c *agentv1.TransferChunk) error {
	if !a.begun {
		c.Id, a.begun = a.id, true
	}
	a.broken = a.send(c)
	return a.broken
}

func (a *answer) data(b []byte) error {
	return a.chunk(&agentv1.TransferChunk{Content: &agentv1.TransferChunk_Data{Data: b}})
}

func (a *answer) serve(ctx context.Context, nodeRoot string, req *agentv1.FileRequest, done <-chan struct{}) error {
	if req.GetOperation() == agentv1.FileOperation_FILE_OPERATION_READ {
		return a.read(ctx, nodeRoot, req, done)
	}
	tree, err := Open(nodeRoot, req.GetRoot())
	if err != nil {
		return err
	}
	defer tree.Close()
	switch req.GetOperation() {
	case agentv1.FileOperation_FILE_OPERATION_LIST:
		return a.list(ctx, tree, req)
	case agentv1.FileOperation_FILE_OPERATION_PROPERTIES:
		file, err := tree.Properties(req.GetName())
		if err != nil {
			return err
		}
		return a.chunk(&agentv1.TransferChunk{Content: &agentv1.TransferChunk_File{File: file}})
	case agentv1.FileOperation_FILE_OPERATION_DELETE:
		return tree.Delete(ctx, req.GetName(), req.GetRecursive())
	default:
		return batcherr.New(batcherr.KindNotImplemented, batcherr.CodeNotImplemented, "The node does not know the file operation %d.", req.GetOperation())
	}
}

func (a *answer) list(ctx context.Context, tree *Tree, req *agentv1.FileRequest) error {
	page, err := tree.List(ctx, ListOptions{
		Prefix: req.GetPrefix(), After: req.GetAfter(), Limit: int(req.GetLimit()), Recursive: req.GetRecursive(),
	})
	if err != nil {
		return err
	}
	for _, file := range page {
		if err := a.chunk(&agentv1.TransferChunk{Content: &agentv1.TransferChunk_File{File: file}}); err != nil {
			return err
		}
	}
	return nil
}

func (a *answer) read(ctx context.Context, nodeRoot string, req *agentv1.FileRequest, done <-chan struct{}) error {
	open := func() (*Reader, error) { return openOnce(nodeRoot, req.GetRoot(), req.GetName()) }
	if !req.GetFollow() {
		done = nil
	}
	r, err := await(ctx, open, done)
	if err != nil {
		return err
	}
	defer r.Close()
	if !req.GetFollow() {
		if err := r.checkRange(req.GetOffset(), req.GetLength()); err != nil {
			return err
		}
	}
	if err := a.chunk(&agentv1.TransferChunk{Content: &agentv1.TransferChunk_File{File: r.File}}); err != nil {
		return err
	}
	if req.GetFollow() {
		return r.Follow(ctx, req.GetOffset(), req.GetLength(), done, a.data)
	}
	return r.Copy(ctx, req.GetOffset(), req.GetLength(), a.data)
}

func openOnce(nodeRoot, under, name string) (*Reader, error) {
	tree, err := Open(nodeRoot, under)
	if err != nil {
		return nil, err
	}
	defer tree.Close() // the file stays open
	return tree.Read(name)
}
