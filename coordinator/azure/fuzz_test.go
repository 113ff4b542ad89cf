package azure

import (
	"crypto/hmac"
	"crypto/sha256"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/stretchr/testify/require"
)

// FuzzSharedKey reads credentials, dates and requests of any kind: what was signed over one of the candidates is accepted, anything else is not.
func FuzzSharedKey(f *testing.F) {
	f.Add("a:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "Wed, 04 Mar 2026 05:06:07 GMT", "/jobs/a%2Fb", "api-version=2025-06-01&$filter=id%20eq%20'x'", "0")
	f.Add("", "", "/", "&&=&a=&%zz=+&A=1&a=2", "")
	f.Add("account:", "Wednesday", "/certificates(a=b)", strings.Repeat("a=1&", 70), "12")
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	key := []byte("key")
	f.Fuzz(func(t *testing.T, credentials, date, path, query, length string) {
		r := &http.Request{Method: http.MethodPost, Header: http.Header{}}
		r.URL = &url.URL{Path: "/", RawQuery: query}
		r.Header.Set("ocp-date", date)
		r.Header.Set("Date", date)
		r.Header.Set("Content-Length", length)
		if err := checkDate(r.Header, now); err != nil {
			require.Equal(t, 403, batcherr.From(err).HTTPStatus())
		}
		account, signature, err := parseCredentials(credentials)
		if err != nil {
			require.Equal(t, 400, batcherr.From(err).HTTPStatus())
			account, signature = "a", make([]byte, sha256.Size)
		}
		s := newSignedRequest(r, path, account)
		require.False(t, verifySharedKey(s, [][]byte{key}, signature), "nobody has the key")
		heads, resources := s.heads(), s.resources()
		for _, text := range []string{heads[0] + resources[0], heads[len(heads)-1] + resources[len(resources)-1]} {
			mac := hmac.New(sha256.New, key)
			mac.Write([]byte(text))
			require.Equal(t, !s.tooLong, verifySharedKey(s, [][]byte{[]byte("other"), key}, mac.Sum(nil)))
		}
	})
}

// FuzzRoute looks up any path: what leads nowhere is refused, and an id of any characters comes back as it was.
func FuzzRoute(f *testing.F) {
	f.Add("/jobs/a/tasks/b/files/wd%2Fc", "a b", "c/d")
	f.Add("/certificates(thumbprintAlgorithm=sha1,thumbprint='a')", "(", ")")
	f.Add("//pools///%zz", "..", "%2F")
	f.Add("/jobs/%00", "ü", "\xff")
	router := newRouter(Routes())
	f.Fuzz(func(t *testing.T, path, first, second string) {
		_, params, err := router.match(path)
		if err != nil {
			require.Equal(t, 400, batcherr.From(err).HTTPStatus())
		}
		for _, p := range params {
			require.True(t, utf8.ValidString(p.value) && !strings.Contains(p.value, "\x00"), "%q", p.value)
		}
		for _, id := range []string{first, second} {
			if id == "" || !utf8.ValidString(id) || strings.Contains(id, "\x00") {
				return
			}
		}
		b, params, err := router.match("/jobs/" + segment(first) + "/tasks/" + segment(second))
		require.NoError(t, err)
		require.NotNil(t, b)
		require.Equal(t, []param{{"jobId", first}, {"taskId", second}}, params)
	})
}
