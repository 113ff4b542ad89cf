package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

type jobCreateOptions struct {
	file string
	name string
	jobFlags
}

// jobFlags are properties of a job that is made now, or by a job schedule.
type jobFlags struct {
	pool         string
	priority     *int32Flag
	parallel     *int32Flag
	retries      *int32Flag
	wallClock    durationFlag
	terminate    bool
	dependencies bool
	preemptible  bool
	env          []string
	metadata     []string
}

func newJobCreateCommand(f *factory) *cobra.Command {
	opts := &jobCreateOptions{}
	cmd := &cobra.Command{
		Use:   "create [JOB]",
		Short: "Create a job",
		Long: `Create a job without tasks.

--file takes a job in the JSON or YAML spelling of Azure Batch, as "job show -o yaml" prints it; flags win over the file.`,
		Example: `  batchyard job create work --pool demo --retries 2
  batchyard job create --file job.yaml`,
		Args: between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error { return opts.run(cmd.Context(), f, s, args) })
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&opts.file, "file", "f", "", "file with the job; - is the standard input")
	flags.StringVar(&opts.name, "display-name", "", "name for people")
	opts.register(flags)
	_ = cmd.RegisterFlagCompletionFunc("pool", completeFlag(f, poolIDs))
	return cmd
}

func (o *jobFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&o.pool, "pool", "", "pool to run on")
	o.priority = newInt32Flag(flags, "priority", "-1000 to 1000; higher runs first (default 0)")
	o.parallel = newInt32Flag(flags, "max-parallel-tasks", "run at most this many tasks at a time; -1 is no limit (default -1)")
	o.retries = newInt32Flag(flags, "retries", "run a failing task again up to this often; -1 is no limit (default 0)")
	flags.Var(&o.wallClock, "max-wall-clock", "end the job after this time (default no limit)")
	flags.BoolVar(&o.terminate, "terminate-when-complete", false, "end the job when all its tasks are complete; an empty job ends at once")
	flags.BoolVar(&o.dependencies, "dependencies", false, "tasks may depend on other tasks")
	flags.BoolVar(&o.preemptible, "preemptible", false, "let its running tasks be stopped, and queued again, for tasks of jobs of a higher priority")
	flags.StringArrayVarP(&o.env, "env", "e", nil, "NAME=VALUE for the environment of every task; repeatable")
	flags.StringArrayVar(&o.metadata, "metadata", nil, "NAME=VALUE; repeatable")
}

func (o *jobCreateOptions) run(ctx context.Context, f *factory, s *session, args []string) error {
	job, err := o.job(f, args)
	if err != nil {
		return err
	}
	if _, err := s.jobs.CreateJob(ctx, &apiv1.CreateJobRequest{Job: job}); err != nil {
		return err
	}
	return f.created(ctx, s, "job", job.GetId())
}

func (o *jobCreateOptions) job(f *factory, args []string) (*apiv1.Job, error) {
	job := &apiv1.Job{}
	if err := f.readResource(o.file, job); err != nil {
		return nil, err
	}
	if len(args) > 0 {
		job.Id = args[0]
	}
	if job.GetId() == "" {
		return nil, usagef("the job needs an id")
	}
	if o.name != "" {
		job.DisplayName = o.name
	}
	return job, o.into(job)
}

// into adds what was given to a job.
func (o *jobFlags) into(job *apiv1.Job) error {
	if o.pool != "" {
		job.PoolInfo = &apiv1.PoolInfo{PoolId: o.pool}
	}
	if job.GetPoolInfo() == nil {
		return usagef("the job needs a pool: give --pool, or poolInfo in the file")
	}
	o.priority.into(&job.Priority)
	o.parallel.into(&job.MaxParallelTasks)
	constraints := &apiv1.JobConstraints{MaxWallClockTime: o.wallClock.proto()}
	o.retries.into(&constraints.MaxTaskRetryCount)
	if job.Constraints == nil {
		job.Constraints = &apiv1.JobConstraints{}
	}
	proto.Merge(job.Constraints, constraints)
	if o.terminate {
		job.OnAllTasksComplete = apiv1.AllTasksCompleteMode_ALL_TASKS_COMPLETE_MODE_TERMINATE_JOB
	}
	if o.dependencies {
		job.UsesTaskDependencies = proto.Bool(true)
	}
	if o.preemptible {
		job.AllowTaskPreemption = proto.Bool(true)
	}
	env, err := environment(o.env)
	if err != nil {
		return err
	}
	job.CommonEnvironmentSettings = append(job.CommonEnvironmentSettings, env...)
	items, err := metadata(o.metadata)
	job.Metadata = append(job.Metadata, items...)
	return err
}

