package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/batchyard/batchyard/internal/clustertest"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

const (
	restConnections = 8
	restCollection  = 100
	restVersion     = "2025-06-01"
	restJSON        = "application/json; odata=minimalmetadata"
)

// rest is a client of the REST API that signs with the account's key, as the official ones do.
type rest struct {
	endpoint string
	key      []byte
	client   *http.Client
}

func newREST(ctx context.Context, c *clustertest.Cluster) (*rest, error) {
	keys, err := apiv1.NewAccountServiceClient(c.Client()).GetAccountKeys(ctx, &apiv1.GetAccountKeysRequest{AccountId: clustertest.Account})
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(keys.Primary)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: restConnections, MaxConnsPerHost: restConnections}
	return &rest{endpoint: c.Members[0].RESTEndpoint(), key: key, client: &http.Client{Transport: transport}}, nil
}

// do sends one request and decodes its answer into out, unless that is nil.
func (r *rest) do(ctx context.Context, method, path string, query url.Values, body []byte, out any) error {
	query.Set("api-version", restVersion)
	target := r.endpoint + path + "?" + query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("ocp-date", time.Now().UTC().Format(http.TimeFormat))
	if len(body) > 0 {
		req.Header.Set("Content-Type", restJSON)
	}
	r.sign(req, query, len(body))
	resp, err := r.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

func (r *rest) sign(req *http.Request, query url.Values, length int) {
	size := ""
	if length > 0 {
		size = strconv.Itoa(length)
	}
	text := strings.Join([]string{req.Method, "", "", size, "", req.Header.Get("Content-Type"), "", "", "", "", "", ""}, "\n")
	text += "\nocp-date:" + req.Header.Get("ocp-date") + "\n/" + clustertest.Account + req.URL.EscapedPath()
	names := make([]string, 0, len(query))
	for name := range query {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		text += "\n" + name + ":" + query.Get(name)
	}
	mac := hmac.New(sha256.New, r.key)
	mac.Write([]byte(text))
	req.Header.Set("Authorization", "SharedKey "+clustertest.Account+":"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

type restTask struct {
	ID          string `json:"id"`
	CommandLine string `json:"commandLine"`
}

// addTasks adds n tasks in collections over all connections.
func (r *rest) addTasks(ctx context.Context, job string, n int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(restConnections)
	for first := 0; first < n; first += restCollection {
		g.Go(func() error { return r.addCollection(ctx, job, first) })
	}
	return g.Wait()
}

func (r *rest) addCollection(ctx context.Context, job string, first int) error {
	tasks := make([]restTask, restCollection)
	for i := range tasks {
		tasks[i] = restTask{ID: fmt.Sprintf("task%07d", first+i), CommandLine: "/bin/true"}
	}
	body, err := json.Marshal(map[string]any{"value": tasks})
	if err != nil {
		return err
	}
	var answer struct {
		Value []struct {
			Status string `json:"status"`
		} `json:"value"`
	}
	if err := r.do(ctx, http.MethodPost, "/jobs/"+job+"/addtaskcollection", url.Values{}, body, &answer); err != nil {
		return err
	}
	for _, result := range answer.Value {
		if !strings.EqualFold(result.Status, "success") {
			return fmt.Errorf("a task was not added: %s", result.Status)
		}
	}
	return nil
}

// listAll walks through all pages of a job's tasks and returns the median of what the first and the last take, in ms.
func (r *rest) listAll(ctx context.Context, job string) (first, last float64, pages int, err error) {
	start := url.Values{"maxresults": {"1000"}}
	query := start
	for {
		_, following, err := r.listPage(ctx, job, query)
		if err != nil {
			return 0, 0, 0, err
		}
		pages++
		if following == nil {
			break
		}
		query = following
	}
	if first, err = r.timePage(ctx, job, start); err == nil {
		last, err = r.timePage(ctx, job, query)
	}
	return first, last, pages, err
}

func (r *rest) timePage(ctx context.Context, job string, query url.Values) (float64, error) {
	var times []float64
	for range 11 {
		ms, _, err := r.listPage(ctx, job, query)
		if err != nil {
			return 0, err
		}
		times = append(times, ms)
	}
	return median(times), nil
}

// listPage returns what one page takes, also to read, and the query of the next; nil at the end.
func (r *rest) listPage(ctx context.Context, job string, query url.Values) (ms float64, following url.Values, err error) {
	var page struct {
		Value []json.RawMessage `json:"value"`
		Next  string            `json:"odata.nextLink"`
	}
	begun := time.Now()
	if err := r.do(ctx, http.MethodGet, "/jobs/"+job+"/tasks", query, nil, &page); err != nil {
		return 0, nil, err
	}
	ms = time.Since(begun).Seconds() * 1000
	if page.Next == "" {
		return ms, nil, nil
	}
	next, err := url.Parse(page.Next)
	if err != nil {
		return 0, nil, err
	}
	return ms, next.Query(), nil
}

// timeCounts is the median of what a job's task counts take, in ms.
func (r *rest) timeCounts(ctx context.Context, job string) (float64, error) {
	var times []float64
	for range 51 {
		begun := time.Now()
		if err := r.do(ctx, http.MethodGet, "/jobs/"+job+"/taskcounts", url.Values{}, nil, nil); err != nil {
			return 0, err
		}
		times = append(times, time.Since(begun).Seconds()*1000)
	}
	return median(times), nil
}
