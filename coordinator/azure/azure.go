// Package azure serves the Azure Batch REST API (routes, JSON, OData, shared key) over the gRPC services of the coordinator.
package azure

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"google.golang.org/grpc"
)

// KeySource gives the shared keys of accounts.
type KeySource interface {
	// AccountKeys returns the account's keys as bytes (not base64), none or a not-found error if there is no such account.
	AccountKeys(ctx context.Context, account string) ([][]byte, error)
}

// TokenVerifier checks bearer tokens.
type TokenVerifier interface {
	// VerifyToken returns whom the token stands for. Any error but one of kind unavailable or
	// forbidden counts as a bad token.
	VerifyToken(ctx context.Context, token string) (Caller, error)
}

// Caller is whom a request comes from; what it may do is decided by the services.
type Caller struct {
	Account string
	Role    apiv1.TokenRole
	Job     string    // the only job that the caller may touch; empty: any
	Since   time.Time // when the token was issued; zero for keys
}

// Config is what the API needs from its surroundings. All fields but Now, Logger and Limits are required.
type Config struct {
	// Conn reaches the services, in this process.
	Conn grpc.ClientConnInterface
	Keys KeySource
	// Tokens may be nil: bearer tokens are then refused.
	Tokens TokenVerifier
	// WithCaller puts the authenticated caller where the services find it.
	WithCaller func(context.Context, Caller) context.Context
	// BaseURL is the scheme and authority under which the client reaches the API, without a slash at the end.
	BaseURL func(*http.Request) string
	Now     func() time.Time
	Logger  *slog.Logger
	Limits  Limits
}

// New returns the handler of the whole API. It needs the path as the client sent it: no mux that cleans or decodes paths, and
// no prefix to strip, may stand before it.
func New(config Config) http.Handler {
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	config.Limits = config.Limits.orDefault()
	c := newCodec(messages()...)
	return &server{
		config: config,
		codec:  c,
		shapes: newShapes(c),
		router: newRouter(Routes()),
		images: supportedImages(),
		clients: clients{
			pools:        apiv1.NewPoolServiceClient(config.Conn),
			nodes:        apiv1.NewNodeServiceClient(config.Conn),
			jobs:         apiv1.NewJobServiceClient(config.Conn),
			schedules:    apiv1.NewJobScheduleServiceClient(config.Conn),
			tasks:        apiv1.NewTaskServiceClient(config.Conn),
			files:        apiv1.NewFileServiceClient(config.Conn),
			applications: apiv1.NewApplicationServiceClient(config.Conn),
		},
	}
}

type clients struct {
	pools        apiv1.PoolServiceClient
	nodes        apiv1.NodeServiceClient
	jobs         apiv1.JobServiceClient
	schedules    apiv1.JobScheduleServiceClient
	tasks        apiv1.TaskServiceClient
	files        apiv1.FileServiceClient
	applications apiv1.ApplicationServiceClient
}

type server struct {
	config Config
	codec  *codec
	shapes *shapes
	router *router
	images []*apiv1.SupportedImage
	clients
}

// defaultTimeout is how long a call may take, in Azure Batch's words the most that a client can ask for.
const defaultTimeout = 30 * time.Second

// ServeHTTP answers one request; whatever happens below ends as a BatchError.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := newCall(s, w, r)
	defer c.recovered()
	if err := s.serve(c); err != nil {
		c.fail(err)
	}
}

func (s *server) serve(c *call) error {
	if err := s.router.route(c); err != nil {
		return err
	}
	caller, err := s.authenticate(c)
	if err != nil {
		return err
	}
	ctx := s.config.WithCaller(c.r.Context(), caller)
	if err := c.readQuery(); err != nil {
		return err
	}
	if !c.route.in(c.version) {
		return errOtherVersion(c.version)
	}
	if c.conditions, err = readConditions(c.r.Header, c.route.Conditions); err != nil {
		return err
	}
	if !c.route.streams {
		timeout, err := c.timeout()
		if err != nil {
			return err
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	return c.route.handle(ctx, c)
}
