package storagetest

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// CutProxy passes TCP connections on and cuts some of them in the middle of an answer.
type CutProxy struct {
	ln     net.Listener
	target string
	wg     sync.WaitGroup

	mu    sync.Mutex
	cuts  int
	after int64
	open  map[net.Conn]bool
}

// OpenCutProxy listens on a loopback port and passes on to target, a host and port, until the test ends.
func OpenCutProxy(t *testing.T, target string) *CutProxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &CutProxy{ln: ln, target: target, open: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = ln.Close()
		p.mu.Lock()
		for c := range p.open {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p
}

// Addr is where the proxy listens.
func (p *CutProxy) Addr() string { return p.ln.Addr().String() }

// CutNext makes the next n times that a connection has answered after bytes its last time. Connections that are open
// already count too.
func (p *CutProxy) CutNext(n int, after int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cuts, p.after = n, after
}

func (p *CutProxy) accept() {
	for {
		c, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(c) })
	}
}

func (p *CutProxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		_ = client.Close()
		return
	}
	p.track(true, client, server)
	defer p.track(false, client, server)
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
		_ = client.Close()
	})
	p.answer(client, server)
	_ = server.Close()
	_ = client.Close()
	wg.Wait()
}

func (p *CutProxy) track(open bool, conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if open {
			p.open[c] = true
		} else {
			delete(p.open, c)
		}
	}
}

var errCut = errors.New("cut")

// answer copies from the server and ends when the connection's turn to be cut has come. Small answers, such as a TLS
// handshake's, pass below the mark.
func (p *CutProxy) answer(client, server net.Conn) {
	buf := make([]byte, 32<<10)
	var sent int64
	for {
		n, err := server.Read(buf)
		if n > 0 {
			sent += int64(n)
			if p.turn(sent) != nil {
				return
			}
			if _, werr := client.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *CutProxy) turn(sent int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cuts > 0 && sent > p.after {
		p.cuts--
		return errCut
	}
	return nil
}
