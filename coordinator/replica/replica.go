// Package replica owns Raft: it turns commands proposed on one coordinator into the same calls of a state machine on all.
package replica

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// closeTimeout bounds each step of Close that depends on other replicas or on the disk.
	closeTimeout = 5 * time.Second
	// maxAppend is how many entries travel in one message. Each may be as large as Batching.Bytes.
	maxAppend = 64
	// connections kept open to each other replica.
	maxPool = 3
)

// Replica is one member of a Raft cluster, or, before Bootstrap or another leader's AddVoter, of none.
type Replica struct {
	cfg       Config
	raft      *raft.Raft
	store     *guardedStore
	snapshots *raft.FileSnapshotStore
	fsm       *fsm
	acks      *ackTable
	leaders   *leadership
	noticed   broadcast // a change of leader was noticed
	batcher   *batcher
	reads     *readRounds
	terms     *gate
	digests   *digestPublisher

	elections  chan bool
	closing    chan struct{}
	closeOnce  sync.Once
	closeErr   error
	stop       context.CancelFunc // of background
	background sync.WaitGroup
	watching   sync.WaitGroup // followElections, which outlives background
	down       chan struct{}  // closed when the library is
}

// Open starts the replica in cfg.Dir, where the state may be older than the log. It verifies the whole log first. It owns
// cfg.Listener from here on, and closes it when it fails.
func Open(cfg Config) (*Replica, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	r, err := open(cfg)
	if err != nil {
		_ = cfg.Listener.Close()
		return nil, fmt.Errorf("open replica %s: %w", cfg.ID, err)
	}
	return r, nil
}

func open(cfg Config) (*Replica, error) {
	if cfg.Fatal == nil {
		cfg.Fatal = exitOnFatal(cfg.Logger)
	}
	r := &Replica{
		cfg: cfg, leaders: newLeadership(), terms: newGate(), acks: &ackTable{acks: map[string]ack{}},
		elections: make(chan bool, 1), closing: make(chan struct{}), down: make(chan struct{}),
	}
	if err := r.openStores(); err != nil {
		return nil, err
	}
	if err := r.start(); err != nil {
		return nil, errors.Join(err, r.closeStores())
	}
	return r, nil
}

func (r *Replica) openStores() error {
	scratch := filepath.Join(r.cfg.Dir, "scratch")
	if err := os.MkdirAll(r.cfg.Dir, 0o700); err != nil {
		return err
	}
	logger := raftLogger(r.cfg.Logger)
	disk, err := openDiskStore(r.cfg.Dir, logger)
	if err != nil {
		return err
	}
	// Only the holder of the lock may clear away what a crash has left.
	if err := errors.Join(os.RemoveAll(scratch), os.Mkdir(scratch, 0o700)); err != nil {
		return errors.Join(err, disk.Close())
	}
	r.snapshots, err = raft.NewFileSnapshotStoreWithLogger(r.cfg.Dir, 2, logger)
	if err != nil {
		return errors.Join(fmt.Errorf("open snapshots: %w", err), disk.Close())
	}
	var base store = disk
	if r.cfg.wrapStore != nil {
		base = r.cfg.wrapStore(base)
	}
	r.store = &guardedStore{store: base, fatal: r.cfg.Fatal, dog: startWatchdog(r.cfg.Timeouts.Stall, r.cfg.Fatal)}
	r.digests = newDigestPublisher(r.cfg.Digests, r.cfg.Machine, r.leaders.ready, r.proposeDigest)
	r.fsm = &fsm{
		machine: r.cfg.Machine, scratch: scratch, logger: r.cfg.Logger, fatal: r.cfg.Fatal,
		onTerm: r.leaders.began, onApplied: r.digests.applied,
	}
	r.fsm.load()
	return nil
}

func (r *Replica) closeStores() error {
	r.store.dog.close()
	if err := r.store.Close(); err != nil {
		return fmt.Errorf("close log: %w", err)
	}
	return nil
}

func (r *Replica) start() error {
	first, last, err := verifyLog(r.store.store)
	if err != nil {
		return err
	}
	plan, err := planStart(r.fsm.recorded, first, last, r.snapshots)
	if err != nil {
		return err
	}
	net := &transport{acks: r.acks, NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:  newStreamLayer(r.cfg),
		MaxPool: maxPool,
		// One at a time: with pipelining a follower that stalled can stay cut off, and acks would not be seen.
		MaxRPCsInFlight: 1,
		Timeout:         r.cfg.Timeouts.Transport,
		Logger:          raftLogger(r.cfg.Logger),
	})}
	r.raft, err = raft.NewRaft(r.raftConfig(plan), r.fsm, r.store, r.store, r.snapshots, net)
	if err != nil {
		return errors.Join(err, net.Close())
	}
	r.run()
	return r.electAlone()
}

