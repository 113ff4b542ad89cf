package azure_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/batchyard/batchyard/coordinator/azure"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/stretchr/testify/require"
)

func TestAuthFailures(t *testing.T) {
	h := newHarness(t)
	for _, c := range []struct {
		name    string
		headers []string
		status  int
		code    string
	}{
		{"none", []string{"Authorization", "none"}, 400, "MissingRequiredHeader"},
		{"scheme", []string{"Authorization", "Basic abc"}, 400, "InvalidAuthenticationInfo"},
		{"no credentials", []string{"Authorization", "SharedKey"}, 400, "InvalidAuthenticationInfo"},
		{"no signature", []string{"Authorization", "SharedKey testaccount"}, 400, "InvalidAuthenticationInfo"},
		{"short signature", []string{"Authorization", "SharedKey testaccount:aGk="}, 400, "InvalidAuthenticationInfo"},
		{"account", []string{"Authorization", "SharedKey a/b:" + strings.Repeat("A", 43) + "="}, 400, "InvalidAuthenticationInfo"},
		{"wrong", []string{"Authorization", "SharedKey testaccount:" + strings.Repeat("A", 43) + "="}, 403, "AuthenticationFailed"},
		{"unknown", []string{"Authorization", "SharedKey nosuch:" + strings.Repeat("A", 43) + "="}, 403, "AuthenticationFailed"},
		{"old", []string{"ocp-date", fakeNow.Add(-16 * time.Minute).Format(http.TimeFormat)}, 403, "AuthenticationFailed"},
		{"early", []string{"ocp-date", fakeNow.Add(16 * time.Minute).Format(http.TimeFormat)}, 403, "AuthenticationFailed"},
		{"no date", []string{"ocp-date", ""}, 403, "AuthenticationFailed"},
		{"bad date", []string{"ocp-date", "noon"}, 403, "AuthenticationFailed"},
		{"token without access", []string{"Authorization", "Bearer node"}, 403, "InsufficientAccountPermissions"},
		{"bad token", []string{"Authorization", "Bearer bad"}, 401, "AuthenticationFailed"},
	} {
		a := h.raw("GET", "/jobs?api-version="+testVersion, "", c.headers...)
		require.Equal(t, c.status, a.StatusCode, c.name)
		require.Equal(t, c.code, a.code(), c.name)
		if c.status == 401 {
			require.Contains(t, a.Header.Get("WWW-Authenticate"), "Bearer")
		}
		if c.code == "AuthenticationFailed" {
			require.NotEmpty(t, a.value("AuthenticationErrorDetail"), c.name)
		}
	}
	require.Empty(t, h.callers)
	require.Equal(t, 200, h.raw("GET", "/jobs?api-version="+testVersion, "", "ocp-date", fakeNow.Add(14*time.Minute).Format(http.TimeFormat)).StatusCode)
	require.Equal(t, 200, h.raw("GET", "/jobs?api-version="+testVersion, "", "Authorization", "bearer good").StatusCode)
	require.Equal(t, azure.Caller{Account: testAccount, Role: apiv1.TokenRole_TOKEN_ROLE_READER}, h.callers[1])
}

