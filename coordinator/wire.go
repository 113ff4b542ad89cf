package coordinator

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/http/httputil"
	"net/url"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/batchyard/batchyard/coordinator/api"
	"github.com/batchyard/batchyard/coordinator/azure"
	"github.com/batchyard/batchyard/coordinator/dispatch"
	"github.com/batchyard/batchyard/coordinator/identity"
	"github.com/batchyard/batchyard/coordinator/pools"
	"github.com/batchyard/batchyard/coordinator/schedule"
	"github.com/batchyard/batchyard/coordinator/state"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/trust"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// wire makes the rooms and connects them.
func (c *Coordinator) wire(context.Context) error {
	c.leader = &leaderConn{coordinator: c}
	if c.cfg.NewProvider != nil {
		c.provider = c.cfg.NewProvider(c.GRPCAddress())
	}
	c.dispatch = dispatch.New(dispatch.Config{
		State: c.state, Proposer: c, Signer: c.authority, Authority: c.keyring.CA().Raw,
		Lease: c.cfg.Lease, Heartbeat: c.cfg.Heartbeat,
		Store:      func(account string) (*apiv1.StoreAccess, error) { return c.api.Store(account) },
		AccountURL: func(string) string { return c.RESTEndpoint() },
		TaskToken:  c.taskToken,
		Addresses:  c.addresses, Leader: c.Leader, LeaderChanged: c.replica.LeaderChanged, Now: c.cfg.Now, Logger: c.logger,
	})
	c.scaler = &pools.AutoScaler{
		State: c.state, Proposer: c, Loads: c.dispatch, Every: c.cfg.AutoScaleEvery, SampleEvery: c.cfg.AutoScaleSample,
		Now: c.cfg.Now, Logger: c.logger,
	}
	var err error
	c.api, err = api.New(api.Config{
		State: c.state, Proposer: c, Reader: c, Files: nodeFiles{c.dispatch}, Orders: c.dispatch, Cluster: membership{c},
		Tokens: c.tokens, Sealer: c.sealer, Joins: c.authority, Keyring: c.keyring, Scaler: c.scaler, Explains: explainer{c.dispatch},
		Room:     newDiskReserve(c.cfg),
		Stores:   accountStores{cluster: c.cfg.Store, users: c.cfg.StoreUsers},
		Endpoint: c.RESTEndpoint, Now: c.cfg.Now, Rand: rand.Reader, Logger: c.logger,
	})
	if err != nil {
		return err
	}
	if c.oidc != nil {
		c.api.Federate(c.oidc)
	}
	c.wireGRPC()
	c.wireREST()
	return nil
}

// minPing is how often a connection may ask whether this end is there.
const minPing = time.Second

func (c *Coordinator) wireGRPC() {
	config := identity.GRPCTLS(c.server.Current, c.keyring.CA(), c.cfg.Now, trust.RoleNode, trust.RoleServer, trust.RoleUser)
	c.grpcServer = grpc.NewServer(
		grpc.Creds(credentials.NewTLS(config)),
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		// Clients and agents ping to notice a coordinator that is gone.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}),
		grpc.ChainUnaryInterceptor(c.forwardUnary, c.api.UnaryInterceptor),
		grpc.ChainStreamInterceptor(c.forwardStream, c.api.StreamInterceptor),
	)
	agentv1.RegisterAgentServiceServer(c.grpcServer, c.dispatch)
	c.api.Register(c.grpcServer)
}

func (c *Coordinator) wireREST() {
	c.local = c.api.Local()
	handler := azure.New(azure.Config{
		Conn: c.local, Keys: accountKeys{c}, Tokens: bearerTokens{c}, WithCaller: withCaller,
		BaseURL: baseURL, Now: c.cfg.Now, Logger: c.logger,
	})
	c.webServers = append(c.webServers, webServer(c.toLeader(handler)))
	c.webServers[0].TLSConfig = identity.WebTLS(c.server.Current, c.cfg.Now)
	if c.web != nil {
		c.webServers[0].TLSConfig.GetCertificate = identity.ShownTo(c.server.Current, c.web.Current)
	}
	if c.httpListener != nil {
		c.webServers = append(c.webServers, webServer(c.toLeader(handler)))
	}
}

