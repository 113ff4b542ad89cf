package batcherr

// General codes of refused requests.
const (
	CodeConditionNotMet                      = "ConditionNotMet"
	CodeMissingRequiredHeader                = "MissingRequiredHeader"
	CodeMissingRequiredProperty              = "MissingRequiredProperty"
	CodeUnsupportedHeader                    = "UnsupportedHeader"
	CodeUnsupportedProperty                  = "UnsupportedProperty"
	CodeInvalidHeaderValue                   = "InvalidHeaderValue"
	CodeInvalidPropertyValue                 = "InvalidPropertyValue"
	CodeMissingRequiredQueryParameter        = "MissingRequiredQueryParameter"
	CodeUnsupportedQueryParameter            = "UnsupportedQueryParameter"
	CodeInvalidQueryParameterValue           = "InvalidQueryParameterValue"
	CodeOutOfRangeQueryParameterValue        = "OutOfRangeQueryParameterValue"
	CodeRequestUrlFailedToParse              = "RequestUrlFailedToParse"
	CodeInvalidUri                           = "InvalidUri"
	CodeInvalidHttpVerb                      = "InvalidHttpVerb"
	CodeInvalidInput                         = "InvalidInput"
	CodeOutOfRangeInput                      = "OutOfRangeInput"
	CodeInvalidRequestBody                   = "InvalidRequestBody"
	CodeInvalidMetadata                      = "InvalidMetadata"
	CodeEmptyMetadataKey                     = "EmptyMetadataKey"
	CodeMetadataTooLarge                     = "MetadataTooLarge"
	CodeInvalidAuthenticationInfo            = "InvalidAuthenticationInfo"
	CodeHostInformationNotPresent            = "HostInformationNotPresent"
	CodeMultipleConditionHeadersNotSupported = "MultipleConditionHeadersNotSupported"
	CodeInvalidAutoScalingSettings           = "InvalidAutoScalingSettings"
	CodeUnsupportedRequestVersion            = "UnsupportedRequestVersion"
	CodeAuthenticationFailed                 = "AuthenticationFailed"
	CodeInsufficientAccountPermissions       = "InsufficientAccountPermissions"
	CodePermissionDenied                     = "PermissionDenied"
	CodeAccountIsDisabled                    = "AccountIsDisabled"
	CodeResourceNotFound                     = "ResourceNotFound"
	CodeUnsupportedHttpVerb                  = "UnsupportedHttpVerb"
	CodeResourceAlreadyExists                = "ResourceAlreadyExists"
	CodeResourceTypeMismatch                 = "ResourceTypeMismatch"
	CodeMissingContentLengthHeader           = "MissingContentLengthHeader"
	CodeRequestBodyTooLarge                  = "RequestBodyTooLarge"
	CodeRequestEntityTooLarge                = "RequestEntityTooLarge"
	CodeInvalidRange                         = "InvalidRange"
	CodeTooManyRequests                      = "TooManyRequests"
	CodeInternalError                        = "InternalError"
	CodeOperationTimedOut                    = "OperationTimedOut"
	CodeNotImplemented                       = "NotImplemented"
	CodeServerBusy                           = "ServerBusy"
	CodeUnsupportedHttpVersion               = "UnsupportedHttpVersion"
)

// Codes of things that do not exist.
const (
	CodeAccountNotFound                = "AccountNotFound"
	CodePoolNotFound                   = "PoolNotFound"
	CodeJobNotFound                    = "JobNotFound"
	CodeTaskNotFound                   = "TaskNotFound"
	CodeNodeNotFound                   = "NodeNotFound"
	CodeJobScheduleNotFound            = "JobScheduleNotFound"
	CodeApplicationNotFound            = "ApplicationNotFound"
	CodeApplicationPackageNotFound     = "ApplicationPackageNotFound"
	CodeCertificateNotFound            = "CertificateNotFound"
	CodeNodeUserNotFound               = "NodeUserNotFound"
	CodeFileNotFound                   = "FileNotFound"
	CodePathNotFound                   = "PathNotFound"
	CodeOSVersionNotFound              = "OSVersionNotFound"
	CodeNodeAgentSKUNotFound           = "NodeAgentSKUNotFound"
	CodeStorageAccountNotFound         = "StorageAccountNotFound"
	CodeJobPreparationTaskNotRunOnNode = "JobPreparationTaskNotRunOnNode"
	CodeJobReleaseTaskNotRunOnNode     = "JobReleaseTaskNotRunOnNode"
)

