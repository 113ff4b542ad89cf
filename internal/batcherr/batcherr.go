// Package batcherr is the one error type of Batchyard, with Azure Batch's code strings and its mappings to gRPC, HTTP and exit codes.
package batcherr

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"unicode/utf8"
)

// Longest texts, in bytes, that an Error carries; longer ones are cut, since messages travel in gRPC trailers and HTTP
// reason phrases and often quote what a stranger sent.
const (
	MaxMessage = 4096
	MaxValue   = 1024
)

// Value is one detail of an error, such as PropertyName or Reason; their order is part of the answer.
type Value struct{ Key, Value string }

// Error says what went wrong in words that programs (Kind, Code, Values) and people (Message) understand. The cause is
// for logs only: it never leaves the process. An Error is not changed once made, so it may be shared.
type Error struct {
	Kind    Kind
	Code    string
	Message string
	Values  []Value
	cause   error
}

// New makes an error of a kind with a code and a formatted message.
func New(kind Kind, code, format string, args ...any) *Error {
	return &Error{Kind: kind, Code: code, Message: clip(fmt.Sprintf(format, args...), MaxMessage)}
}

// Of makes the documented error of a code, with the kind and the message that Azure Batch gives it. A code outside the
// catalogue is an internal error.
func Of(code string) *Error {
	return &Error{Kind: KindOf(code), Code: code, Message: messageOf(code)}
}

// With returns a copy with one more detail.
func (e *Error) With(key, value string) *Error {
	out := *e
	out.Values = append(slices.Clip(slices.Clone(e.Values)), Value{Key: clip(key, MaxValue), Value: clip(value, MaxValue)})
	return &out
}

// Wrap returns a copy that keeps cause for logs, errors.Is and errors.As.
func (e *Error) Wrap(cause error) *Error {
	out := *e
	out.cause = cause
	return &out
}

// Value returns the first detail under key.
func (e *Error) Value(key string) (string, bool) {
	for _, v := range e.Values {
		if v.Key == key {
			return v.Value, true
		}
	}
	return "", false
}

// Error gives the code and message, then the cause: a text for logs. Show people Message and Values.
func (e *Error) Error() string {
	text := e.Code + ": " + e.Message
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// Is matches another Error of the same kind and code, so that errors.Is(err, Of(CodeJobNotFound)) works.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Kind == e.Kind && other.Code == e.Code
}

// LogValue gives a log record the fields apart.
func (e *Error) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("kind", e.Kind.String()), slog.String("code", e.Code), slog.String("message", e.Message)}
	for _, v := range e.Values {
		attrs = append(attrs, slog.String(v.Key, v.Value))
	}
	if e.cause != nil {
		attrs = append(attrs, slog.String("cause", e.cause.Error()))
	}
	return slog.GroupValue(attrs...)
}

// From turns any error into an Error: one found in its chain as it is, the end of a context as a timeout or
// cancellation, everything else as an internal error that keeps err as its cause and tells the caller nothing of it.
// From(nil) is nil.
func From(err error) *Error {
	var e *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return Of(CodeOperationTimedOut).Wrap(err)
	case errors.Is(err, context.Canceled):
		return New(KindCanceled, CodeOperationTimedOut, "The request was canceled by the client.").Wrap(err)
	default:
		return Of(CodeInternalError).Wrap(err)
	}
}

// HasCode reports whether err carries an Error with one of the codes.
func HasCode(err error, codes ...string) bool {
	var e *Error
	return errors.As(err, &e) && slices.Contains(codes, e.Code)
}

// HasKind reports whether err carries an Error of the kind.
func HasKind(err error, kind Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == kind
}

// clip makes s valid UTF-8, which gRPC details demand, of at most limit bytes.
func clip(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= limit {
		return s
	}
	const more = "…"
	cut := limit - len(more)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + more
}
