package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/batchyard/batchyard/agent"
)

type agentOptions struct {
	f         *factory
	cfg       agent.Config
	tokenFile string
	cleanUp   bool
	verbose   bool
}

func newAgentCommand(f *factory) *cobra.Command {
	o := &agentOptions{f: f, cfg: agent.Default()}
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run this machine as a node",
		Long: `Runs the agent of a node. At its first start it joins a pool with a token of ` + "`batchyard cluster token --pool POOL`" + `
and gets a certificate; from then on it needs neither token nor address.

Stopped with SIGTERM it leaves its tasks running, so that a new version can take them over; with
--stop-tasks-on-exit it stops them.`,
		Example: `  batchyard agent --coordinator head1.example.org:7444 --join-token-file token
  batchyard agent --data-dir /var/lib/batchyard-agent --node-root /scratch/batch`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.cfg.DataDir, "data-dir", "/var/lib/batchyard-agent", "the agent's own directory")
	flags.StringVar(&o.cfg.NodeRoot, "node-root", "/mnt/batch", "directory under which tasks work")
	flags.StringSliceVar(&o.cfg.Coordinators, "coordinator", nil, "host:port of a coordinator's gRPC; may be repeated")
	flags.StringVar(&o.tokenFile, "join-token-file", "", "file with a join token, for the first start")
	flags.BoolVar(&o.cfg.StopTasksOnExit, "stop-tasks-on-exit", false, "stop the tasks when the agent is stopped")
	flags.DurationVar(&o.cfg.OrphanTimeout, "orphan-timeout", 0, "end when no coordinator is found for so long; 0: never")
	flags.DurationVar(&o.cfg.StopGrace, "stop-grace", o.cfg.StopGrace, "how long a task that is stopped may take to end by itself")
	flags.BoolVar(&o.cfg.TaskUsers, "task-users", false, "run each task as a user of its own, as which it can't read what other tasks have (root only)")
	flags.BoolVar(&o.cfg.AdminTasks, "admin-tasks", false, "with --task-users: let tasks be root that ask for elevationLevel admin")
	flags.BoolVar(&o.cfg.LimitTasks, "limit-tasks", false, "hold each task to its slots' share of memory and processors")
	flags.StringVar(&o.cfg.ContainerEngine, "container-engine", "", "unix:///path of Docker's or Podman's socket, or none (default: whichever of the usual sockets there is)")
	flags.BoolVar(&o.cfg.ContainerHostAccess, "container-host-access", false, "let tasks' run options reach the machine: privileged, devices, capabilities, any path")
	flags.BoolVar(&o.cfg.NoMounts, "no-mounts", false, "mount nothing that the pool asks for")
	flags.StringVar(&o.cfg.Address, "address", "", "address that others are told as this node's")
	flags.StringVar(&o.cfg.LogFile, "log-file", "", "file in which the agent's log is kept, to be uploaded on request")
	flags.BoolVar(&o.cleanUp, "clean-up", false, "end what an agent of this data directory has left that was killed (tasks, containers, mounts), and exit")
	flags.BoolVarP(&o.verbose, "verbose", "v", false, "log everything")
	return cmd
}

func (o *agentOptions) run(ctx context.Context) error {
	var err error
	if o.cfg.DataDir, err = filepath.Abs(o.cfg.DataDir); err != nil {
		return err
	}
	if o.cfg.NodeRoot, err = filepath.Abs(o.cfg.NodeRoot); err != nil {
		return err
	}
	if o.tokenFile != "" {
		text, err := os.ReadFile(o.tokenFile)
		if err != nil {
			return usagef("the join token can't be read: %v", err)
		}
		o.cfg.JoinToken = trimToken(text)
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	o.cfg.SupervisorCommand = []string{program, "supervisor", "--state", agent.SupervisorDir(o.cfg.DataDir)}
	o.cfg.ContainerCommand = []string{program, "container"}
	o.cfg.Version, o.cfg.Logger = o.f.version, newLogger(o.f, o.verbose)
	a, err := agent.New(o.cfg)
	if err != nil {
		return usage(err)
	}
	if o.cleanUp {
		return a.CleanUp(ctx)
	}
	return a.Run(ctx)
}