func newJobTerminateCommand(f *factory) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:               "terminate JOB...",
		Short:             "End jobs; running tasks are stopped",
		Example:           "  batchyard job terminate work --reason \"wrong input\"",
		Args:              atLeast(1),
		ValidArgsFunction: completeIDs(f, jobIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return eachJob(f, args, "is being terminated", func(s *session, id string) error {
				options := &apiv1.JobTerminateOptions{TerminateReason: reason}
				_, err := s.jobs.TerminateJob(cmd.Context(), &apiv1.TerminateJobRequest{JobId: id, Options: options})
				return err
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "text that the job keeps as its reason (default UserTerminate)")
	return cmd
}

func newJobDisableCommand(f *factory) *cobra.Command {
	var tasks string
	cmd := &cobra.Command{
		Use:               "disable JOB...",
		Short:             "Stop scheduling the tasks of jobs",
		Example:           "  batchyard job disable work --tasks wait",
		Args:              atLeast(1),
		ValidArgsFunction: completeIDs(f, jobIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			options := &apiv1.JobDisableOptions{}
			switch tasks {
			case "requeue":
				options.DisableTasks = apiv1.DisableJobOption_DISABLE_JOB_OPTION_REQUEUE
			case "terminate":
				options.DisableTasks = apiv1.DisableJobOption_DISABLE_JOB_OPTION_TERMINATE
			case "wait":
				options.DisableTasks = apiv1.DisableJobOption_DISABLE_JOB_OPTION_WAIT
			default:
				return usagef("--tasks %q: expected requeue, terminate or wait", tasks)
			}
			return eachJob(f, args, "is being disabled", func(s *session, id string) error {
				_, err := s.jobs.DisableJob(cmd.Context(), &apiv1.DisableJobRequest{JobId: id, Options: options})
				return err
			})
		},
	}
	cmd.Flags().StringVar(&tasks, "tasks", "requeue", "what happens to running tasks: requeue, terminate or wait")
	return cmd
}

func newJobEnableCommand(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:               "enable JOB...",
		Short:             "Schedule the tasks of disabled jobs again",
		Example:           "  batchyard job enable work",
		Args:              atLeast(1),
		ValidArgsFunction: completeIDs(f, jobIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return eachJob(f, args, "is enabled", func(s *session, id string) error {
				_, err := s.jobs.EnableJob(cmd.Context(), &apiv1.EnableJobRequest{JobId: id})
				return err
			})
		},
	}
}

func newJobDeleteCommand(f *factory) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:               "delete JOB...",
		Aliases:           []string{"rm"},
		Short:             "Delete jobs with their tasks and the tasks' files on nodes",
		Example:           "  batchyard job delete work",
		Args:              atLeast(1),
		ValidArgsFunction: completeIDs(f, jobIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return eachJob(f, args, "is being deleted", func(s *session, id string) error {
				_, err := s.jobs.DeleteJob(cmd.Context(), &apiv1.DeleteJobRequest{JobId: id, Force: force})
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "also when the job is in a state that forbids it")
	return cmd
}

// eachJob does one thing to each job and says so.
func eachJob(f *factory, ids []string, what string, do func(s *session, id string) error) error {
	return f.withSession(func(s *session) error {
		for _, id := range ids {
			if err := do(s, id); err != nil {
				return fmt.Errorf("job %s: %w", id, err)
			}
			if err := f.say("job %s %s", render.Plain(id), what); err != nil {
				return err
			}
		}
		return nil
	})
}
