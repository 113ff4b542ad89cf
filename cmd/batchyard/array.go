package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func newArrayCommand(f *factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "array",
		Short: "Task arrays: many tasks that are one object",
		Long: `Task arrays: tasks that differ in a number or an item alone, kept as one object. "batchyard task add --array" and job files make them.

Each element is a task: "task show", "task logs" and all others take its id. "task list", "task retry", "task terminate" and "task delete" take --array
ARRAY, and --range FIRST-LAST, for many.`,
		Example: "  batchyard task add work --id sim --array 1-1000000%50 -- simulate --seed {{index}}\n  batchyard array show work sim\n  batchyard task retry work --array sim",
	}
	cmd.AddCommand(newArrayListCommand(f), newArrayShowCommand(f), newArrayUpdateCommand(f))
	return cmd
}

func newArrayListCommand(f *factory) *cobra.Command {
	opts := &listFlags{}
	cmd := &cobra.Command{
		Use:               "list JOB",
		Aliases:           []string{"ls"},
		Short:             "List the task arrays of a job",
		Example:           "  batchyard array list work",
		Args:              exactly(1),
		ValidArgsFunction: completeIDs(f, jobIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error { return listArrays(cmd.Context(), f, s, args[0], *opts) })
		},
	}
	cmd.Flags().IntVar(&opts.limit, "limit", 1000, "show at most this many; 0 shows all")
	cmd.Flags().BoolVarP(&opts.quiet, "quiet", "q", false, "print ids only")
	return cmd
}

func listArrays(ctx context.Context, f *factory, s *session, job string, flags listFlags) error {
	arrays, more, err := collect(ctx, flags, s.listArrays(job))
	if err != nil {
		return err
	}
	f.noteMore(more, flags.limit)
	table := render.NewTable("ID", "ELEMENTS", ">SIZE", ">ACTIVE", ">RUNNING", ">SUCCEEDED", ">FAILED", ">AT ONCE", "CREATED")
	return list(f, arrays, ifQuiet(flags.quiet, (*apiv1.TaskArray).GetId), table, func(a *apiv1.TaskArray) []string {
		c := a.GetCounts()
		return []string{
			a.GetId(), elementsText(a), number(a.GetSize()), number(c.GetActive()), number(c.GetRunning()), number(c.GetSucceeded()), number(c.GetFailed()),
			atOnceText(a), f.ago(a.GetCreationTime()),
		}
	})
}

func (s *session) listArrays(job string) func(context.Context, *apiv1.ListOptions) (page[*apiv1.TaskArray], error) {
	return func(ctx context.Context, opts *apiv1.ListOptions) (page[*apiv1.TaskArray], error) {
		resp, err := s.arrays.ListTaskArrays(ctx, &apiv1.ListTaskArraysRequest{JobId: job, Options: opts})
		return page[*apiv1.TaskArray]{resp.GetArrays(), resp.GetNextPageToken()}, err
	}
}

func arrayIDs(ctx context.Context, s *session, args []string) ([]string, error) {
	arrays, _, err := collect(ctx, listFlags{limit: completionLimit}, s.listArrays(args[0]))
	return idsOf(arrays), err
}

// elementsText is 1-1000:2, or how many items there are.
func elementsText(a *apiv1.TaskArray) string {
	if items := a.GetItems(); items != nil {
		return fmt.Sprintf("%d items", items.GetTotal())
	}
	r := a.GetRange()
	text := fmt.Sprintf("%d-%d", r.GetFirst(), r.GetLast())
	if r.GetStep() > 1 {
		text += ":" + strconv.FormatInt(r.GetStep(), 10)
	}
	return text
}

func atOnceText(a *apiv1.TaskArray) string {
	if a.GetMaxParallelTasks() == 0 {
		return "any"
	}
	return number(a.GetMaxParallelTasks())
}

func newArrayShowCommand(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:               "show JOB ARRAY",
		Short:             "Show a task array and how far it is",
		Example:           "  batchyard array show work sim",
		Args:              exactly(2),
		ValidArgsFunction: completeIDs(f, jobIDs, arrayIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error {
				array, err := s.arrays.GetTaskArray(cmd.Context(), &apiv1.GetTaskArrayRequest{JobId: args[0], ArrayId: args[1]})
				if err != nil {
					return err
				}
				return f.show(array, func(w io.Writer) error { return f.describeArray(w, array) })
			})
		},
	}
}

func (f *factory) describeArray(w io.Writer, a *apiv1.TaskArray) error {
	c, task := a.GetCounts(), a.GetTask()
	fields := []string{
		"ID", a.GetId(), "Elements", elementsText(a), "Ids", task.GetId(), "Size", number(a.GetSize()), "At once", atOnceText(a),
		"Active", number(c.GetActive()), "Running", number(c.GetRunning()), "Succeeded", number(c.GetSucceeded()), "Failed", number(c.GetFailed()),
		"Command", task.GetCommandLine(), "Created", f.moment(a.GetCreationTime()),
	}
	for _, column := range a.GetItems().GetColumns() {
		fields = append(fields, "Column", column)
	}
	return render.Fields(w, fields...)
}

func newArrayUpdateCommand(f *factory) *cobra.Command {
	atOnce := int32(0)
	cmd := &cobra.Command{
		Use:               "update JOB ARRAY --at-once N",
		Short:             "Change how many elements of a task array run at once",
		Example:           "  batchyard array update work sim --at-once 200\n  batchyard array update work sim --at-once 0   # as many as there is room for",
		Args:              exactly(2),
		ValidArgsFunction: completeIDs(f, jobIDs, arrayIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("at-once") {
				return usagef("what is to change? Give --at-once")
			}
			return f.withSession(func(s *session) error {
				_, err := s.arrays.UpdateTaskArray(cmd.Context(), &apiv1.UpdateTaskArrayRequest{JobId: args[0], ArrayId: args[1], MaxParallelTasks: atOnce})
				if err != nil {
					return err
				}
				return f.say("array %s updated", render.Plain(args[1]))
			})
		},
	}
	cmd.Flags().Int32Var(&atOnce, "at-once", 0, "how many elements run at once at most; 0 is any number")
	return cmd
}
