package embedded

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Options say how to run the store as a child process.
type Options struct {
	Config           // Address may have port 0: a port is chosen, and kept as long as the store runs
	Command []string // the program and arguments that read a Config from standard input and call Serve
	Version string   // of the program; a running store of another one is replaced
	RootCAs *x509.CertPool
	Ready   time.Duration // how long the store may take to answer; default 30 s
	Grace   time.Duration // how long it may take to stop before it is killed; default 15 s
	Log     *slog.Logger
}

// Child is a running store.
type Child struct {
	opts   Options
	record record
	done   chan struct{}
	err    error // valid when done is closed
}

const (
	logName = "objectstore.log"
	maxLog  = 16 << 20 // bytes; a longer log is set aside at the next start
)

// Start gives a store that answers. One that an earlier owner of the data directory left running is taken over when it
// has the same configuration and is well, and stopped otherwise. ctx bounds the start only; the store runs until Stop.
func Start(ctx context.Context, o Options) (*Child, error) {
	if o.Ready <= 0 {
		o.Ready = 30 * time.Second
	}
	if o.Grace <= 0 {
		o.Grace = 15 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if len(o.Command) == 0 {
		return nil, errors.New("object store: no command to run")
	}
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("object store: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, o.Ready)
	defer cancel()
	if c, err := takeOver(ctx, o); c != nil || err != nil {
		return c, err
	}
	return launch(ctx, o)
}

// takeOver looks for a store that runs already. It gives nil when there is none any more.
func takeOver(ctx context.Context, o Options) (*Child, error) {
	r, err := readRecord(o.DataDir)
	if err != nil || !r.alive() {
		return nil, err
	}
	if _, port, _ := net.SplitHostPort(o.Address); port == "0" {
		o.Address = r.Address
	}
	print, err := o.fingerprint(o.Version)
	if err != nil {
		return nil, err
	}
	if print == r.Fingerprint && r.Address == o.Address && healthy(ctx, o) == nil {
		c := &Child{opts: o, record: r, done: make(chan struct{})}
		go c.watch()
		o.Log.Info("object store taken over", "pid", r.PID, "endpoint", o.Endpoint())
		return c, nil
	}
	o.Log.Info("object store of an earlier run is stopped", "pid", r.PID)
	return nil, r.stop(o.Grace)
}

func launch(ctx context.Context, o Options) (*Child, error) {
	var err error
	if o.Address, err = choosePort(ctx, o.Address); err != nil {
		return nil, err
	}
	print, err := o.fingerprint(o.Version)
	if err != nil {
		return nil, err
	}
	cmd, err := spawn(o)
	if err != nil {
		return nil, err
	}
	c := &Child{opts: o, done: make(chan struct{})}
	c.record = record{PID: cmd.Process.Pid, Address: o.Address, Fingerprint: print}
	c.record.Started, err = started(cmd.Process.Pid)
	go func() {
		defer close(c.done)
		c.err = cmd.Wait()
	}()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("object store: %w", err), cmd.Process.Kill())
	}
	if err = c.record.write(o.DataDir); err == nil {
		err = c.ready(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	o.Log.Info("object store started", "pid", cmd.Process.Pid, "endpoint", o.Endpoint())
	return c, nil
}

// spawn starts the command with the configuration on its standard input and its output in a file: a pipe would end the
// store when its owner is killed.
func spawn(o Options) (*exec.Cmd, error) {
	config, err := json.Marshal(o.Config)
	if err != nil {
		return nil, fmt.Errorf("object store: %w", err)
	}
	name := filepath.Join(o.DataDir, logName)
	if fi, err := os.Stat(name); err == nil && fi.Size() > maxLog {
		if err := os.Rename(name, name+".old"); err != nil {
			return nil, fmt.Errorf("object store: %w", err)
		}
	}
	out, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("object store: %w", err)
	}
	defer out.Close()
	cmd := exec.Command(o.Command[0], o.Command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(config), out, out
	cmd.SysProcAttr = apart()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start object store: %w", err)
	}
	return cmd, nil
}

// choosePort replaces port 0 by a free one. The port is free only for the moment: if somebody else takes it first, the
// store fails to start and says so.
func choosePort(ctx context.Context, address string) (string, error) {
	if _, port, _ := net.SplitHostPort(address); port != "0" {
		return address, nil
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return "", fmt.Errorf("object store: %w", err)
	}
	return ln.Addr().String(), ln.Close()
}

// ready waits until the store answers, ends or takes too long.
func (c *Child) ready(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := healthy(ctx, c.opts)
		if err == nil {
			return nil
		}
		select {
		case <-c.done:
			return fmt.Errorf("object store ended at once: %w", errors.Join(c.err, lastLines(c.opts.DataDir)))
		case <-ctx.Done():
			return fmt.Errorf("object store does not answer: %w", err)
		case <-tick.C:
		}
	}
}

func healthy(ctx context.Context, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.Endpoint()+healthPath, nil)
	if err != nil {
		return err
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("health check answers %s", resp.Status)
	}
	return nil
}

// lastLines is the end of the store's log, as an error.
func lastLines(dataDir string) error {
	const most = 2 << 10
	f, err := os.Open(filepath.Join(dataDir, logName))
	if err != nil {
		return err
	}
	defer f.Close()
	if fi, err := f.Stat(); err == nil && fi.Size() > most {
		_, _ = f.Seek(-most, io.SeekEnd)
	}
	b, err := io.ReadAll(f)
	return errors.Join(err, errors.New(string(bytes.TrimSpace(b))))
}

// watch waits for a store that is not our child to end.
func (c *Child) watch() {
	defer close(c.done)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for c.record.alive() {
		<-tick.C
	}
	c.err = errors.New("object store ended")
}

// Endpoint is the store's URL.
func (c *Child) Endpoint() string { return c.opts.Endpoint() }

// Address is the store's IP address and port.
func (c *Child) Address() string { return c.opts.Address }

// Users manages the users of the store.
func (c *Child) Users() (*Users, error) { return NewUsers(c.opts.Config, c.opts.RootCAs) }

// PID is the store's process.
func (c *Child) PID() int { return c.record.PID }

// Done is closed when the store has ended, for whatever reason.
func (c *Child) Done() <-chan struct{} { return c.done }

// Err is why the store ended; valid when Done is closed, nil after a clean end.
func (c *Child) Err() error { return c.err }

// Stop ends the store: it answers what it is asked already, and is killed when that takes longer than the grace. It
// returns when the process is gone.
func (c *Child) Stop() error {
	err := c.record.stop(c.opts.Grace)
	<-c.done
	return errors.Join(err, c.record.remove(c.opts.DataDir))
}
