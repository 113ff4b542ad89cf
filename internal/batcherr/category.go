package batcherr

// UserFault reports whether a code of a task's failure information belongs to the category UserError, where the
// submitter is to act, rather than ServerError.
func UserFault(code string) bool {
	switch code {
	case CodeBlobNotFound,
		CodeBlobAccessDenied,
		CodeCommandProgramNotFound,
		CodeCommandLaunchFailed,
		CodeTaskEnded,
		CodeMaxInternalRetryCountReached,
		CodeTaskSchedulingConstraintFailed,
		CodeFailureExitCode,
		CodeApplicationPackageError,
		CodeContainerInvalidImage,
		CodeContainerInvalidRegistry,
		CodeContainerInvalidSettings,
		CodeFileUploadContainerNotFound,
		CodeFileUploadAccessDenied:
		return true
	default:
		return false
	}
}
