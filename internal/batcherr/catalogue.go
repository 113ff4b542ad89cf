package batcherr

// entry is what Azure Batch answers for a code.
type entry struct {
	code    string
	kind    Kind
	message string
}

// KindOf is the kind of a documented code, KindInternal for any other. CodeConditionNotMet and CodeAuthenticationFailed
// have a second kind each: see NotModified and Unauthenticated.
func KindOf(code string) Kind {
	e, _ := lookUp(code)
	return e.kind
}

func messageOf(code string) string {
	e, ok := lookUp(code)
	if !ok {
		e, _ = lookUp(CodeInternalError)
	}
	return e.message
}

func lookUp(code string) (entry, bool) {
	for _, group := range [...][]entry{notFound, conflicts, badValues, general} {
		for _, e := range group {
			if e.code == code {
				return e, true
			}
		}
	}
	return entry{}, false
}

var general = []entry{
	{CodeConditionNotMet, KindPrecondition, "The condition specified using HTTP conditional header(s) is not met."},
	{CodeMissingRequiredHeader, KindInvalid, "A required HTTP header was not specified."},
	{CodeMissingRequiredProperty, KindInvalid, "A required property was not specified in the request body."},
	{CodeUnsupportedHeader, KindInvalid, "One of the HTTP headers specified in the request is not supported."},
	{CodeUnsupportedProperty, KindInvalid, "One of the properties specified in the request body is not supported."},
	{CodeInvalidHeaderValue, KindInvalid, "The value provided for one of the HTTP headers was not in the correct format."},
	{CodeInvalidPropertyValue, KindInvalid, "The value provided for one of the properties in the request body is invalid."},
	{CodeMissingRequiredQueryParameter, KindInvalid, "A required query parameter was not specified for this request."},
	{CodeUnsupportedQueryParameter, KindInvalid, "One of the query parameters specified in the request URI is not supported."},
	{CodeInvalidQueryParameterValue, KindInvalid, "Value for one of the query parameters specified in the request URI is invalid."},
	{CodeOutOfRangeQueryParameterValue, KindInvalid, "A query parameter specified in the request URI is outside the permissible range."},
	{CodeRequestUrlFailedToParse, KindInvalid, "The url in the request could not be parsed."},
	{CodeInvalidUri, KindInvalid, "The requested URI does not represent any resource on the server."},
	{CodeInvalidHttpVerb, KindInvalid, "The HTTP verb specified was not recognized by the server."},
	{CodeInvalidInput, KindInvalid, "One of the request inputs is not valid."},
	{CodeOutOfRangeInput, KindInvalid, "One of the request inputs is out of range."},
	{CodeInvalidRequestBody, KindInvalid, "The specified request body is not syntactically valid."},
	{CodeInvalidMetadata, KindInvalid, "The specified metadata is invalid. It includes characters that are not permitted."},
	{CodeEmptyMetadataKey, KindInvalid, "The key for one of the metadata key-value pairs is empty."},
	{CodeMetadataTooLarge, KindInvalid, "The size of the specified metadata exceeds the maximum size permitted."},
	{CodeInvalidAuthenticationInfo, KindInvalid, "The authentication information was not provided in the correct format. Verify the value of Authorization header."},
	{CodeHostInformationNotPresent, KindInvalid, "The required host information is not present in the request."},
	{CodeMultipleConditionHeadersNotSupported, KindInvalid, "Multiple condition headers are not supported."},
	{CodeInvalidAutoScalingSettings, KindInvalid, "The specified automatic scaling settings are not valid."},
	{CodeUnsupportedRequestVersion, KindInvalid, "The specified api-version is not supported."},
	{CodeAuthenticationFailed, KindBadSignature, "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature."},
	{CodeInsufficientAccountPermissions, KindForbidden, "The account being accessed does not have sufficient permissions to execute this operation."},
	{CodePermissionDenied, KindForbidden, "Server passed the authentication, but the permission check failed."},
	{CodeAccountIsDisabled, KindForbidden, "The specified account is disabled."},
	{CodeResourceNotFound, KindNotFound, "The specified resource does not exist."},
	{CodeUnsupportedHttpVerb, KindMethodNotAllowed, "The resource doesn't support the specified HTTP verb."},
	{CodeResourceAlreadyExists, KindConflict, "The specified resource already exists."},
	{CodeResourceTypeMismatch, KindConflict, "The specified resource does not match the expected type."},
	{CodeMissingContentLengthHeader, KindMissingLength, "The Content-Length header was not specified."},
	{CodeRequestBodyTooLarge, KindTooLarge, "The size of the request body exceeds the maximum size permitted."},
	{CodeRequestEntityTooLarge, KindTooLarge, "The size of the request entity exceeds the maximum size permitted."},
	{CodeInvalidRange, KindRangeNotSatisfiable, "The range specified is invalid for the current size of the resource."},
	{CodeTooManyRequests, KindTooMany, "Too many requests. Please try again later."},
	{CodeInternalError, KindInternal, "Server encountered an internal error. Please try again after some time."},
	{CodeOperationTimedOut, KindTimeout, "The operation could not be completed within the permitted time."},
	{CodeNotImplemented, KindNotImplemented, "The requested operation is not implemented on the specified resource."},
	{CodeServerBusy, KindUnavailable, "Server is busy. Please try again later."},
	{CodeUnsupportedHttpVersion, KindHTTPVersion, "The HTTP version specified is not supported for this operation by the server."},
}

