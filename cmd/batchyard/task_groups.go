package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// groupFlags select many tasks of a job.
type groupFlags struct {
	all, failed bool
	code        string
	exit        int32
	ids         []string
	array       string
	indices     string
}

func (o *groupFlags) registerIDs(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.array, "array", "", "only elements of this task array")
	cmd.Flags().StringVar(&o.indices, "range", "", "with --array: only elements with these indices, FIRST-LAST")
	cmd.Flags().StringSliceVar(&o.ids, "ids", nil, "only tasks whose ids are these numbers: FIRST-LAST or NUMBER, separated by commas")
}

func (o *groupFlags) registerFailures(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.code, "code", "", "only tasks that failed with this code")
	cmd.Flags().Int32Var(&o.exit, "exit-code", 0, "only tasks that failed with this exit code")
}

// selection is what the flags select; given says whether any of them is there.
func (o *groupFlags) selection(cmd *cobra.Command) (by *apiv1.TaskSelection, given bool, err error) {
	by = &apiv1.TaskSelection{Failed: o.failed, FailureCode: o.code, ArrayId: o.array}
	if o.indices != "" {
		if by.FirstIndex, by.LastIndex, err = indexRange(o.indices); err != nil {
			return nil, false, err
		}
	}
	if cmd.Flags().Changed("exit-code") {
		by.ExitCode = &o.exit
	}
	by.IdRanges, err = idRanges(o.ids)
	return by, o.all || o.failed || o.code != "" || by.ExitCode != nil || len(o.ids) > 0 || o.array != "" || o.indices != "", err
}

// idRanges reads 1-500 or 777.
func idRanges(texts []string) (out []*apiv1.TaskIdRange, err error) {
	for _, text := range texts {
		first, last, found := strings.Cut(strings.TrimSpace(text), "-")
		if !found {
			last = first
		}
		from, err1 := strconv.ParseInt(first, 10, 32)
		to, err2 := strconv.ParseInt(last, 10, 32)
		if err1 != nil || err2 != nil || from < 0 || to < from {
			return nil, usagef("--ids %q: expected a number, or FIRST-LAST", text)
		}
		out = append(out, &apiv1.TaskIdRange{Start: int32(from), End: int32(to)})
	}
	return out, nil
}

// actOnTasks does the same to many tasks and says to how many.
func (f *factory) actOnTasks(ctx context.Context, job string, action apiv1.TaskGroupAction, by *apiv1.TaskSelection, what string) error {
	return f.withSession(func(s *session) error {
		meter := f.newMeter("tasks", -1, countUnit)
		n, err := s.ActOnTasks(ctx, &apiv1.ActOnTasksRequest{JobId: job, Action: action, Selection: by},
			func(p *apiv1.ActOnTasksProgress) { meter.set(p.GetDone(), -1) })
		meter.finish()
		if err != nil {
			return err
		}
		return f.say("%s of job %s %s", plural(int(n), "task"), render.Plain(job), what)
	})
}

func newTaskRetryCommand(f *factory) *cobra.Command {
	opts := &groupFlags{failed: true}
	cmd := &cobra.Command{
		Use:   "retry JOB",
		Short: "Run all failed tasks of a job again",
		Long: `Run the failed tasks of a job again, all of them or those that failed in one way (see ` + "`task list --failed --group`" + `) or have
certain numbers for ids. Their retry counts begin anew. A task that has been reactivated or deleted meanwhile is passed over, so that the command can be
repeated.`,
		Example: "  batchyard task retry work\n  batchyard task retry work --exit-code 137\n  batchyard task retry work --code BlobNotFound\n" +
			"  batchyard task retry work --ids 1-500,777",
		Args:              exactly(1),
		ValidArgsFunction: completeIDs(f, jobIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			by, _, err := opts.selection(cmd)
			if err != nil {
				return err
			}
			return f.actOnTasks(cmd.Context(), args[0], apiv1.TaskGroupAction_TASK_GROUP_ACTION_REACTIVATE, by, "run again")
		},
	}
	opts.registerFailures(cmd)
	opts.registerIDs(cmd)
	return cmd
}

// orGroup lets a command that does one thing to each task that is named do it to a group of tasks instead.
func (o *groupFlags) orGroup(f *factory, cmd *cobra.Command, action apiv1.TaskGroupAction, what string) *cobra.Command {
	each := cmd.RunE
	cmd.Args = atLeast(1)
	cmd.Flags().BoolVar(&o.all, "all", false, "all tasks of the job")
	o.registerIDs(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		by, given, err := o.selection(cmd)
		switch {
		case err != nil:
			return err
		case given && len(args) > 1:
			return usagef("name tasks, or select them by flags")
		case given:
			return f.actOnTasks(cmd.Context(), args[0], action, by, what)
		case len(args) == 1:
			return usagef("which tasks? Name them, or select them by flags\nusage: %s", cmd.UseLine())
		}
		return each(cmd, args)
	}
	return cmd
}
