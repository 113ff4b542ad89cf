package session

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/batchyard/batchyard/internal/batcherr"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	"google.golang.org/grpc"
)

// ErrOrphaned says that no coordinator could be reached for as long as the agent was to try.
var ErrOrphaned = errors.New("no coordinator can be reached")

// ErrRemoved says that the cluster no longer knows the node.
var ErrRemoved = errors.New("the cluster does not know this node")

// errReconnect ends a session that is to go on over a new connection.
var errReconnect = errors.New("reconnecting")

const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 2 * time.Second
	// A coordinator that has died is replaced within seconds: for so long the backoff stays short, since all work waits for it.
	eagerFor     = 5 * time.Second
	eagerBackoff = 250 * time.Millisecond
	// maxHints is how many times in a row a coordinator's word on who leads is followed without a pause.
	maxHints = 3
	// maxRefusals is how many times in a row the cluster must say that it does not know the node before that is believed.
	maxRefusals = 3
)

// Keeper begins a session with whoever leads, and the next when it ends.
type Keeper struct {
	Config
	// Dial makes a connection to an address, without waiting for it.
	Dial func(address string) (*grpc.ClientConn, error)
	// Orphan is how long to go on without any session; 0: for ever.
	Orphan time.Duration
	// Learned is told the coordinators' addresses when they change. It may be nil.
	Learned func(addresses []string)

	mu        sync.Mutex
	addresses []string
	next      int
	conn      *grpc.ClientConn // of the session that is under way
	end       context.CancelCauseFunc
}

// Run keeps sessions until ctx ends (nil), the orphan time is over (ErrOrphaned) or the node is removed (ErrRemoved).
func (k *Keeper) Run(ctx context.Context, addresses []string) error {
	k.learn(addresses)
	if len(k.addresses) == 0 {
		return errors.New("no coordinator address is known")
	}
	var p pace
	p.begin()
	for {
		address := k.pick()
		welcomed, err := k.once(ctx, address)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the end of ctx is what was asked for
		case welcomed:
			p.begin()
		}
		if errors.Is(err, errReconnect) {
			continue
		}
		k.Logger.Info("session with the coordinator ended", "address", address, "registered", welcomed, "error", err)
		if err := k.verdict(&p, err); err != nil {
			return err
		}
		if leader, ok := LeaderOf(err); ok && leader != address && p.hints < maxHints {
			p.hints++
			k.prefer(leader)
			continue
		}
		k.moveOn(address)
		pause(ctx, p.next())
	}
}

// pace is how eagerly the next session is sought. It begins anew with every session.
type pace struct {
	contact         time.Time
	backoff         time.Duration
	hints, refusals int
}

func (p *pace) begin() { *p = pace{contact: time.Now(), backoff: minBackoff} }

func (p *pace) next() time.Duration {
	d := p.backoff/2 + rand.N(p.backoff/2+1)
	most := maxBackoff
	if time.Since(p.contact) < eagerFor {
		most = eagerBackoff
	}
	p.backoff = min(2*p.backoff, most)
	return d
}

// verdict says whether an end is the last one.
func (k *Keeper) verdict(p *pace, err error) error {
	// An answer of another kind says nothing of the node: the count goes on.
	if batcherr.FromGRPC(err).Code == batcherr.CodeNodeNotFound {
		p.refusals++
	}
	switch {
	case p.refusals >= maxRefusals:
		return fmt.Errorf("%w: %w", ErrRemoved, err)
	case k.Orphan > 0 && time.Since(p.contact) > k.Orphan:
		return fmt.Errorf("%w for %s: %w", ErrOrphaned, k.Orphan, err)
	default:
		return nil
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// once holds one session. It always ends with an error.
func (k *Keeper) once(ctx context.Context, address string) (welcomed bool, err error) {
	conn, err := k.Dial(address)
	if err != nil {
		return false, fmt.Errorf("dialling %s: %w", address, err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer k.hold(nil, nil)
	err = Run(ctx, conn, k.Config, func(w *agentv1.Welcome) {
		welcomed = true
		k.Logger.Info("registered with the coordinator", "address", address, "session", w.GetSession(), "slots", w.GetTaskSlots())
		k.learn(w.GetCoordinatorAddresses())
		k.hold(conn, cancel)
	})
	if errors.Is(context.Cause(ctx), errReconnect) {
		return welcomed, errReconnect
	}
	return welcomed, err
}

func (k *Keeper) hold(conn *grpc.ClientConn, end context.CancelCauseFunc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.conn, k.end = conn, end
}

// Conn is the connection of the session that is under way, or nil.
func (k *Keeper) Conn() grpc.ClientConnInterface {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.conn == nil {
		return nil
	}
	return k.conn
}

// Reconnect ends the session and begins another over a new connection, as after a change of certificate.
func (k *Keeper) Reconnect() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.end != nil {
		k.end(errReconnect)
	}
}

func (k *Keeper) pick() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.addresses[k.next%len(k.addresses)]
}

func (k *Keeper) moveOn(from string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.addresses[k.next%len(k.addresses)] == from {
		k.next = (k.next + 1) % len(k.addresses)
	}
}

// maxAddresses bounds what answers can add.
const maxAddresses = 32

// learn adds addresses that are not known; those that were given at the start stay.
func (k *Keeper) learn(addresses []string) {
	k.mu.Lock()
	grown := false
	for _, address := range addresses {
		grown = k.add(address) >= 0 || grown
	}
	known := append([]string(nil), k.addresses...)
	k.mu.Unlock()
	if grown && k.Learned != nil {
		k.Learned(known)
	}
}

// add returns the place of an address that was not known, or -1.
func (k *Keeper) add(address string) int {
	for _, known := range k.addresses {
		if known == address {
			return -1
		}
	}
	if address == "" || len(k.addresses) >= maxAddresses {
		return -1
	}
	k.addresses = append(k.addresses, address)
	return len(k.addresses) - 1
}

func (k *Keeper) prefer(address string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.add(address)
	for i, known := range k.addresses {
		if known == address {
			k.next = i
		}
	}
}
