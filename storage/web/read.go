package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/batchyard/batchyard/storage"
)

// Stat implements storage.Store. A presigned address is signed for GET alone, so where HEAD is refused one byte is read.
func (s *Store) Stat(ctx context.Context, key string) (storage.Object, error) {
	req, shown, err := s.request(ctx, "stat", http.MethodHead, key)
	if err != nil {
		return storage.Object{}, err
	}
	resp, err := s.do(req, "stat", shown)
	if err != nil {
		return storage.Object{}, err
	}
	_ = resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusOK:
		return object(key, resp, resp.ContentLength), nil
	case resp.StatusCode == http.StatusNotFound || resp.StatusCode >= 500 && resp.StatusCode != http.StatusNotImplemented:
		return storage.Object{}, refused(resp, "stat", shown)
	}
	rc, obj, err := s.open(ctx, "stat", key, 0, 1)
	if err != nil {
		return storage.Object{}, err
	}
	return obj, rc.Close()
}

// Open implements storage.Store. Bytes before offset are read and dropped where a server knows no ranges.
func (s *Store) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, storage.Object, error) {
	return s.open(ctx, "open", key, offset, length)
}

func (s *Store) open(ctx context.Context, op, key string, offset, length int64) (io.ReadCloser, storage.Object, error) {
	req, shown, err := s.request(ctx, op, http.MethodGet, key)
	if err != nil {
		return nil, storage.Object{}, err
	}
	if offset < 0 {
		return nil, storage.Object{}, &storage.Error{Op: op, Key: shown, Kind: storage.ErrRange}
	}
	if offset > 0 || length >= 0 {
		req.Header.Set("Range", rangeHeader(offset, length))
	}
	resp, err := s.do(req, op, shown)
	if err != nil {
		return nil, storage.Object{}, err
	}
	obj, err := s.admit(resp, op, key, shown, offset)
	if err != nil {
		_ = resp.Body.Close()
		return nil, storage.Object{}, err
	}
	var r io.Reader = &reader{r: resp.Body, key: shown, left: s.config.MaxBytes - offset, bounded: s.config.MaxBytes > 0}
	if resp.StatusCode == http.StatusOK && offset > 0 {
		if _, err := io.CopyN(io.Discard, r, offset); err != nil {
			_ = resp.Body.Close()
			if errors.Is(err, io.EOF) {
				return nil, storage.Object{}, &storage.Error{Op: op, Key: shown, Kind: storage.ErrRange}
			}
			return nil, storage.Object{}, err
		}
	}
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		r = http.NoBody // bytes of an empty object
	}
	if length >= 0 {
		r = io.LimitReader(r, length)
	}
	return struct {
		io.Reader
		io.Closer
	}{r, resp.Body}, obj, nil
}

// admit reads the head of an answer to a GET.
func (s *Store) admit(resp *http.Response, op, key, shown string, offset int64) (storage.Object, error) {
	fail := func(kind error, why string) (storage.Object, error) {
		return storage.Object{}, &storage.Error{Op: op, Key: shown, Kind: kind, Err: errors.New(why)}
	}
	if enc := resp.Header.Get("Content-Encoding"); enc != "" && enc != "identity" && resp.StatusCode == http.StatusPartialContent {
		return fail(storage.ErrUnsupported, "a range of an encoded answer")
	}
	obj := object(key, resp, resp.ContentLength)
	switch resp.StatusCode {
	case http.StatusOK:
		if offset > 0 && obj.Size >= 0 && offset >= obj.Size {
			return fail(storage.ErrRange, fmt.Sprintf("the object has %d bytes", obj.Size))
		}
	case http.StatusPartialContent:
		first, total, err := parseContentRange(resp.Header.Get("Content-Range"))
		if err != nil || first != offset {
			return fail(storage.ErrTemporary, "the answer has another range")
		}
		obj.Size = total
	case http.StatusRequestedRangeNotSatisfiable:
		if offset > 0 || resp.Header.Get("Content-Range") != "bytes */0" {
			return storage.Object{}, refused(resp, op, shown)
		}
		obj.Size = 0
	default:
		return storage.Object{}, refused(resp, op, shown)
	}
	if limit := s.config.MaxBytes; limit > 0 && obj.Size > limit {
		return fail(storage.ErrTooLarge, fmt.Sprintf("%d bytes, at most %d are allowed", obj.Size, limit))
	}
	return obj, nil
}

func rangeHeader(offset, length int64) string {
	end := offset + max(length, 1) - 1
	if length < 0 || end < offset {
		return fmt.Sprintf("bytes=%d-", offset)
	}
	return fmt.Sprintf("bytes=%d-%d", offset, end)
}

// parseContentRange reads "bytes 5-9/100" and "bytes 5-9/*"; the total is -1 for the latter.
func parseContentRange(text string) (first, total int64, err error) {
	span, whole, ok := strings.Cut(strings.TrimPrefix(text, "bytes "), "/")
	from, _, dash := strings.Cut(span, "-")
	if !ok || !dash {
		return 0, 0, errors.New("not a range")
	}
	if first, err = strconv.ParseInt(from, 10, 64); err != nil {
		return 0, 0, errors.New("not a range")
	}
	if whole == "*" {
		return first, -1, nil
	}
	if total, err = strconv.ParseInt(whole, 10, 64); err != nil || total <= first {
		return 0, 0, errors.New("not a range")
	}
	return first, total, nil
}

func object(key string, resp *http.Response, size int64) storage.Object {
	obj := storage.Object{Key: key, Size: size, ContentType: resp.Header.Get("Content-Type")}
	// A weak tag does not promise the same bytes.
	if tag := resp.Header.Get("ETag"); !strings.HasPrefix(tag, "W/") {
		obj.ETag = strings.Trim(tag, `"`)
	}
	if t, err := http.ParseTime(resp.Header.Get("Last-Modified")); err == nil {
		obj.ModTime = t
	} else {
		obj.ModTime = time.Time{}
	}
	return obj
}

// refused gives an answer that is no success its kind. The body is not shown: it may say anything.
func refused(resp *http.Response, op, shown string) error {
	return &storage.Error{Op: op, Key: shown, Kind: kindOf(resp.StatusCode), Err: errors.New("the server answers " + strconv.Itoa(resp.StatusCode) + " " + http.StatusText(resp.StatusCode))}
}

func kindOf(status int) error {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		return storage.ErrForbidden
	case http.StatusNotFound, http.StatusGone:
		return storage.ErrNotFound
	case http.StatusConflict:
		return storage.ErrExists
	case http.StatusPreconditionFailed:
		return storage.ErrPrecondition
	case http.StatusRequestedRangeNotSatisfiable:
		return storage.ErrRange
	case http.StatusRequestEntityTooLarge:
		return storage.ErrTooLarge
	case http.StatusInsufficientStorage:
		return storage.ErrNoSpace
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return storage.ErrUnsupported
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusTooEarly:
		return storage.ErrTemporary
	}
	if status >= 500 {
		return storage.ErrTemporary
	}
	return storage.ErrInvalid
}

// reader gives failures of reading their kind and ends an endless answer.
type reader struct {
	r       io.Reader
	key     string
	left    int64
	bounded bool
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if r.left -= int64(n); r.bounded && r.left < 0 {
		return 0, &storage.Error{Op: "read", Key: r.key, Kind: storage.ErrTooLarge}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = storage.Fail("read", r.key, err)
	}
	return n, err
}
