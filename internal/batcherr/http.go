package batcherr

import "net/http"

// HTTPStatus is the status that Azure Batch answers for the error's kind.
func (e *Error) HTTPStatus() int {
	switch e.Kind {
	case KindInvalid:
		return http.StatusBadRequest
	case KindUnauthenticated:
		return http.StatusUnauthorized
	case KindBadSignature, KindForbidden:
		return http.StatusForbidden
	case KindNotFound:
		return http.StatusNotFound
	case KindMethodNotAllowed:
		return http.StatusMethodNotAllowed
	case KindConflict:
		return http.StatusConflict
	case KindPrecondition:
		return http.StatusPreconditionFailed
	case KindNotModified:
		return http.StatusNotModified
	case KindMissingLength:
		return http.StatusLengthRequired
	case KindTooLarge:
		return http.StatusRequestEntityTooLarge
	case KindRangeNotSatisfiable:
		return http.StatusRequestedRangeNotSatisfiable
	case KindTooMany:
		return http.StatusTooManyRequests
	case KindUnavailable, KindCanceled:
		if e.Code == CodeNodeStateUnusable || e.Code == CodeTaskFilesUnavailable {
			// Over gRPC a node that is away is worth a repetition. The clients of Azure Batch would repeat a 503 for minutes.
			return http.StatusConflict
		}
		return http.StatusServiceUnavailable
	case KindNotImplemented:
		return http.StatusNotImplemented
	case KindHTTPVersion:
		return http.StatusHTTPVersionNotSupported
	default: // KindInternal, and KindTimeout, for which Azure answers 500 as well
		return http.StatusInternalServerError
	}
}
