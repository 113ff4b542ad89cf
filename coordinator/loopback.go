package coordinator

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// loopback calls services in this process as a gRPC client would, without encoding anything. It takes registrations as a server does.
type loopback struct {
	unary   map[string]unaryMethod
	streams map[string]streamMethod
	// The interceptors that authorise calls, as on a server.
	interceptUnary  grpc.UnaryServerInterceptor
	interceptStream grpc.StreamServerInterceptor
}

type unaryMethod struct {
	impl   any
	handle grpc.MethodHandler
}

type streamMethod struct {
	impl   any
	handle grpc.StreamHandler
}

func newLoopback(unary grpc.UnaryServerInterceptor, stream grpc.StreamServerInterceptor) *loopback {
	return &loopback{
		unary: map[string]unaryMethod{}, streams: map[string]streamMethod{},
		interceptUnary: unary, interceptStream: stream,
	}
}

// RegisterService makes a service callable.
func (l *loopback) RegisterService(desc *grpc.ServiceDesc, impl any) {
	for _, m := range desc.Methods {
		l.unary["/"+desc.ServiceName+"/"+m.MethodName] = unaryMethod{impl, m.Handler}
	}
	for _, s := range desc.Streams {
		l.streams["/"+desc.ServiceName+"/"+s.StreamName] = streamMethod{impl, s.Handler}
	}
}

// Invoke calls a unary method. The answer shares its parts with what the service returned.
func (l *loopback) Invoke(ctx context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	m, ok := l.unary[method]
	if !ok {
		return status.Errorf(codes.Unimplemented, "unknown method %s", method)
	}
	out, err := m.handle(m.impl, ctx, func(dst any) error { return share(dst, args) }, l.interceptUnary)
	if err != nil {
		return err
	}
	return share(reply, out)
}

// share makes dst a shallow copy of src.
func share(dst, src any) error {
	to, ok := dst.(proto.Message)
	from, ok2 := src.(proto.Message)
	if !ok || !ok2 {
		return fmt.Errorf("loopback: %T and %T are not messages", dst, src)
	}
	proto.Reset(to)
	target := to.ProtoReflect()
	from.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		target.Set(field, value)
		return true
	})
	return nil
}

// NewStream calls a method that answers with a stream; a stream of requests is not offered.
func (l *loopback) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	m, ok := l.streams[method]
	if !ok || desc.ClientStreams {
		return nil, status.Errorf(codes.Unimplemented, "unknown method %s", strings.TrimPrefix(method, "/"))
	}
	ctx, cancel := context.WithCancel(ctx)
	return &loopbackStream{
		ctx: ctx, cancel: cancel, answers: make(chan proto.Message), done: make(chan struct{}),
		call: func(server grpc.ServerStream) error {
			return l.interceptStream(m.impl, server, &grpc.StreamServerInfo{FullMethod: method, IsServerStream: true}, m.handle)
		},
	}, nil
}

// loopbackStream is both ends of one call. The service runs from CloseSend on, in a goroutine that ends with the context.
type loopbackStream struct {
	ctx     context.Context
	cancel  context.CancelFunc
	call    func(grpc.ServerStream) error
	request any
	answers chan proto.Message
	start   sync.Once
	done    chan struct{}
	err     error // after done
}

func (s *loopbackStream) Header() (metadata.MD, error) { return nil, nil }
func (s *loopbackStream) Trailer() metadata.MD         { return nil }
func (s *loopbackStream) Context() context.Context     { return s.ctx }

func (s *loopbackStream) SendMsg(m any) error {
	s.request = m
	return nil
}

func (s *loopbackStream) CloseSend() error {
	s.start.Do(func() {
		go func() {
			defer close(s.done)
			s.err = s.call(loopbackServer{s})
		}()
	})
	return nil
}

func (s *loopbackStream) RecvMsg(m any) error {
	select {
	case answer := <-s.answers:
		return share(m, answer)
	case <-s.done:
		s.cancel()
		if s.err == nil {
			return io.EOF
		}
		return s.err
	case <-s.ctx.Done():
		return status.FromContextError(s.ctx.Err()).Err()
	}
}

// loopbackServer is the service's end.
type loopbackServer struct{ *loopbackStream }

func (s loopbackServer) SetHeader(metadata.MD) error  { return nil }
func (s loopbackServer) SendHeader(metadata.MD) error { return nil }
func (s loopbackServer) SetTrailer(metadata.MD)       {}

func (s loopbackServer) RecvMsg(m any) error { return share(m, s.request) }

func (s loopbackServer) SendMsg(m any) error {
	answer, ok := m.(proto.Message)
	if !ok {
		return fmt.Errorf("loopback: %T is not a message", m)
	}
	select {
	case s.answers <- answer:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}
