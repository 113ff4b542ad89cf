package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// failedFilter selects the tasks that failed.
const failedFilter = "executionInfo/result eq 'failure'"

// groupFailures counts failures by code and exit code, the most frequent first.
func groupFailures(tasks []*apiv1.Task) []*apiv1.TaskFailureGroup {
	groups := map[string]*apiv1.TaskFailureGroup{}
	var out []*apiv1.TaskFailureGroup
	for _, t := range tasks {
		info := t.GetExecutionInfo()
		if info == nil {
			continue
		}
		failure := info.GetFailureInfo()
		key := failure.GetCode() + " " + exitCodeText(info)
		g := groups[key]
		if g == nil {
			g = &apiv1.TaskFailureGroup{Code: failure.GetCode(), ExitCode: info.ExitCode, Message: failure.GetMessage(), ExampleTaskId: t.GetId()}
			groups[key] = g
			out = append(out, g)
		}
		g.Tasks++
	}
	slices.SortStableFunc(out, func(a, b *apiv1.TaskFailureGroup) int { return cmp.Compare(b.Tasks, a.Tasks) })
	return out
}

func listFailures(ctx context.Context, f *factory, s *session, job, filter string) error {
	tasks, _, err := collect(ctx, listFlags{filter: filter}, s.listTasks(job))
	if err != nil {
		return err
	}
	table := render.NewTable(">TASKS", "FAILURE", ">EXIT", "MESSAGE", "EXAMPLE")
	return list(f, groupFailures(tasks), nil, table, func(g *apiv1.TaskFailureGroup) []string {
		return []string{number(g.GetTasks()), g.GetCode(), optional(g.ExitCode), g.GetMessage(), g.GetExampleTaskId()}
	})
}

// retryPipeline is how many tasks are reactivated at once.
const retryPipeline = 16

type taskRetryOptions struct {
	code string
	exit int32
	set  bool
}

func newTaskRetryCommand(f *factory) *cobra.Command {
	opts := &taskRetryOptions{}
	cmd := &cobra.Command{
		Use:   "retry JOB",
		Short: "Run all failed tasks of a job again",
		Long: `Run the failed tasks of a job again, all of them or those that failed in one way (see ` + "`task list --failed --group`" + `). Their retry counts
begin anew. A task that has been reactivated or deleted meanwhile is passed over.`,
		Example:           "  batchyard task retry work\n  batchyard task retry work --exit-code 137\n  batchyard task retry work --code BlobNotFound",
		Args:              exactly(1),
		ValidArgsFunction: completeIDs(f, jobIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.set = cmd.Flags().Changed("exit-code")
			return f.withSession(func(s *session) error { return opts.run(cmd.Context(), f, s, args[0]) })
		},
	}
	cmd.Flags().StringVar(&opts.code, "code", "", "only tasks with this failure code")
	cmd.Flags().Int32Var(&opts.exit, "exit-code", 0, "only tasks that ended with this exit code")
	return cmd
}

func (o *taskRetryOptions) run(ctx context.Context, f *factory, s *session, job string) error {
	filter := failedFilter
	if o.set {
		filter += fmt.Sprintf(" and executionInfo/exitCode eq %d", o.exit)
	}
	tasks, _, err := collect(ctx, listFlags{filter: filter}, s.listTasks(job))
	if err != nil {
		return err
	}
	if o.code != "" {
		tasks = slices.DeleteFunc(tasks, func(t *apiv1.Task) bool { return t.GetExecutionInfo().GetFailureInfo().GetCode() != o.code })
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(retryPipeline)
	for _, t := range tasks {
		g.Go(func() error {
			_, err := s.tasks.ReactivateTask(ctx, &apiv1.ReactivateTaskRequest{JobId: job, TaskId: t.GetId()})
			if batcherr.HasCode(err, batcherr.CodeTaskNotCompleted) || batcherr.HasCode(err, batcherr.CodeTaskNotFound) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("task %s: %w", t.GetId(), err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return f.say("%s of job %s run again", plural(len(tasks), "task"), render.Plain(job))
}
