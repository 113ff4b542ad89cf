package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/trust"
)

func fixedClock() time.Time { return start }

// clusterEnds is one cluster's certificates, as a handshake needs them.
type clusterEnds struct {
	authority *Authority
	server    trust.Certificates
	node      trust.Certificates
	user      trust.Certificates
}

func newEnds(t *testing.T) clusterEnds {
	t.Helper()
	a := newAuthority(t)
	server, err := a.ServerCertificate("c1", []string{"localhost"}, nil, time.Hour)
	require.NoError(t, err)
	signed := func(sign func(request []byte) ([]byte, error)) trust.Certificates {
		key, request, err := trust.NewRequest()
		require.NoError(t, err)
		der, err := sign(request)
		require.NoError(t, err)
		c, err := trust.NewCredentials(key, der, a.keyring.CA())
		require.NoError(t, err)
		return func() (*tls.Certificate, error) { return &c.Certificate, nil }
	}
	return clusterEnds{
		authority: a,
		server:    server.Current,
		node:      signed(func(r []byte) ([]byte, error) { return a.SignNode(r, node, time.Hour) }),
		user:      signed(func(r []byte) ([]byte, error) { return a.SignUser(r, "acme", "ann", time.Hour) }),
	}
}

func (c clusterEnds) client(own trust.Certificates) *tls.Config {
	return trust.ClientTLS(c.authority.keyring.CA(), own, fixedClock)
}

func (c clusterEnds) grpc(own trust.Certificates, roles ...trust.Role) *tls.Config {
	return GRPCTLS(own, c.authority.keyring.CA(), fixedClock, roles...)
}

func (c clusterEnds) raft(own trust.Certificates) *tls.Config {
	return RaftTLS(own, c.authority.keyring.CA(), fixedClock)
}

// handshake carries one byte each way, since in TLS 1.3 a client learns of its refusal only when it reads.
func handshake(t *testing.T, server, client *tls.Config) (seen tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	a, b := connect(t)
	deadline := time.Now().Add(10 * time.Second)
	require.NoError(t, a.SetDeadline(deadline))
	require.NoError(t, b.SetDeadline(deadline))
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn := tls.Server(a, server)
		defer func() { _ = a.Close() }()
		if serverErr = conn.HandshakeContext(context.Background()); serverErr != nil {
			return
		}
		seen = conn.ConnectionState()
		buf := make([]byte, 1)
		if _, serverErr = conn.Read(buf); serverErr == nil {
			_, serverErr = conn.Write(buf)
		}
	}()
	conn := tls.Client(b, client)
	clientErr = conn.HandshakeContext(context.Background())
	if clientErr == nil {
		if _, clientErr = conn.Write([]byte("x")); clientErr == nil {
			_, clientErr = conn.Read(make([]byte, 1))
		}
	}
	_ = b.Close()
	<-done
	return seen, serverErr, clientErr
}

// connect is TCP, since both ends of a net.Pipe block when they write at once.
func connect(t *testing.T) (server, client net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	client, err = net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	server, err = listener.Accept()
	require.NoError(t, err)
	return server, client
}

func TestEachPortTakesItsRolesOnly(t *testing.T) {
	ours, theirs := newEnds(t), newEnds(t)
	agents := []trust.Role{trust.RoleNode, trust.RoleServer}
	for name, c := range map[string]struct {
		server, client *tls.Config
		want           trust.Role // "": accepted without a certificate
		refused        bool
	}{
		"gRPC, user with token":          {server: ours.grpc(ours.server, agents...), client: ours.client(nil)},
		"gRPC, node":                     {server: ours.grpc(ours.server, agents...), client: ours.client(ours.node), want: trust.RoleNode},
		"gRPC, server":                   {server: ours.grpc(ours.server, agents...), client: ours.client(ours.server), want: trust.RoleServer},
		"gRPC, role not listed":          {server: ours.grpc(ours.server, agents...), client: ours.client(ours.user), refused: true},
		"gRPC, another cluster's node":   {server: ours.grpc(ours.server, agents...), client: ours.client(theirs.node), refused: true},
		"gRPC, another cluster":          {server: theirs.grpc(theirs.server, agents...), client: ours.client(ours.node), refused: true},
		"gRPC, a node serves":            {server: ours.grpc(ours.node, agents...), client: ours.client(nil), refused: true},
		"Raft, server":                   {server: ours.raft(ours.server), client: ours.raft(ours.server), want: trust.RoleServer},
		"Raft, node":                     {server: ours.raft(ours.server), client: ours.client(ours.node), refused: true},
		"Raft, user":                     {server: ours.raft(ours.server), client: ours.client(ours.user), refused: true},
		"Raft, nobody":                   {server: ours.raft(ours.server), client: ours.client(nil), refused: true},
		"Raft, another cluster's server": {server: ours.raft(ours.server), client: theirs.raft(theirs.server), refused: true},
		"Raft, a node listens":           {server: ours.raft(ours.node), client: ours.raft(ours.server), refused: true},
		"HTTPS":                          {server: WebTLS(ours.server, fixedClock), client: ours.client(nil)},
		"pinned":                         {server: ours.grpc(ours.server, agents...), client: trust.PinnedTLS(ours.authority.keyring.Pin(), fixedClock)},
		"pinned, another cluster":        {server: theirs.grpc(theirs.server, agents...), client: trust.PinnedTLS(ours.authority.keyring.Pin(), fixedClock), refused: true},
		"pinned, a node with the CA":     {server: ours.grpc(withCA(t, ours), agents...), client: trust.PinnedTLS(ours.authority.keyring.Pin(), fixedClock), refused: true},
		"pinned, our CA, their key":      {server: theirs.grpc(foreignWithOurCA(t, ours, theirs), agents...), client: trust.PinnedTLS(ours.authority.keyring.Pin(), fixedClock), refused: true},
		"pinned, later":                  {server: ours.grpc(ours.server), client: trust.PinnedTLS(ours.authority.keyring.Pin(), func() time.Time { return start.Add(2 * time.Hour) }), refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			seen, serverErr, clientErr := handshake(t, c.server, c.client)
			if c.refused {
				require.Error(t, clientErr)
				require.Error(t, serverErr)
				return
			}
			require.NoError(t, clientErr)
			require.NoError(t, serverErr)
			require.Equal(t, uint16(tls.VersionTLS13), seen.Version)
			id, err := trust.PeerIdentity(seen)
			if c.want == "" {
				require.ErrorIs(t, err, trust.ErrNoCertificate)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, id.Role)
			require.Equal(t, ours.authority.keyring.ClusterID(), id.Cluster)
		})
	}
}

