package batcherr

import (
	"errors"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// domain marks the details as ours.
const domain = "batchyard"

// kindKey is where the ErrorInfo's metadata holds the kind, which is finer than gRPC's codes.
const kindKey = "kind"

// GRPCStatus gives grpc-go the status to send: an ErrorInfo with the code and kind, and the values as field violations,
// since an ErrorInfo's own metadata is a map and loses their order. The cause stays here.
func (e *Error) GRPCStatus() *status.Status {
	st := status.New(e.grpcCode(), e.Message)
	info := &errdetails.ErrorInfo{Reason: e.Code, Domain: domain, Metadata: map[string]string{kindKey: e.Kind.String()}}
	fields := &errdetails.BadRequest{}
	for _, v := range e.Values {
		fields.FieldViolations = append(fields.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: v.Key, Description: v.Value})
	}
	with, err := st.WithDetails(info, fields)
	if err != nil { // only for texts that are not UTF-8, which a literal Error may hold
		return st
	}
	return with
}

// FromGRPC gives back the Error that a call of ours returned. A status that is not ours, such as a broken connection,
// becomes an Error of the nearest kind with err as its cause; a nil err gives nil.
func FromGRPC(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	// Not status.FromError, which puts what the error was wrapped in into the message.
	var carrier interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &carrier) {
		return From(err)
	}
	st := carrier.GRPCStatus()
	var values []Value
	for _, detail := range st.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() != domain {
				continue
			}
			kind, known := parseKind(d.GetMetadata()[kindKey])
			if !known {
				kind = kindOfGRPC(st.Code())
			}
			e = &Error{Kind: kind, Code: d.GetReason(), Message: clip(st.Message(), MaxMessage)}
		case *errdetails.BadRequest:
			for _, f := range d.GetFieldViolations() {
				values = append(values, Value{Key: f.GetField(), Value: f.GetDescription()})
			}
		}
	}
	if e == nil {
		kind := kindOfGRPC(st.Code())
		return New(kind, codeOf(kind), "%s", st.Message()).Wrap(err)
	}
	e.Values = values
	return e
}

func (e *Error) grpcCode() codes.Code {
	switch e.Kind {
	case KindInvalid, KindMissingLength, KindTooLarge:
		return codes.InvalidArgument
	case KindUnauthenticated, KindBadSignature:
		return codes.Unauthenticated
	case KindForbidden:
		return codes.PermissionDenied
	case KindNotFound:
		return codes.NotFound
	case KindConflict:
		return codes.FailedPrecondition
	case KindPrecondition, KindNotModified:
		return codes.Aborted
	case KindRangeNotSatisfiable:
		return codes.OutOfRange
	case KindTooMany:
		return codes.ResourceExhausted
	case KindUnavailable:
		return codes.Unavailable
	case KindTimeout:
		return codes.DeadlineExceeded
	case KindCanceled:
		return codes.Canceled
	case KindNotImplemented, KindMethodNotAllowed, KindHTTPVersion:
		return codes.Unimplemented
	default:
		return codes.Internal
	}
}

func kindOfGRPC(code codes.Code) Kind {
	switch code {
	case codes.InvalidArgument:
		return KindInvalid
	case codes.Unauthenticated:
		return KindUnauthenticated
	case codes.PermissionDenied:
		return KindForbidden
	case codes.NotFound:
		return KindNotFound
	case codes.AlreadyExists, codes.FailedPrecondition:
		return KindConflict
	case codes.Aborted:
		return KindPrecondition
	case codes.OutOfRange:
		return KindRangeNotSatisfiable
	case codes.ResourceExhausted:
		return KindTooMany
	case codes.Unavailable:
		return KindUnavailable
	case codes.DeadlineExceeded:
		return KindTimeout
	case codes.Canceled:
		return KindCanceled
	case codes.Unimplemented:
		return KindNotImplemented
	default:
		return KindInternal
	}
}

// codeOf is the general code of a kind, for statuses that bring none.
func codeOf(kind Kind) string {
	switch kind {
	case KindInvalid:
		return CodeInvalidInput
	case KindUnauthenticated:
		return CodeAuthenticationFailed
	case KindForbidden:
		return CodeInsufficientAccountPermissions
	case KindNotFound:
		return CodeResourceNotFound
	case KindConflict:
		return CodeOperationInvalidForCurrentState
	case KindPrecondition:
		return CodeConditionNotMet
	case KindRangeNotSatisfiable:
		return CodeInvalidRange
	case KindTooMany:
		return CodeTooManyRequests
	case KindUnavailable:
		return CodeServerBusy
	case KindTimeout, KindCanceled:
		return CodeOperationTimedOut
	case KindNotImplemented:
		return CodeNotImplemented
	default:
		return CodeInternalError
	}
}
