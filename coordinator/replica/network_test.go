package replica

import (
	"context"
	"errors"
	"net"
	"sync"
)

// cable connects a peer to the others and can be pulled.
type cable struct {
	mu     sync.Mutex
	pulled bool
	conns  map[net.Conn]struct{}
}

var errPulled = errors.New("cable pulled")

func newCable() *cable { return &cable{conns: map[net.Conn]struct{}{}} }

// install puts the cable between the peer and its network, in both directions.
func (c *cable) install(cfg *Config) {
	dial := cfg.Dial
	cfg.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
		conn, err := dial(ctx, addr)
		if err != nil {
			return nil, err
		}
		return c.add(conn)
	}
	cfg.Listener = cableListener{cfg.Listener, c}
}

func (c *cable) add(conn net.Conn) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pulled {
		_ = conn.Close()
		return nil, errPulled
	}
	c.conns[conn] = struct{}{}
	return conn, nil
}

func (c *cable) pull() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pulled = true
	for conn := range c.conns {
		_ = conn.Close()
	}
	clear(c.conns)
}

func (c *cable) plug() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pulled = false
}

type cableListener struct {
	net.Listener
	cable *cable
}

func (l cableListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if conn, err := l.cable.add(conn); err == nil {
			return conn, nil
		}
	}
}
