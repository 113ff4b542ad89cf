package stage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/batchyard/batchyard/agent/files/beneath"
	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/batchyard/batchyard/storage"
)

// Failure is why staging failed, as the task's record tells it: code, category, a message that says what to do, details.
// It carries no credentials and no signed queries.
type Failure struct {
	Info  *apiv1.TaskFailureInfo
	cause error
}

// Error gives code, message and cause: a text for logs.
func (f *Failure) Error() string {
	text := f.Info.GetCode() + ": " + f.Info.GetMessage()
	if f.cause != nil {
		text += ": " + f.cause.Error()
	}
	return text
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.cause }

// detail is one name and value of a failure.
type detail struct{ name, value string }

// newFailure makes a failure of the category that its code belongs to; a cause shows in its details.
func newFailure(code, message string, cause error, details ...detail) *Failure {
	category := apiv1.ErrorSourceCategory_ERROR_SOURCE_CATEGORY_SERVER_ERROR
	if batcherr.UserFault(code) {
		category = apiv1.ErrorSourceCategory_ERROR_SOURCE_CATEGORY_USER_ERROR
	}
	if cause != nil {
		details = append(details, detail{"Reason", cause.Error()})
	}
	info := &apiv1.TaskFailureInfo{Category: category, Code: code, Message: message}
	for _, d := range details {
		info.Details = append(info.Details, &apiv1.NameValuePair{Name: d.name, Value: d.value})
	}
	return &Failure{Info: info, cause: cause}
}

// userFailure is newFailure where the specification is at fault, whatever the code's own category.
func userFailure(code, message string, cause error, details ...detail) *Failure {
	f := newFailure(code, message, cause, details...)
	f.Info.Category = apiv1.ErrorSourceCategory_ERROR_SOURCE_CATEGORY_USER_ERROR
	return f
}

// isFull says whether a disk or a quota is full.
func isFull(err error) bool {
	return errors.Is(err, storage.ErrNoSpace) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// isLocal says whether a transfer failed on this machine's side. Only what Download itself reports can be: a store's own
// errors have other operations.
func isLocal(err error) bool {
	var e *storage.Error
	if !errors.As(err, &e) {
		return true
	}
	var path *fs.PathError
	return e.Op == "write file of" || e.Op == "download" && errors.As(err, &path)
}

// downloadFailure explains why a resource file did not arrive. The end of ctx is passed on as it is: it is no fault of
// the file.
func downloadFailure(ctx context.Context, source, target string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("staging %s: %w", beneath.Quote(target), ctx.Err())
	}
	var known *Failure
	if errors.As(err, &known) {
		return err
	}
	code, message := downloadCode(err)
	return newFailure(code, fmt.Sprintf(message, source, beneath.Quote(target)), err, detail{"Source", source}, detail{"FilePath", target})
}

func downloadCode(err error) (code, message string) {
	switch {
	case isFull(err):
		return batcherr.CodeDiskFull, "The node's disk has no room for %s, wanted as %s; free space on it, use nodes with a larger disk, or stage less."
	case isLocal(err):
		return batcherr.CodeResourceFileWriteFailed, "The contents of %s could not be written to %s on the node."
	case errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrNoBucket):
		return batcherr.CodeBlobNotFound, "%s, wanted as %s, does not exist; check its URL, bucket and key."
	case errors.Is(err, storage.ErrForbidden):
		return batcherr.CodeBlobAccessDenied, "Access to %s, wanted as %s, was denied; check its permissions, and that a signed URL has not expired."
	case errors.Is(err, storage.ErrTimeout):
		return batcherr.CodeBlobDownloadTimedOut, "%s, wanted as %s, did not arrive in time; the store may be overloaded or out of the node's reach."
	default:
		return batcherr.CodeBlobDownloadMiscError, "%s, wanted as %s, could not be downloaded."
	}
}

// placeFailure explains why a resource file has no place to go to.
func placeFailure(code, target string, err error) error {
	switch {
	case isFull(err):
		return newFailure(batcherr.CodeDiskFull, fmt.Sprintf("The node's disk has no room for %s; free space on it or use nodes with a larger disk.", beneath.Quote(target)), err,
			detail{"FilePath", target})
	case errors.Is(err, beneath.ErrName):
		return userFailure(code, fmt.Sprintf("The file path %s can't be used; give a relative path that stays in the working directory.", beneath.Quote(target)), err,
			detail{"FilePath", target})
	default:
		return newFailure(code, fmt.Sprintf("%s could not be made in the task's working directory; look for something else of that name.", beneath.Quote(target)), err,
			detail{"FilePath", target})
	}
}
