package api

import (
	"context"
	"slices"
	"strings"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// expandExplain is the name under which tasks are asked for with their explanations.
const expandExplain = "explain"

func explains(expand string) bool { return slices.Contains(strings.Split(expand, ","), expandExplain) }

// ExplainTask is answered by the leader: only it knows which nodes are connected.
func (s *taskService) ExplainTask(ctx context.Context, req *apiv1.ExplainTaskRequest) (*apiv1.TaskExplanation, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := s.task(ctx, g, req.GetJobId(), req.GetTaskId()); err != nil {
		return nil, err
	}
	return s.explanation(g, req.GetJobId(), req.GetTaskId())
}

func (s *taskService) explanation(g grant, jobID, taskID string) (*apiv1.TaskExplanation, error) {
	situation, found, err := s.State.Situation(g.Account, jobID, taskID)
	if err != nil {
		return nil, internal(err)
	}
	if !found {
		return nil, batcherr.Of(batcherr.CodeTaskNotFound)
	}
	return s.Explains.Explain(situation), nil
}

// explain fills in a task's explanation. One that was deleted since it was read has none.
func (s *taskService) explain(g grant, jobID string, task *apiv1.Task) error {
	explanation, err := s.explanation(g, jobID, task.GetId())
	if batcherr.HasCode(err, batcherr.CodeTaskNotFound) {
		return nil
	}
	task.Explain = explanation
	return err
}
