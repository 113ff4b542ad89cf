package azure

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/batchyard/batchyard/internal/batcherr"
)

// Route is one operation of the API.
type Route struct {
	Operation string // name in the 2025-06-01 contract, or in the last one that had it
	Track1    string // name in the first generation of Python clients; empty if they lack it
	Method    string
	// Pattern has {names} for path segments; {name...} takes the rest of the path.
	Pattern    string
	Status     int // on success
	Conditions ConditionSet
	Since      string // first api-version that has the route; empty: all
	Until      string // first api-version without it; empty: none
	streams    bool   // no time limit on the whole
	handle     handler
}

func (r *Route) in(version string) bool {
	return (r.Since == "" || version >= r.Since) && (r.Until == "" || version < r.Until)
}

// router finds routes by path segments, decoded one by one, so that an encoded slash stays within its segment.
type router struct {
	root *branch
}

// branch is what may follow a path so far.
type branch struct {
	static  map[string]*branch
	keyed   map[string]*branch // name( ... ) segments
	any     *branch
	name    string // of the value that any takes
	rest    bool   // any takes all that follows
	methods map[string]*Route
}

func newRouter(routes []Route) *router {
	root := &branch{}
	for i := range routes {
		r := &routes[i]
		b := root
		for segment := range strings.SplitSeq(strings.TrimPrefix(r.Pattern, "/"), "/") {
			b = b.grow(segment)
		}
		if b.methods == nil {
			b.methods = map[string]*Route{}
		}
		b.methods[r.Method] = r
	}
	return &router{root: root}
}

func (b *branch) grow(segment string) *branch {
	into := &b.static
	if name, _, keyed := strings.Cut(segment, "("); keyed {
		into, segment = &b.keyed, name
	} else if strings.HasPrefix(segment, "{") {
		if b.any == nil {
			b.any = &branch{}
			name := strings.Trim(segment, "{}")
			b.name, b.rest = strings.CutSuffix(name, "...")
		}
		return b.any
	}
	if *into == nil {
		*into = map[string]*branch{}
	}
	if (*into)[segment] == nil {
		(*into)[segment] = &branch{}
	}
	return (*into)[segment]
}

// route fills in the call's route and parameters.
func (rt *router) route(c *call) error {
	b, params, err := rt.match(c.path)
	if err != nil {
		return err
	}
	if b == nil || b.methods == nil {
		return batcherr.Of(batcherr.CodeResourceNotFound)
	}
	c.params = params
	if c.route = b.methods[c.r.Method]; c.route != nil {
		return nil
	}
	allowed := make([]string, 0, len(b.methods))
	for method := range b.methods {
		allowed = append(allowed, method)
	}
	slices.Sort(allowed)
	c.w.Header().Set("Allow", strings.Join(allowed, ", "))
	return batcherr.Of(batcherr.CodeUnsupportedHttpVerb)
}

// match walks a path as sent; a nil branch means that it leads nowhere.
func (rt *router) match(path string) (*branch, []param, error) {
	raw := strings.TrimSuffix(strings.TrimLeft(path, "/"), "/")
	b := rt.root
	var params []param
	for raw != "" && b != nil {
		var segment string
		if b.any != nil && b.rest {
			segment, raw = raw, ""
		} else {
			segment, raw, _ = strings.Cut(raw, "/")
		}
		text, err := url.PathUnescape(segment)
		if err != nil || !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0 {
			return nil, nil, batcherr.Of(batcherr.CodeInvalidUri)
		}
		name, key, keyed := strings.Cut(text, "(")
		switch {
		case b.static[text] != nil:
			b = b.static[text]
		case keyed && b.keyed[name] != nil && strings.HasSuffix(key, ")"):
			params = append(params, keyParams(strings.TrimSuffix(key, ")"))...)
			b = b.keyed[name]
		case b.any != nil && text != "":
			params = append(params, param{b.name, text})
			b = b.any
		default:
			return nil, nil, nil
		}
	}
	return b, params, nil
}

// keyParams reads an OData key: name=value,name=value, the values quoted or not.
func keyParams(key string) []param {
	var params []param
	for pair := range strings.SplitSeq(key, ",") {
		name, value, _ := strings.Cut(pair, "=")
		params = append(params, param{strings.TrimSpace(name), strings.Trim(strings.TrimSpace(value), "'")})
	}
	return params
}

// Routes lists every operation, those of 2025-06-01 first.
func Routes() []Route {
	return slices.Concat(applicationRoutes(), poolRoutes(), jobRoutes(), scheduleRoutes(), taskRoutes(), nodeRoutes(), olderRoutes())
}

const (
	get      = http.MethodGet
	head     = http.MethodHead
	post     = http.MethodPost
	put      = http.MethodPut
	patch    = http.MethodPatch
	remove   = http.MethodDelete
	ok       = http.StatusOK
	created  = http.StatusCreated
	accepted = http.StatusAccepted
	empty    = http.StatusNoContent
)
