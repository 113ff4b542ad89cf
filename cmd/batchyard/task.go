package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func newTaskCommand(f *factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "task",
		Short:   "Tasks of jobs, and their files",
		Example: "  batchyard task add work --id first -- echo hello\n  batchyard task logs work first -f",
	}
	cmd.AddCommand(newTaskAddCommand(f), newTaskListCommand(f), newTaskShowCommand(f), newTaskExplainCommand(f), newTaskSubtasksCommand(f), newTaskLogsCommand(f),
		newTaskTerminateCommand(f), newTaskReactivateCommand(f), newTaskRetryCommand(f), newTaskDeleteCommand(f),
		newTaskFilesCommand(f), newTaskDownloadCommand(f))
	return cmd
}

type taskListOptions struct {
	listFlags
	failed  bool
	group   bool
	state   string
	array   string
	indices string
}

func newTaskListCommand(f *factory) *cobra.Command {
	opts := &taskListOptions{}
	cmd := &cobra.Command{
		Use:               "list JOB",
		Aliases:           []string{"ls"},
		Short:             "List the tasks of a job",
		Example:           "  batchyard task list work --failed\n  batchyard task list work --failed --group\n  batchyard task list work --state running --limit 20",
		Args:              exactly(1),
		ValidArgsFunction: completeIDs(f, jobIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error { return opts.run(cmd.Context(), f, s, args[0]) })
		},
	}
	opts.register(cmd, 1000)
	cmd.Flags().BoolVar(&opts.failed, "failed", false, "only tasks that failed")
	cmd.Flags().BoolVar(&opts.group, "group", false, "with --failed: count the failures by code and exit code")
	cmd.Flags().StringVar(&opts.array, "array", "", "only elements of this task array")
	cmd.Flags().StringVar(&opts.indices, "range", "", "with --array: only elements with these indices, FIRST-LAST")
	cmd.Flags().StringVar(&opts.state, "state", "", "only tasks in this state: active, preparing, running or completed")
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions([]string{"active", "preparing", "running", "completed"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (o *taskListOptions) run(ctx context.Context, f *factory, s *session, job string) error {
	var conditions []string
	if o.filter != "" {
		conditions = append(conditions, "("+o.filter+")")
	}
	if o.failed {
		conditions = append(conditions, failedFilter)
	}
	switch o.state {
	case "":
	case "active", "preparing", "running", "completed":
		conditions = append(conditions, "state eq '"+o.state+"'")
	default:
		return usagef("--state %q: expected active, preparing, running or completed", o.state)
	}
	flags := o.listFlags
	flags.filter = strings.Join(conditions, " and ")
	if o.group {
		if !o.failed {
			return usagef("--group counts failures: give --failed too")
		}
		return listFailures(ctx, f, s, job, flags.filter)
	}
	elements := &apiv1.ListTasksRequest{ArrayId: o.array}
	if o.indices != "" {
		var err error
		if elements.FirstIndex, elements.LastIndex, err = indexRange(o.indices); err != nil {
			return err
		}
	}
	tasks, more, err := collect(ctx, flags, s.listElements(job, elements))
	if err != nil {
		return err
	}
	f.noteMore(more, o.limit)
	table := render.NewTable("ID", "STATE", "RESULT", ">EXIT", "NODE", "STARTED", "TOOK", ">RETRIES", "FAILURE")
	return list(f, tasks, ifQuiet(o.quiet, (*apiv1.Task).GetId), table, func(t *apiv1.Task) []string {
		info := t.GetExecutionInfo()
		return []string{
			t.GetId(), word(t.GetState()), word(info.GetResult()), exitCodeText(info), t.GetNodeInfo().GetNodeId(),
			f.ago(info.GetStartTime()), f.took(info.GetStartTime(), info.GetEndTime()),
			number(info.GetRetryCount() + info.GetRequeueCount()), info.GetFailureInfo().GetCode(),
		}
	})
}

// listElements lists those of a job's tasks that are elements of the array of a request, where it has one.
func (s *session) listElements(job string, of *apiv1.ListTasksRequest) func(context.Context, *apiv1.ListOptions) (page[*apiv1.Task], error) {
	return func(ctx context.Context, opts *apiv1.ListOptions) (page[*apiv1.Task], error) {
		resp, err := s.tasks.ListTasks(ctx, &apiv1.ListTasksRequest{
			JobId: job, Options: opts, ArrayId: of.GetArrayId(), FirstIndex: of.FirstIndex, LastIndex: of.LastIndex,
		})
		return page[*apiv1.Task]{resp.GetTasks(), resp.GetNextPageToken()}, err
	}
}

func (s *session) listTasks(job string) func(context.Context, *apiv1.ListOptions) (page[*apiv1.Task], error) {
	return s.listElements(job, &apiv1.ListTasksRequest{})
}

func newTaskShowCommand(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:               "show JOB TASK",
		Short:             "Show a task and what became of it",
		Example:           "  batchyard task show work first\n  batchyard task show work first -o json",
		Args:              exactly(2),
		ValidArgsFunction: completeIDs(f, jobIDs, taskIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error {
				task, err := s.tasks.GetTask(cmd.Context(), &apiv1.GetTaskRequest{JobId: args[0], TaskId: args[1]})
				if err != nil {
					return err
				}
				return f.show(task, func(w io.Writer) error { return f.describeTask(w, task) })
			})
		},
	}
}

