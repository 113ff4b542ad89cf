package azure

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
)

// dateWindow is how far a request's date may be from the clock.
const dateWindow = 15 * time.Minute

// The largest query that is verified, since strangers may send any; the candidates make the cost a multiple of it.
const (
	maxSignedQuery = 64 << 10 // bytes
	maxSignedPairs = 64
)

// parseCredentials splits "account:signature".
func parseCredentials(text string) (account string, signature []byte, err error) {
	account, encoded, _ := strings.Cut(text, ":")
	signature, decodeErr := base64.StdEncoding.Strict().DecodeString(encoded)
	if decodeErr != nil || len(signature) != sha256.Size || !lifecycle.ValidAccountID(account) {
		return "", nil, batcherr.Of(batcherr.CodeInvalidAuthenticationInfo)
	}
	return account, signature, nil
}

// checkDate checks ocp-date or, without it, Date.
func checkDate(h http.Header, now time.Time) error {
	text := h.Get("ocp-date")
	if text == "" {
		text = h.Get("Date")
	}
	if text == "" {
		return batcherr.BadSignature("The request needs an ocp-date or a Date header.")
	}
	when, err := http.ParseTime(text)
	if err != nil {
		return batcherr.BadSignature("The ocp-date or Date header is not a date of RFC 1123.")
	}
	if age := now.Sub(when).Abs(); age > dateWindow {
		return batcherr.BadSignature("The date of the request is more than 15 minutes from the service's, which is " +
			now.UTC().Format(http.TimeFormat) + ".")
	}
	return nil
}

// signedRequest holds the parts of a request that clients sign.
type signedRequest struct {
	method  string
	header  http.Header
	length  string // Content-Length as received; empty without one
	account string
	path    string
	query   []queryPair
	tooLong bool
}

type queryPair struct{ name, value string }

func newSignedRequest(r *http.Request, path, account string) *signedRequest {
	s := &signedRequest{method: r.Method, header: r.Header, length: r.Header.Get("Content-Length"), account: account, path: path}
	if s.length == "" && r.ContentLength > 0 {
		s.length = strconv.FormatInt(r.ContentLength, 10)
	}
	s.tooLong = len(r.URL.RawQuery) > maxSignedQuery || strings.Count(r.URL.RawQuery, "&") >= maxSignedPairs
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		if pair != "" && !s.tooLong {
			name, value, _ := strings.Cut(pair, "=")
			s.query = append(s.query, queryPair{name, value})
		}
	}
	return s
}

// verifySharedKey says whether the signature is one that some client would make for the request with one of the keys.
func verifySharedKey(s *signedRequest, keys [][]byte, signature []byte) bool {
	if s.tooLong {
		return false
	}
	resources := s.resources()
	for _, head := range s.heads() {
		for _, resource := range resources {
			text := []byte(head + resource)
			for _, key := range keys {
				mac := hmac.New(sha256.New, key)
				mac.Write(text)
				if hmac.Equal(mac.Sum(nil), signature) {
					return true
				}
			}
		}
	}
	return false
}

// heads are the candidates for what stands before the resource. Clients disagree on the length of an empty body and on
// whether the Date header counts.
func (s *signedRequest) heads() []string {
	lengths := []string{s.length}
	if s.length == "" || s.length == "0" {
		lengths = []string{"", "0"}
	}
	dates := []string{s.header.Get("Date")}
	if dates[0] != "" {
		dates = append(dates, "")
	}
	ocp := s.ocpHeaders()
	var heads []string
	for _, length := range lengths {
		for _, date := range dates {
			h := s.header
			heads = append(heads, strings.Join([]string{
				s.method, h.Get("Content-Encoding"), h.Get("Content-Language"), length, h.Get("Content-MD5"),
				h.Get("Content-Type"), date, h.Get("If-Modified-Since"), h.Get("If-Match"), h.Get("If-None-Match"),
				h.Get("If-Unmodified-Since"), h.Get("Range"), ocp,
			}, "\n"))
		}
	}
	return heads
}

// ocpHeaders is name:value for every ocp- header, in order of name, each with a line end.
func (s *signedRequest) ocpHeaders() string {
	var lines []string
	for name, values := range s.header {
		if name = strings.ToLower(name); strings.HasPrefix(name, "ocp-") && len(values) > 0 {
			lines = append(lines, name+":"+values[0]+"\n")
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// queryRules say how a client writes the query into what it signs.
type queryRules struct {
	lowerNames bool
	dropEmpty  bool
	joinValues bool // of repeated names, with a comma; otherwise the first counts
	plusIsPlus bool // a plus sign is not a blank
}

// resources are the candidates for the canonical resource, without repetitions.
func (s *signedRequest) resources() []string {
	var out []string
	for bits := range 16 {
		rules := queryRules{lowerNames: bits&1 != 0, dropEmpty: bits&2 != 0, joinValues: bits&4 != 0, plusIsPlus: bits&8 != 0}
		if text := "/" + s.account + s.path + s.canonicalQuery(rules); !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

func (s *signedRequest) canonicalQuery(rules queryRules) string {
	values := map[string]string{}
	names := make([]string, 0, len(s.query))
	for _, pair := range s.query {
		name, value := decodeQuery(pair.name, rules.plusIsPlus), decodeQuery(pair.value, rules.plusIsPlus)
		if rules.lowerNames {
			name = strings.ToLower(name)
		}
		if rules.dropEmpty && value == "" {
			continue
		}
		earlier, repeated := values[name]
		switch {
		case !repeated:
			values[name] = value
			names = append(names, name)
		case rules.joinValues:
			values[name] = earlier + "," + value
		}
	}
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		b.WriteString("\n" + name + ":" + values[name])
	}
	return b.String()
}

func decodeQuery(text string, plusIsPlus bool) string {
	decode := url.QueryUnescape
	if plusIsPlus {
		decode = url.PathUnescape
	}
	if plain, err := decode(text); err == nil {
		return plain
	}
	return text
}
