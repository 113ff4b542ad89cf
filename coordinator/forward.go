package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/batchyard/batchyard/coordinator/api"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/trust"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// maxMessage bounds a gRPC message, in bytes.
const maxMessage = 16 << 20

// leaderConn keeps a connection to whichever member leads.
type leaderConn struct {
	coordinator *Coordinator

	mu      sync.Mutex
	address string
	conn    *grpc.ClientConn
}

// leaderPatience is how long a call waits for a leader to be elected; then its caller is told that there is none.
const leaderPatience = 3 * time.Second

// awaitLeader says who leads as soon as someone does.
func (c *Coordinator) awaitLeader(ctx context.Context) (address string, itself bool) {
	ctx, cancel := context.WithTimeout(ctx, leaderPatience)
	defer cancel()
	for {
		changed := c.replica.LeaderChanged()
		if address, itself = c.Leader(); address != "" {
			return address, itself
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", false
		}
	}
}

// get returns the connection; an error says that there is no other leader to ask.
func (l *leaderConn) get(ctx context.Context) (*grpc.ClientConn, error) {
	address, itself := l.coordinator.awaitLeader(ctx)
	if address == "" || itself {
		return nil, batcherr.Unavailable("the coordinators have no leader at the moment")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil && l.address == address {
		return l.conn, nil
	}
	c := l.coordinator
	config := trust.ClientTLS(c.keyring.CA(), c.server.Current, c.cfg.Now)
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(config)),
		// The member at this address may be down and come back as the leader: calls must not wait long for a new try.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 500 * time.Millisecond},
			MinConnectTimeout: leaderPatience,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: leaderPatience}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)))
	if err != nil {
		return nil, err
	}
	if l.conn != nil {
		_ = l.conn.Close()
	}
	l.address, l.conn = address, conn
	return conn, nil
}

func (l *leaderConn) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		return nil
	}
	return l.conn.Close()
}

// forwarded says whether a call belongs to the leader while this member is not. Agents find the leader themselves: their identity is their
// connection's certificate, which can't be passed on.
func (c *Coordinator) forwarded(method string, req any) bool {
	if c.replica.IsLeader() || strings.HasPrefix(method, "/"+agentv1.AgentService_ServiceDesc.ServiceName+"/") {
		return false
	}
	local, ok := req.(*apiv1.GetClusterRequest)
	return !ok || !local.Local
}

// outgoing passes the caller's token on.
func outgoing(ctx context.Context) context.Context {
	in, _ := metadata.FromIncomingContext(ctx)
	out := metadata.MD{}
	for _, key := range []string{"authorization", api.AccountHeader} {
		if values := in.Get(key); len(values) > 0 {
			out.Set(key, values...)
		}
	}
	return metadata.NewOutgoingContext(ctx, out)
}

func (c *Coordinator) forwardUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if !c.forwarded(info.FullMethod, req) {
		return handler(ctx, req)
	}
	conn, err := c.leader.get(ctx)
	if err != nil {
		return nil, err
	}
	reply, err := newAnswer(info.FullMethod)
	if err != nil {
		return nil, err
	}
	return reply, relayed(ctx, conn.Invoke(outgoing(ctx), info.FullMethod, req, reply))
}

// relayed is the end of a forwarded call for its caller. One that ended because this member turned to another leader was not cancelled by the
// caller, who may try again.
func relayed(ctx context.Context, err error) error {
	if status.Code(err) == codes.Canceled && ctx.Err() == nil {
		return status.Error(codes.Unavailable, "the coordinators have another leader")
	}
	return err
}

func (c *Coordinator) forwardStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if info.IsClientStream || !c.forwarded(info.FullMethod, nil) {
		return handler(srv, stream)
	}
	conn, err := c.leader.get(stream.Context())
	if err != nil {
		return err
	}
	method, err := findMethod(info.FullMethod)
	if err != nil {
		return err
	}
	req, err := newMessage(method.Input())
	if err != nil {
		return err
	}
	if err := stream.RecvMsg(req); err != nil {
		return err
	}
	out, err := conn.NewStream(outgoing(stream.Context()), &grpc.StreamDesc{ServerStreams: true}, info.FullMethod)
	if err != nil {
		return relayed(stream.Context(), err)
	}
	// Why sending fails is what receiving tells.
	if err := out.SendMsg(req); err == nil {
		_ = out.CloseSend()
	}
	for {
		m, err := newMessage(method.Output())
		if err != nil {
			return err
		}
		if err := out.RecvMsg(m); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return relayed(stream.Context(), err)
		}
		if err := stream.SendMsg(m); err != nil {
			return err
		}
	}
}

func newAnswer(fullMethod string) (proto.Message, error) {
	method, err := findMethod(fullMethod)
	if err != nil {
		return nil, err
	}
	return newMessage(method.Output())
}

func findMethod(fullMethod string) (protoreflect.MethodDescriptor, error) {
	name := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(fullMethod, "/"), "/", "."))
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		return nil, err
	}
	method, ok := d.(protoreflect.MethodDescriptor)
	if !ok {
		return nil, fmt.Errorf("%s is not a method", fullMethod)
	}
	return method, nil
}

func newMessage(d protoreflect.MessageDescriptor) (proto.Message, error) {
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		return nil, err
	}
	return t.New().Interface(), nil
}
