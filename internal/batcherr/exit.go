package batcherr

// Exit codes of the command line, a promise to scripts.
const (
	ExitOK           = 0
	ExitFailure      = 1 // anything that has no code of its own
	ExitInvalid      = 2 // wrong usage or input
	ExitNotFound     = 3
	ExitConflict     = 4 // it exists already, or its state forbids the request
	ExitUnauthorized = 5 // not known or not allowed
	ExitUnavailable  = 6 // no connection, or nobody can serve it now
	ExitTimeout      = 7
)

// ExitCode is the exit code for err, which may be any error, also one straight from a gRPC call.
func ExitCode(err error) int {
	if err == nil {
		return ExitOK
	}
	switch FromGRPC(err).Kind {
	case KindInvalid, KindMissingLength, KindTooLarge, KindRangeNotSatisfiable:
		return ExitInvalid
	case KindNotFound:
		return ExitNotFound
	case KindConflict, KindPrecondition:
		return ExitConflict
	case KindUnauthenticated, KindBadSignature, KindForbidden:
		return ExitUnauthorized
	case KindUnavailable, KindTooMany:
		return ExitUnavailable
	case KindTimeout:
		return ExitTimeout
	default:
		return ExitFailure
	}
}
