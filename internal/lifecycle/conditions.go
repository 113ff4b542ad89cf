package lifecycle

import (
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// CheckConditions compares a call's preconditions with the version of the resource that it names. A failed one is ConditionNotMet: 412, or 304 where a
// read finds that nothing has changed. Dates are compared in whole seconds, as HTTP carries them.
func CheckConditions(c *apiv1.Conditions, etag string, modified *timestamppb.Timestamp, read bool) *batcherr.Error {
	if c == nil {
		return nil
	}
	set := 0
	for _, present := range []bool{c.IfMatch != "", c.IfNoneMatch != "", c.IfModifiedSince != nil, c.IfUnmodifiedSince != nil} {
		if present {
			set++
		}
	}
	if set > 1 {
		return batcherr.Of(batcherr.CodeMultipleConditionHeadersNotSupported)
	}
	at := modified.AsTime().Truncate(time.Second)
	switch {
	case c.IfMatch != "" && !matchesETag(c.IfMatch, etag),
		c.IfUnmodifiedSince != nil && at.After(c.IfUnmodifiedSince.AsTime()):
		return batcherr.Of(batcherr.CodeConditionNotMet)
	case c.IfNoneMatch != "" && matchesETag(c.IfNoneMatch, etag),
		c.IfModifiedSince != nil && !at.After(c.IfModifiedSince.AsTime()):
		if read {
			return batcherr.NotModified()
		}
		return batcherr.Of(batcherr.CodeConditionNotMet)
	}
	return nil
}

// matchesETag compares a header's ETag, quoted or not, or *.
func matchesETag(header, etag string) bool {
	header = strings.TrimSpace(header)
	return header == "*" || strings.Trim(strings.TrimPrefix(header, "W/"), `"`) == etag
}
