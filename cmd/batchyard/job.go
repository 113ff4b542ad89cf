package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func newJobCommand(f *factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "job",
		Short:   "Jobs: collections of tasks on a pool",
		Example: "  batchyard job create work --pool demo\n  batchyard job wait work",
	}
	cmd.AddCommand(newJobCreateCommand(f), newJobListCommand(f), newJobShowCommand(f), newJobWaitCommand(f), newJobNodesCommand(f), newJobUpdateCommand(f),
		newJobTerminateCommand(f), newJobDisableCommand(f), newJobEnableCommand(f), newJobDeleteCommand(f))
	return cmd
}

func newJobListCommand(f *factory) *cobra.Command {
	opts := &listFlags{}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List jobs",
		Example: "  batchyard job list\n  batchyard job list --filter \"state eq 'active'\" -q",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.withSession(func(s *session) error { return runJobList(cmd.Context(), f, s.listJobs(""), opts) })
		},
	}
	opts.register(cmd, 1000)
	return cmd
}

func runJobList(ctx context.Context, f *factory, fetch func(context.Context, *apiv1.ListOptions) (page[*apiv1.Job], error), opts *listFlags) error {
	jobs, more, err := collect(ctx, *opts, fetch)
	if err != nil {
		return err
	}
	f.noteMore(more, opts.limit)
	table := render.NewTable("ID", "STATE", "POOL", ">PRIORITY", "CREATED", "TOOK", "REASON")
	return list(f, jobs, ifQuiet(opts.quiet, (*apiv1.Job).GetId), table, func(j *apiv1.Job) []string {
		info := j.GetExecutionInfo()
		return []string{
			j.GetId(), word(j.GetState()), poolOf(j), number(j.GetPriority()), f.ago(j.GetCreationTime()),
			f.took(info.GetStartTime(), info.GetEndTime()), info.GetTerminateReason(),
		}
	})
}

// listJobs lists the jobs of a job schedule, or all.
func (s *session) listJobs(schedule string) func(context.Context, *apiv1.ListOptions) (page[*apiv1.Job], error) {
	return func(ctx context.Context, opts *apiv1.ListOptions) (page[*apiv1.Job], error) {
		resp, err := s.jobs.ListJobs(ctx, &apiv1.ListJobsRequest{Options: opts, JobScheduleId: schedule})
		return page[*apiv1.Job]{resp.GetJobs(), resp.GetNextPageToken()}, err
	}
}

func poolOf(j *apiv1.Job) string {
	if id := j.GetExecutionInfo().GetPoolId(); id != "" {
		return id
	}
	return j.GetPoolInfo().GetPoolId()
}

func newJobShowCommand(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:               "show JOB",
		Short:             "Show a job and how many of its tasks are in which state",
		Example:           "  batchyard job show work\n  batchyard job show work -o json",
		Args:              exactly(1),
		ValidArgsFunction: completeIDs(f, jobIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error { return runJobShow(cmd.Context(), f, s, args[0]) })
		},
	}
}

func runJobShow(ctx context.Context, f *factory, s *session, id string) error {
	job, err := s.jobs.GetJob(ctx, &apiv1.GetJobRequest{JobId: id})
	if err != nil {
		return err
	}
	if !f.forPeople() {
		return f.show(job, nil)
	}
	counts, err := s.jobs.GetTaskCounts(ctx, &apiv1.GetTaskCountsRequest{JobId: id})
	if err != nil {
		return err
	}
	return f.show(job, func(w io.Writer) error { return f.describeJob(w, job, counts.GetTaskCounts()) })
}

func (f *factory) describeJob(w io.Writer, j *apiv1.Job, counts *apiv1.TaskCounts) error {
	info := j.GetExecutionInfo()
	fields := []string{
		"ID", j.GetId(), "Name", j.GetDisplayName(), "State", word(j.GetState()) + " since " + f.ago(j.GetStateTransitionTime()),
		"Reason", info.GetTerminateReason(), "Pool", poolOf(j), "Priority", number(j.GetPriority()),
		"Tasks", countsText(counts),
		"When all complete", word(j.GetOnAllTasksComplete()), "When a task fails", word(j.GetOnTaskFailure()),
		"Task dependencies", yesNo(j.GetUsesTaskDependencies()),
	}
	if e := info.GetSchedulingError(); e != nil {
		fields = append(fields, "Error", fmt.Sprintf("%s (%s)", e.GetMessage(), e.GetCode()))
	}
	for _, m := range j.GetMetadata() {
		fields = append(fields, "Metadata", m.GetName()+"="+m.GetValue())
	}
	fields = append(fields, "Created", f.moment(j.GetCreationTime()), "Ended", f.moment(info.GetEndTime()),
		"Took", f.took(info.GetStartTime(), info.GetEndTime()))
	return render.Fields(w, fields...)
}

func countsText(c *apiv1.TaskCounts) string {
	return fmt.Sprintf("%d active, %d running, %d succeeded, %d failed", c.GetActive(), c.GetRunning(), c.GetSucceeded(), c.GetFailed())
}
