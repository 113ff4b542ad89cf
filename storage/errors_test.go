package storage_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/storage"
)

func TestFailFindsTheKind(t *testing.T) {
	for _, c := range []struct {
		err   error
		kind  error
		retry bool
	}{
		{fs.ErrNotExist, storage.ErrNotFound, false},
		{&os.PathError{Op: "open", Err: syscall.EACCES}, storage.ErrForbidden, false},
		{&os.PathError{Op: "write", Err: syscall.ENOSPC}, storage.ErrNoSpace, false},
		{&os.PathError{Op: "write", Err: syscall.EDQUOT}, storage.ErrNoSpace, false},
		{fs.ErrExist, storage.ErrExists, false},
		{io.ErrUnexpectedEOF, storage.ErrTemporary, true},
		{syscall.ECONNRESET, storage.ErrTemporary, true},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, storage.ErrTemporary, true},
		{context.DeadlineExceeded, storage.ErrTimeout, true},
		{&net.DNSError{IsTimeout: true}, storage.ErrTemporary, true},
		{&net.DNSError{IsNotFound: true}, storage.ErrNotFound, false},
		{fmt.Errorf("%w: 169.254.169.254", storage.ErrDialDenied), storage.ErrForbidden, false},
	} {
		err := storage.Fail("open", "k", fmt.Errorf("wrapped: %w", c.err))
		require.ErrorIs(t, err, c.kind)
		require.ErrorIs(t, err, c.err)
		require.Equal(t, c.retry, storage.Retryable(err), "%v", err)
	}
	require.NoError(t, storage.Fail("open", "k", nil))
	known := &storage.Error{Op: "x", Kind: storage.ErrRange}
	require.Same(t, known, storage.Fail("open", "k", known))
	cancelled := storage.Fail("open", "k", context.Canceled)
	require.ErrorIs(t, cancelled, context.Canceled)
	require.False(t, storage.Retryable(cancelled))
	require.False(t, storage.Retryable(nil))
	require.False(t, storage.Retryable(errors.New("who knows")))
}

func TestErrorsAreSafeToShow(t *testing.T) {
	err := storage.Fail("open", "k", &url.Error{Op: "Get", URL: "https://h/x?sig=hunter2", Err: io.ErrUnexpectedEOF})
	require.NotContains(t, err.Error(), "hunter2")
	err = storage.Fail("open", "a\x1b[31m\n"+strings.Repeat("k", 2000), fs.ErrNotExist)
	require.NotContains(t, err.Error(), "\x1b")
	require.NotContains(t, err.Error(), "\n")
	require.Less(t, len(err.Error()), 400)
}