// Codes of things whose state, or whose neighbours, forbid the request.
const (
	CodeAccountExists                       = "AccountExists"
	CodePoolExists                          = "PoolExists"
	CodeJobExists                           = "JobExists"
	CodeTaskExists                          = "TaskExists"
	CodeJobScheduleExists                   = "JobScheduleExists"
	CodeCertificateExists                   = "CertificateExists"
	CodeNodeUserExists                      = "NodeUserExists"
	CodeJobWithSameIdExists                 = "JobWithSameIdExists"
	CodeJobScheduleWithSameIdExists         = "JobScheduleWithSameIdExists"
	CodePoolBeingCreated                    = "PoolBeingCreated"
	CodePoolBeingDeleted                    = "PoolBeingDeleted"
	CodePoolBeingResized                    = "PoolBeingResized"
	CodePoolNotEligibleForOSVersionUpgrade  = "PoolNotEligibleForOSVersionUpgrade"
	CodePoolVersionEqualsUpgradeVersion     = "PoolVersionEqualsUpgradeVersion"
	CodeUpgradePoolVersionConflict          = "UpgradePoolVersionConflict"
	CodeJobBeingDeleted                     = "JobBeingDeleted"
	CodeJobBeingTerminated                  = "JobBeingTerminated"
	CodeJobCompleted                        = "JobCompleted"
	CodeJobNotActive                        = "JobNotActive"
	CodeJobDisabled                         = "JobDisabled"
	CodeJobPreparationTaskNotSpecified      = "JobPreparationTaskNotSpecified"
	CodeJobReleaseTaskNotSpecified          = "JobReleaseTaskNotSpecified"
	CodeJobScheduleBeingDeleted             = "JobScheduleBeingDeleted"
	CodeJobScheduleBeingTerminated          = "JobScheduleBeingTerminated"
	CodeJobScheduleCompleted                = "JobScheduleCompleted"
	CodeJobScheduleDisabled                 = "JobScheduleDisabled"
	CodeTaskCompleted                       = "TaskCompleted"
	CodeTaskNotCompleted                    = "TaskNotCompleted"
	CodeTaskSucceeded                       = "TaskSucceeded"
	CodeTaskIdSameAsJobPreparationTask      = "TaskIdSameAsJobPreparationTask"
	CodeTaskIdSameAsJobReleaseTask          = "TaskIdSameAsJobReleaseTask"
	CodeTaskFilesUnavailable                = "TaskFilesUnavailable"
	CodeTaskFilesCleanedup                  = "TaskFilesCleanedup"
	CodeNodeBeingCreated                    = "NodeBeingCreated"
	CodeNodeBeingStarted                    = "NodeBeingStarted"
	CodeNodeBeingRebooted                   = "NodeBeingRebooted"
	CodeNodeBeingReimaged                   = "NodeBeingReimaged"
	CodeNodeCountsMismatch                  = "NodeCountsMismatch"
	CodeNodeStateUnusable                   = "NodeStateUnusable"
	CodeNodeAlreadyInTargetSchedulingState  = "NodeAlreadyInTargetSchedulingState"
	CodeOperationInvalidForCurrentState     = "OperationInvalidForCurrentState"
	CodeOperationNotValidOnNode             = "OperationNotValidOnNode"
	CodeOperationNotValidOnPool             = "OperationNotValidOnPool"
	CodeInvalidApplicationPackageReferences = "InvalidApplicationPackageReferences"
	CodeInvalidCertificateReferences        = "InvalidCertificateReferences"
	CodeInvalidRestAPIForAccountSetting     = "InvalidRestAPIForAccountSetting"
	CodeCertificateBeingDeleted             = "CertificateBeingDeleted"
	CodeCertificateStateActive              = "CertificateStateActive"
	CodeCertificateDeleteFailed             = "CertificateDeleteFailed"
	CodePoolQuotaReached                    = "PoolQuotaReached"
	CodeActiveJobAndScheduleQuotaReached    = "ActiveJobAndScheduleQuotaReached"
	CodeTooManyEnableAutoScaleRequests      = "TooManyEnableAutoScaleRequests"
	CodeIOError                             = "IOError"
)

