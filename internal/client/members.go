package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// learnTimeout limits the question who the members are.
const learnTimeout = 5 * time.Second

// maxMembers bounds what hints can add; clusters have five members at most, and addresses change over time.
const maxMembers = 32

// member is one coordinator that may be called.
type member struct {
	address   string
	conn      *grpc.ClientConn
	untrusted atomic.Pointer[error]
}

// members are the known coordinators, one of which is current.
type members struct {
	dial dialFunc

	mu      sync.Mutex
	list    []*member
	current int
}

func (ms *members) pick() *member {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	return ms.list[ms.current]
}

// failed moves on from m, unless someone else has done so already.
func (ms *members) failed(m *member) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if ms.list[ms.current] == m {
		ms.current = (ms.current + 1) % len(ms.list)
	}
}

func (ms *members) prefer(m *member) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	for i, known := range ms.list {
		if known == m {
			ms.current = i
		}
	}
}

// add returns the member at an address, which need not be known yet.
func (ms *members) add(address string) (*member, error) {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, fmt.Errorf("address %q of a coordinator: %w", address, err)
	}
	ms.mu.Lock()
	defer ms.mu.Unlock()
	for _, m := range ms.list {
		if m.address == address {
			return m, nil
		}
	}
	if len(ms.list) >= maxMembers {
		return nil, errors.New("too many coordinators are known")
	}
	m := &member{address: address}
	conn, err := ms.dial(m)
	if err != nil {
		return nil, fmt.Errorf("address %q of a coordinator: %w", address, err)
	}
	m.conn = conn
	ms.list = append(ms.list, m)
	return m, nil
}

// untrusted is why the certificates of all members were refused; nil when one was not.
func (ms *members) untrusted() error {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	var reason error
	for _, m := range ms.list {
		why := m.untrusted.Load()
		if why == nil {
			return nil
		}
		reason = *why
	}
	return reason
}

func (ms *members) addresses() []string {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	var out []string
	for _, m := range ms.list {
		out = append(out, m.address)
	}
	return out
}

func (ms *members) close() error {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	var errs []error
	for _, m := range ms.list {
		errs = append(errs, m.conn.Close())
	}
	return errors.Join(errs...)
}

// learn asks a member that answers who the others are, so that its own loss is survived, and turns to the leader if it can be
// reached from here. It fails silently: what is known already may be all that a caller is allowed to know.
func (c *Client) learn(from *member) {
	ctx, cancel := context.WithTimeout(c.ctx, learnTimeout)
	defer cancel()
	cluster, err := apiv1.NewClusterServiceClient(from.conn).GetCluster(ctx, &apiv1.GetClusterRequest{Local: true})
	if err != nil {
		c.cfg.Logger.Debug("members of the cluster stay unknown", "address", from.address, "error", err)
		return
	}
	for _, found := range cluster.GetMembers() {
		m, err := c.members.add(found.GetAddress())
		if err != nil || m == from || found.GetId() != cluster.GetLeaderId() {
			continue
		}
		if reachable(ctx, m.conn) {
			c.members.prefer(m)
		}
	}
}

func reachable(ctx context.Context, conn *grpc.ClientConn) bool {
	conn.Connect()
	for {
		switch state := conn.GetState(); state {
		case connectivity.Ready:
			return true
		case connectivity.TransientFailure, connectivity.Shutdown:
			return false
		default:
			if !conn.WaitForStateChange(ctx, state) {
				return false
			}
		}
	}
}
