package replica

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// stallGate makes appends hang while it is shut.
type stallGate struct {
	mu     sync.Mutex
	closed chan struct{} // nil while open
}

func newStallGate() *stallGate { return &stallGate{} }

func (g *stallGate) install(c *Config) {
	c.wrapStore = func(s store) store { return &gatedStore{store: s, gate: g} }
}

func (g *stallGate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = make(chan struct{})
}

func (g *stallGate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed != nil {
		close(g.closed)
		g.closed = nil
	}
}

func (g *stallGate) pass() {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	if closed != nil {
		<-closed
	}
}

type gatedStore struct {
	store
	gate *stallGate
}

func (s *gatedStore) StoreLogs(entries []*raft.Log) error {
	s.gate.pass()
	return s.store.StoreLogs(entries)
}

func TestWatchdogNoticesHungAppend(t *testing.T) {
	gate := newStallGate()
	p := alone(t, gate.install, func(c *Config) { c.Timeouts.Stall = 200 * time.Millisecond })
	p.propose("before")
	gate.shut()
	defer gate.open()
	_, err := p.ProposeAsync(t.Context(), []byte("hangs"))
	require.NoError(t, err)
	select {
	case err := <-p.fatal:
		var stall *StallError
		require.ErrorAs(t, err, &stall)
		require.Equal(t, "append", stall.Operation)
	case <-time.After(10 * time.Second):
		require.Fail(t, "no alarm")
	}
}

func TestWatchdogIgnoresWhatEnds(t *testing.T) {
	stalls := make(chan error, 1)
	w := startWatchdog(100*time.Millisecond, func(err error) { stalls <- err })
	for end := time.Now().Add(400 * time.Millisecond); time.Now().Before(end); {
		w.watch("append")()
	}
	w.close()
	require.Empty(t, stalls)
}

func TestDamagedLogEntryIsRefused(t *testing.T) {
	p := alone(t)
	p.proposeMany("before", 20)
	p.propose("the-entry-to-damage")
	p.proposeMany("after", 20)
	p.shut()
	flipBit(t, filepath.Join(p.cfg.Dir, "log"), "the-entry-to-damage")
	p.relisten()
	err := p.tryStart()
	var corrupt *CorruptionError
	require.ErrorAs(t, err, &corrupt)
	require.ErrorIs(t, err, errDamaged)
	require.Positive(t, corrupt.Index)
	require.ErrorContains(t, err, "checksum")
}

func TestDamagedLogEntryIsFatalWhenReadLater(t *testing.T) {
	p := alone(t)
	p.propose("the-entry-to-damage")
	index := p.Status().DigestIndex
	flipBit(t, filepath.Join(p.cfg.Dir, "log"), "the-entry-to-damage")
	var entry raft.Log
	require.Error(t, p.store.GetLog(index, &entry))
	var corrupt *CorruptionError
	require.ErrorAs(t, <-p.fatal, &corrupt)
	require.Equal(t, index, corrupt.Index)
}

// flipBit changes one bit of a text in the files of dir.
func flipBit(t *testing.T, dir, text string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	found := 0
	for _, name := range files {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		at := bytes.Index(data, []byte(text))
		if at < 0 {
			continue
		}
		found++
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte{data[at] ^ 1}, int64(at))
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	require.Equal(t, 1, found, "files with %q", text)
}

func TestLostLogIsRefused(t *testing.T) {
	p := alone(t)
	p.proposeMany("x", 10)
	p.shut()
	require.NoError(t, os.RemoveAll(filepath.Join(p.cfg.Dir, "log")))
	p.relisten()
	require.ErrorIs(t, p.tryStart(), ErrLogLost)
}

func TestDigestsAreComparedAndDivergenceIsFatal(t *testing.T) {
	peers := cluster(t, 3, func(c *Config) { c.Digests.Entries, c.Digests.Interval = 1, 20*time.Millisecond })
	peers[0].proposeMany("x", 10)
	for _, p := range peers {
		require.Eventually(t, func() bool { return p.Status().Compared > 0 }, time.Minute, 5*time.Millisecond)
	}
	odd := peers[2]
	odd.journal.setPoison()
	peers[0].proposeMany("y", 10)
	select {
	case err := <-odd.fatal:
		var divergence *DivergenceError
		require.ErrorAs(t, err, &divergence)
		require.Equal(t, "a", divergence.By)
		require.NotEqual(t, divergence.Ours, divergence.Leader)
	case <-time.After(10 * time.Second):
		require.Fail(t, "divergence unnoticed")
	}
	require.Empty(t, peers[0].fatal)
	require.Empty(t, peers[1].fatal)
	at := len(odd.journal.all())
	want := peers[0].proposeMany("z", 10)
	awaitEqual(t, peers[:2], want)
	require.Len(t, odd.journal.all(), at, "a replica that has halted applies nothing")
}

func TestTransportKeepsHeartbeatsInTheMainLoop(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	stream := newStreamLayer(quickConfig("a", t.TempDir(), l))
	tr := &transport{NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: stream, MaxPool: 1, MaxRPCsInFlight: 1, Timeout: time.Second, Logger: raftLogger(quickConfig("a", "", l).Logger),
	}), acks: &ackTable{acks: map[string]ack{}}}
	defer tr.Close()
	tr.SetHeartbeatHandler(func(raft.RPC) { t.Error("heartbeat took the shortcut") })
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		rpc := <-tr.Consumer()
		rpc.Respond(&raft.AppendEntriesResponse{Term: 3, Success: true}, nil)
	}()
	heartbeat := raft.AppendEntriesRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: []byte("a"), Addr: []byte(stream.advertise)},
		Term:      3,
	}
	var response raft.AppendEntriesResponse
	require.NoError(t, tr.AppendEntries("b", raft.ServerAddress(stream.advertise), &heartbeat, &response))
	<-answered
	require.True(t, tr.acks.majority(3, time.Time{}, "a", []string{"a", "b", "c"}))
	require.False(t, tr.acks.majority(4, time.Time{}, "a", []string{"a", "b", "c"}), "of another term")
	require.False(t, tr.acks.majority(3, time.Now(), "a", []string{"a", "b", "c"}), "sent too early")
}
