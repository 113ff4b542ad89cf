package api

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/batchyard/batchyard/coordinator/identity"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/trust"
)

// AccountHeader is the metadata with which an administrator chooses the account that a call is about.
const AccountHeader = "batchyard-account"

// Caller is whom a call comes from, as its token, key or certificate has shown.
type Caller struct {
	// Account is the one that the call is about; empty only for administrators of the cluster.
	Account string
	Access  identity.Access
	// Job is the only job that a task's token reaches; empty otherwise.
	Job string
	// Subject is a name for logs.
	Subject string
	// Since is when the token was issued; zero for keys and for calls in this process.
	Since time.Time
}

type callerKey struct{}

// WithCaller marks a call made in this process with the caller that was authenticated elsewhere.
func WithCaller(ctx context.Context, caller Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, caller)
}

// Authenticate returns the caller that a bearer token stands for, in the account that is chosen where the token leaves a choice. The error is
// batcherr.KindUnauthenticated, or what the other issuer's tokens are refused with.
func (s *Server) Authenticate(ctx context.Context, token, chosen string) (Caller, error) {
	claims, err := s.core.Tokens.Verify(token)
	if err != nil && s.federated != nil && !errors.Is(err, identity.ErrTokenExpired) {
		claims, err = s.federated.Verify(ctx, token, chosen)
	}
	if err != nil {
		return Caller{}, err
	}
	// A job of the same id that was made after the token is another job.
	if job, ok := s.core.State.Job(claims.Account, claims.Job); ok && claims.Access == identity.AccessTask &&
		job.Job.CreationTime.AsTime().Truncate(time.Second).After(claims.IssuedAt) {
		return Caller{}, batcherr.Unauthenticated("The token is for a job that is no more.")
	}
	return Caller{Account: claims.Account, Access: claims.Access, Job: claims.Job, Subject: claims.Subject, Since: claims.IssuedAt}, nil
}

// caller finds out who calls: from the context for calls in this process, otherwise from the metadata of gRPC. ok is false if nothing says it.
func (s *Server) caller(ctx context.Context) (c Caller, ok bool, err error) {
	if c, ok := ctx.Value(callerKey{}).(Caller); ok {
		return c, true, nil
	}
	md, _ := metadata.FromIncomingContext(ctx)
	if c, ok, err := forwardedCaller(ctx, md); ok || err != nil {
		return c, ok, err
	}
	token, ok, err := bearer(md)
	if !ok || err != nil {
		return Caller{}, false, err
	}
	chosen := ""
	if values := md.Get(AccountHeader); len(values) > 0 {
		chosen = values[0]
	}
	c, err = s.Authenticate(ctx, token, chosen)
	switch {
	case err != nil:
		return Caller{}, false, err
	case chosen == "":
	case c.Access == identity.AccessAdmin:
		c.Account = chosen
	case chosen != c.Account:
		return Caller{}, false, batcherr.Forbidden("Only administrators may choose another account than their own.")
	}
	return c, true, nil
}

// bearer takes the token out of the metadata; ok is false if there is none.
func bearer(md metadata.MD) (token string, ok bool, err error) {
	const scheme = "bearer "
	values := md.Get("authorization")
	switch {
	case len(values) == 0:
		return "", false, nil
	case len(values) > 1, len(values[0]) <= len(scheme), !equalFold(values[0][:len(scheme)], scheme):
		return "", false, batcherr.Unauthenticated("The metadata authorization has to be one \"Bearer TOKEN\".")
	}
	return values[0][len(scheme):], true, nil
}

// equalFold compares with a lower-case ASCII text.
func equalFold(s, lower string) bool {
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// peerIdentity is who the certificate at the other end of the connection belongs to.
func peerIdentity(ctx context.Context) (trust.Identity, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return trust.Identity{}, trust.ErrNoCertificate
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return trust.Identity{}, trust.ErrNoCertificate
	}
	return trust.PeerIdentity(info.State)
}

// peerServer is the coordinator that calls; an error if it is none.
func peerServer(ctx context.Context) (trust.Identity, error) {
	id, err := peerIdentity(ctx)
	if err == nil && id.Role != trust.RoleServer {
		err = errors.New("the certificate is not a coordinator's")
	}
	if err != nil {
		return trust.Identity{}, batcherr.Unauthenticated("The call needs the certificate of a coordinator.").Wrap(err)
	}
	return id, nil
}
