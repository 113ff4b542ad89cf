package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/batchyard/batchyard/internal/batcherr"
)

const rootLong = `Batchyard runs batch jobs on computers of your own: pools of nodes, jobs made of
tasks, files staged from object storage.

"batchyard dev" starts everything on this machine. The other commands then find it by themselves.`

const rootExample = `  batchyard dev
  batchyard pool create demo --nodes 2 --slots 4 --wait
  batchyard run --pool demo -- echo hello
  batchyard submit examples/hello/job.yaml --wait`

// Groups of commands in the help.
const (
	groupWork    = "work"
	groupFarm    = "farm"
	groupAccess  = "access"
	groupService = "service"
)

// execute runs the program and returns its exit code.
func execute(ctx context.Context, f *factory, args []string) int {
	root := newRootCommand(f)
	root.SetArgs(args)
	root.SetIn(f.in)
	root.SetOut(f.out)
	root.SetErr(f.errOut)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || batcherr.FromGRPC(err).Kind == batcherr.KindCanceled) {
		return exitInterrupted
	}
	printError(f.errOut, err)
	return exitCode(err)
}

func newRootCommand(f *factory) *cobra.Command {
	root := &cobra.Command{
		Use:           "batchyard",
		Short:         "Run batch jobs on computers of your own",
		Long:          rootLong,
		Example:       rootExample,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       f.version,
		Args:          knownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			return f.checkOutput()
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%v\nsee: %s --help", err, cmd.CommandPath())
	})
	flags := root.PersistentFlags()
	flags.StringVar(&f.contextName, "context", "", "name of the context to use, from the context file")
	flags.StringVarP(&f.output, "output", "o", outputTable, "how to print: table, json or yaml")
	flags.Var(&f.retryFor, "retry-for", "how long to ride out the absence of a coordinator (default 1m, or 5s before the first answer)")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{outputTable, outputJSON, outputYAML}, cobra.ShellCompDirectiveNoFileComp))
	_ = root.RegisterFlagCompletionFunc("context", completeContexts(f))

	root.AddGroup(
		&cobra.Group{ID: groupWork, Title: "Work:"},
		&cobra.Group{ID: groupFarm, Title: "Pools and storage:"},
		&cobra.Group{ID: groupAccess, Title: "Access:"},
		&cobra.Group{ID: groupService, Title: "Services:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupWork, newRunCommand(f), newSubmitCommand(f), newJobCommand(f), newScheduleCommand(f), newTaskCommand(f), newArrayCommand(f))
	add(groupFarm, newPoolCommand(f), newNodeCommand(f), newFileCommand(f), newAppCommand(f))
	add(groupAccess, newContextCommand(f), newAccountCommand(f), newClusterCommand(f))
	add(groupService, newDevCommand(f), newCoordinatorCommand(f), newAgentCommand(f))
	root.AddCommand(newSupervisorCommand(f), newContainerCommand(f), newObjectStoreCommand(f))
	root.AddCommand(newVersionCommand(f), newExitCodesTopic(), newJobFileTopic())
	requireKnownVerbs(root)
	return root
}

// requireKnownVerbs makes "batchyard pool nonsense" an error: cobra prints the help and succeeds.
func requireKnownVerbs(cmd *cobra.Command) {
	for _, child := range cmd.Commands() {
		requireKnownVerbs(child)
	}
	if cmd.HasParent() && cmd.HasSubCommands() && !cmd.Runnable() {
		cmd.Args = knownCommand
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
}

func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usagef("unknown command %q\nsee: %s --help", args[0], cmd.CommandPath())
}

// exactly and atLeast check the number of arguments.
func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usagef("expected %s, found %d\nusage: %s", plural(n, "argument"), len(args), cmd.UseLine())
		}
		return nil
	}
}

func atLeast(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < n {
			return usagef("expected at least %s, found %d\nusage: %s", plural(n, "argument"), len(args), cmd.UseLine())
		}
		return nil
	}
}

func between(from, to int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < from || len(args) > to {
			return usagef("expected %d to %s, found %d\nusage: %s", from, plural(to, "argument"), len(args), cmd.UseLine())
		}
		return nil
	}
}

func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func newVersionCommand(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this program",
		Example: "  batchyard version",
		Args:    exactly(0),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(f.out, "batchyard %s\n", f.version)
			return err
		},
	}
}

// withTimeout ends ctx after d; 0 is no limit.
func withTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}