// signed makes a request with the given text as what its client signed.
func signed(method, target, text string, headers map[string]string) *http.Request {
	r := httptest.NewRequest(method, target, http.NoBody)
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	mac := hmac.New(sha256.New, testKey)
	mac.Write([]byte(text))
	r.Header.Set("Authorization", "SharedKey "+testAccount+":"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return r
}

// TestSharedKeyOfClients rebuilds what known clients sign, with their differences.
func TestSharedKeyOfClients(t *testing.T) {
	h := newHarness(t)
	date := fakeNow.Format(http.TimeFormat)
	lines := func(method, length, contentType, date string) string {
		return strings.Join([]string{method, "", "", length, "", contentType, date, "", "", "", "", ""}, "\n") + "\n"
	}
	ocp := "ocp-date:" + date + "\n"
	for name, c := range map[string]struct {
		method, target, text string
		headers              map[string]string
		good                 bool
	}{
		"plain":                {"GET", "/jobs?api-version=2025-06-01", lines("GET", "", "", "") + ocp + "/testaccount/jobs\napi-version:2025-06-01", map[string]string{"ocp-date": date}, true},
		"zero length":          {"DELETE", "/jobs/x?api-version=2025-06-01", lines("DELETE", "0", "", "") + ocp + "/testaccount/jobs/x\napi-version:2025-06-01", map[string]string{"ocp-date": date}, true},
		"length zero sent":     {"POST", "/jobs/x/enable?api-version=2025-06-01", lines("POST", "", "", "") + ocp + "/testaccount/jobs/x/enable\napi-version:2025-06-01", map[string]string{"ocp-date": date, "Content-Length": "0"}, true},
		"content type":         {"GET", "/jobs?api-version=2025-06-01", lines("GET", "", "application/json; charset=utf-8", "") + ocp + "/testaccount/jobs\napi-version:2025-06-01", map[string]string{"ocp-date": date, "Content-Type": "application/json; charset=utf-8"}, true},
		"lower-case names":     {"GET", "/jobs?api-version=2025-06-01&timeOut=5", lines("GET", "", "", "") + ocp + "/testaccount/jobs\napi-version:2025-06-01\ntimeout:5", map[string]string{"ocp-date": date}, true},
		"names as sent":        {"GET", "/jobs?api-version=2025-06-01&timeOut=5", lines("GET", "", "", "") + ocp + "/testaccount/jobs\napi-version:2025-06-01\ntimeOut:5", map[string]string{"ocp-date": date}, true},
		"empty value kept":     {"GET", "/jobs?$expand=&api-version=2025-06-01", lines("GET", "", "", "") + ocp + "/testaccount/jobs\n$expand:\napi-version:2025-06-01", map[string]string{"ocp-date": date}, true},
		"empty value left out": {"GET", "/jobs?$expand=&api-version=2025-06-01", lines("GET", "", "", "") + ocp + "/testaccount/jobs\napi-version:2025-06-01", map[string]string{"ocp-date": date}, true},
		"repeated, joined":     {"GET", "/jobs?$select=id&$select=state&api-version=2025-06-01", lines("GET", "", "", "") + ocp + "/testaccount/jobs\n$select:id,state\napi-version:2025-06-01", map[string]string{"ocp-date": date}, true},
		"repeated, first":      {"GET", "/jobs?$select=id&$select=state&api-version=2025-06-01", lines("GET", "", "", "") + ocp + "/testaccount/jobs\n$select:id\napi-version:2025-06-01", map[string]string{"ocp-date": date}, true},
		"plus as blank":        {"GET", "/jobs?$filter=id+eq+'%C3%A9'&api-version=2025-06-01", lines("GET", "", "", "") + ocp + "/testaccount/jobs\n$filter:id eq 'é'\napi-version:2025-06-01", map[string]string{"ocp-date": date}, true},
		"escaped path":         {"GET", "/jobs/x%3Ay/tasks/t/files/wd%2Fa?api-version=2025-06-01", lines("GET", "", "", "") + "ocp-date:" + date + "\nocp-range:bytes=0-1\n/testaccount/jobs/x%3Ay/tasks/t/files/wd%2Fa\napi-version:2025-06-01", map[string]string{"ocp-date": date, "ocp-range": "bytes=0-1"}, true},
		"date signed":          {"GET", "/jobs?api-version=2025-06-01", lines("GET", "", "", date) + "/testaccount/jobs\napi-version:2025-06-01", map[string]string{"Date": date}, true},
		"date left out":        {"GET", "/jobs?api-version=2025-06-01", lines("GET", "", "", "") + "/testaccount/jobs\napi-version:2025-06-01", map[string]string{"Date": date}, true},
		"another path":         {"GET", "/pools?api-version=2025-06-01", lines("GET", "", "", "") + ocp + "/testaccount/jobs\napi-version:2025-06-01", map[string]string{"ocp-date": date}, false},
		"another verb":         {"DELETE", "/jobs/x?api-version=2025-06-01", lines("GET", "", "", "") + ocp + "/testaccount/jobs/x\napi-version:2025-06-01", map[string]string{"ocp-date": date}, false},
		"another value":        {"GET", "/jobs?api-version=2024-07-01.20.0", lines("GET", "", "", "") + ocp + "/testaccount/jobs\napi-version:2025-06-01", map[string]string{"ocp-date": date}, false},
		"another date":         {"GET", "/jobs?api-version=2025-06-01", lines("GET", "", "", "") + ocp + "/testaccount/jobs\napi-version:2025-06-01", map[string]string{"ocp-date": fakeNow.Add(time.Minute).Format(http.TimeFormat)}, false},
		"added parameter":      {"GET", "/jobs?api-version=2025-06-01&maxresults=5", lines("GET", "", "", "") + ocp + "/testaccount/jobs\napi-version:2025-06-01", map[string]string{"ocp-date": date}, false},
		"too many parameters":  {"GET", "/jobs?api-version=2025-06-01" + strings.Repeat("&a=1", 100), lines("GET", "", "", "") + ocp + "/testaccount/jobs\na:1\napi-version:2025-06-01", map[string]string{"ocp-date": date}, false},
	} {
		w := httptest.NewRecorder()
		h.handler.ServeHTTP(w, signed(c.method, c.target, c.text, c.headers))
		if c.good {
			require.NotContains(t, w.Body.String(), "AuthenticationFailed", name)
		} else {
			require.Equal(t, 403, w.Code, name)
		}
	}
}

func TestSecondKeyAndWrongKey(t *testing.T) {
	h := newHarness(t)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url+"/jobs?api-version=2025-06-01", http.NoBody)
	require.NoError(t, err)
	r.Header.Set("ocp-date", fakeNow.Format(http.TimeFormat))
	sign(r, []byte("the other key"))
	require.Equal(t, 200, h.send(r).StatusCode)
	sign(r, []byte("a wrong key"))
	require.Equal(t, 403, h.send(r).StatusCode)
}

