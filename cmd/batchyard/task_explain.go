package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func newTaskExplainCommand(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:   "explain JOB TASK",
		Short: "Say why a task is not running",
		Long: `Say what keeps a task from running, what is ahead of it, and what would start it. A task that can't run as things are, however
long it waits, is named as such.`,
		Example:           "  batchyard task explain work first\n  batchyard task explain work first -o json",
		Args:              exactly(2),
		ValidArgsFunction: completeIDs(f, jobIDs, taskIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error {
				e, err := s.tasks.ExplainTask(cmd.Context(), &apiv1.ExplainTaskRequest{JobId: args[0], TaskId: args[1]})
				if err != nil {
					return err
				}
				return f.show(e, func(w io.Writer) error { return describeExplanation(w, e) })
			})
		},
	}
}

func describeExplanation(w io.Writer, e *apiv1.TaskExplanation) error {
	text := e.GetSummary() + "\n"
	for _, r := range e.GetReasons() {
		text += fmt.Sprintf("\n- %s\n  %s\n", r.GetMessage(), r.GetRemedy())
	}
	if e.GetAheadInJob() > 0 || e.GetAheadInPool() > 0 {
		text += fmt.Sprintf("\nAhead of it: %d ready tasks of its job, %d of jobs with a higher priority.\n", e.GetAheadInJob(), e.GetAheadInPool())
	}
	_, err := io.WriteString(w, text)
	return err
}