var notFound = []entry{
	{CodeAccountNotFound, KindNotFound, "The specified account does not exist."},
	{CodePoolNotFound, KindNotFound, "The specified pool does not exist."},
	{CodeJobNotFound, KindNotFound, "The specified job does not exist."},
	{CodeTaskNotFound, KindNotFound, "The specified task does not exist."},
	{CodeNodeNotFound, KindNotFound, "The specified node does not exist."},
	{CodeJobScheduleNotFound, KindNotFound, "The specified job schedule does not exist."},
	{CodeApplicationNotFound, KindNotFound, "The specified application does not exist."},
	{CodeApplicationPackageNotFound, KindNotFound, "The specified application package does not exist."},
	{CodeCertificateNotFound, KindNotFound, "The specified certificate does not exist."},
	{CodeNodeUserNotFound, KindNotFound, "The specified node user does not exist."},
	{CodeFileNotFound, KindNotFound, "The specified file does not exist."},
	{CodePathNotFound, KindNotFound, "The specified path does not exist."},
	{CodeOSVersionNotFound, KindNotFound, "The specified operating system version does not exist."},
	{CodeNodeAgentSKUNotFound, KindNotFound, "The specified node agent SKU does not exist."},
	{CodeStorageAccountNotFound, KindNotFound, "The specified storage account does not exist."},
	{CodeJobPreparationTaskNotRunOnNode, KindNotFound, "The job preparation task was not run on the specified node."},
	{CodeJobReleaseTaskNotRunOnNode, KindNotFound, "The job release task was not run on the specified node."},
}

