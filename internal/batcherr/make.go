package batcherr

import (
	"errors"
	"slices"
)

// Keys of the details that Azure Batch documents.
const (
	ValuePropertyName         = "PropertyName"
	ValuePropertyValue        = "PropertyValue"
	ValueReason               = "Reason"
	ValueHeaderName           = "HeaderName"
	ValueHeaderValue          = "HeaderValue"
	ValueQueryParameterName   = "QueryParameterName"
	ValueQueryParameterValue  = "QueryParameterValue"
	ValueAuthenticationDetail = "AuthenticationErrorDetail"
)

// Invalid is a request that is wrong in itself.
func Invalid(code, format string, args ...any) *Error { return New(KindInvalid, code, format, args...) }

// InvalidProperty refuses the value at path in the request's body and says why.
func InvalidProperty(path, value, reason string) *Error {
	return Of(CodeInvalidPropertyValue).
		With(ValuePropertyName, path).With(ValuePropertyValue, value).With(ValueReason, reason)
}

// MissingProperty says that the body lacks the property at path.
func MissingProperty(path string) *Error {
	return Of(CodeMissingRequiredProperty).With(ValuePropertyName, path)
}

// InvalidQuery refuses the value of a query parameter and says why.
func InvalidQuery(name, value, reason string) *Error {
	return Of(CodeInvalidQueryParameterValue).
		With(ValueQueryParameterName, name).With(ValueQueryParameterValue, value).With(ValueReason, reason)
}

// InvalidHeader refuses the value of a request header.
func InvalidHeader(name, value string) *Error {
	return Of(CodeInvalidHeaderValue).With(ValueHeaderName, name).With(ValueHeaderValue, value)
}

// MissingHeader says that the request lacks a header.
func MissingHeader(name string) *Error {
	return Of(CodeMissingRequiredHeader).With(ValueHeaderName, name)
}

// NotFound is a thing that does not exist, or that the caller must not learn of.
func NotFound(code, format string, args ...any) *Error {
	return New(KindNotFound, code, format, args...)
}

// Conflict is a thing whose state forbids the request.
func Conflict(code, format string, args ...any) *Error {
	return New(KindConflict, code, format, args...)
}

// Unauthenticated refuses a token or certificate; detail says why without repeating the secret.
func Unauthenticated(detail string) *Error {
	e := New(KindUnauthenticated, CodeAuthenticationFailed, "%s", messageOf(CodeAuthenticationFailed))
	return e.With(ValueAuthenticationDetail, detail)
}

// BadSignature refuses a shared-key signature; detail says why.
func BadSignature(detail string) *Error {
	return Of(CodeAuthenticationFailed).With(ValueAuthenticationDetail, detail)
}

// Forbidden says that a known caller lacks the right to do it.
func Forbidden(format string, args ...any) *Error {
	return New(KindForbidden, CodeInsufficientAccountPermissions, format, args...)
}

// NotModified answers a conditional read that finds nothing new.
func NotModified() *Error {
	return New(KindNotModified, CodeConditionNotMet, "%s", messageOf(CodeConditionNotMet))
}

// Unavailable says that nobody can serve the request now.
func Unavailable(format string, args ...any) *Error {
	return New(KindUnavailable, CodeServerBusy, format, args...)
}

// Internal is a fault of ours; cause is for the log.
func Internal(cause error) *Error { return Of(CodeInternalError).Wrap(cause) }

// NotImplemented says what is not offered.
func NotImplemented(format string, args ...any) *Error {
	return New(KindNotImplemented, CodeNotImplemented, format, args...)
}

// Under says of an error about a property that the property lies below path.
func Under(path string, err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	out := *e
	out.Values = slices.Clone(e.Values)
	for i, v := range out.Values {
		if v.Key == ValuePropertyName {
			out.Values[i].Value = clip(path+"."+v.Value, MaxValue)
		}
	}
	return &out
}
