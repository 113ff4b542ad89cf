package azure

import (
	"context"
	"errors"
	"io"
	"net/url"
	"strconv"
	"strings"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// fileRoot is what file names in the path are relative to: the task's directory or the node's root.
func (c *call) fileRoot() *apiv1.FileRoot {
	return &apiv1.FileRoot{JobId: c.param("jobId"), TaskId: c.param("taskId"), PoolId: c.param("poolId"), NodeId: c.param("nodeId")}
}

func (c *call) filesURL() string {
	l := c.encoder().links
	if task := c.param("taskId"); task != "" {
		return l.taskURL(l.job, task) + "/files"
	}
	return l.nodeURL(l.pool, c.param("nodeId")) + "/files"
}

func listFiles(ctx context.Context, c *call) error {
	l, err := c.listing(&apiv1.NodeFile{})
	if err != nil {
		return err
	}
	l.options.Select = "" // the operation has no $select for the services to read
	recursive, err := c.flag("recursive")
	if err != nil {
		return err
	}
	page, err := c.files.ListFiles(ctx, &apiv1.ListFilesRequest{Root: c.fileRoot(), Recursive: recursive, Options: l.options})
	if err != nil {
		return err
	}
	e := c.encoder()
	e.links.root = c.filesURL()
	return list(c, e, "files", page.GetFiles(), l, page.GetNextPageToken())
}

func getFileProperties(ctx context.Context, c *call) error {
	name := c.param("filePath")
	file, err := c.files.GetFileProperties(ctx, &apiv1.GetFilePropertiesRequest{Root: c.fileRoot(), Name: name})
	if err != nil {
		return err
	}
	if err := checkDates(c.conditions, file.GetProperties().GetLastModified().AsTime()); err != nil {
		return err
	}
	c.fileHeaders(file, file.GetProperties().GetContentLength())
	c.begin(c.route.Status)
	return nil
}

// fileHeaders describes a file of which length bytes follow.
func (c *call) fileHeaders(file *apiv1.NodeFile, length int64) {
	p := file.GetProperties()
	c.header("Content-Length", strconv.FormatInt(length, 10))
	contentType := p.GetContentType()
	if contentType == "" {
		contentType = "application/octet-stream"
	}
	c.header("Content-Type", contentType)
	c.header("Content-Security-Policy", "sandbox") // a task's file must not act as a page of this site
	if p.GetLastModified() != nil {
		c.header("Last-Modified", httpTime(p.GetLastModified().AsTime()))
	}
	if p.GetCreationTime() != nil {
		c.header("ocp-creation-time", httpTime(p.GetCreationTime().AsTime()))
	}
	directory := "False"
	if file.GetIsDirectory() {
		directory = "True"
	}
	c.header("ocp-batch-file-isdirectory", directory)
	if p.GetFileMode() != "" {
		c.header("ocp-batch-file-mode", p.GetFileMode())
	}
	c.header("ocp-batch-file-url", c.filesURL()+"/"+url.PathEscape(c.param("filePath")))
}

// getFile streams a file, or the range of it in ocp-range, as long as it was when the answer began. If it breaks off, so does
// the connection, since the client must not take a part for the whole.
func getFile(ctx context.Context, c *call) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream however we leave
	span, err := parseRange(c.r.Header.Get("ocp-range"))
	if err != nil {
		return err
	}
	request := &apiv1.ReadFileRequest{Root: c.fileRoot(), Name: c.param("filePath")}
	if err := c.resolveRange(ctx, span, request); err != nil {
		return err
	}
	stream, err := c.files.ReadFile(ctx, request)
	if err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	file := first.GetProperties()
	if file == nil {
		return batcherr.Of(batcherr.CodeInternalError)
	}
	if err := checkDates(c.conditions, file.GetProperties().GetLastModified().AsTime()); err != nil {
		return err
	}
	length := max(file.GetProperties().GetContentLength()-request.GetOffset(), 0)
	if request.GetLength() > 0 {
		length = min(length, request.GetLength())
	}
	c.fileHeaders(file, length)
	c.begin(c.route.Status)
	return c.copyFile(stream, length)
}

// fileStream is the part of a stream that copyFile reads.
type fileStream interface {
	Recv() (*apiv1.ReadFileResponse, error)
}

func (c *call) copyFile(stream fileStream, left int64) error {
	for left > 0 {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return batcherr.Of(batcherr.CodeIOError).With(batcherr.ValueReason, "The file became shorter while it was read.")
		}
		if err != nil {
			return err
		}
		data := part.GetData()
		data = data[:min(int64(len(data)), left)]
		if _, err := c.w.Write(data); err != nil {
			return batcherr.From(context.Canceled) // the client has gone
		}
		left -= int64(len(data))
	}
	return nil
}

// byteRange is a range of a file: from first to last, or the suffix that is last bytes long if first is negative.
type byteRange struct{ first, last int64 }

// parseRange reads bytes=a-b, bytes=a- or bytes=-n; nil without a header.
func parseRange(text string) (*byteRange, error) {
	if text == "" {
		return nil, nil
	}
	bad := batcherr.InvalidHeader("ocp-range", text)
	spec, isBytes := strings.CutPrefix(strings.TrimSpace(text), "bytes=")
	from, to, isRange := strings.Cut(spec, "-")
	if !isBytes || !isRange {
		return nil, bad
	}
	r := &byteRange{first: -1, last: 1<<63 - 1}
	for _, part := range []struct {
		text  string
		value *int64
	}{{from, &r.first}, {to, &r.last}} {
		if part.text == "" {
			continue
		}
		n, err := strconv.ParseUint(part.text, 10, 63)
		if err != nil {
			return nil, bad
		}
		*part.value = int64(n)
	}
	if from == "" && to == "" || r.first > r.last {
		return nil, bad
	}
	if r.last == 0 && r.first < 0 {
		return nil, batcherr.Of(batcherr.CodeInvalidRange) // the last no bytes
	}
	return r, nil
}

// resolveRange puts a range into the request; a suffix needs the file's length.
func (c *call) resolveRange(ctx context.Context, r *byteRange, request *apiv1.ReadFileRequest) error {
	switch {
	case r == nil:
	case r.first >= 0:
		request.Offset = r.first
		if r.last-r.first < 1<<63-1 {
			request.Length = r.last - r.first + 1
		}
	default:
		file, err := c.files.GetFileProperties(ctx, &apiv1.GetFilePropertiesRequest{Root: request.GetRoot(), Name: request.GetName()})
		if err != nil {
			return err
		}
		request.Offset = max(file.GetProperties().GetContentLength()-r.last, 0)
		request.Length = r.last
	}
	return nil
}

func deleteFile(ctx context.Context, c *call) error {
	recursive, err := c.flag("recursive")
	if err != nil {
		return err
	}
	if _, err := c.files.DeleteFile(ctx, &apiv1.DeleteFileRequest{Root: c.fileRoot(), Name: c.param("filePath"), Recursive: recursive}); err != nil {
		return err
	}
	return c.deleted()
}
