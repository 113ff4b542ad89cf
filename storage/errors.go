package storage

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Kinds of failure, for errors.Is. Every implementation maps what it meets to one of them; a failure with no kind
// has only its cause.
var (
	ErrNotFound     = errors.New("not found")
	ErrNoBucket     = errors.New("bucket not found")
	ErrForbidden    = errors.New("access denied")
	ErrExists       = errors.New("already exists")
	ErrPrecondition = errors.New("precondition failed")
	ErrRange        = errors.New("range not satisfiable")
	ErrInvalid      = errors.New("invalid request")
	ErrUnsupported  = errors.New("not supported by this store")
	ErrTooLarge     = errors.New("too large")
	ErrNoSpace      = errors.New("no space left")
	ErrChecksum     = errors.New("checksum mismatch")
	ErrTruncated    = errors.New("ended early")
	ErrTimeout      = errors.New("timed out")
	ErrTemporary    = errors.New("temporary failure")
)

// Error is what failed, on which key, of which kind. Its text carries no credentials and no signed query.
type Error struct {
	Op   string // "stat", "open", "read", "put", "list", "delete", "download", "upload", ...
	Key  string // a key, or a URL without its query
	Kind error  // one of this package's kinds, or nil
	Err  error  // the cause, or nil
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Key != "" {
		b.WriteString(" " + quote(e.Key))
	}
	if e.Kind != nil {
		b.WriteString(": " + e.Kind.Error())
	}
	if e.Err != nil && !errors.Is(e.Kind, e.Err) {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap gives both the kind and the cause.
func (e *Error) Unwrap() []error {
	var out []error
	if e.Kind != nil {
		out = append(out, e.Kind)
	}
	if e.Err != nil {
		out = append(out, e.Err)
	}
	return out
}

// Retryable says whether the same call may succeed later without anybody changing anything.
func Retryable(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	return errors.Is(err, ErrTemporary) || errors.Is(err, ErrTimeout)
}

// Fail wraps an error of the local system or the network as an *Error and finds its kind. The URL of a *url.Error is
// dropped, since it may carry a signature. An error that is already an *Error is returned as it is.
func Fail(op, key string, err error) error {
	if err == nil {
		return nil
	}
	var known *Error
	if errors.As(err, &known) {
		return err
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return &Error{Op: op, Key: key, Kind: kindOf(err), Err: err}
}

func kindOf(err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return nil
	case errors.Is(err, ErrDialDenied):
		return ErrForbidden
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return ErrTimeout
	case errors.Is(err, os.ErrNotExist):
		return ErrNotFound
	case errors.Is(err, os.ErrPermission):
		return ErrForbidden
	case errors.Is(err, os.ErrExist):
		return ErrExists
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return ErrNoSpace
	case errors.Is(err, syscall.EFBIG):
		return ErrTooLarge
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return ErrTemporary
	}
	return networkKind(err)
}

func networkKind(err error) error {
	for _, e := range []error{syscall.ECONNRESET, syscall.ECONNREFUSED, syscall.ECONNABORTED, syscall.EPIPE,
		syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ETIMEDOUT, net.ErrClosed} {
		if errors.Is(err, e) {
			return ErrTemporary
		}
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		if dns.IsNotFound {
			return ErrNotFound
		}
		return ErrTemporary
	}
	var n net.Error
	if errors.As(err, &n) && n.Timeout() {
		return ErrTimeout
	}
	// net/http has no types for these.
	for _, text := range []string{"server closed idle connection", "http2: server sent GOAWAY", "connection lost", "malformed HTTP response"} {
		if strings.Contains(err.Error(), text) {
			return ErrTemporary
		}
	}
	return nil
}

// quote shows a key from outside without letting it write to a terminal, and not more than 200 bytes of it.
func quote(key string) string {
	const limit = 200
	if len(key) > limit {
		key = key[:limit] + "..."
	}
	return strconv.Quote(key)
}
