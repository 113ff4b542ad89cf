package main

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
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

// listFailures shows what the coordinator has counted; under a filter it counts what the filter leaves.
func listFailures(ctx context.Context, f *factory, s *session, job, filter string) error {
	var groups []*apiv1.TaskFailureGroup
	if filter == failedFilter {
		resp, err := s.failures.ListFailures(ctx, &apiv1.ListFailuresRequest{JobId: job})
		if err != nil {
			return err
		}
		groups = resp.GetGroups()
	} else {
		tasks, _, err := collect(ctx, listFlags{filter: filter}, s.listTasks(job))
		if err != nil {
			return err
		}
		groups = groupFailures(tasks)
	}
	table := render.NewTable(">TASKS", "FAILURE", ">EXIT", "MESSAGE", "EXAMPLE")
	return list(f, groups, nil, table, func(g *apiv1.TaskFailureGroup) []string {
		code := g.GetCode()
		if g.GetOther() {
			code = "(other)"
		}
		return []string{number(g.GetTasks()), code, optional(g.ExitCode), g.GetMessage(), g.GetExampleTaskId()}
	})
}

type taskRetryOptions struct {
	code string
	exit int32
	ids  []string
}

func newTaskRetryCommand(f *factory) *cobra.Command {
	opts := &taskRetryOptions{}
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
			req := &apiv1.RetryTasksRequest{JobId: args[0], Code: opts.code}
			if cmd.Flags().Changed("exit-code") {
				req.ExitCode = &opts.exit
			}
			var err error
			if req.IdRanges, err = idRanges(opts.ids); err != nil {
				return err
			}
			return f.withSession(func(s *session) error { return retryTasks(cmd.Context(), f, s, req) })
		},
	}
	cmd.Flags().StringVar(&opts.code, "code", "", "only tasks with this failure code")
	cmd.Flags().Int32Var(&opts.exit, "exit-code", 0, "only tasks that ended with this exit code")
	cmd.Flags().StringSliceVar(&opts.ids, "ids", nil, "only tasks whose ids are these numbers: FIRST-LAST or NUMBER, separated by commas")
	return cmd
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

func retryTasks(ctx context.Context, f *factory, s *session, req *apiv1.RetryTasksRequest) error {
	meter := f.newMeter("tasks", -1, countUnit)
	retried, err := s.RetryTasks(ctx, req, func(p *apiv1.RetryProgress) { meter.set(p.GetRetried(), -1) })
	meter.finish()
	if err != nil {
		return err
	}
	return f.say("%s of job %s run again", plural(int(retried), "task"), render.Plain(req.GetJobId()))
}
