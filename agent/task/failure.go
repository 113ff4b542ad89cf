package task

import (
	"context"
	"errors"
	"io/fs"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// wallClockFailure is what Azure Batch says of a task that its maxWallClockTime ended: unlike one that a user ended, it
// counts as the service's doing.
func wallClockFailure() *apiv1.TaskFailureInfo {
	return &apiv1.TaskFailureInfo{
		Category: apiv1.ErrorSourceCategory_ERROR_SOURCE_CATEGORY_SERVER_ERROR,
		Code:     batcherr.CodeTaskEnded,
		Message:  "The task was ended because its maxWallClockTime was over",
	}
}

// Failed is an error that brings its failure information along.
type Failed struct{ Info *apiv1.TaskFailureInfo }

// Error gives code and message.
func (f *Failed) Error() string { return f.Info.GetCode() + ": " + f.Info.GetMessage() }

// failureOf is the failure information of an error; one that carries no code of its own gets fallback.
func failureOf(err error, fallback string) *apiv1.TaskFailureInfo {
	if err == nil {
		return nil
	}
	var complete *Failed
	if errors.As(err, &complete) {
		return complete.Info
	}
	var known *batcherr.Error
	code, message := fallback, err.Error()
	switch {
	case errors.As(err, &known):
		code, message = known.Code, known.Message
	case diskFull(err):
		code, message = batcherr.CodeDiskFull, "There is not enough disk space on the node"
	case errors.Is(err, context.DeadlineExceeded):
		return wallClockFailure()
	}
	failure := &apiv1.TaskFailureInfo{
		Category: apiv1.ErrorSourceCategory_ERROR_SOURCE_CATEGORY_SERVER_ERROR,
		Code:     code,
		Message:  message,
	}
	if batcherr.UserFault(code) {
		failure.Category = apiv1.ErrorSourceCategory_ERROR_SOURCE_CATEGORY_USER_ERROR
	}
	if known != nil {
		for _, v := range known.Values {
			failure.Details = append(failure.Details, &apiv1.NameValuePair{Name: v.Key, Value: v.Value})
		}
	}
	return failure
}

// launchFailure says why a command did not start.
func launchFailure(err error) *apiv1.TaskFailureInfo {
	if errors.Is(err, fs.ErrNotExist) {
		return failureOf(err, batcherr.CodeCommandProgramNotFound)
	}
	return failureOf(err, batcherr.CodeCommandLaunchFailed)
}
