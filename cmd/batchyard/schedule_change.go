package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// timeFlags are when the jobs of a schedule are made.
type timeFlags struct {
	every, window durationFlag
	from, to      string
}

func (o *timeFlags) register(flags *pflag.FlagSet) {
	flags.Var(&o.every, "every", "make a job each time that this has passed, at least 1m (default: one job only)")
	flags.Var(&o.window, "start-window", "a job that cannot be made within this time after it is due is not made, at least 1m")
	flags.StringVar(&o.from, "not-before", "", "time of the first job, like 2030-01-31T12:00:00Z (default now)")
	flags.StringVar(&o.to, "not-after", "", "time after which no job is made")
}

// into adds the times that were given; it says whether there are any.
func (o *timeFlags) into(c *apiv1.JobScheduleConfiguration) (bool, error) {
	before := proto.CloneOf(c)
	if o.every.set {
		c.RecurrenceInterval = o.every.proto()
	}
	if o.window.set {
		c.StartWindow = o.window.proto()
	}
	for _, t := range []struct {
		flag, text string
		into       **timestamppb.Timestamp
	}{{"not-before", o.from, &c.DoNotRunUntil}, {"not-after", o.to, &c.DoNotRunAfter}} {
		if t.text == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, t.text)
		if err != nil {
			return false, usagef("--%s %q: expected a time like 2030-01-31T12:00:00Z", t.flag, t.text)
		}
		*t.into = timestamppb.New(at)
	}
	return !proto.Equal(before, c), nil
}

type scheduleCreateOptions struct {
	file  string
	name  string
	times timeFlags
	jobs  jobFlags
}

func newScheduleCreateCommand(f *factory) *cobra.Command {
	opts := &scheduleCreateOptions{}
	cmd := &cobra.Command{
		Use:   "create [SCHEDULE]",
		Short: "Create a job schedule; its first job is made at once, or at --not-before",
		Long: `Create a job schedule: its jobs are called SCHEDULE:job-1 and so on, and at most one is active at a time.

--file takes a job schedule in the JSON or YAML spelling of Azure Batch, as "schedule show -o yaml" prints it; flags win over the file.`,
		Example: `  batchyard schedule create nightly --file nightly.yaml
  batchyard schedule create hourly --pool demo --every 1h --start-window 10m --terminate-when-complete`,
		Args: between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error { return opts.run(cmd.Context(), f, s, args) })
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&opts.file, "file", "f", "", "file with the job schedule; - is the standard input")
	flags.StringVar(&opts.name, "display-name", "", "name for people")
	opts.times.register(flags)
	opts.jobs.register(flags)
	_ = cmd.RegisterFlagCompletionFunc("pool", completeFlag(f, poolIDs))
	return cmd
}

func (o *scheduleCreateOptions) run(ctx context.Context, f *factory, s *session, args []string) error {
	schedule, err := o.schedule(f, args)
	if err != nil {
		return err
	}
	if _, err := s.schedules.CreateJobSchedule(ctx, &apiv1.CreateJobScheduleRequest{JobSchedule: schedule}); err != nil {
		return err
	}
	return f.created(ctx, s, "job schedule", schedule.GetId())
}

func (o *scheduleCreateOptions) schedule(f *factory, args []string) (*apiv1.JobSchedule, error) {
	schedule := &apiv1.JobSchedule{}
	if err := f.readResource(o.file, schedule); err != nil {
		return nil, err
	}
	if len(args) > 0 {
		schedule.Id = args[0]
	}
	if schedule.GetId() == "" {
		return nil, usagef("the job schedule needs an id")
	}
	if o.name != "" {
		schedule.DisplayName = o.name
	}
	if schedule.Schedule == nil {
		schedule.Schedule = &apiv1.JobScheduleConfiguration{}
	}
	if _, err := o.times.into(schedule.Schedule); err != nil {
		return nil, err
	}
	job := lifecycle.JobOf(schedule.GetJobSpecification())
	if err := o.jobs.into(job); err != nil {
		return nil, err
	}
	schedule.JobSpecification = lifecycle.JobSpecificationOf(job)
	return schedule, nil
}

type scheduleUpdateOptions struct {
	file     string
	times    timeFlags
	metadata []string
}

func newScheduleUpdateCommand(f *factory) *cobra.Command {
	opts := &scheduleUpdateOptions{}
	cmd := &cobra.Command{
		Use:   "update SCHEDULE",
		Short: "Change a job schedule, for jobs that are made later",
		Long: `Change a job schedule. Times that are not given stay as they are.

--file takes what changes in the JSON or YAML spelling of Azure Batch: schedule, jobSpecification, metadata; each is replaced as a whole.`,
		Example:           "  batchyard schedule update nightly --every 12h\n  batchyard schedule update nightly --file changes.yaml",
		Args:              exactly(1),
		ValidArgsFunction: completeIDs(f, scheduleIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error { return opts.run(cmd.Context(), f, s, args[0]) })
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&opts.file, "file", "f", "", "file with the changes; - is the standard input")
	opts.times.register(flags)
	flags.StringArrayVar(&opts.metadata, "metadata", nil, "NAME=VALUE instead of those that there are; repeatable")
	return cmd
}

func (o *scheduleUpdateOptions) run(ctx context.Context, f *factory, s *session, id string) error {
	update := &apiv1.JobScheduleUpdateOptions{}
	if err := f.readResource(o.file, update); err != nil {
		return err
	}
	current, err := s.schedules.GetJobSchedule(ctx, &apiv1.GetJobScheduleRequest{JobScheduleId: id})
	if err != nil {
		return err
	}
	times := update.GetSchedule()
	if times == nil {
		times = current.GetSchedule()
	}
	if times == nil {
		times = &apiv1.JobScheduleConfiguration{}
	}
	changed, err := o.times.into(times)
	if err != nil {
		return err
	}
	if changed {
		update.Schedule = times
	}
	items, err := metadata(o.metadata)
	if err != nil {
		return err
	}
	update.Metadata = append(update.Metadata, items...)
	if proto.Size(update) == 0 {
		return usagef("nothing to change: give a flag or --file")
	}
	_, err = s.schedules.UpdateJobSchedule(ctx, &apiv1.UpdateJobScheduleRequest{
		JobScheduleId: id, Update: update, Conditions: &apiv1.Conditions{IfMatch: current.GetETag()},
	})
	if err != nil {
		return err
	}
	return f.say("job schedule %s changed", render.Plain(id))
}
