package api

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/batcherr"
)

// Local is a connection to the services within this process, for the generated clients. Calls need a context of WithCaller and pass the same
// policy as those over the network; requests and answers are copied. Metadata and call options have no effect.
func (s *Server) Local() grpc.ClientConnInterface {
	l := &local{server: s, methods: map[string]localMethod{}}
	s.Register(l)
	return l
}

type local struct {
	server  *Server
	methods map[string]localMethod
}

type localMethod struct {
	service any
	unary   *grpc.MethodDesc
	stream  *grpc.StreamDesc
}

// RegisterService implements grpc.ServiceRegistrar.
func (l *local) RegisterService(desc *grpc.ServiceDesc, service any) {
	for i := range desc.Methods {
		l.methods["/"+desc.ServiceName+"/"+desc.Methods[i].MethodName] = localMethod{service: service, unary: &desc.Methods[i]}
	}
	for i := range desc.Streams {
		l.methods["/"+desc.ServiceName+"/"+desc.Streams[i].StreamName] = localMethod{service: service, stream: &desc.Streams[i]}
	}
}

// inside is a context in which nothing but WithCaller says who calls.
func inside(ctx context.Context) context.Context {
	return metadata.NewIncomingContext(ctx, metadata.MD{})
}

// Invoke implements grpc.ClientConnInterface.
func (l *local) Invoke(ctx context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	m := l.methods[method]
	if m.unary == nil {
		return batcherr.NotImplemented("There is no method %s.", method)
	}
	decode := func(into any) error { return copyMessage(into, args) }
	resp, err := m.unary.Handler(m.service, inside(ctx), decode, l.server.UnaryInterceptor)
	if err != nil {
		return err
	}
	return copyMessage(reply, resp)
}

func copyMessage(into, from any) error {
	dst, ok := into.(proto.Message)
	src, isMessage := from.(proto.Message)
	if !ok || !isMessage || dst.ProtoReflect().Descriptor() != src.ProtoReflect().Descriptor() {
		return batcherr.Internal(errors.New("a call in this process has the wrong message"))
	}
	proto.Reset(dst)
	proto.Merge(dst, src)
	return nil
}

// NewStream implements grpc.ClientConnInterface for streams of answers. The handler runs until it is done or ctx ends, which the caller has to see to.
func (l *local) NewStream(ctx context.Context, _ *grpc.StreamDesc, method string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	m := l.methods[method]
	if m.stream == nil {
		return nil, batcherr.NotImplemented("There is no method %s.", method)
	}
	p := &pipe{ctx: ctx, requests: make(chan any, 1), answers: make(chan any), ended: make(chan struct{})}
	info := &grpc.StreamServerInfo{FullMethod: method, IsServerStream: m.stream.ServerStreams, IsClientStream: m.stream.ClientStreams}
	go func() {
		p.err = l.server.StreamInterceptor(m.service, &pipeServer{p}, info, m.stream.Handler)
		close(p.ended)
	}()
	return &pipeClient{p}, nil
}

// pipe is a stream with one request and many answers between two goroutines.
type pipe struct {
	ctx      context.Context
	requests chan any
	answers  chan any
	ended    chan struct{}
	err      error // how the handler ended; read after ended is closed
}

type pipeServer struct{ *pipe }

func (p *pipeServer) SetHeader(metadata.MD) error  { return nil }
func (p *pipeServer) SendHeader(metadata.MD) error { return nil }
func (p *pipeServer) SetTrailer(metadata.MD)       {}
func (p *pipeServer) Context() context.Context     { return inside(p.ctx) }

func (p *pipeServer) SendMsg(m any) error {
	select {
	case p.answers <- m:
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

func (p *pipeServer) RecvMsg(m any) error {
	select {
	case req, open := <-p.requests:
		if !open {
			return io.EOF
		}
		return copyMessage(m, req)
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

type pipeClient struct{ *pipe }

func (p *pipeClient) Header() (metadata.MD, error) { return nil, nil }
func (p *pipeClient) Trailer() metadata.MD         { return nil }
func (p *pipeClient) Context() context.Context     { return p.ctx }

func (p *pipeClient) CloseSend() error {
	close(p.requests)
	return nil
}

func (p *pipeClient) SendMsg(m any) error {
	select {
	case p.requests <- m:
		return nil
	case <-p.ended:
		return io.EOF
	}
}

func (p *pipeClient) RecvMsg(m any) error {
	select {
	case answer := <-p.answers:
		return copyMessage(m, answer)
	case <-p.ended:
		if p.err != nil {
			return p.err
		}
		return io.EOF
	}
}
