package azure

import (
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// ConditionSet says which conditional headers a route reads; others are ignored.
type ConditionSet uint8

// The sets that Azure Batch documents.
const (
	NoConditions   ConditionSet = iota
	AllConditions               // If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since
	DateConditions              // If-Modified-Since, If-Unmodified-Since
)

// readConditions reads the conditional headers; nil if there are none. ETags may be quoted or weak.
func readConditions(h http.Header, set ConditionSet) (*apiv1.Conditions, error) {
	if set == NoConditions {
		return nil, nil
	}
	c := &apiv1.Conditions{}
	count := 0
	if set == AllConditions {
		for name, field := range map[string]*string{"If-Match": &c.IfMatch, "If-None-Match": &c.IfNoneMatch} {
			text := h.Get(name)
			if text == "" {
				continue
			}
			if !utf8.ValidString(text) {
				return nil, batcherr.InvalidHeader(name, text)
			}
			count++
			*field = strings.Trim(strings.TrimPrefix(text, "W/"), `"`)
		}
	}
	for name, field := range map[string]**timestamppb.Timestamp{"If-Modified-Since": &c.IfModifiedSince, "If-Unmodified-Since": &c.IfUnmodifiedSince} {
		text := h.Get(name)
		if text == "" {
			continue
		}
		when, err := http.ParseTime(text)
		if err != nil {
			return nil, batcherr.InvalidHeader(name, text)
		}
		count++
		*field = timestamppb.New(when)
	}
	switch count {
	case 0:
		return nil, nil
	case 1:
		return c, nil
	default:
		return nil, batcherr.Of(batcherr.CodeMultipleConditionHeadersNotSupported)
	}
}

// checkDates applies the conditions on dates to a file, whose conditions the services do not know. Times compare in whole
// seconds, which is all that a header holds.
func checkDates(c *apiv1.Conditions, modified time.Time) error {
	modified = modified.Truncate(time.Second)
	if since := c.GetIfModifiedSince(); since != nil && !modified.After(since.AsTime()) {
		return batcherr.NotModified()
	}
	if since := c.GetIfUnmodifiedSince(); since != nil && modified.After(since.AsTime()) {
		return batcherr.Of(batcherr.CodeConditionNotMet)
	}
	return nil
}
