package coordinator

import (
	"context"
	"errors"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/batchyard/batchyard/internal/trust"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func webServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
}

// Run serves until ctx ends or something fails, then shuts down: open calls get a moment, leadership is handed over, everything is closed.
func (c *Coordinator) Run(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.grpcServer.Serve(c.grpcListener) })
	g.Go(func() error { return c.webServers[0].ServeTLS(c.httpsListener, "", "") })
	if c.httpListener != nil {
		g.Go(func() error { return c.webServers[1].Serve(c.httpListener) })
	}
	g.Go(func() error { return c.replica.RunTerms(gctx, c.lead) })
	g.Go(func() error { return c.announce(gctx) })
	g.Go(func() error {
		<-gctx.Done()
		c.stopServing()
		return nil
	})
	err := g.Wait()
	if ctx.Err() != nil {
		err = nil
	}
	return errors.Join(err, c.close())
}

func (c *Coordinator) stopServing() {
	stopped := make(chan struct{})
	go func() {
		c.grpcServer.GracefulStop()
		close(stopped)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), shutdownGrace)
	defer cancel()
	for _, s := range c.webServers {
		if err := s.Shutdown(ctx); err != nil {
			_ = s.Close()
		}
	}
	select {
	case <-stopped:
	case <-ctx.Done():
		c.grpcServer.Stop()
		<-stopped
	}
}

// announce makes the cluster know this member: a new one becomes a voter, an old one may have new addresses. Then it calls OnReady.
func (c *Coordinator) announce(ctx context.Context) error {
	if err := retryUntil(ctx, c.announceOnce); err != nil {
		return ctx.Err()
	}
	member, err := readMember(c.cfg.DataDir)
	if err != nil {
		return err
	}
	if member.Joining {
		member.Joining, member.Via = false, ""
		if err := member.write(c.cfg.DataDir); err != nil {
			return err
		}
	}
	if c.cfg.OnReady != nil {
		c.cfg.OnReady(c)
	}
	return nil
}

func (c *Coordinator) announceOnce(ctx context.Context) error {
	if c.replica.IsLeader() {
		// The leader's own record is written when its term begins.
		return c.Barrier(ctx)
	}
	member, err := readMember(c.cfg.DataDir)
	if err != nil {
		return err
	}
	target := member.Via
	if address, _ := c.Leader(); address != "" {
		target = address
	}
	if target == "" {
		return errors.New("no leader yet")
	}
	config := trust.ClientTLS(c.keyring.CA(), c.server.Current, c.cfg.Now)
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_, err = apiv1.NewClusterServiceClient(conn).AddMember(ctx, &apiv1.AddMemberRequest{Member: c.describe()})
	return err
}