var conflicts = []entry{
	{CodeAccountExists, KindConflict, "The specified account already exists."},
	{CodePoolExists, KindConflict, "The specified pool already exists."},
	{CodeJobExists, KindConflict, "The specified job already exists."},
	{CodeTaskExists, KindConflict, "The specified task already exists."},
	{CodeJobScheduleExists, KindConflict, "The specified job schedule already exists."},
	{CodeCertificateExists, KindConflict, "The specified certificate already exists."},
	{CodeNodeUserExists, KindConflict, "The specified node user already exists."},
	{CodeJobWithSameIdExists, KindConflict, "The job schedule cannot be created because a job with the same id exists."},
	{CodeJobScheduleWithSameIdExists, KindConflict, "The job cannot be created because a job schedule with the same id exists."},
	{CodePoolBeingCreated, KindConflict, "The specified pool is being created."},
	{CodePoolBeingDeleted, KindConflict, "The specified pool is being deleted."},
	{CodePoolBeingResized, KindConflict, "The specified pool is being resized."},
	{CodePoolNotEligibleForOSVersionUpgrade, KindConflict, "The specified pool is not eligible for an operating system version upgrade."},
	{CodePoolVersionEqualsUpgradeVersion, KindConflict, "The specified pool already has the requested operating system version."},
	{CodeUpgradePoolVersionConflict, KindConflict, "The specified pool cannot be upgraded to the requested operating system version."},
	{CodeJobBeingDeleted, KindConflict, "The specified job is being deleted."},
	{CodeJobBeingTerminated, KindConflict, "The specified job is being terminated."},
	{CodeJobCompleted, KindConflict, "The specified job is already in a completed state."},
	{CodeJobNotActive, KindConflict, "The specified job is not in an active state."},
	{CodeJobDisabled, KindConflict, "The specified job is disabled."},
	{CodeJobPreparationTaskNotSpecified, KindConflict, "The specified job does not have a job preparation task."},
	{CodeJobReleaseTaskNotSpecified, KindConflict, "The specified job does not have a job release task."},
	{CodeJobScheduleBeingDeleted, KindConflict, "The specified job schedule is being deleted."},
	{CodeJobScheduleBeingTerminated, KindConflict, "The specified job schedule is being terminated."},
	{CodeJobScheduleCompleted, KindConflict, "The specified job schedule is already in a completed state."},
	{CodeJobScheduleDisabled, KindConflict, "The specified job schedule is disabled."},
	{CodeTaskCompleted, KindConflict, "The specified task is already in a completed state."},
	{CodeTaskNotCompleted, KindConflict, "The specified task is not in a completed state."},
	{CodeTaskSucceeded, KindConflict, "The specified task has succeeded and cannot be reactivated."},
	{CodeTaskIdSameAsJobPreparationTask, KindConflict, "The specified task has the same id as the job preparation task."},
	{CodeTaskIdSameAsJobReleaseTask, KindConflict, "The specified task has the same id as the job release task."},
	{CodeTaskFilesUnavailable, KindConflict, "The task's files are not available on a node."},
	{CodeTaskFilesCleanedup, KindConflict, "The task's files have been cleaned up from the node."},
	{CodeNodeBeingCreated, KindConflict, "The specified node is being created."},
	{CodeNodeBeingStarted, KindConflict, "The specified node is being started."},
	{CodeNodeBeingRebooted, KindConflict, "The specified node is being rebooted."},
	{CodeNodeBeingReimaged, KindConflict, "The specified node is being reimaged."},
	{CodeNodeCountsMismatch, KindConflict, "The number of nodes in the pool does not match the number given."},
	{CodeNodeStateUnusable, KindConflict, "The specified node is in an unusable state."},
	{CodeNodeAlreadyInTargetSchedulingState, KindConflict, "The specified node is already in the target scheduling state."},
	{CodeOperationInvalidForCurrentState, KindConflict, "The operation is not valid for the current state of the resource."},
	{CodeOperationNotValidOnNode, KindConflict, "The specified operation is not valid on the node."},
	{CodeOperationNotValidOnPool, KindConflict, "The specified operation is not valid on the pool."},
	{CodeInvalidApplicationPackageReferences, KindConflict, "One or more application package references could not be satisfied."},
	{CodeInvalidCertificateReferences, KindConflict, "One or more certificate references could not be satisfied."},
	{CodeInvalidRestAPIForAccountSetting, KindConflict, "The request is not valid for the settings of the account."},
	{CodeCertificateBeingDeleted, KindConflict, "The specified certificate is being deleted."},
	{CodeCertificateStateActive, KindConflict, "The specified certificate is in an active state."},
	{CodeCertificateDeleteFailed, KindConflict, "The specified certificate could not be deleted."},
	{CodePoolQuotaReached, KindConflict, "The account has reached its quota of pools."},
	{CodeActiveJobAndScheduleQuotaReached, KindConflict, "The account has reached its quota of active jobs and job schedules."},
	{CodeTooManyEnableAutoScaleRequests, KindUnavailable, "Too many requests to enable automatic scaling. Please try again later."},
	{CodeIOError, KindForbidden, "The operation on the file failed."},
}

var badValues = []entry{
	{CodeOSVersionDisabled, KindInvalid, "The specified operating system version is disabled."},
	{CodeOSVersionExpired, KindInvalid, "The specified operating system version has expired."},
	{CodeTaskDependenciesNotSpecifiedOnJob, KindInvalid, "The job does not use task dependencies."},
	{CodeTaskDependencyListTooLong, KindInvalid, "The list of tasks that the task depends on is too long."},
	{CodeTaskDependencyRangesTooLong, KindInvalid, "The list of task id ranges that the task depends on is too long."},
	{CodeAutoScalingFormulaSyntaxError, KindInvalid, "The specified autoscale formula has a syntax error."},
	{CodeAutoScaleFormulaTooLong, KindInvalid, "The specified autoscale formula is too long."},
	{CodeAutoScalingFormulaTooLong, KindInvalid, "The specified autoscale formula is too long."},
	{CodeInsufficientSampleData, KindInvalid, "Autoscale evaluation failed due to insufficient sample data"},
	{CodeAutoScalingFormulaEvaluationError, KindInvalid, "Autoscale evaluation failed due to an error in the formula"},
	{CodeInvalidConstraintValue, KindInvalid, "The value provided for one of the constraints is invalid."},
	{CodeUnsupportedConstraint, KindInvalid, "One of the constraints is not supported."},
	{CodeOutOfRangePriority, KindInvalid, "The priority is out of range."},
}
