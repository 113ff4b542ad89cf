package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func newTaskSubtasksCommand(f *factory) *cobra.Command {
	quiet := false
	cmd := &cobra.Command{
		Use:   "subtasks JOB TASK",
		Short: "List the subtasks of a multi-instance task",
		Long: `List the instances of a multi-instance task beside its primary, which is the task itself, with their nodes. Their files are in a directory of
their own below the task's on these nodes; the exit code is that of the coordination command.`,
		Example:           "  batchyard task subtasks work solve",
		Args:              exactly(2),
		ValidArgsFunction: completeIDs(f, jobIDs, taskIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error {
				resp, err := s.tasks.ListSubtasks(cmd.Context(), &apiv1.ListSubtasksRequest{JobId: args[0], TaskId: args[1]})
				if err != nil {
					return err
				}
				return listSubtasks(f, resp.GetSubtasks(), quiet)
			})
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print ids only")
	return cmd
}

func listSubtasks(f *factory, subtasks []*apiv1.Subtask, quiet bool) error {
	name := func(t *apiv1.Subtask) string { return strconv.Itoa(int(t.GetId())) }
	table := render.NewTable(">ID", "STATE", "RESULT", ">EXIT", "NODE", "STARTED", "TOOK", "DIRECTORY", "FAILURE")
	return list(f, subtasks, ifQuiet(quiet, name), table, func(t *apiv1.Subtask) []string {
		exit := ""
		if t.ExitCode != nil {
			exit = strconv.Itoa(int(t.GetExitCode()))
		}
		return []string{
			name(t), word(t.GetState()), word(t.GetResult()), exit, t.GetNodeInfo().GetNodeId(), f.ago(t.GetStartTime()),
			f.took(t.GetStartTime(), t.GetEndTime()), t.GetNodeInfo().GetTaskRootDirectory(), t.GetFailureInfo().GetCode(),
		}
	})
}
