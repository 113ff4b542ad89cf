package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/batchyard/batchyard/agent/container"
	"github.com/batchyard/batchyard/agent/process"
	"github.com/batchyard/batchyard/storage/embedded"
)

// newObjectStoreCommand is what `dev` runs as a child; its configuration comes through a pipe.
func newObjectStoreCommand(f *factory) *cobra.Command {
	return &cobra.Command{
		Use: "objectstore", Short: "Run the embedded object store (started by dev)", Hidden: true, Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return embedded.Run(cmd.Context(), f.in) },
	}
}

// newSupervisorCommand is what an agent runs beside itself to hold its tasks.
func newSupervisorCommand(f *factory) *cobra.Command {
	var state string
	cmd := &cobra.Command{
		Use: "supervisor", Short: "Hold the tasks of a node (started by its agent)", Hidden: true, Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return process.Serve(cmd.Context(), process.ServeConfig{StateDir: state, Logger: newLogger(f, true)})
		},
	}
	cmd.Flags().StringVar(&state, "state", "", "directory of the supervisor's socket and journal")
	_ = cmd.MarkFlagRequired("state")
	return cmd
}

// newContainerCommand is what an agent's supervisor runs for a task in a container.
func newContainerCommand(f *factory) *cobra.Command {
	cfg := container.RunConfig{}
	owner := ""
	cmd := &cobra.Command{
		Use: "container", Short: "Run the container of a task (started by its agent)", Hidden: true, Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if owner != "" {
				if err := container.GiveOutputs(owner); err != nil {
					return err
				}
			}
			cfg.Stdout, cfg.Stderr = f.out, f.errOut
			code, err := container.Run(cmd.Context(), cfg)
			switch {
			case err != nil:
				return &codedError{code: code, text: err.Error()}
			case code != 0:
				return &codedError{code: code}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&cfg.Address, "engine", "", "unix:///path of the engine's socket")
	cmd.Flags().StringVar(&cfg.Name, "name", "", "name of the container")
	cmd.Flags().DurationVar(&cfg.Grace, "grace", 0, "how long the command may take to end by itself when it is stopped")
	cmd.Flags().StringVar(&owner, "owner", "", "UID:GID of whom the files for output become")
	return cmd
}

// trimToken takes a token out of the text of a file.
func trimToken(text []byte) string { return strings.TrimSpace(string(text)) }
