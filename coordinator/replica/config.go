package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"
)

// Config says how a replica runs. Start from Default.
type Config struct {
	// ID names the replica in its cluster for ever. A replica that lost its directory needs a new one.
	ID string
	// Dir holds the log and the snapshots. The machine's state should lie on the same file system, so that checkpoints
	// can be hard links.
	Dir string
	// Advertise is the host:port at which the other replicas reach Listener.
	Advertise string
	// Listener accepts connections of other replicas, already authenticated (mutual TLS). The replica closes it.
	Listener net.Listener
	// Dial connects to another replica's advertised address. The context carries the deadline.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Machine is the state. The replica does not close it.
	Machine Machine
	Logger  *slog.Logger
	// Fatal is called, once or more, with a *StallError, *DivergenceError or *CorruptionError: the process must not go on
	// with this replica. The default logs the error and exits with status 3. When it returns, nothing more is applied.
	Fatal func(error)

	Timeouts  Timeouts
	Batching  Batching
	Snapshots Snapshots
	Digests   Digests

	// wrapStore lets a test put itself between the guards and the disk.
	wrapStore func(store) store
}

// Timeouts decide how soon trouble is noticed.
type Timeouts struct {
	// Heartbeat is how long a follower hears nothing before it stands for election. It waits up to twice as long.
	Heartbeat time.Duration
	// Election is how long a candidate waits for votes; at least Heartbeat.
	Election time.Duration
	// Lease is how long a leader that cannot reach a majority stays leader; less than Heartbeat.
	Lease time.Duration
	// Stall is how long one write of the log may take before the process gives up its disk.
	Stall time.Duration
	// Transport bounds dialling and each message, apart from snapshots, which get it per 256 KiB.
	Transport time.Duration
}

// Batching decides how proposals share log entries.
type Batching struct {
	// Commands is the largest number of commands in one entry.
	Commands int
	// Bytes is the largest entry, and so the largest command. Framing comes on top.
	Bytes int
	// Queue is how many proposals may wait before Propose blocks.
	Queue int
	// InFlight is how many entries may be submitted and not yet applied. Fewer make larger entries.
	InFlight int
}

// Snapshots decide when the log is replaced by a copy of the state.
type Snapshots struct {
	// Entries and Bytes of log since the last snapshot, either of which is enough for a new one.
	Entries uint64
	Bytes   uint64
	// Trailing is how many entries stay in the log behind a snapshot, for followers that are a little late.
	Trailing uint64
	// Interval is how often the above is checked.
	Interval time.Duration
}

// Digests decide how often replicas compare their states.
type Digests struct {
	// Entries applied since the last comparison that make the leader start another at once.
	Entries uint64
	// Interval after which it does so for fewer, if there are any.
	Interval time.Duration
}

// Default returns a Config that lacks only what has no default: ID, Dir, Advertise, Listener, Dial, Machine and Logger.
func Default() Config {
	return Config{
		Timeouts: Timeouts{
			Heartbeat: 800 * time.Millisecond,
			Election:  800 * time.Millisecond,
			Lease:     600 * time.Millisecond,
			Stall:     5 * time.Second,
			Transport: 10 * time.Second,
		},
		Batching:  Batching{Commands: 512, Bytes: 1 << 20, Queue: 4096, InFlight: 2},
		Snapshots: Snapshots{Entries: 16384, Bytes: 256 << 20, Trailing: 4096, Interval: 10 * time.Second},
		Digests:   Digests{Entries: 1024, Interval: 5 * time.Second},
	}
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	need(c.ID != "", "ID is empty")
	need(c.Dir != "", "Dir is empty")
	need(c.Advertise != "", "Advertise is empty")
	need(c.Listener != nil, "Listener is missing")
	need(c.Dial != nil, "Dial is missing")
	need(c.Machine != nil, "Machine is missing")
	need(c.Logger != nil, "Logger is missing")
	need(c.Timeouts.Lease >= 5*time.Millisecond, "Timeouts.Lease %s is below 5ms", c.Timeouts.Lease)
	need(c.Timeouts.Lease < c.Timeouts.Heartbeat, "Timeouts.Lease %s is not below Heartbeat %s", c.Timeouts.Lease, c.Timeouts.Heartbeat)
	need(c.Timeouts.Election >= c.Timeouts.Heartbeat, "Timeouts.Election %s is below Heartbeat %s", c.Timeouts.Election, c.Timeouts.Heartbeat)
	need(c.Timeouts.Stall > 0, "Timeouts.Stall is not positive")
	need(c.Timeouts.Transport > 0, "Timeouts.Transport is not positive")
	need(c.Batching.Commands > 0, "Batching.Commands is not positive")
	need(c.Batching.Bytes > 0 && c.Batching.Bytes <= maxEntryBytes, "Batching.Bytes %d is not in 1..%d", c.Batching.Bytes, maxEntryBytes)
	need(c.Batching.Queue > 0, "Batching.Queue is not positive")
	need(c.Batching.InFlight > 0, "Batching.InFlight is not positive")
	need(c.Snapshots.Entries > 0 && c.Snapshots.Bytes > 0, "Snapshots.Entries and Bytes must be positive")
	need(c.Snapshots.Interval > 0, "Snapshots.Interval is not positive")
	need(c.Digests.Entries > 0 && c.Digests.Interval > 0, "Digests.Entries and Interval must be positive")
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("replica config: %w", err)
	}
	return nil
}

// exitOnFatal is the default of Config.Fatal. It does not try to close anything: the disk may hang.
func exitOnFatal(logger *slog.Logger) func(error) {
	return func(err error) {
		logger.Error("replica stops its process", "error", err)
		os.Exit(3)
	}
}
