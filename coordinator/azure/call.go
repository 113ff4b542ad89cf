package azure

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/batchyard/batchyard/coordinator/api/filter"
	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"google.golang.org/protobuf/proto"
)

// call is one request and the answer to it.
type call struct {
	*server
	w          http.ResponseWriter
	r          *http.Request
	id         string // of the request
	base       string
	path       string // as the client sent it
	route      *Route
	params     []param
	query      url.Values // names in lower case
	version    string
	conditions *apiv1.Conditions
	started    bool // the answer has begun
}

func newCall(s *server, w http.ResponseWriter, r *http.Request) *call {
	return &call{server: s, w: w, r: r, id: newGUID(), base: s.config.BaseURL(r), path: rawPath(r)}
}

func newGUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// rawPath is the path of the request line, neither decoded nor cleaned.
func rawPath(r *http.Request) string {
	target := r.RequestURI
	if target == "" {
		target = r.URL.EscapedPath() // not from a connection
	}
	if _, rest, ok := strings.Cut(target, "://"); ok {
		slash := strings.IndexByte(rest, '/')
		if slash < 0 {
			return "/"
		}
		target = rest[slash:]
	}
	path, _, _ := strings.Cut(target, "?")
	return path
}

// param is a value from the path.
type param struct{ name, value string }

func (c *call) param(name string) string {
	for _, p := range c.params {
		if p.name == name {
			return p.value
		}
	}
	return ""
}

// readQuery reads the query and the api-version in it.
func (c *call) readQuery() error {
	values, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return batcherr.Of(batcherr.CodeRequestUrlFailedToParse).Wrap(err)
	}
	c.query = make(url.Values, len(values))
	for name, list := range values {
		if !utf8.ValidString(name) || !utf8.ValidString(strings.Join(list, "")) {
			return batcherr.Of(batcherr.CodeRequestUrlFailedToParse).With(batcherr.ValueReason, "The query is not UTF-8.")
		}
		name = strings.ToLower(name)
		c.query[name] = append(c.query[name], list...)
	}
	c.version = c.query.Get("api-version")
	return checkVersion(c.version)
}

func (c *call) timeout() (time.Duration, error) {
	text := c.query.Get("timeout")
	if text == "" {
		return defaultTimeout, nil
	}
	seconds, err := strconv.ParseInt(text, 10, 32)
	if err != nil || seconds <= 0 {
		return 0, batcherr.InvalidQuery("timeout", text, "Must be a number of seconds.")
	}
	return min(time.Duration(seconds)*time.Second, defaultTimeout), nil
}

// flag reads a boolean of the query.
func (c *call) flag(name string) (bool, error) {
	switch text := c.query.Get(name); {
	case text == "" || strings.EqualFold(text, "false"):
		return false, nil
	case strings.EqualFold(text, "true"):
		return true, nil
	default:
		return false, batcherr.InvalidQuery(name, text, "Must be true or false.")
	}
}

const (
	maxPageSize = 1000
	expandStats = "stats"
	// expandExplain is this system's own: why a task waits.
	expandExplain = "explain"
)

// listing is what a list request asks for.
type listing struct {
	options  *apiv1.ListOptions
	selected *selection
	filter   *filter.Filter
}

// listing reads the options of a list of items like item.
func (c *call) listing(item proto.Message) (*listing, error) {
	l := &listing{options: &apiv1.ListOptions{PageToken: c.query.Get("$skiptoken"), Filter: c.query.Get("$filter")}}
	if text := c.query.Get("maxresults"); text != "" {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return nil, batcherr.InvalidQuery("maxresults", text, "Must be a number.")
		}
		if n < 1 || n > maxPageSize {
			return nil, batcherr.Of(batcherr.CodeOutOfRangeQueryParameterValue).
				With(batcherr.ValueQueryParameterName, "maxresults").With(batcherr.ValueQueryParameterValue, text).
				With("MinimumAllowed", "1").With("MaximumAllowed", strconv.Itoa(maxPageSize))
		}
		l.options.PageSize = int32(n)
	}
	var err error
	if l.filter, err = filter.Parse(l.options.Filter); err == nil {
		err = l.filter.Check(item.ProtoReflect().Descriptor())
	}
	if err != nil {
		return nil, batcherr.InvalidQuery("$filter", l.options.Filter, err.Error())
	}
	if l.selected, err = c.selection(item); err != nil {
		return nil, err
	}
	l.options.Select = l.selected.forServices(c.codec.table(item))
	var more []string
	if _, ok := item.(*apiv1.Task); ok {
		more = append(more, expandExplain)
	}
	l.options.Expand, err = c.expand(more...)
	return l, err
}

func (c *call) selection(item proto.Message) (*selection, error) {
	return parseSelect(c.query.Get("$select"), c.codec.table(item))
}

// expand reads $expand, of which only stats has a meaning, and what more is named.
func (c *call) expand(more ...string) (string, error) {
	text := c.query.Get("$expand")
	var known []string
	for name := range strings.SplitSeq(text, ",") {
		switch name = strings.ToLower(strings.TrimSpace(name)); name {
		case "":
		case expandStats:
			known = append(known, name)
		default:
			if !slices.Contains(more, name) {
				return "", batcherr.InvalidQuery("$expand", text, "Only "+strings.Join(append([]string{expandStats}, more...), " and ")+" can be expanded.")
			}
			known = append(known, name)
		}
	}
	return strings.Join(known, ","), nil
}

// read decodes the body, which may be absent if optional; it returns the lists that were given empty.
func (c *call) read(m proto.Message, s *shape, optional bool) ([]string, error) {
	if c.r.ContentLength > int64(c.config.Limits.Body) {
		return nil, errBodyTooLarge(c.config.Limits.Body)
	}
	d := newDecoder(c.r.Body, c.version, c.config.Limits)
	err := d.decode(m, s, optional)
	return d.cleared, err
}

// recovered turns a panic into an answer.
func (c *call) recovered() {
	p := recover()
	err, _ := p.(error)
	switch {
	case p == nil:
	case errors.Is(err, http.ErrAbortHandler):
		panic(p)
	case c.started:
		c.config.Logger.Error("request panicked after its answer began", "request_id", c.id, "panic", p)
		panic(http.ErrAbortHandler)
	default:
		c.config.Logger.Error("request panicked", "request_id", c.id, "panic", p)
		c.fail(batcherr.Of(batcherr.CodeInternalError))
	}
}

// handler carries out a call that is authenticated and whose query and conditions are read.
type handler func(context.Context, *call) error
