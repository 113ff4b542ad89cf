package lifecycle

import (
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// Outcome is what the end of an attempt means for its task and job.
type Outcome struct {
	// Retry: the task is queued again and its retry count grows; nothing else is set.
	Retry     bool
	Succeeded bool
	// Nil for a success.
	Failure *apiv1.TaskFailureInfo
	// Satisfied: dependents may run. False blocks them for ever.
	Satisfied bool
	JobAction apiv1.JobActionKind
}

// AttemptEnd is how an attempt ended.
type AttemptEnd struct {
	Stage    agentv1.FailureStage
	ExitCode *int32
	Failure  *apiv1.TaskFailureInfo
	// Retries made so far.
	Retries int32
}

// Decide applies the retry rule, the exit conditions and the job's failure mode to the end of an attempt. Only non-zero exit codes of the
// command are retried; an exit code that is listed wins over an upload error (Azure Batch, exitConditions).
func Decide(end AttemptEnd, constraints *apiv1.TaskConstraints, exit *apiv1.ExitConditions, mode apiv1.TaskFailureMode) Outcome {
	exited := end.ExitCode != nil
	failed := exited && *end.ExitCode != 0
	stopped := end.Failure != nil && end.Stage == agentv1.FailureStage_FAILURE_STAGE_COMMAND
	if failed && !stopped && retriesLeft(constraints.GetMaxTaskRetryCount(), end.Retries) {
		return Outcome{Retry: true}
	}
	out := Outcome{Failure: end.Failure}
	switch {
	case out.Failure != nil:
	case failed:
		out.Failure = ExitCodeFailure()
	case !exited:
		out.Failure = unknownFailure()
	}
	out.Succeeded = out.Failure == nil
	options := exitOptions(end, exit, !out.Succeeded)
	out.Satisfied = satisfied(options, out.Succeeded)
	if mode == apiv1.TaskFailureMode_TASK_FAILURE_MODE_PERFORM_EXIT_OPTIONS_JOB_ACTION {
		out.JobAction = jobAction(options, out.Succeeded)
	}
	return out
}

// ExitCodeFailure is the failure information of a command that ended with another code than 0.
func ExitCodeFailure() *apiv1.TaskFailureInfo {
	return &apiv1.TaskFailureInfo{
		Category: apiv1.ErrorSourceCategory_ERROR_SOURCE_CATEGORY_USER_ERROR,
		Code:     "FailureExitCode",
		Message:  "The task exited with an exit code representing a failure",
	}
}

// unknownFailure is the failure information of a task whose node says neither an exit code nor what went wrong.
func unknownFailure() *apiv1.TaskFailureInfo {
	return &apiv1.TaskFailureInfo{
		Category: apiv1.ErrorSourceCategory_ERROR_SOURCE_CATEGORY_SERVER_ERROR,
		Code:     "Unknown",
		Message:  "The node did not say how the task ended",
	}
}

// EndedFailure is the failure information of a task that was ended on request.
func EndedFailure(message string) *apiv1.TaskFailureInfo {
	return &apiv1.TaskFailureInfo{
		Category: apiv1.ErrorSourceCategory_ERROR_SOURCE_CATEGORY_USER_ERROR,
		Code:     "TaskEnded",
		Message:  message,
	}
}

// NodeLostFailure is the failure information of what ended with its node.
func NodeLostFailure() *apiv1.TaskFailureInfo {
	return &apiv1.TaskFailureInfo{
		Category: apiv1.ErrorSourceCategory_ERROR_SOURCE_CATEGORY_SERVER_ERROR,
		Code:     "TaskEnded",
		Message:  "The node was lost or restarted, or left its pool, before the task had ended",
	}
}

func retriesLeft(limit, made int32) bool { return limit < 0 || made < limit }

// exitOptions finds the condition that applies; nil if none does.
func exitOptions(end AttemptEnd, exit *apiv1.ExitConditions, failed bool) *apiv1.ExitOptions {
	if exit == nil {
		return nil
	}
	if end.ExitCode != nil {
		for _, m := range exit.ExitCodes {
			if m.Code == *end.ExitCode {
				return m.ExitOptions
			}
		}
		for _, m := range exit.ExitCodeRanges {
			if m.Start <= *end.ExitCode && *end.ExitCode <= m.End {
				return m.ExitOptions
			}
		}
	}
	switch {
	case end.Stage == agentv1.FailureStage_FAILURE_STAGE_PRE_PROCESSING && exit.PreProcessingError != nil:
		return exit.PreProcessingError
	case end.Stage == agentv1.FailureStage_FAILURE_STAGE_FILE_UPLOAD && exit.FileUploadError != nil:
		return exit.FileUploadError
	case failed:
		return exit.Default
	}
	return nil
}

func satisfied(options *apiv1.ExitOptions, succeeded bool) bool {
	switch options.GetDependencyAction() {
	case apiv1.DependencyAction_DEPENDENCY_ACTION_SATISFY:
		return true
	case apiv1.DependencyAction_DEPENDENCY_ACTION_BLOCK:
		return false
	}
	return succeeded
}

func jobAction(options *apiv1.ExitOptions, succeeded bool) apiv1.JobActionKind {
	if a := options.GetJobAction(); a != apiv1.JobActionKind_JOB_ACTION_KIND_UNSPECIFIED {
		return a
	}
	if succeeded {
		return apiv1.JobActionKind_JOB_ACTION_KIND_NONE
	}
	return apiv1.JobActionKind_JOB_ACTION_KIND_TERMINATE
}
