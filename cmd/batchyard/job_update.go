package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

type jobUpdateOptions struct {
	pool        string
	priority    *int32Flag
	parallel    *int32Flag
	preemptible bool
	terminate   bool
}

func newJobUpdateCommand(f *factory) *cobra.Command {
	opts := &jobUpdateOptions{}
	cmd := &cobra.Command{
		Use:   "update JOB",
		Short: "Change a job's priority, limit or pool",
		Long: `Change properties of a job; those that are not given stay as they are. The pool can be changed while the job is disabled: its tasks then run on
the other pool.`,
		Example: `  batchyard job update work --priority 100 --max-parallel-tasks 20
  batchyard job disable work && batchyard job update work --pool other && batchyard job enable work`,
		Args:              exactly(1),
		ValidArgsFunction: completeIDs(f, jobIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			update := opts.update(cmd)
			if update == nil {
				return usagef("what is to change? See: %s --help", cmd.CommandPath())
			}
			return f.withSession(func(s *session) error { return updateJob(cmd.Context(), f, s, args[0], update) })
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.pool, "pool", "", "pool to run on, while the job is disabled")
	opts.priority = newInt32Flag(flags, "priority", "-1000 to 1000; higher runs first")
	opts.parallel = newInt32Flag(flags, "max-parallel-tasks", "run at most this many tasks at once; -1 is no limit")
	flags.BoolVar(&opts.preemptible, "preemptible", false, "let tasks of higher priorities stop this job's; =false takes it back")
	flags.BoolVar(&opts.terminate, "terminate-when-complete", false, "end the job when all its tasks are completed; can't be taken back")
	_ = cmd.RegisterFlagCompletionFunc("pool", completeFlag(f, poolIDs))
	return cmd
}

// update is what the flags change; nil: nothing.
func (o *jobUpdateOptions) update(cmd *cobra.Command) *apiv1.JobUpdateOptions {
	out := &apiv1.JobUpdateOptions{}
	changed := cmd.Flags().Changed
	o.priority.into(&out.Priority)
	o.parallel.into(&out.MaxParallelTasks)
	if changed("preemptible") {
		out.AllowTaskPreemption = &o.preemptible
	}
	if o.pool != "" {
		out.PoolInfo = &apiv1.PoolInfo{PoolId: o.pool}
	}
	if o.terminate {
		mode := apiv1.AllTasksCompleteMode_ALL_TASKS_COMPLETE_MODE_TERMINATE_JOB
		out.OnAllTasksComplete = &mode
	}
	for _, flag := range []string{"pool", "priority", "max-parallel-tasks", "preemptible", "terminate-when-complete"} {
		if changed(flag) {
			return out
		}
	}
	return nil
}

func updateJob(ctx context.Context, f *factory, s *session, id string, update *apiv1.JobUpdateOptions) error {
	if _, err := s.jobs.UpdateJob(ctx, &apiv1.UpdateJobRequest{JobId: id, Update: update}); err != nil {
		return err
	}
	return f.say("job %s updated", render.Plain(id))
}