// Codes of values that a request must not have.
const (
	CodeOSVersionDisabled                 = "OSVersionDisabled"
	CodeOSVersionExpired                  = "OSVersionExpired"
	CodeTaskDependenciesNotSpecifiedOnJob = "TaskDependenciesNotSpecifiedOnJob"
	CodeTaskDependencyListTooLong         = "TaskDependencyListTooLong"
	CodeTaskDependencyRangesTooLong       = "TaskDependencyRangesTooLong"
	CodeAutoScalingFormulaSyntaxError     = "AutoScalingFormulaSyntaxError"
	CodeAutoScaleFormulaTooLong           = "AutoScaleFormulaTooLong"
	CodeAutoScalingFormulaTooLong         = "AutoScalingFormulaTooLong"
	CodeInvalidConstraintValue            = "InvalidConstraintValue"
	CodeUnsupportedConstraint             = "UnsupportedConstraint"
	CodeOutOfRangePriority                = "OutOfRangePriority"
)

// Codes in a task's failure information where whoever submitted the task is to act.
const (
	CodeBlobNotFound                   = "BlobNotFound"
	CodeBlobAccessDenied               = "BlobAccessDenied"
	CodeCommandProgramNotFound         = "CommandProgramNotFound"
	CodeCommandLaunchFailed            = "CommandLaunchFailed"
	CodeTaskEnded                      = "TaskEnded"
	CodeMaxInternalRetryCountReached   = "MaxInternalRetryCountReached"
	CodeTaskSchedulingConstraintFailed = "TaskSchedulingConstraintFailed"
	CodeFailureExitCode                = "FailureExitCode"
	CodeApplicationPackageError        = "ApplicationPackageError"
	CodeMountConfigurationError        = "MountConfigurationError" // of nodes
	CodeContainerInvalidImage          = "ContainerInvalidImage"
	CodeContainerInvalidRegistry       = "ContainerInvalidRegistry"
	CodeContainerInvalidSettings       = "ContainerInvalidSettings"
	CodeFileUploadContainerNotFound    = "FileUploadContainerNotFound"
	CodeFileUploadAccessDenied         = "FileUploadAccessDenied"
)

// Codes in a task's failure information where the service or its surroundings failed.
const (
	CodeBlobDownloadTimedOut          = "BlobDownloadTimedOut"
	CodeBlobDownloadMiscError         = "BlobDownloadMiscError"
	CodeResourceDirectoryCreateFailed = "ResourceDirectoryCreateFailed"
	CodeResourceFileCreateFailed      = "ResourceFileCreateFailed"
	CodeResourceFileWriteFailed       = "ResourceFileWriteFailed"
	CodeDiskFull                      = "DiskFull"
	CodeFileUploadMiscError           = "FileUploadMiscError"
	CodeContainerMiscError            = "ContainerMiscError"
)

// Codes in a pool's resize errors.
const (
	CodeAccountCoreQuotaReached = "AccountCoreQuotaReached"
	CodeAllocationFailed        = "AllocationFailed"
	CodeAllocationTimedout      = "AllocationTimedout"
	CodeRemoveNodesFailed       = "RemoveNodesFailed"
	CodeResizeStopped           = "ResizeStopped"
)

// Codes in a node's errors.
const (
	CodeContainerImagesFailed = "ContainerImagesFailed" // of its pool
)

// Codes in a job's scheduling error.
const (
	CodeAutoPoolCreationFailedWithQuotaReached        = "AutoPoolCreationFailedWithQuotaReached"
	CodeInvalidApplicationPackageReferencesInAutoPool = "InvalidApplicationPackageReferencesInAutoPool"
	CodeInvalidAutoScaleFormulaInAutoPool             = "InvalidAutoScaleFormulaInAutoPool"
	CodeInvalidCertificatesInAutoPool                 = "InvalidCertificatesInAutoPool"
	CodeInvalidAutoPoolSettings                       = "InvalidAutoPoolSettings"
)

// Codes in the last run of a pool's autoscale formula.
const (
	CodeInsufficientSampleData            = "InsufficientSampleData"
	CodeAutoScalingFormulaEvaluationError = "AutoScalingFormulaEvaluationError"
)

// CodeUnknown stands in failure information, resize errors and scheduling errors where nothing better is known.
const CodeUnknown = "Unknown"