func (r *Replica) raftConfig(plan startPlan) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(r.cfg.ID)
	c.HeartbeatTimeout = r.cfg.Timeouts.Heartbeat
	c.ElectionTimeout = r.cfg.Timeouts.Election
	c.LeaderLeaseTimeout = r.cfg.Timeouts.Lease
	c.MaxAppendEntries = maxAppend
	c.BatchApplyCh = true
	c.ShutdownOnRemove = false
	c.TrailingLogs = r.cfg.Snapshots.Trailing
	c.SnapshotInterval = 365 * 24 * time.Hour // takeSnapshots decides
	c.NoSnapshotRestoreOnStart = !plan.restore
	c.NoLegacyTelemetry = true
	c.NotifyCh = r.elections
	c.Logger = raftLogger(r.cfg.Logger)
	return c
}

// run starts the goroutines that Close waits for.
func (r *Replica) run() {
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	r.watching.Go(func() { r.followElections(r.down) })
	r.batcher = startBatcher(r.cfg.Batching, r.raft, r.notLeader)
	r.reads = startReadRounds(r.readRound)
	r.background.Go(func() { r.digests.run(ctx) })
	r.background.Go(func() { r.takeSnapshots(ctx) })
	r.background.Go(func() { r.observeLeader(ctx) })
}

// proposeDigest does not wait for the outcome: a comparison that is lost is made up for by the next.
func (r *Replica) proposeDigest(d checkpointDigest) {
	d.by = r.cfg.ID
	r.raft.Apply(sealDigest(d), 0)
}

// observeLeader passes on what the library notices about who leads.
func (r *Replica) observeLeader(ctx context.Context) {
	observed := make(chan raft.Observation, 1)
	observer := raft.NewObserver(observed, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.RaftState:
			return true
		}
		return false
	})
	r.raft.RegisterObserver(observer)
	defer r.raft.DeregisterObserver(observer)
	for {
		select {
		case <-observed:
			r.noticed.notify()
		case <-ctx.Done():
			return
		}
	}
}

// Close stops leader work, refuses new commands, waits for those in flight, hands leadership over if this replica leads
// others, and closes the log. Steps that hang are given up after some seconds and reported.
func (r *Replica) Close() error {
	r.closeOnce.Do(func() { r.closeErr = r.close() })
	return r.closeErr
}

func (r *Replica) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	r.terms.close()
	err := r.batcher.close(ctx)
	r.reads.close()
	if r.IsLeader() && len(r.voters()) > 1 {
		if err := r.TransferLeadership(ctx); err != nil {
			r.cfg.Logger.Warn("leadership not handed over on closing", "error", err)
		}
	}
	close(r.closing)
	r.stop()
	down := r.raft.Shutdown()
	r.background.Wait()
	if e := down.Error(); e != nil {
		err = errors.Join(err, fmt.Errorf("shut down raft: %w", e))
	}
	close(r.down)
	r.watching.Wait()
	return errors.Join(err, r.closeStores())
}

// Status is what a replica knows about itself and its cluster.
type Status struct {
	ID           string
	State        string // Leader, Follower, Candidate or Shutdown
	LeaderID     string
	LeaderAddr   string
	Term         uint64
	LastIndex    uint64 // of the log
	CommitIndex  uint64
	AppliedIndex uint64
	Snapshot     uint64 // index of the newest snapshot
	// Digest of the state, and the index of the last entry in it. Replicas with the same DigestIndex have the same Digest.
	DigestIndex uint64
	Digest      [32]byte
	// Compared counts the comparisons with the leader's digest since Open.
	Compared uint64
	// Entries counts the log entries submitted here for commands since Open.
	Entries uint64
}

// Status returns a picture whose parts may be some moments apart.
func (r *Replica) Status() Status {
	index, digest := r.cfg.Machine.Digest()
	id, addr, _ := r.Leader()
	s := Status{
		ID: r.cfg.ID, State: r.raft.State().String(), LeaderID: id, LeaderAddr: addr,
		Term: r.raft.CurrentTerm(), LastIndex: r.raft.LastIndex(), CommitIndex: r.raft.CommitIndex(),
		AppliedIndex: r.fsm.applied.get(), DigestIndex: index, Digest: digest,
		Compared: r.fsm.compared.Load(), Entries: r.batcher.entries.Load(),
	}
	if list, err := r.snapshots.List(); err == nil && len(list) > 0 {
		s.Snapshot = list[0].Index
	}
	return s
}
