package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// CertificateFunc returns the certificate to show to a coordinator.
type CertificateFunc func() (*tls.Certificate, error)

// connectTimeout limits one attempt to connect, so that an address that swallows packets does not hold up the others.
const connectTimeout = 3 * time.Second

type dialFunc func(m *member) (*grpc.ClientConn, error)

func dialOptions(cfg Config) (dialFunc, error) {
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: cfg.ServerName}
	if len(cfg.CA) > 0 {
		tlsConfig.RootCAs = x509.NewCertPool()
		if !tlsConfig.RootCAs.AppendCertsFromPEM(cfg.CA) {
			return nil, errors.New("the CA holds no PEM certificate")
		}
	}
	if cfg.Certificate != nil {
		tlsConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cfg.Certificate() }
	}
	opts := []grpc.DialOption{
		// Coordinators are reached directly: a proxy of the environment is for the web.
		grpc.WithNoProxy(),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: KeepaliveTime, Timeout: KeepaliveTimeout}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 500 * time.Millisecond},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithStatsHandler(sentObserver{}),
		grpc.WithDisableServiceConfig(),
	}
	if cfg.Token != "" {
		opts = append(opts, grpc.WithPerRPCCredentials(bearer(cfg.Token)))
	}
	return func(m *member) (*grpc.ClientConn, error) {
		creds := &verifiedCredentials{TransportCredentials: credentials.NewTLS(tlsConfig.Clone()), member: m}
		return grpc.NewClient("passthrough:///"+m.address, append(opts, grpc.WithTransportCredentials(creds))...)
	}, nil
}

// bearer is a token as credentials of each call.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearer) RequireTransportSecurity() bool { return true }

// verifiedCredentials remembers that a member's certificate was refused, which no waiting repairs.
type verifiedCredentials struct {
	credentials.TransportCredentials
	member *member
}

func (v *verifiedCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := v.TransportCredentials.ClientHandshake(ctx, authority, raw)
	var refused *tls.CertificateVerificationError
	if errors.As(err, &refused) {
		v.member.untrusted.Store(&refused.Err)
	}
	return conn, info, err
}

func (v *verifiedCredentials) Clone() credentials.TransportCredentials {
	return &verifiedCredentials{TransportCredentials: v.TransportCredentials.Clone(), member: v.member}
}
