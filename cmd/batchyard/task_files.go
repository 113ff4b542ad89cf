package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// Names of the files that hold what a task printed.
const (
	stdoutFile = "stdout.txt"
	stderrFile = "stderr.txt"
)

type taskLogsOptions struct {
	follow bool
	stdout bool
	stderr bool
	raw    bool
}

func newTaskLogsCommand(f *factory) *cobra.Command {
	opts := &taskLogsOptions{}
	cmd := &cobra.Command{
		Use:   "logs JOB TASK",
		Short: "Print what a task printed",
		Long: `Print what a task wrote to its standard output and standard error, to the same of this program.

On a terminal, control characters are left out unless --raw is given.`,
		Example:           "  batchyard task logs work first -f\n  batchyard task logs work first --stderr",
		Args:              exactly(2),
		ValidArgsFunction: completeIDs(f, jobIDs, taskIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error {
				return opts.run(cmd.Context(), f, s, &apiv1.FileRoot{JobId: args[0], TaskId: args[1]})
			})
		},
	}
	cmd.Flags().BoolVarP(&opts.follow, "follow", "f", false, "go on until the task is completed; one that has not started yet is waited for")
	cmd.Flags().BoolVar(&opts.stdout, "stdout", false, "only the standard output")
	cmd.Flags().BoolVar(&opts.stderr, "stderr", false, "only the standard error")
	cmd.Flags().BoolVar(&opts.raw, "raw", false, "print control characters on a terminal, too")
	return cmd
}

func (o *taskLogsOptions) run(ctx context.Context, f *factory, s *session, root *apiv1.FileRoot) error {
	group, ctx := errgroup.WithContext(ctx)
	if !o.follow {
		group.SetLimit(1) // one after the other
	}
	read := func(name string, w io.Writer) {
		group.Go(func() error {
			return s.ReadFile(ctx, &apiv1.ReadFileRequest{Root: root, Name: name, Follow: o.follow}, w, nil)
		})
	}
	if o.stdout || !o.stderr {
		read(stdoutFile, f.outputWriter(o.raw))
	}
	if o.stderr || !o.stdout {
		read(stderrFile, f.errorWriter(o.raw))
	}
	return group.Wait()
}

func newTaskFilesCommand(f *factory) *cobra.Command {
	var recursive, quiet bool
	cmd := &cobra.Command{
		Use:               "files JOB TASK",
		Short:             "List the files of a task on its node",
		Example:           "  batchyard task files work first\n  batchyard task files work first -r=false",
		Args:              exactly(2),
		ValidArgsFunction: completeIDs(f, jobIDs, taskIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			root := &apiv1.FileRoot{JobId: args[0], TaskId: args[1]}
			return f.withSession(func(s *session) error { return listFiles(cmd.Context(), f, s, root, recursive, quiet) })
		},
	}
	cmd.Flags().BoolVarP(&recursive, "recursive", "r", true, "also list what is in directories")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print names only")
	return cmd
}

func newTaskDownloadCommand(f *factory) *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "download JOB TASK [NAME...]",
		Short: "Copy files of a task from its node",
		Long: `Copy the named files of a task, or all of them, from its node to a local directory.

Names are relative to the task's directory, such as stdout.txt or wd/result.csv.`,
		Example:           "  batchyard task download work first wd/result.csv\n  batchyard task download work first --to first-files",
		Args:              atLeast(2),
		ValidArgsFunction: completeIDs(f, jobIDs, taskIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			root := &apiv1.FileRoot{JobId: args[0], TaskId: args[1]}
			return f.withSession(func(s *session) error { return downloadFiles(cmd.Context(), f, s, root, args[2:], to) })
		},
	}
	cmd.Flags().StringVar(&to, "to", ".", "directory to write to; made if needed")
	_ = cmd.MarkFlagDirname("to")
	return cmd
}

func downloadFiles(ctx context.Context, f *factory, s *session, from *apiv1.FileRoot, names []string, to string) error {
	if len(names) == 0 {
		files, err := s.allFiles(ctx, from, true)
		if err != nil {
			return err
		}
		for _, file := range files {
			if !file.GetIsDirectory() {
				names = append(names, file.GetName())
			}
		}
	}
	root, err := openDirectory(to)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, name := range names {
		if err := downloadFile(ctx, f, s, from, name, root); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := f.say("%s", render.Plain(filepath.Join(to, filepath.FromSlash(name)))); err != nil {
			return err
		}
	}
	return nil
}

// openDirectory makes a directory, if needed, out of which no name leads.
func openDirectory(dir string) (*os.Root, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, usage(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, usage(err)
	}
	return root, nil
}

// downloadFile writes a remote file below root, where its name, which the server may have made up, cannot leave.
func downloadFile(ctx context.Context, f *factory, s *session, from *apiv1.FileRoot, name string, root *os.Root) error {
	local := filepath.FromSlash(name)
	if !filepath.IsLocal(local) {
		return errors.New("the name leads out of the directory")
	}
	if err := root.MkdirAll(filepath.Dir(local), 0o777); err != nil {
		return err
	}
	part := local + ".part"
	out, err := root.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	meter := f.newMeter(name, -1, byteUnit)
	w := &meteredWriter{w: out, meter: meter}
	err = s.ReadFile(ctx, &apiv1.ReadFileRequest{Root: from, Name: name}, w, func(file *apiv1.NodeFile) error {
		w.total = file.GetProperties().GetContentLength()
		return nil
	})
	meter.finish()
	if err = errors.Join(err, out.Close()); err != nil {
		return errors.Join(err, root.Remove(part))
	}
	return root.Rename(part, local)
}

// meteredWriter shows how much was written.
type meteredWriter struct {
	w           io.Writer
	meter       *meter
	done, total int64
}

func (m *meteredWriter) Write(p []byte) (int, error) {
	n, err := m.w.Write(p)
	m.done += int64(n)
	m.meter.set(m.done, m.total)
	return n, err
}
