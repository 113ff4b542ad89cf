package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// RunConfig is a container that is there and not started.
type RunConfig struct {
	Address, Name string
	// Grace is how long the command may take to end by itself once ctx has ended.
	Grace          time.Duration
	Stdout, Stderr io.Writer
}

// Exit codes that say that nothing ran; those of a command are its own.
const (
	exitEngine  = 125
	exitStopped = 128 + 15
)

// outputPatience is how long what a command has written may take to arrive after its end.
const outputPatience = 10 * time.Second

// Run starts a container, writes what its command writes, and returns its exit code. It outlives the engine's restarts. When ctx ends the container is
// stopped. The container is left for Settle to look at.
func Run(ctx context.Context, cfg RunConfig) (int, error) {
	api, err := dial(cfg.Address)
	if err != nil {
		return exitEngine, err
	}
	defer api.Close()
	r := &run{cfg: cfg, api: api}
	if ctx.Err() != nil {
		return exitStopped, nil
	}
	// Calls to the engine outlive the wish to stop: that is one more of them.
	calls, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	output, err := r.attach(calls)
	if err != nil {
		return exitEngine, err
	}
	watch, unwatch := context.WithCancel(calls)
	defer unwatch() // a wait for a container that was not started never returns
	wait := api.ContainerWait(watch, cfg.Name, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	if _, err := api.ContainerStart(calls, cfg.Name, client.ContainerStartOptions{}); err != nil {
		return exitEngine, err
	}
	return r.await(ctx, calls, wait, output)
}

type run struct {
	cfg RunConfig
	api *client.Client
}

// attach copies the command's output; the channel is closed at its end.
func (r *run) attach(ctx context.Context) (<-chan struct{}, error) {
	stream, err := r.api.ContainerAttach(ctx, r.cfg.Name, client.ContainerAttachOptions{Stream: true, Stdout: true, Stderr: true})
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer stream.Close()
		// A disk that is full must not block the command: what can't be written is dropped.
		_, _ = stdcopy.StdCopy(lenient{r.cfg.Stdout}, lenient{r.cfg.Stderr}, stream.Reader)
	}()
	return done, nil
}

// lenient writes what can be written.
type lenient struct{ w io.Writer }

func (l lenient) Write(b []byte) (int, error) {
	_, _ = l.w.Write(b)
	return len(b), nil
}

// await waits for the container's end, and stops it when ctx ends.
func (r *run) await(ctx, calls context.Context, wait client.ContainerWaitResult, output <-chan struct{}) (int, error) {
	stop := ctx.Done()
	for {
		select {
		case <-stop:
			stop = nil
			go r.stop(calls)
		case result := <-wait.Result:
			select {
			case <-output:
			case <-time.After(outputPatience):
			}
			if result.Error != nil {
				return exitEngine, errors.New(result.Error.Message)
			}
			return int(result.StatusCode), nil
		case lost := <-wait.Error:
			code, over, err := r.rejoin(ctx, calls, lost)
			if over || err != nil {
				return code, err
			}
			if output, err = r.attach(calls); err != nil {
				gone := make(chan struct{})
				close(gone)
				output = gone
			}
			wait = r.api.ContainerWait(calls, r.cfg.Name, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
		}
	}
}

// stop ends the container. The engine sees to the grace: it does so also when this process is gone.
func (r *run) stop(ctx context.Context) {
	// Some of the grace is for what comes after: this process is to end within it.
	seconds := int(r.cfg.Grace * 8 / 10 / time.Second)
	_, _ = r.api.ContainerStop(ctx, r.cfg.Name, client.ContainerStopOptions{Timeout: &seconds})
}

// rejoin finds the container again after the connection with the engine was lost; over says that it does not run any more.
func (r *run) rejoin(ctx, calls context.Context, lost error) (code int, over bool, err error) {
	for {
		found, err := r.api.ContainerInspect(calls, r.cfg.Name, client.ContainerInspectOptions{})
		switch {
		case errdefs.IsNotFound(err):
			return exitEngine, true, errors.New("the container was removed while it ran")
		case err == nil && found.Container.State != nil && !found.Container.State.Running:
			return found.Container.State.ExitCode, true, nil
		case err == nil:
			return 0, false, nil
		}
		select {
		case <-ctx.Done(): // the supervisor's patience ends with its grace
			return exitStopped, true, lost
		case <-time.After(settlePause):
		}
	}
}

// GiveOutputs makes the files that this process writes to the user's, given as UID:GID: they were opened as the agent's.
func GiveOutputs(owner string) error {
	var uid, gid int
	if _, err := fmt.Sscanf(owner, "%d:%d", &uid, &gid); err != nil {
		return fmt.Errorf("the owner %q is not UID:GID: %w", owner, err)
	}
	return errors.Join(os.Stdout.Chown(uid, gid), os.Stderr.Chown(uid, gid))
}
