package azure_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/batchyard/batchyard/coordinator/azure"
	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/stretchr/testify/require"
)

const (
	testVersion = "2025-06-01"
	testAccount = "testaccount"
)

var (
	fakeNow = time.Date(2026, 3, 4, 5, 6, 7, 891_234_500, time.UTC)
	testKey = []byte("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
)

// keys and tokens of the one account.
type keys struct{}

func (keys) AccountKeys(_ context.Context, account string) ([][]byte, error) {
	if account == testAccount {
		return [][]byte{[]byte("the other key"), testKey}, nil
	}
	return nil, batcherr.Of(batcherr.CodeAccountNotFound)
}

type tokens struct{}

func (tokens) VerifyToken(_ context.Context, token string) (azure.Caller, error) {
	if token == "good" {
		return azure.Caller{Account: testAccount, Role: apiv1.TokenRole_TOKEN_ROLE_READER}, nil
	}
	if token == "node" {
		return azure.Caller{}, batcherr.Forbidden("not for nodes")
	}
	return azure.Caller{}, batcherr.Unauthenticated("no")
}

// harness is the API over a fake of the services.
type harness struct {
	t       testing.TB
	fake    *fake
	handler http.Handler
	url     string
	client  *http.Client
	callers []azure.Caller
}

func newHarness(t testing.TB) *harness {
	t.Helper()
	h := &harness{t: t, fake: newFake()}
	var mu sync.Mutex // requests may be answered at once
	h.handler = azure.New(azure.Config{
		Conn:   h.fake.dial(t),
		Keys:   keys{},
		Tokens: tokens{},
		WithCaller: func(ctx context.Context, c azure.Caller) context.Context {
			mu.Lock()
			defer mu.Unlock()
			h.callers = append(h.callers, c)
			return ctx
		},
		BaseURL: func(r *http.Request) string { return "http://" + r.Host },
		Now:     func() time.Time { return fakeNow },
		Logger:  slog.New(slog.DiscardHandler),
	})
	server := httptest.NewServer(h.handler)
	t.Cleanup(server.Close)
	h.url, h.client = server.URL, server.Client()
	return h
}

// answer is a response that has been read.
type answer struct {
	*http.Response
	text string
	json map[string]any
}

func (a *answer) code() string {
	code, _ := a.json["code"].(string)
	return code
}

func (a *answer) value(key string) string {
	values, _ := a.json["values"].([]any)
	for _, v := range values {
		if pair, _ := v.(map[string]any); pair["key"] == key {
			text, _ := pair["value"].(string)
			return text
		}
	}
	return ""
}

// do sends a signed request; the api-version is added, and path keeps its encoding.
func (h *harness) do(method, path, body string, headers ...string) *answer {
	h.t.Helper()
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	return h.raw(method, path+separator+"api-version="+testVersion, body, headers...)
}

func (h *harness) raw(method, target, body string, headers ...string) *answer {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), method, h.url+target, strings.NewReader(body))
	require.NoError(h.t, err)
	if body == "" {
		r.Body = http.NoBody
	} else {
		r.Header.Set("Content-Type", "application/json; odata=minimalmetadata; charset=utf-8")
	}
	r.Header.Set("ocp-date", fakeNow.Format(http.TimeFormat))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	if r.Header.Get("Authorization") == "" {
		sign(r, testKey)
	} else if r.Header.Get("Authorization") == "none" {
		r.Header.Del("Authorization")
	}
	return h.send(r)
}

func (h *harness) send(r *http.Request) *answer {
	h.t.Helper()
	response, err := h.client.Do(r)
	require.NoError(h.t, err)
	defer response.Body.Close() //nolint:errcheck // read whole
	data, err := io.ReadAll(response.Body)
	require.NoError(h.t, err)
	a := &answer{Response: response, text: string(data)}
	if strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") && len(data) > 0 {
		require.NoError(h.t, json.Unmarshal(data, &a.json), a.text)
	}
	return a
}

// sign signs as the Python clients do.
func sign(r *http.Request, key []byte) {
	length := ""
	if r.Body != http.NoBody {
		length = strconv.FormatInt(r.ContentLength, 10)
	} else if r.Method != http.MethodGet && r.Method != http.MethodHead {
		length = "0"
	}
	h := r.Header
	lines := []string{
		r.Method, h.Get("Content-Encoding"), h.Get("Content-Language"), length, h.Get("Content-MD5"), h.Get("Content-Type"), h.Get("Date"),
		h.Get("If-Modified-Since"), h.Get("If-Match"), h.Get("If-None-Match"), h.Get("If-Unmodified-Since"), h.Get("Range"),
	}
	var ocp []string
	for name, values := range h {
		if name = strings.ToLower(name); strings.HasPrefix(name, "ocp-") {
			ocp = append(ocp, name+":"+values[0])
		}
	}
	slices.Sort(ocp)
	text := strings.Join(append(lines, ocp...), "\n") + "\n/" + testAccount + r.URL.EscapedPath()
	query, _ := url.ParseQuery(r.URL.RawQuery)
	var names []string
	for name, values := range query {
		if values[0] != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		text += "\n" + name + ":" + query.Get(name)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	h.Set("Authorization", "SharedKey "+testAccount+":"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}