func baseURL(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil || r.Header.Get(forwardedProto) == "https" {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

// forwardedProto tells the leader under which scheme a follower was called. It only shapes the links of answers.
const forwardedProto = "X-Forwarded-Proto"

// toLeader passes requests on while another member leads. A signature does not cover the host, so the request stays valid.
func (c *Coordinator) toLeader(local http.Handler) http.Handler {
	transport := &http.Transport{TLSClientConfig: trust.ClientTLS(c.keyring.CA(), nil, c.cfg.Now), ForceAttemptHTTP2: true}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target := c.leaderHTTPS()
		if target == "" {
			local.ServeHTTP(w, r)
			return
		}
		proxy := &httputil.ReverseProxy{
			Transport: transport,
			Rewrite: func(p *httputil.ProxyRequest) {
				p.Out.URL = &url.URL{Scheme: "https", Host: target, Opaque: r.URL.Opaque, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
				p.Out.Host = r.Host
				p.Out.Header.Set(forwardedProto, "http")
				if r.TLS != nil {
					p.Out.Header.Set(forwardedProto, "https")
				}
			},
			FlushInterval: -1,
			ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
				c.logger.Warn("request can't be passed to the leader", "leader", target, "err", err)
				azure.WriteError(w, batcherr.Unavailable("the coordinators have no leader at the moment"))
			},
		}
		proxy.ServeHTTP(w, r)
	})
}

// leaderHTTPS is where another member that leads serves REST; empty while none does.
func (c *Coordinator) leaderHTTPS() string {
	id, _, ok := c.replica.Leader()
	if !ok || id == c.id {
		return ""
	}
	for _, m := range c.state.Members() {
		if m.Id == id {
			return m.HttpsAddress
		}
	}
	return ""
}

// nodeFiles is dispatch as the files of nodes.
type nodeFiles struct{ server *dispatch.Server }

func (f nodeFiles) Transfer(ctx context.Context, node uint64, req *agentv1.FileRequest, each func(*agentv1.TransferChunk) error) error {
	return f.server.Request(ctx, node, req, each)
}

// taskToken makes a token that reaches the task's own job and nothing else of the account.
func (c *Coordinator) taskToken(account, job, task string) (string, error) {
	token, _, err := c.tokens.Issue(identity.Claims{
		Subject: job + "/" + task, Account: account, Access: identity.AccessTask, Job: job,
	}, maxTaskToken)
	return string(token.Reveal()), err
}

// explainer is the scheduler as the API asks it.
type explainer struct{ server *dispatch.Server }

func (e explainer) Explain(s state.Situation) *apiv1.TaskExplanation {
	return schedule.Explain(s, e.server.Connected)
}

// membership is the coordinators as the API sees them.
type membership struct{ *Coordinator }

func (m membership) Status() api.MemberStatus {
	leader, _, _ := m.replica.Leader()
	return api.MemberStatus{MemberID: m.id, LeaderID: leader, Term: m.replica.Status().Term, Version: Version()}
}

func (m membership) AddVoter(ctx context.Context, id, raftAddress string) error {
	return m.replica.AddVoter(ctx, id, raftAddress)
}

func (m membership) RemoveMember(ctx context.Context, id string) error {
	return m.replica.RemoveServer(ctx, id)
}

// Version is the version of this program.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// accountKeys are the keys with which accounts sign REST requests.
type accountKeys struct{ *Coordinator }

func (k accountKeys) AccountKeys(_ context.Context, account string) ([][]byte, error) {
	return k.api.SharedKeys(account)
}

// bearerTokens are the tokens that REST accepts.
type bearerTokens struct{ *Coordinator }

func (t bearerTokens) VerifyToken(ctx context.Context, token string) (azure.Caller, error) {
	caller, err := t.api.Authenticate(ctx, token, "")
	if err != nil {
		return azure.Caller{}, err
	}
	role, ok := map[identity.Access]apiv1.TokenRole{
		identity.AccessAdmin: apiv1.TokenRole_TOKEN_ROLE_ADMIN, identity.AccessUser: apiv1.TokenRole_TOKEN_ROLE_USER,
		identity.AccessReader: apiv1.TokenRole_TOKEN_ROLE_READER, identity.AccessTask: apiv1.TokenRole_TOKEN_ROLE_USER,
	}[caller.Access]
	if !ok {
		return azure.Caller{}, batcherr.Forbidden("this token gives no access")
	}
	return azure.Caller{Account: caller.Account, Role: role, Job: caller.Job, Since: caller.Since}, nil
}

func withCaller(ctx context.Context, caller azure.Caller) context.Context {
	access := identity.AccessReader
	switch {
	case caller.Job != "":
		access = identity.AccessTask
	case caller.Role == apiv1.TokenRole_TOKEN_ROLE_USER:
		access = identity.AccessUser
	case caller.Role == apiv1.TokenRole_TOKEN_ROLE_ADMIN:
		access = identity.AccessAdmin
	}
	return api.WithCaller(ctx, api.Caller{Account: caller.Account, Access: access, Job: caller.Job, Since: caller.Since})
}