// withCA is a node that shows the authority's certificate behind its own, as a server does.
func withCA(t *testing.T, c clusterEnds) trust.Certificates {
	t.Helper()
	own, err := c.node()
	require.NoError(t, err)
	chain := *own
	chain.Certificate = append(chain.Certificate[:1:1], c.authority.keyring.CA().Raw)
	return func() (*tls.Certificate, error) { return &chain, nil }
}

// nodeWithServerUsages is a certificate that our authority would never sign: only its role tells it from a server's.
func nodeWithServerUsages(t *testing.T, c clusterEnds) trust.Certificates {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		DNSNames:    []string{trust.ServerName},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	id := trust.Identity{Role: trust.RoleNode, Account: "acme", Pool: "p1", Name: "tvm-1"}
	der, err := c.authority.sign(template, key.Public(), id, time.Hour, time.Hour)
	require.NoError(t, err)
	cert := &tls.Certificate{Certificate: [][]byte{der, c.authority.keyring.CA().Raw}, PrivateKey: key}
	return func() (*tls.Certificate, error) { return cert, nil }
}

func TestTheRoleDecidesEvenWithAServersUsages(t *testing.T) {
	ours := newEnds(t)
	fake := nodeWithServerUsages(t, ours)
	pin := ours.authority.keyring.Pin()
	for name, c := range map[string]struct{ server, client *tls.Config }{
		"to clients":   {ours.grpc(fake), ours.client(nil)},
		"to joiners":   {ours.grpc(fake), trust.PinnedTLS(pin, fixedClock)},
		"to Raft":      {ours.raft(fake), ours.raft(ours.server)},
		"calling Raft": {ours.raft(ours.server), ours.raft(fake)},
	} {
		_, serverErr, clientErr := handshake(t, c.server, c.client)
		require.Error(t, serverErr, name)
		require.Error(t, clientErr, name)
	}
	shown, err := ours.server()
	require.NoError(t, err)
	require.False(t, trust.PinOf(shown.Leaf).Matches(shown.Leaf), "only an authority can be pinned")
}

// foreignWithOurCA is another cluster's server that shows our authority's public certificate.
func foreignWithOurCA(t *testing.T, ours, theirs clusterEnds) trust.Certificates {
	t.Helper()
	own, err := theirs.server()
	require.NoError(t, err)
	chain := *own
	chain.Certificate = append(chain.Certificate[:1:1], ours.authority.keyring.CA().Raw)
	return func() (*tls.Certificate, error) { return &chain, nil }
}

func TestOldTLSIsRefused(t *testing.T) {
	ours := newEnds(t)
	old := ours.client(nil)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	for _, server := range []*tls.Config{WebTLS(ours.server, fixedClock), ours.grpc(ours.server), ours.raft(ours.server)} {
		_, serverErr, clientErr := handshake(t, server, old)
		require.Error(t, serverErr)
		require.Error(t, clientErr)
	}
}

func TestMutualTLSDoesNotResume(t *testing.T) {
	ours := newEnds(t)
	server := ours.grpc(ours.server, trust.RoleNode)
	client := ours.client(ours.node)
	client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	for range 2 {
		seen, serverErr, clientErr := handshake(t, server, client)
		require.NoError(t, serverErr)
		require.NoError(t, clientErr)
		require.False(t, seen.DidResume)
	}
}

func TestExpiredNodeIsRefused(t *testing.T) {
	ours := newEnds(t)
	late := func() time.Time { return start.Add(61 * time.Minute) }
	a := NewAuthority(ours.authority.keyring, late, rand.Reader)
	server, err := a.ServerCertificate("c1", nil, nil, time.Hour)
	require.NoError(t, err)
	client := trust.ClientTLS(a.keyring.CA(), ours.node, late)
	_, serverErr, clientErr := handshake(t, GRPCTLS(server.Current, a.keyring.CA(), late, trust.RoleNode), client)
	require.ErrorContains(t, serverErr, "expired")
	require.Error(t, clientErr)
}