// FuzzRequest sends anything: no panic and no fault of the server comes of it.
func FuzzRequest(f *testing.F) {
	f.Add("GET", "/jobs/j/tasks?$filter=id%20eq%20'x'&maxresults=5", "SharedKey testaccount:AAAA", "", "bytes=0-1")
	f.Add("POST", "/jobs/job1/addtaskcollection", "Bearer good", `{"value":[{"id":"a","commandLine":"b"}]}`, "")
	f.Add("GET", "/certificates(thumbprintAlgorithm=sha1,thumbprint=a)", "Bearer good", "", "")
	f.Add("GET", "/jobs/job1/tasks/t/files/wd%2Fa", "Bearer good", "", "bytes=-5")
	f.Add("PATCH", "/pools/Pool-1?$select=a/b", "Bearer good", `{"metadata":[]}`, "")
	h := filled(f)
	for _, c := range []string{"/jobs/job1/tasks"} {
		require.Equal(f, 201, h.do("POST", c, `{"id":"t","commandLine":"a"}`).StatusCode)
	}
	h.fake.files["wd/a"] = []byte("x")
	f.Fuzz(func(t *testing.T, method, target, authorization, body, span string) {
		if strings.ContainsAny(method+target, " \r\n\t") || method == "" {
			return
		}
		r, err := http.NewRequest(method, "http://h/", strings.NewReader(body))
		if err != nil {
			return
		}
		path, query, _ := strings.Cut(target, "?")
		r.RequestURI, r.URL.Path, r.URL.RawQuery = target, path, query+"&api-version=2025-06-01"
		r.Header.Set("Authorization", authorization)
		r.Header.Set("ocp-date", fakeNow.Format(http.TimeFormat))
		r.Header.Set("ocp-range", span)
		w := httptest.NewRecorder()
		h.handler.ServeHTTP(w, r)
		require.Less(t, w.Code, 500, w.Body.String())
	})
}
