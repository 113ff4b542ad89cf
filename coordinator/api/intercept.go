package api

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"

	"google.golang.org/grpc"

	"github.com/batchyard/batchyard/internal/batcherr"
)

// ours begins the names of all methods that users call. Those of other services on the same port, agents', are none of this package's business.
const ours = "/batchyard.api.v1."

// UnaryInterceptor authenticates and authorises calls, keeps panics within theirs, and makes all errors *batcherr.Error.
func (s *Server) UnaryInterceptor(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	if !strings.HasPrefix(info.FullMethod, ours) {
		return handler(ctx, req)
	}
	defer func() { err = s.finish(ctx, info.FullMethod, recover(), err) }()
	ctx, err = s.authorise(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	g, err := granted(ctx)
	if err == nil {
		err = g.checkJob(req)
	}
	if err != nil {
		return nil, err
	}
	return handler(ctx, req)
}

// StreamInterceptor is UnaryInterceptor for streams.
func (s *Server) StreamInterceptor(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	if !strings.HasPrefix(info.FullMethod, ours) {
		return handler(srv, stream)
	}
	defer func() { err = s.finish(stream.Context(), info.FullMethod, recover(), err) }()
	ctx, err := s.authorise(stream.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	return handler(srv, &grantedStream{ServerStream: stream, ctx: ctx})
}

// grantedStream carries the grant to the handler and holds requests against it.
type grantedStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *grantedStream) Context() context.Context { return s.ctx }

func (s *grantedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	g, err := granted(s.ctx)
	if err != nil {
		return err
	}
	return g.checkJob(m)
}

// finish turns what a handler ended with into the error to send. Faults of ours are logged, since the caller is told nothing of them.
func (s *Server) finish(ctx context.Context, method string, panicked any, err error) error {
	if panicked != nil {
		err = batcherr.Internal(fmt.Errorf("panic: %v\n%s", panicked, debug.Stack()))
	}
	if err == nil {
		return nil
	}
	known := batcherr.From(err)
	if known.Kind == batcherr.KindInternal {
		s.core.Logger.ErrorContext(ctx, "a call failed", "method", method, "error", known)
	}
	return known
}
