package replica

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// peer is one replica of a test, with its directories and machine.
type peer struct {
	*Replica
	t       testing.TB
	cfg     Config
	journal *journal
	fatal   chan error
	open    bool
}

// quickConfig is a Config with timeouts for one machine, all on loopback TCP.
func quickConfig(id, dir string, listener net.Listener) Config {
	cfg := Default()
	cfg.ID, cfg.Dir = id, filepath.Join(dir, "raft")
	cfg.Listener, cfg.Advertise = listener, listener.Addr().String()
	cfg.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	}
	cfg.Logger = slog.New(slog.NewTextHandler(testLog(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	cfg.Timeouts.Heartbeat = 300 * time.Millisecond
	cfg.Timeouts.Election = 300 * time.Millisecond
	cfg.Timeouts.Lease = 250 * time.Millisecond
	return cfg
}

// testLog is where replicas log: nowhere, unless BATCHYARD_TEST_LOG is set.
func testLog() io.Writer {
	if os.Getenv("BATCHYARD_TEST_LOG") != "" {
		return os.Stderr
	}
	return io.Discard
}

func listen(t testing.TB, addr string) net.Listener {
	t.Helper()
	var l net.Listener
	require.Eventually(t, func() (ok bool) {
		var err error
		l, err = net.Listen("tcp", addr)
		return err == nil
	}, time.Minute, 10*time.Millisecond)
	return l
}

// newPeer opens a replica in a directory of its own, closed when the test ends.
func newPeer(t testing.TB, id string, change ...func(*Config)) *peer {
	t.Helper()
	dir := t.TempDir()
	p := &peer{t: t, cfg: quickConfig(id, dir, listen(t, "127.0.0.1:0")), fatal: make(chan error, 16)}
	p.cfg.Fatal = func(err error) {
		select {
		case p.fatal <- err:
		default:
		}
	}
	for _, c := range change {
		c(&p.cfg)
	}
	p.start()
	t.Cleanup(func() {
		if p.open {
			p.shut()
		}
	})
	return p
}

func (p *peer) stateDir() string { return filepath.Join(filepath.Dir(p.cfg.Dir), "state") }

// tryStart opens the journal and the replica.
func (p *peer) tryStart() (err error) {
	if p.journal, err = openJournal(p.stateDir()); err != nil {
		return err
	}
	p.cfg.Machine = p.journal
	if p.Replica, err = Open(p.cfg); err != nil {
		_ = p.journal.close()
		return err
	}
	p.open = true
	return nil
}

func (p *peer) start() {
	p.t.Helper()
	require.NoError(p.t, p.tryStart())
}

func (p *peer) shut() {
	p.t.Helper()
	p.open = false
	require.NoError(p.t, p.Close())
	require.NoError(p.t, p.journal.close())
}

// restart starts a replica that was shut at its old address.
func (p *peer) restart() {
	p.t.Helper()
	p.relisten()
	p.start()
}

func (p *peer) relisten() {
	p.t.Helper()
	p.cfg.Listener = listen(p.t, p.cfg.Advertise)
}

// propose must succeed.
func (p *peer) propose(command string) any {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	result, err := p.Propose(ctx, []byte(command))
	require.NoError(p.t, err)
	return result
}

// proposeMany proposes count commands at a time and returns them.
func (p *peer) proposeMany(prefix string, count int) []string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var commands []string
	var pending []*Pending
	for i := range count {
		commands = append(commands, fmt.Sprintf("%s-%d", prefix, i))
		w, err := p.ProposeAsync(ctx, []byte(commands[i]))
		require.NoError(p.t, err)
		pending = append(pending, w)
	}
	for _, w := range pending {
		_, err := w.Wait(ctx)
		require.NoError(p.t, err)
	}
	return commands
}

// alone is a bootstrapped cluster of one that leads.
func alone(t testing.TB, change ...func(*Config)) *peer {
	t.Helper()
	p := newPeer(t, "a", change...)
	require.NoError(t, p.Bootstrap())
	awaitLeader(t, p)
	return p
}

// cluster is n replicas, all voters.
func cluster(t testing.TB, n int, change ...func(*Config)) []*peer {
	t.Helper()
	peers := []*peer{alone(t, change...)}
	for i := 1; i < n; i++ {
		peers = append(peers, newPeer(t, string(rune('a'+i)), change...))
		join(t, peers[0], peers[i])
	}
	return peers
}

func join(t testing.TB, leader, p *peer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	require.NoError(t, leader.AddVoter(ctx, p.cfg.ID, p.cfg.Advertise))
}

// awaitLeader returns the peer that leads and is ready.
func awaitLeader(t testing.TB, peers ...*peer) *peer {
	t.Helper()
	var leader *peer
	require.Eventually(t, func() bool {
		for _, p := range peers {
			if p.open && p.IsLeader() && p.leaders.ready() {
				leader = p
				return true
			}
		}
		return false
	}, 20*time.Second, 5*time.Millisecond, "no leader")
	return leader
}

// awaitEqual waits until all have the same state, and it contains the commands.
func awaitEqual(t testing.TB, peers []*peer, commands []string) {
	t.Helper()
	require.Eventually(t, func() bool {
		first := peers[0].Status()
		for _, p := range peers[1:] {
			s := p.Status()
			if s.DigestIndex != first.DigestIndex || s.Digest != first.Digest {
				return false
			}
		}
		return true
	}, 20*time.Second, 10*time.Millisecond, "states differ")
	for _, p := range peers {
		requireContains(t, p.journal.all(), commands)
	}
}

func requireContains(t testing.TB, have, want []string) {
	t.Helper()
	set := make(map[string]bool, len(have))
	for _, c := range have {
		set[c] = true
	}
	for _, c := range want {
		require.True(t, set[c], "command %q was acknowledged and is lost", c)
	}
}
