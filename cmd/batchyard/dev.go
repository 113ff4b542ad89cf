package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/batchyard/batchyard/agent"
	"github.com/batchyard/batchyard/cmd/batchyard/devfarm"
	"github.com/batchyard/batchyard/internal/client"
)

type devOptions struct {
	f         *factory
	dataDir   string
	context   string
	nodes     int
	slots     int
	anyPorts  bool
	lease     time.Duration
	autoScale time.Duration
	verbose   bool

	taskUsers, limitTasks bool
	containerEngine       string
	containerHostAccess   bool
}

func newDevCommand(f *factory) *cobra.Command {
	o := &devOptions{f: f}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole farm on this machine",
		Long: `Runs a coordinator, an object store and nodes (local processes) until Ctrl-C, which stops all of them.

Everything is kept in one directory: a later start goes on where this one was. Address and credentials are
written to the context file, so that the other commands find the farm by themselves.`,
		Example: `  batchyard dev
  batchyard dev --nodes 4 --slots 2
  batchyard dev --data-dir /tmp/farm --name try`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.dataDir, "data-dir", "", "directory that holds everything (default ~/.local/share/batchyard/dev)")
	flags.StringVar(&o.context, "name", "dev", "name of the context to write")
	flags.IntVar(&o.nodes, "nodes", 1, "nodes of the pool \"default\" that a new farm begins with; 0: no pool")
	flags.IntVar(&o.slots, "slots", 0, "task slots of each of these nodes (default one a processor)")
	flags.BoolVar(&o.anyPorts, "any-ports", false, "a new farm takes any free ports, and leaves the usual ones (7443 and others) to another")
	flags.DurationVar(&o.lease, "lease", 0, "how long a node counts as alive without a word (default 45s)")
	flags.DurationVar(&o.autoScale, "autoscale-every", 0, "evaluate all formulas this often, and sample four times as often; for tests")
	_ = flags.MarkHidden("autoscale-every") // fails for unknown flags only
	flags.BoolVar(&o.taskUsers, "task-users", false, "run each task as a user of its own (root only, in a directory that everybody can get to)")
	flags.BoolVar(&o.limitTasks, "limit-tasks", false, "hold each task to its slots' share of its node's memory and processors")
	flags.StringVar(&o.containerEngine, "container-engine", "", "unix:///path of Docker's or Podman's socket, or none (default: whichever of the usual sockets there is)")
	flags.BoolVar(&o.containerHostAccess, "container-host-access", false, "let tasks' container run options reach the machine: privileged, devices, capabilities, any path")
	flags.BoolVarP(&o.verbose, "verbose", "v", false, "log everything")
	return cmd
}

func (o *devOptions) run(ctx context.Context) error {
	dir, err := o.directory()
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	if o.taskUsers {
		if err := agent.CheckTaskUsers(dir); err != nil {
			return err
		}
	}
	started := time.Now()
	return devfarm.Run(ctx, devfarm.Config{
		DataDir: dir, Program: program, Version: o.f.version, Nodes: o.nodes, Slots: o.slots, AnyPorts: o.anyPorts, Lease: o.lease, AutoScaleEvery: o.autoScale,
		AgentOptions: o.agentOptions(), Logger: newLogger(o.f, o.verbose),
		Ready: func(_ context.Context, a devfarm.Access) error {
			return o.ready(dir, a, time.Since(started))
		},
	})
}

// agentOptions are those of the nodes' agents. Whoever runs a farm may have tasks that are root.
func (o *devOptions) agentOptions() []string {
	var options []string
	if o.taskUsers {
		options = append(options, "--task-users", "--admin-tasks")
	}
	if o.limitTasks {
		options = append(options, "--limit-tasks")
	}
	if o.containerEngine != "" {
		options = append(options, "--container-engine", o.containerEngine)
	}
	if o.containerHostAccess {
		options = append(options, "--container-host-access")
	}
	return options
}

func (o *devOptions) directory() (string, error) {
	dir := o.dataDir
	if dir == "" {
		base := o.f.getenv("XDG_DATA_HOME")
		if base == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return "", usagef("no home directory: name a directory with --data-dir")
			}
			base = filepath.Join(home, ".local", "share")
		}
		dir = filepath.Join(base, "batchyard", "dev")
	}
	return filepath.Abs(dir)
}

// ready writes the context and tells how to go on.
func (o *devOptions) ready(dir string, a devfarm.Access, took time.Duration) error {
	path, err := client.ContextPath(o.f.getenv)
	if err != nil {
		return err
	}
	err = client.SaveContext(path, client.Context{
		Name: o.context, Addresses: a.Addresses, CA: string(a.CA), Account: a.Account, Token: a.Token, HTTPS: a.REST,
	}, true)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(o.f.out, `Batchyard is ready (%.1f s). Ctrl-C stops everything; a later start goes on from here.

  gRPC     %s
  REST     %s   (Azure Batch clients: batchyard account env)
  storage  %s
  data     %s
  context  %q in %s

Try:  batchyard run -- echo hello
`, took.Seconds(), a.Addresses[0], a.REST, a.StoreAt, dir, o.context, path)
	return err
}

// newLogger logs to standard error: warnings, or everything when verbose.
func newLogger(f *factory, verbose bool) *slog.Logger {
	level := slog.LevelWarn
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(f.errOut, &slog.HandlerOptions{Level: level}))
}
