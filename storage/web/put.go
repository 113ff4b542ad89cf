package web

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/batchyard/batchyard/storage"
)

// Put implements storage.Store with one PUT. Metadata are request headers, such as x-ms-blob-type. Without a size the
// body goes in chunks, which presigned S3 addresses refuse. Whether a body that is cut becomes an object is up to the
// server. IfAbsent asks with If-None-Match.
func (s *Store) Put(ctx context.Context, key string, r io.Reader, size int64, opts storage.PutOptions) (storage.Object, error) {
	req, shown, err := s.request(ctx, "put", http.MethodPut, key)
	if err != nil {
		return storage.Object{}, err
	}
	if limit := s.config.MaxBytes; limit > 0 && size > limit {
		return storage.Object{}, &storage.Error{Op: "put", Key: shown, Kind: storage.ErrTooLarge}
	}
	src, err := storage.NewSource(shown, r, size, opts.SHA256)
	if err != nil {
		return storage.Object{}, err
	}
	req.Body, req.ContentLength = io.NopCloser(src), max(size, -1)
	if size == 0 {
		req.Body = http.NoBody
		if _, err := io.Copy(io.Discard, src); err != nil {
			return storage.Object{}, err
		}
	}
	for name, value := range opts.Metadata {
		req.Header.Set(name, value)
	}
	if opts.ContentType != "" {
		req.Header.Set("Content-Type", opts.ContentType)
	}
	if opts.IfAbsent {
		req.Header.Set("If-None-Match", "*")
	}
	resp, err := s.do(req, "put", shown)
	if serr := src.Err(); serr != nil {
		err = errors.Join(serr, closeBody(resp))
	}
	if err != nil {
		return storage.Object{}, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusPreconditionFailed && opts.IfAbsent:
		return storage.Object{}, &storage.Error{Op: "put", Key: shown, Kind: storage.ErrExists}
	case resp.StatusCode/100 != 2:
		return storage.Object{}, refused(resp, "put", shown)
	}
	obj := object(key, resp, src.Count())
	obj.ContentType = opts.ContentType
	return obj, nil
}

func closeBody(resp *http.Response) error {
	if resp == nil {
		return nil
	}
	return resp.Body.Close()
}
