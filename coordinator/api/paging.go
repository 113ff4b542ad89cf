package api

import (
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/batchyard/batchyard/coordinator/api/filter"
	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// Limits of one page of a list.
const (
	maxPage = 1000
	// maxPageBytes ends a page of large resources early: a message holds twice as much.
	maxPageBytes = 8 << 20
	// maxScan is how many resources are looked at for one page of a filtered list; what is found by then is the page.
	maxScan = 10_000
	// scanBatch is how many are taken from the state at once.
	scanBatch = 500
)

// Names of the query parameters of REST, which errors about lists carry.
const (
	queryMaxResults = "maxresults"
	querySkipToken  = "$skiptoken"
	queryFilter     = "$filter"
	querySelect     = "$select"
)

// listing is one call of a list.
type listing struct {
	size   int
	after  string // key of the last resource of the page before; empty: from the start
	filter *filter.Filter
	fields selection
	scope  [scopeSize]byte
}

const (
	tokenVersion = 1
	scopeSize    = 8
)

// newListing reads the options of a list of messages like desc. scope names the list: a page token of another list, or of another filter, is refused.
func newListing(opts *apiv1.ListOptions, desc protoreflect.MessageDescriptor, scope ...string) (*listing, error) {
	l := &listing{size: int(opts.GetPageSize()), scope: scopeOf(opts.GetFilter(), scope)}
	switch {
	case l.size == 0:
		l.size = maxPage
	case l.size < 0 || l.size > maxPage:
		return nil, batcherr.Of(batcherr.CodeOutOfRangeQueryParameterValue).
			With(batcherr.ValueQueryParameterName, queryMaxResults).
			With(batcherr.ValueQueryParameterValue, strconv.Itoa(l.size)).
			With(batcherr.ValueReason, "The number of results has to be from 1 to 1000.")
	}
	f, err := filter.Parse(opts.GetFilter())
	if err == nil {
		err = f.Check(desc)
	}
	if wrong, ok := filter.IsSyntax(err); ok {
		return nil, batcherr.InvalidQuery(queryFilter, opts.GetFilter(), wrong.Error())
	}
	if err != nil {
		return nil, err
	}
	l.filter = f
	if l.fields, err = newSelection(opts.GetSelect(), desc); err != nil {
		return nil, err
	}
	if opts.GetPageToken() != "" {
		if l.after, err = l.readToken(opts.GetPageToken()); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func scopeOf(filterText string, scope []string) (out [scopeSize]byte) {
	h := sha256.New()
	for _, s := range append(scope, filterText) {
		h.Write([]byte(strconv.Itoa(len(s)) + ":" + s))
	}
	copy(out[:], h.Sum(nil))
	return out
}

// token is the page token with which the list goes on after the resource with the key.
func (l *listing) token(key string) string {
	b := append([]byte{tokenVersion}, l.scope[:]...)
	return base64.RawURLEncoding.EncodeToString(append(b, key...))
}

func (l *listing) readToken(token string) (string, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) <= 1+scopeSize || b[0] != tokenVersion || [scopeSize]byte(b[1:]) != l.scope {
		return "", batcherr.InvalidQuery(querySkipToken, token, "The token is not of this list and filter.")
	}
	return string(b[1+scopeSize:]), nil
}

// item is a resource of a list as it is shown, and its place in the list.
type item[T proto.Message] struct {
	key   string
	shown T
}

// collect makes one page. next gives up to limit items after a key, fewer only at the end of the list.
func collect[T proto.Message](l *listing, next func(after string, limit int) ([]item[T], error)) (page []T, token string, err error) {
	after, bytes := l.after, 0
	for scanned := 0; ; {
		limit := l.size - len(page) + 1
		if l.filter != nil {
			limit = scanBatch
		}
		batch, err := next(after, limit)
		if err != nil {
			return nil, "", err
		}
		for _, it := range batch {
			if len(page) == l.size || bytes >= maxPageBytes {
				return page, l.token(after), nil
			}
			after = it.key
			if l.filter.Match(it.shown) {
				l.fields.apply(it.shown)
				page = append(page, it.shown)
				bytes += proto.Size(it.shown)
			}
		}
		scanned += len(batch)
		switch {
		case len(batch) < limit:
			return page, "", nil
		case scanned >= maxScan:
			return page, l.token(after), nil
		}
	}
}

// selection is the properties that a caller wants of a resource; nil: all.
type selection map[protoreflect.FieldNumber]bool

// newSelection reads property names as in REST, comma separated; of a path the first part counts. What identifies a resource and its version
// is always there.
func newSelection(text string, desc protoreflect.MessageDescriptor) (selection, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	s := selection{}
	for _, name := range []string{"id", "poolId", "name", "eTag", "lastModified"} {
		if fd := desc.Fields().ByJSONName(name); fd != nil {
			s[fd.Number()] = true
		}
	}
	for name := range strings.SplitSeq(text, ",") {
		name, _, _ = strings.Cut(strings.TrimSpace(name), "/")
		if name == "" {
			continue
		}
		fd := desc.Fields().ByJSONName(name)
		if fd == nil {
			return nil, batcherr.InvalidQuery(querySelect, name, "There is no such property.")
		}
		s[fd.Number()] = true
	}
	return s, nil
}

// apply removes from m, which nobody else may hold, what is not selected.
func (s selection) apply(m proto.Message) {
	if s == nil {
		return
	}
	r := m.ProtoReflect()
	r.Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if !s[fd.Number()] {
			r.Clear(fd)
		}
		return true
	})
}
