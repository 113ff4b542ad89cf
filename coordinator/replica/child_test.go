package replica

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// childEnv holds a childSpec in JSON and makes the test binary a replica.
const childEnv = "BATCHYARD_TEST_REPLICA"

func TestMain(m *testing.M) {
	if spec := os.Getenv(childEnv); spec != "" {
		if err := runChild(spec); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// childSpec says what a child process does: it runs a replica, proposes with some writers whenever that leads, and obeys
// the lines on its standard input.
type childSpec struct {
	ID, Dir, Addr string
	Writers       int
	Bootstrap     bool
	// Pace is how long a writer rests after each command.
	Pace                       time.Duration
	Heartbeat, Election, Lease time.Duration
	// SnapshotEntries makes snapshots frequent, with a log that is cut right behind them.
	SnapshotEntries uint64
	// Acks is a file to which every acknowledged command is written before the next is proposed.
	Acks string
	// Witnesses are the files of acknowledged commands of all children. A reader checks that after a barrier the state holds
	// what was in them before it.
	Witnesses []string
}

func runChild(text string) error {
	var spec childSpec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", spec.Addr)
	if err != nil {
		return err
	}
	cfg := quickConfig(spec.ID, spec.Dir, listener)
	cfg.Timeouts.Heartbeat, cfg.Timeouts.Election, cfg.Timeouts.Lease = spec.Heartbeat, spec.Election, spec.Lease
	cfg.Digests.Entries, cfg.Digests.Interval = 64, 100*time.Millisecond
	if spec.SnapshotEntries > 0 {
		cfg.Snapshots.Entries, cfg.Snapshots.Trailing, cfg.Snapshots.Interval = spec.SnapshotEntries, 10, 5*time.Millisecond
	}
	cfg.Fatal = func(err error) {
		fmt.Fprintf(os.Stderr, "child %s: fatal: %v\n", spec.ID, err)
		os.Exit(3)
	}
	j, err := openJournal(filepath.Join(spec.Dir, "state"))
	if err != nil {
		return err
	}
	cfg.Machine = j
	r, err := Open(cfg)
	if err != nil {
		return err
	}
	if spec.Bootstrap {
		if err := r.Bootstrap(); err != nil && !errors.Is(err, ErrBootstrapped) {
			return err
		}
	}
	return obey(r, j, spec)
}

func obey(r *Replica, j *journal, spec childSpec) error {
	acks, err := os.OpenFile(spec.Acks, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var writers sync.WaitGroup
	for w := range spec.Writers {
		writers.Go(func() { write(ctx, r, acks, fmt.Sprintf("%s.%d.%d", spec.ID, os.Getpid(), w), spec.Pace) })
	}
	var reads atomic.Int64
	if len(spec.Witnesses) > 0 {
		writers.Go(func() { read(ctx, r, j, spec.Witnesses, &reads) })
	}
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		verb, argument, _ := strings.Cut(lines.Text(), " ")
		switch verb {
		case "join":
			id, addr, _ := strings.Cut(argument, " ")
			fmt.Println(errorText(r.AddVoter(ctx, id, addr)))
		case "stop":
			stop()
			writers.Wait()
			fmt.Println("ok")
		case "status":
			text, _ := json.Marshal(r.Status())
			fmt.Println(string(text))
		case "barrier":
			fmt.Println(errorText(r.Barrier(context.Background())))
		case "reads":
			fmt.Println(reads.Load())
		case "dump":
			fmt.Println(errorText(os.WriteFile(argument, []byte(strings.Join(j.all(), "\n")), 0o600)))
		default:
			return fmt.Errorf("unknown request %q", verb)
		}
	}
	return nil
}

func errorText(err error) string {
	if err != nil {
		return strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return "ok"
}

// write proposes for ever, straight into the library's way when this replica just lost its leadership, and notes what was
// acknowledged. A file write survives a kill, if not a power cut.
func write(ctx context.Context, r *Replica, acks *os.File, name string, pace time.Duration) {
	for i := 0; ctx.Err() == nil; i++ {
		changed := r.LeaderChanged()
		command := fmt.Sprintf("%s.%d", name, i)
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		_, err := r.Propose(limit, []byte(command))
		cancel()
		switch {
		case err == nil:
			if _, err := acks.WriteString(command + "\n"); err != nil {
				panic(err)
			}
			if pace > 0 {
				wait(ctx, nil, pace)
			}
		case errors.Is(err, ErrNotLeader):
			wait(ctx, changed, 5*time.Millisecond)
		}
	}
}

// read looks up the last command that each child saw acknowledged, and ends the process when a later read misses one.
func read(ctx context.Context, r *Replica, j *journal, witnesses []string, count *atomic.Int64) {
	for ctx.Err() == nil {
		changed := r.LeaderChanged()
		var expected []string
		for _, file := range witnesses {
			if last := lastLine(file); last != "" {
				expected = append(expected, last)
			}
		}
		if err := r.Barrier(ctx); err != nil {
			wait(ctx, changed, 5*time.Millisecond)
			continue
		}
		for _, command := range expected {
			if !j.has(command) {
				fmt.Fprintf(os.Stderr, "stale read on %s: %s is missing\n", r.cfg.ID, command)
				os.Exit(4)
			}
		}
		count.Add(1)
	}
}

// lastLine returns the last whole line of a file, if any.
func lastLine(name string) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	size, _ := f.Seek(0, io.SeekEnd)
	tail := make([]byte, min(size, 200))
	if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil {
		return ""
	}
	lines := strings.Split(string(tail), "\n")
	if len(lines) < 3 {
		return ""
	}
	return lines[len(lines)-2]
}

func wait(ctx context.Context, changed <-chan struct{}, limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-changed:
	case <-timer.C:
	}
}

// child is a running child process.
type child struct {
	t     testing.TB
	spec  childSpec
	cmd   *exec.Cmd
	mu    sync.Mutex // one request at a time
	input *bufio.Writer
	lines chan string
}

func startChild(t testing.TB, spec childSpec) *child {
	t.Helper()
	text, err := json.Marshal(spec)
	require.NoError(t, err)
	c := &child{t: t, spec: spec, cmd: exec.Command(os.Args[0]), lines: make(chan string, 16)}
	c.cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	c.cmd.Stderr = os.Stderr
	stdin, err := c.cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	c.input = bufio.NewWriter(stdin)
	require.NoError(t, c.cmd.Start())
	go func() {
		defer close(c.lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			c.lines <- s.Text()
		}
	}()
	t.Cleanup(c.kill)
	require.Equal(t, "ready", c.line(), "child %s", spec.ID)
	return c
}

func (c *child) line() string {
	select {
	case line, ok := <-c.lines:
		if !ok {
			return "child has ended"
		}
		return line
	case <-time.After(60 * time.Second):
		return "child does not answer"
	}
}

func (c *child) ask(request string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.input.WriteString(request + "\n")
	require.NoError(c.t, errors.Join(err, c.input.Flush()))
	return c.line()
}

func (c *child) status() (s Status) {
	c.t.Helper()
	text := c.ask("status")
	require.NoError(c.t, json.Unmarshal([]byte(text), &s), "child %s: %s", c.spec.ID, text)
	return s
}

func (c *child) commands() []string {
	c.t.Helper()
	file := filepath.Join(c.spec.Dir, "dump")
	require.Equal(c.t, "ok", c.ask("dump "+file))
	return readLines(c.t, file)
}

func (c *child) acknowledged() []string { return readLines(c.t, c.spec.Acks) }

func readLines(t testing.TB, file string) []string {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	return strings.Fields(string(data))
}

func (c *child) signal(s syscall.Signal) {
	c.t.Helper()
	require.NoError(c.t, c.cmd.Process.Signal(s))
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// freeAddr is a loopback address that was free a moment ago.
func freeAddr(t testing.TB) string {
	l := listen(t, "127.0.0.1:0")
	defer l.Close()
	return l.Addr().String()
}
