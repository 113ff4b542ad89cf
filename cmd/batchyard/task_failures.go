package main

import (
	"cmp"
	"context"
	"slices"

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
		resp, err := s.groups.ListFailures(ctx, &apiv1.ListFailuresRequest{JobId: job})
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
