package batcherr

// Kind is what sort of failure an error is; every mapping to a protocol goes by it.
type Kind uint8

// The kinds. KindInternal is the zero value, so that a forgotten kind is not shown as the caller's fault.
const (
	KindInternal            Kind = iota
	KindInvalid                  // the request is wrong in itself
	KindUnauthenticated          // no valid token or certificate: the caller may try another
	KindBadSignature             // a shared-key signature that does not verify: Azure answers 403, not 401
	KindForbidden                // known caller, not allowed
	KindNotFound                 // no such thing, or none that this caller may know of
	KindMethodNotAllowed         // the resource has no such verb
	KindConflict                 // the thing's state forbids it
	KindPrecondition             // a condition of a write, or of a read, is not met
	KindNotModified              // a conditional read finds nothing new
	KindMissingLength            // a body without Content-Length
	KindTooLarge                 // a body or list over its limit
	KindRangeNotSatisfiable      // a range outside the file
	KindTooMany                  // a rate limit: try later
	KindUnavailable              // nobody can serve it now: try later
	KindTimeout                  // it took too long; it may have happened
	KindCanceled                 // the caller went away
	KindNotImplemented           // not offered here
	KindHTTPVersion              // the HTTP version is not spoken
	kindCount
)

var kindNames = [kindCount]string{
	KindInternal:            "internal",
	KindInvalid:             "invalid",
	KindUnauthenticated:     "unauthenticated",
	KindBadSignature:        "bad-signature",
	KindForbidden:           "forbidden",
	KindNotFound:            "not-found",
	KindMethodNotAllowed:    "method-not-allowed",
	KindConflict:            "conflict",
	KindPrecondition:        "precondition",
	KindNotModified:         "not-modified",
	KindMissingLength:       "missing-length",
	KindTooLarge:            "too-large",
	KindRangeNotSatisfiable: "range-not-satisfiable",
	KindTooMany:             "too-many",
	KindUnavailable:         "unavailable",
	KindTimeout:             "timeout",
	KindCanceled:            "canceled",
	KindNotImplemented:      "not-implemented",
	KindHTTPVersion:         "http-version",
}

// String is the kind's name, as it is written on the wire between our own programs.
func (k Kind) String() string {
	if k >= kindCount {
		return kindNames[KindInternal]
	}
	return kindNames[k]
}

func parseKind(name string) (Kind, bool) {
	for k, n := range kindNames {
		if n == name {
			return Kind(k), true
		}
	}
	return KindInternal, false
}

// Temporary reports whether the same request may succeed later without anyone changing anything.
func (k Kind) Temporary() bool {
	return k == KindTooMany || k == KindUnavailable || k == KindTimeout
}
