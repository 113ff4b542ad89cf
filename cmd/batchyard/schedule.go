package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func newScheduleCommand(f *factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "schedule",
		Short:   "Job schedules: jobs that are made at set times",
		Example: "  batchyard schedule create nightly --file nightly.yaml --every 24h\n  batchyard schedule jobs nightly",
	}
	cmd.AddCommand(newScheduleCreateCommand(f), newScheduleListCommand(f), newScheduleShowCommand(f), newScheduleJobsCommand(f), newScheduleUpdateCommand(f),
		newScheduleDisableCommand(f), newScheduleEnableCommand(f), newScheduleTerminateCommand(f), newScheduleDeleteCommand(f))
	return cmd
}

func newScheduleListCommand(f *factory) *cobra.Command {
	opts := &listFlags{}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List job schedules",
		Example: "  batchyard schedule list\n  batchyard schedule list --filter \"state eq 'active'\" -q",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.withSession(func(s *session) error { return runScheduleList(cmd.Context(), f, s, opts) })
		},
	}
	opts.register(cmd, 1000)
	return cmd
}

func runScheduleList(ctx context.Context, f *factory, s *session, opts *listFlags) error {
	schedules, more, err := collect(ctx, *opts, s.listSchedules)
	if err != nil {
		return err
	}
	f.noteMore(more, opts.limit)
	table := render.NewTable("ID", "STATE", "EVERY", "NEXT RUN", "RECENT JOB", "CREATED")
	return list(f, schedules, ifQuiet(opts.quiet, (*apiv1.JobSchedule).GetId), table, func(j *apiv1.JobSchedule) []string {
		info := j.GetExecutionInfo()
		return []string{
			j.GetId(), word(j.GetState()), every(j.GetSchedule()), f.moment(info.GetNextRunTime()), info.GetRecentJob().GetId(), f.ago(j.GetCreationTime()),
		}
	})
}

func (s *session) listSchedules(ctx context.Context, opts *apiv1.ListOptions) (page[*apiv1.JobSchedule], error) {
	resp, err := s.schedules.ListJobSchedules(ctx, &apiv1.ListJobSchedulesRequest{Options: opts})
	return page[*apiv1.JobSchedule]{resp.GetJobSchedules(), resp.GetNextPageToken()}, err
}

func every(c *apiv1.JobScheduleConfiguration) string {
	if c.GetRecurrenceInterval() == nil {
		return "once"
	}
	return c.GetRecurrenceInterval().AsDuration().String()
}

func newScheduleShowCommand(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:               "show SCHEDULE",
		Short:             "Show a job schedule",
		Example:           "  batchyard schedule show nightly\n  batchyard schedule show nightly -o json",
		Args:              exactly(1),
		ValidArgsFunction: completeIDs(f, scheduleIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error {
				schedule, err := s.schedules.GetJobSchedule(cmd.Context(), &apiv1.GetJobScheduleRequest{JobScheduleId: args[0]})
				if err != nil {
					return err
				}
				return f.show(schedule, func(w io.Writer) error { return f.describeSchedule(w, schedule) })
			})
		},
	}
}

func (f *factory) describeSchedule(w io.Writer, s *apiv1.JobSchedule) error {
	info, times, spec := s.GetExecutionInfo(), s.GetSchedule(), s.GetJobSpecification()
	pool := spec.GetPoolInfo().GetPoolId()
	if auto := spec.GetPoolInfo().GetAutoPoolSpecification(); auto != nil {
		pool = "made for each " + map[bool]string{true: "job", false: "schedule"}[auto.GetPoolLifetimeOption() == apiv1.PoolLifetimeOption_POOL_LIFETIME_OPTION_JOB]
	}
	fields := []string{
		"ID", s.GetId(), "Name", s.GetDisplayName(), "State", word(s.GetState()) + " since " + f.ago(s.GetStateTransitionTime()),
		"Every", every(times), "Start window", windowOf(times),
		"Not before", f.moment(times.GetDoNotRunUntil()), "Not after", f.moment(times.GetDoNotRunAfter()),
		"Pool", pool, "Priority of jobs", number(spec.GetPriority()),
		"Next run", f.moment(info.GetNextRunTime()), "Recent job", info.GetRecentJob().GetId(),
	}
	for _, m := range s.GetMetadata() {
		fields = append(fields, "Metadata", m.GetName()+"="+m.GetValue())
	}
	return render.Fields(w, append(fields, "Created", f.moment(s.GetCreationTime()), "Ended", f.moment(info.GetEndTime()))...)
}

func windowOf(c *apiv1.JobScheduleConfiguration) string {
	if c.GetStartWindow() == nil {
		return ""
	}
	return c.GetStartWindow().AsDuration().String()
}

func newScheduleJobsCommand(f *factory) *cobra.Command {
	opts := &listFlags{}
	cmd := &cobra.Command{
		Use:               "jobs SCHEDULE",
		Short:             "List the jobs of a job schedule",
		Example:           "  batchyard schedule jobs nightly --filter \"state eq 'completed'\"",
		Args:              exactly(1),
		ValidArgsFunction: completeIDs(f, scheduleIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error { return runJobList(cmd.Context(), f, s.listJobs(args[0]), opts) })
		},
	}
	opts.register(cmd, 1000)
	return cmd
}

func newScheduleDisableCommand(f *factory) *cobra.Command {
	return scheduleVerb(f, "disable", "Make no more jobs; an active one goes on", "is disabled", func(ctx context.Context, s *session, id string) error {
		_, err := s.schedules.DisableJobSchedule(ctx, &apiv1.DisableJobScheduleRequest{JobScheduleId: id})
		return err
	})
}

func newScheduleEnableCommand(f *factory) *cobra.Command {
	return scheduleVerb(f, "enable", "Make jobs again", "is enabled", func(ctx context.Context, s *session, id string) error {
		_, err := s.schedules.EnableJobSchedule(ctx, &apiv1.EnableJobScheduleRequest{JobScheduleId: id})
		return err
	})
}

func newScheduleTerminateCommand(f *factory) *cobra.Command {
	return scheduleVerb(f, "terminate", "End job schedules and their active jobs", "is being terminated", func(ctx context.Context, s *session, id string) error {
		_, err := s.schedules.TerminateJobSchedule(ctx, &apiv1.TerminateJobScheduleRequest{JobScheduleId: id})
		return err
	})
}

func newScheduleDeleteCommand(f *factory) *cobra.Command {
	cmd := scheduleVerb(f, "delete", "Delete job schedules with their jobs, tasks and files", "is being deleted", func(ctx context.Context, s *session, id string) error {
		_, err := s.schedules.DeleteJobSchedule(ctx, &apiv1.DeleteJobScheduleRequest{JobScheduleId: id})
		return err
	})
	cmd.Aliases = []string{"rm"}
	return cmd
}

// scheduleVerb is a command that does one thing to each job schedule and says so.
func scheduleVerb(f *factory, verb, short, what string, do func(context.Context, *session, string) error) *cobra.Command {
	return &cobra.Command{
		Use:               verb + " SCHEDULE...",
		Short:             short,
		Example:           "  batchyard schedule " + verb + " nightly",
		Args:              atLeast(1),
		ValidArgsFunction: completeIDs(f, scheduleIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error {
				for _, id := range args {
					if err := do(cmd.Context(), s, id); err != nil {
						return fmt.Errorf("job schedule %s: %w", id, err)
					}
					if err := f.say("job schedule %s %s", render.Plain(id), what); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}
