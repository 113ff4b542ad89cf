package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func newJobNodesCommand(f *factory) *cobra.Command {
	opts := &listFlags{}
	cmd := &cobra.Command{
		Use:               "nodes JOB",
		Short:             "Show how a job's preparation and release tasks fare on the nodes",
		Example:           "  batchyard job nodes work",
		Args:              exactly(1),
		ValidArgsFunction: completeIDs(f, jobIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error { return runJobNodes(cmd.Context(), f, s, opts, args[0]) })
		},
	}
	opts.register(cmd, 0)
	return cmd
}

func runJobNodes(ctx context.Context, f *factory, s *session, opts *listFlags, job string) error {
	statuses, more, err := collect(ctx, *opts, func(ctx context.Context, o *apiv1.ListOptions) (page[*apiv1.JobPreparationAndReleaseTaskStatus], error) {
		resp, err := s.jobs.ListPreparationAndReleaseTasks(ctx, &apiv1.ListPreparationAndReleaseTasksRequest{JobId: job, Options: o})
		return page[*apiv1.JobPreparationAndReleaseTaskStatus]{resp.GetStatuses(), resp.GetNextPageToken()}, err
	})
	if err != nil {
		return err
	}
	f.noteMore(more, opts.limit)
	table := render.NewTable("POOL", "NODE", "PREPARATION", "RELEASE")
	name := ifQuiet(opts.quiet, (*apiv1.JobPreparationAndReleaseTaskStatus).GetNodeId)
	return list(f, statuses, name, table, func(n *apiv1.JobPreparationAndReleaseTaskStatus) []string {
		preparation, release := "", ""
		if i := n.GetJobPreparationTaskExecutionInfo(); i != nil {
			preparation = strings.TrimSpace(word(i.GetState()) + exitText(i.ExitCode))
		}
		if i := n.GetJobReleaseTaskExecutionInfo(); i != nil {
			release = strings.TrimSpace(word(i.GetState()) + exitText(i.ExitCode))
		}
		return []string{n.GetPoolId(), n.GetNodeId(), preparation, release}
	})
}