func (f *factory) describeTask(w io.Writer, t *apiv1.Task) error {
	info := t.GetExecutionInfo()
	fields := []string{
		"ID", t.GetId(), "Name", t.GetDisplayName(), "State", word(t.GetState()) + " since " + f.ago(t.GetStateTransitionTime()),
		"Result", word(info.GetResult()), "Exit code", exitCodeText(info),
	}
	if failure := info.GetFailureInfo(); failure != nil {
		fields = append(fields, "Failure", fmt.Sprintf("%s (%s, %s)", failure.GetMessage(), failure.GetCode(), word(failure.GetCategory())))
		for _, d := range failure.GetDetails() {
			fields = append(fields, "  "+render.Plain(d.GetName()), d.GetValue())
		}
	}
	fields = append(fields, "Command", t.GetCommandLine(), "Slots", number(max(1, t.GetRequiredSlots())))
	for _, e := range t.GetEnvironmentSettings() {
		fields = append(fields, "Environment", e.GetName()+"="+e.GetValue())
	}
	for _, r := range t.GetResourceFiles() {
		fields = append(fields, "Input", resourceText(r))
	}
	for _, o := range t.GetOutputFiles() {
		c := o.GetDestination().GetContainer()
		fields = append(fields, "Output", fmt.Sprintf("%s to %s %s", o.GetFilePattern(), withoutQuery(c.GetContainerUrl()), c.GetPath()))
	}
	for _, id := range t.GetDependsOn().GetTaskIds() {
		fields = append(fields, "Depends on", id)
	}
	for _, r := range t.GetDependsOn().GetTaskIdRanges() {
		fields = append(fields, "Depends on", fmt.Sprintf("%d to %d", r.GetStart(), r.GetEnd()))
	}
	fields = append(fields,
		"Node", t.GetNodeInfo().GetNodeId(), "Directory", t.GetNodeInfo().GetTaskRootDirectory(),
		"Retries", number(info.GetRetryCount()), "Requeues", number(info.GetRequeueCount()),
		"Created", f.moment(t.GetCreationTime()), "Started", f.moment(info.GetStartTime()), "Ended", f.moment(info.GetEndTime()),
		"Took", f.took(info.GetStartTime(), info.GetEndTime()))
	return render.Fields(w, fields...)
}

func resourceText(r *apiv1.ResourceFile) string {
	source := r.GetHttpUrl() + r.GetStorageContainerUrl() + r.GetAutoStorageContainerName()
	text := withoutQuery(source)
	if r.GetBlobPrefix() != "" {
		text += " " + r.GetBlobPrefix() + "*"
	}
	if r.GetFilePath() != "" {
		text += " as " + r.GetFilePath()
	}
	return text
}

// withoutQuery leaves out what may be a signature.
func withoutQuery(url string) string {
	before, _, _ := strings.Cut(url, "?")
	return before
}

func newTaskTerminateCommand(f *factory) *cobra.Command {
	cmd := eachTask(f, &cobra.Command{
		Use:     "terminate JOB TASK...",
		Short:   "End tasks; their processes are stopped",
		Example: "  batchyard task terminate work first\n  batchyard task terminate work --ids 1-500",
	}, "is terminated", func(ctx context.Context, s *session, job, task string) error {
		_, err := s.tasks.TerminateTask(ctx, &apiv1.TerminateTaskRequest{JobId: job, TaskId: task})
		return err
	})
	return new(groupFlags).orGroup(f, cmd, apiv1.TaskGroupAction_TASK_GROUP_ACTION_TERMINATE, "terminated")
}

func newTaskReactivateCommand(f *factory) *cobra.Command {
	return eachTask(f, &cobra.Command{
		Use:     "reactivate JOB TASK...",
		Short:   "Run failed tasks again",
		Example: "  batchyard task reactivate work $(batchyard task list work --failed -q)",
	}, "runs again", func(ctx context.Context, s *session, job, task string) error {
		_, err := s.tasks.ReactivateTask(ctx, &apiv1.ReactivateTaskRequest{JobId: job, TaskId: task})
		return err
	})
}

func newTaskDeleteCommand(f *factory) *cobra.Command {
	cmd := eachTask(f, &cobra.Command{
		Use:     "delete JOB TASK...",
		Short:   "Delete tasks and their files on nodes",
		Example: "  batchyard task delete work first\n  batchyard task delete work --failed",
	}, "is deleted", func(ctx context.Context, s *session, job, task string) error {
		_, err := s.tasks.DeleteTask(ctx, &apiv1.DeleteTaskRequest{JobId: job, TaskId: task})
		return err
	})
	cmd.Aliases = []string{"rm"}
	opts := &groupFlags{}
	cmd.Flags().BoolVar(&opts.failed, "failed", false, "only tasks that failed")
	opts.registerFailures(cmd)
	return opts.orGroup(f, cmd, apiv1.TaskGroupAction_TASK_GROUP_ACTION_DELETE, "deleted")
}

// eachTask completes a command that does one thing to each task.
func eachTask(f *factory, cmd *cobra.Command, what string, do func(ctx context.Context, s *session, job, task string) error) *cobra.Command {
	cmd.Args = atLeast(2)
	cmd.ValidArgsFunction = completeIDs(f, jobIDs, taskIDs)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return f.withSession(func(s *session) error {
			for _, id := range args[1:] {
				if err := do(cmd.Context(), s, args[0], id); err != nil {
					return fmt.Errorf("task %s: %w", id, err)
				}
				if err := f.say("task %s %s", render.Plain(id), what); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return cmd
}

func exitCodeText(info *apiv1.TaskExecutionInfo) string {
	if info == nil {
		return ""
	}
	return optional(info.ExitCode)
}
