package clustertest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/batchyard/batchyard/internal/trust"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// Agents are simulated nodes: they speak the agents' protocol over connections of their own, and a task that they are given has ended at once with
// exit code 0.
type Agents struct {
	Ended    atomic.Int64 // attempts reported and committed
	sessions atomic.Int64

	group  *errgroup.Group
	cancel context.CancelFunc
}

// joiners is how many agents join at once.
const joiners = 16

// StartAgents makes count nodes join a pool and waits until each has a session.
func (c *Cluster) StartAgents(ctx context.Context, pool string, count int) (*Agents, error) {
	token, err := apiv1.NewClusterServiceClient(c.client).CreateJoinToken(ctx, &apiv1.CreateJoinTokenRequest{
		Kind: apiv1.JoinTokenKind_JOIN_TOKEN_KIND_NODE, PoolId: pool, MaxUses: int32(count),
	})
	if err != nil {
		return nil, err
	}
	leader := c.Leader()
	if leader == nil {
		return nil, errors.New("the cluster has no leader")
	}
	a := &Agents{}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	a.group, running = errgroup.WithContext(running)
	a.cancel = cancel
	join, ctx := errgroup.WithContext(ctx)
	join.SetLimit(joiners)
	for range count {
		join.Go(func() error {
			agent, err := a.join(ctx, leader.GRPCAddress(), token.Token)
			if err != nil {
				return err
			}
			ready := make(chan struct{})
			a.group.Go(func() error { return agent.run(running, ready) })
			select {
			case <-ready:
				return nil
			case <-running.Done():
				return fmt.Errorf("an agent ended: %w", context.Cause(running))
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}
	if err := join.Wait(); err != nil {
		return nil, errors.Join(err, a.Stop())
	}
	return a, nil
}

// Sessions is how many agents have a session now.
func (a *Agents) Sessions() int { return int(a.sessions.Load()) }

// Stop ends all sessions.
func (a *Agents) Stop() error {
	a.cancel()
	if err := a.group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

type agent struct {
	agents *Agents
	conn   *grpc.ClientConn
	batch  uint64
	sent   map[uint64]int64
}

// join gets a certificate with the token and dials as the node that it names.
func (a *Agents) join(ctx context.Context, address, text string) (*agent, error) {
	token, err := trust.ParseJoinToken(text)
	if err != nil {
		return nil, err
	}
	conn, err := dial(address, trust.PinnedTLS(token.Pin, time.Now))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	key, request, err := trust.NewRequest()
	if err != nil {
		return nil, err
	}
	answer, err := agentv1.NewAgentServiceClient(conn).Join(ctx, &agentv1.JoinRequest{Token: text, Csr: request, Facts: &agentv1.NodeFacts{Cpus: 1}})
	if err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	authority, err := x509.ParseCertificate(answer.Certificates[1])
	if err != nil {
		return nil, err
	}
	made, err := trust.NewCredentials(key, answer.Certificates[0], authority)
	if err != nil {
		return nil, err
	}
	own := func() (*tls.Certificate, error) { return &made.Certificate, nil }
	if conn, err = dial(address, trust.ClientTLS(authority, own, time.Now)); err != nil {
		return nil, err
	}
	return &agent{agents: a, conn: conn, sent: map[uint64]int64{}}, nil
}

func dial(address string, config *tls.Config) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(config)), grpc.WithNoProxy())
}

// run holds one session; ready is closed when it has begun.
func (a *agent) run(ctx context.Context, ready chan<- struct{}) error {
	defer a.conn.Close()
	stream, err := agentv1.NewAgentServiceClient(a.conn).Session(ctx)
	if err != nil {
		return err
	}
	hello := &agentv1.AgentMessage{Message: &agentv1.AgentMessage_Hello{Hello: &agentv1.Hello{Facts: &agentv1.NodeFacts{Cpus: 1}}}}
	if err := stream.Send(hello); err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	welcome := first.GetWelcome()
	if welcome == nil {
		return errors.New("the first message of a session is no welcome")
	}
	a.agents.sessions.Add(1)
	defer a.agents.sessions.Add(-1)
	close(ready)
	out := make(chan *agentv1.AgentMessage, 1)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return send(gctx, stream, out, welcome.HeartbeatInterval.AsDuration()) })
	g.Go(func() error { return a.receive(gctx, stream, out) })
	if err := g.Wait(); ctx.Err() == nil {
		return err
	}
	return ctx.Err()
}

type stream = grpc.BidiStreamingClient[agentv1.AgentMessage, agentv1.CoordinatorMessage]

func send(ctx context.Context, s stream, out <-chan *agentv1.AgentMessage, interval time.Duration) error {
	beat := time.NewTicker(interval)
	defer beat.Stop()
	for number := uint64(0); ; {
		var m *agentv1.AgentMessage
		select {
		case <-ctx.Done():
			return ctx.Err()
		case m = <-out:
		case <-beat.C:
			number++
			m = &agentv1.AgentMessage{Message: &agentv1.AgentMessage_Heartbeat{Heartbeat: &agentv1.Heartbeat{Number: number}}}
		}
		if err := s.Send(m); err != nil {
			return err
		}
	}
}

func (a *agent) receive(ctx context.Context, s stream, out chan<- *agentv1.AgentMessage) error {
	for {
		m, err := s.Recv()
		if err != nil {
			return err
		}
		switch m := m.Message.(type) {
		case *agentv1.CoordinatorMessage_ReportsCommitted:
			a.agents.Ended.Add(a.sent[m.ReportsCommitted])
			delete(a.sent, m.ReportsCommitted)
		case *agentv1.CoordinatorMessage_Assignments:
			reports := answers(m.Assignments)
			if len(reports) == 0 {
				continue
			}
			a.batch++
			a.sent[a.batch] = int64(len(m.Assignments.Add))
			select {
			case out <- &agentv1.AgentMessage{Message: &agentv1.AgentMessage_Reports{Reports: &agentv1.Reports{Batch: a.batch, Reports: reports}}}:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// answers is what a node says of assignments that take no time: what it is given has succeeded, what is to stop has been released.
func answers(m *agentv1.Assignments) []*agentv1.AttemptReport {
	now := time.Now().UnixNano()
	zero := int32(0)
	out := make([]*agentv1.AttemptReport, 0, len(m.Add))
	for _, add := range m.Add {
		out = append(out, &agentv1.AttemptReport{
			Ref: add.Ref, Phase: agentv1.AttemptPhase_ATTEMPT_PHASE_ENDED, StartTime: now, EndTime: now, ExitCode: &zero,
			FailureStage: agentv1.FailureStage_FAILURE_STAGE_COMMAND,
		})
	}
	for _, r := range m.Remove {
		if r.Kind == agentv1.RemovalKind_REMOVAL_KIND_STOP {
			out = append(out, &agentv1.AttemptReport{Ref: r.Ref, Phase: agentv1.AttemptPhase_ATTEMPT_PHASE_RELEASED})
		}
	}
	return out
}
