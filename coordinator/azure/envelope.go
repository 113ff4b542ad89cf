package azure

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const jsonType = "application/json;odata=minimalmetadata"

// header sets a header as spelled here; net/http would change the case of Azure Batch's.
func (c *call) header(name, value string) { c.w.Header()[name] = []string{value} }

// begin sends the status and the headers that every answer has.
func (c *call) begin(status int) {
	c.started = true
	c.header("request-id", c.id)
	if id := c.r.Header.Get("client-request-id"); id != "" && len(id) <= 256 && strings.EqualFold(c.r.Header.Get("return-client-request-id"), "true") {
		c.header("client-request-id", id)
	}
	c.header("DataServiceVersion", "3.0")
	c.header("X-Content-Type-Options", "nosniff")
	c.w.WriteHeader(status)
}

// versioned is a resource with an ETag.
type versioned interface {
	GetETag() string
	GetLastModified() *timestamppb.Timestamp
}

func (c *call) stamp(etag string, modified *timestamppb.Timestamp) {
	if etag != "" {
		c.header("ETag", etag)
	}
	if modified != nil {
		c.header("Last-Modified", modified.AsTime().UTC().Format(http.TimeFormat))
	}
}

// written answers a change: the new ETag, and the resource's address for creates.
func (c *call) written(w *apiv1.Written, location string) error {
	c.stamp(w.GetEtag(), w.GetLastModified())
	if location != "" {
		c.header("Location", location)
		c.header("DataServiceId", location)
	} else {
		c.header("DataServiceId", c.base+c.path)
	}
	c.begin(c.route.Status)
	return nil
}

// deleted answers a delete, which has no headers of its own.
func (c *call) deleted() error {
	c.begin(c.route.Status)
	return nil
}

// exists answers a HEAD on a resource.
func (c *call) exists(v versioned) error {
	c.stamp(v.GetETag(), v.GetLastModified())
	c.begin(c.route.Status)
	return nil
}

// entity answers one item of an entity set.
func (c *call) entity(set string, m proto.Message, selected *selection) error {
	if v, ok := m.(versioned); ok {
		c.stamp(v.GetETag(), v.GetLastModified())
	}
	return c.result(set+"/@Element", m, selected)
}

// result answers a message of the given metadata fragment.
func (c *call) result(metadata string, m proto.Message, selected *selection) error {
	e := c.encoder()
	buf := c.metadata(make([]byte, 0, 2048), metadata)
	buf = e.members(buf, m.ProtoReflect(), c.codec.table(m), selected)
	return c.json(c.route.Status, append(buf, '}'))
}

// list answers a page of items. A token makes a link to the next page with all other options of this one.
func list[M proto.Message](c *call, e *encoder, set string, items []M, l *listing, token string) error {
	buf := c.metadata(make([]byte, 0, 256+1024*len(items)), set)
	buf = append(appendName(buf, "value"), '[')
	for i, m := range items {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = e.object(buf, m, l.selected)
	}
	buf = append(buf, ']')
	if token != "" {
		buf = appendText(appendName(buf, "odata.nextLink"), c.nextLink(token))
	}
	return c.json(c.route.Status, append(buf, '}'))
}

// encoder writes for the call's api-version, with links below its base.
func (c *call) encoder() *encoder {
	return &encoder{codec: c.codec, version: c.version, links: links{base: c.base, job: c.param("jobId"), pool: c.param("poolId")}}
}

func (c *call) metadata(buf []byte, fragment string) []byte {
	return appendText(appendName(append(buf, '{'), "odata.metadata"), c.base+"/$metadata#"+fragment)
}

func (c *call) nextLink(token string) string {
	var b strings.Builder
	b.WriteString(c.base + c.path + "?")
	for pair := range strings.SplitSeq(c.r.URL.RawQuery, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(name); pair == "" || err == nil && strings.EqualFold(plain, "$skiptoken") {
			continue
		}
		b.WriteString(pair + "&")
	}
	b.WriteString("$skiptoken=" + url.QueryEscape(token))
	return b.String()
}

func (c *call) json(status int, body []byte) error {
	c.header("Content-Type", jsonType)
	c.header("Content-Length", strconv.Itoa(len(body)))
	c.begin(status)
	_, _ = c.w.Write(body) // an error means that the client has gone
	return nil
}

// fail answers err as a BatchError.
func (c *call) fail(err error) {
	e := batcherr.FromGRPC(err)
	status := e.HTTPStatus()
	c.log(e, status)
	if c.started {
		panic(http.ErrAbortHandler) // the client must not take what it got for the whole
	}
	switch status {
	case http.StatusUnauthorized:
		c.header("WWW-Authenticate", `Bearer realm="batch"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		c.header("Retry-After", "1")
	case http.StatusRequestEntityTooLarge:
		c.header("Connection", "close") // the rest of the body is not read
	}
	if c.r.Method == head || status == http.StatusNotModified {
		c.begin(status)
		return
	}
	buf := c.metadata(make([]byte, 0, 512), "Microsoft.Azure.Batch.Protocol.Entities.Container.errors/@Element")
	buf = c.appendError(buf, e)
	_ = c.json(status, append(buf, '}'))
}

// WriteError answers err as a BatchError, for whoever stands before the handler that New returns.
func WriteError(w http.ResponseWriter, err error) {
	config := Config{Now: time.Now, Logger: slog.New(slog.DiscardHandler)}
	c := &call{server: &server{config: config}, w: w, r: &http.Request{}, id: newGUID()}
	c.fail(err)
}

// appendError appends the members of a BatchError.
func (c *call) appendError(buf []byte, e *batcherr.Error) []byte {
	text := e.Message + "\nRequestId:" + c.id + "\nTime:" + c.config.Now().UTC().Format("2006-01-02T15:04:05.0000000Z")
	buf = appendText(appendName(buf, "code"), e.Code)
	buf = append(appendName(buf, "message"), '{')
	buf = appendText(appendName(buf, "lang"), "en-US")
	buf = append(appendText(appendName(buf, "value"), text), '}')
	if len(e.Values) == 0 {
		return buf
	}
	buf = append(appendName(buf, "values"), '[')
	for i, v := range e.Values {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = appendText(appendName(append(buf, '{'), "key"), v.Key)
		buf = append(appendText(appendName(buf, "value"), v.Value), '}')
	}
	return append(buf, ']')
}

func (c *call) log(e *batcherr.Error, status int) {
	level := slog.LevelDebug
	if status >= 500 && !errors.Is(c.r.Context().Err(), context.Canceled) {
		level = slog.LevelError
	}
	c.config.Logger.Log(c.r.Context(), level, "request failed", "request_id", c.id, "method", c.r.Method,
		"path", c.path, "status", status, "error", e)
}

// httpTime is when a resource changed, in a header's form.
func httpTime(t time.Time) string { return t.UTC().Format(http.TimeFormat) }
