package client

import (
	"context"
	"errors"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// ReadFile writes the bytes of a task's or node's file to w, going on at the offset it had reached when a connection breaks. The
// file's properties, as of the first answer, are given to show (if not nil) before any byte is written. Errors of show and of w
// end it and are returned as they are.
func (c *Client) ReadFile(ctx context.Context, req *apiv1.ReadFileRequest, w io.Writer, show func(*apiv1.NodeFile) error) error {
	r := &fileReader{client: c, req: proto.CloneOf(req), w: w, show: show, bounded: req.GetLength() > 0}
	retry := c.newRetry()
	for {
		before := r.req.GetOffset()
		finished, err := r.once(ctx)
		if finished {
			return err
		}
		if r.req.GetOffset() > before {
			retry.reset()
		}
		if err := retry.wait(ctx, err); err != nil {
			return err
		}
	}
}

type fileReader struct {
	client     *Client
	req        *apiv1.ReadFileRequest
	w          io.Writer
	show       func(*apiv1.NodeFile) error
	properties *apiv1.NodeFile
	bounded    bool // only a part is wanted; the request's length is what is left of it
}

func (r *fileReader) once(ctx context.Context) (finished bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := apiv1.NewFileServiceClient(r.client).ReadFile(ctx, r.req)
	if err != nil {
		return true, err
	}
	for {
		resp, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return true, nil
		case err != nil && r.complete(err):
			return true, nil
		case err != nil:
			return !temporary(ctx, err), err
		}
		if err := r.take(resp); err != nil {
			return true, err
		}
		if r.bounded && r.req.GetLength() == 0 {
			return true, nil
		}
	}
}

func (r *fileReader) take(resp *apiv1.ReadFileResponse) error {
	if p := resp.GetProperties(); p != nil && r.properties == nil {
		r.properties = p
		if r.show != nil {
			return r.show(p)
		}
	}
	data := resp.GetData()
	if r.bounded {
		data = data[:min(int64(len(data)), r.req.GetLength())]
		r.req.Length -= int64(len(data))
	}
	if len(data) == 0 {
		return nil
	}
	r.req.Offset += int64(len(data))
	_, err := r.w.Write(data)
	return err
}

// complete recognises the refusal of a resumed read whose first part had been everything.
func (r *fileReader) complete(err error) bool {
	return r.properties != nil && batcherr.HasCode(err, batcherr.CodeInvalidRange) &&
		r.req.GetOffset() == r.properties.GetProperties().GetContentLength()
}
