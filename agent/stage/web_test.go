package stage

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/batchyard/batchyard/storage"
)

// signedServer keeps objects for who knows the signature, like a store behind signed URLs.
type signedServer struct {
	mu      sync.Mutex
	objects map[string]string
	headers http.Header
	gets    int
}

func (s *signedServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.URL.Query().Get("X-Amz-Signature") != "SECRET" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	if r.Method == http.MethodPut {
		text, _ := io.ReadAll(r.Body)
		s.objects[r.URL.Path], s.headers = string(text), r.Header
		return
	}
	text, ok := s.objects[r.URL.Path]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	s.gets++
	w.Header().Set("ETag", `"`+text[:1]+`"`)
	_, _ = io.WriteString(w, text)
}

func serve(t *testing.T) (*signedServer, *httptest.Server) {
	t.Helper()
	s := &signedServer{objects: map[string]string{"/b/in": "contents"}}
	server := httptest.NewUnstartedServer(s)
	server.Config.ErrorLog = nil
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	return s, server
}

func TestSignedURLsOfTheAccountsStore(t *testing.T) {
	store, server := serve(t)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	f := newFarm(t, func(c *Config) {
		c.Stores = NewStores(storage.DialPolicy{})
		c.Access = func() *apiv1.StoreAccess {
			return &apiv1.StoreAccess{Endpoint: server.URL, Bucket: "account", CaPem: ca}
		}
	})
	const signature = "?X-Amz-Signature=SECRET"
	require.NoError(t, f.Inputs(t.Context(), f.dirs, []*apiv1.ResourceFile{from(server.URL+"/b/in"+signature, "x")}, Owner{}))
	require.Equal(t, "contents", f.read(t, "wd/x"))

	output := to("x", server.URL+"/b/out"+signature, "", always)
	output.Destination.Container.UploadHeaders = []*apiv1.OutputFileUploadHeader{{Name: "x-ms-blob-type", Value: "BlockBlob"}}
	require.NoError(t, f.Outputs(t.Context(), f.dirs, []*apiv1.OutputFile{output}, env, true))
	require.Equal(t, "contents", store.objects["/b/out"])
	require.Equal(t, "BlockBlob", store.headers.Get("X-Ms-Blob-Type"))
	require.NotContains(t, f.read(t, uploadLog), "SECRET")

	failed(t, f.Inputs(t.Context(), f.dirs, []*apiv1.ResourceFile{from(server.URL+"/b/none"+signature, "y")}, Owner{}), batcherr.CodeBlobNotFound)
	failed(t, f.Inputs(t.Context(), f.dirs, []*apiv1.ResourceFile{from(server.URL+"/b/in?X-Amz-Signature=old", "y")}, Owner{}), batcherr.CodeBlobAccessDenied)
	failed(t, f.Outputs(t.Context(), f.dirs, []*apiv1.OutputFile{to("x", server.URL+"/b/out?X-Amz-Signature=old", "", always)}, env, true),
		batcherr.CodeFileUploadAccessDenied)
}

func TestTheStoresAuthorityIsTrustedForTheStoreAlone(t *testing.T) {
	_, server := serve(t)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	f := newFarm(t, func(c *Config) {
		c.Stores = NewStores(storage.DialPolicy{})
		c.Retry.Attempts = 1
		c.Access = func() *apiv1.StoreAccess {
			return &apiv1.StoreAccess{Endpoint: "https://elsewhere.example", Bucket: "account", CaPem: ca}
		}
	})
	err := f.Inputs(t.Context(), f.dirs, []*apiv1.ResourceFile{from(server.URL+"/b/in?X-Amz-Signature=SECRET", "x")}, Owner{})
	failed(t, err, batcherr.CodeBlobDownloadMiscError)
	require.ErrorContains(t, err, "certificate")
}

func TestACutConnectionIsTakenUpAgain(t *testing.T) {
	text := strings.Repeat("0123456789", 100_000)
	var mu sync.Mutex
	var ranges []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		ranges = append(ranges, r.Method+r.Header.Get("Range"))
		first := len(ranges) == 2
		mu.Unlock()
		w.Header().Set("ETag", `"1"`)
		if first {
			w.Header().Set("Content-Length", "1000000")
			_, _ = io.WriteString(w, text[:400_000])
			panic(http.ErrAbortHandler)
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
	}))
	t.Cleanup(server.Close)
	f := newFarm(t, func(c *Config) { c.Stores = NewStores(storage.DialPolicy{}) })
	require.NoError(t, f.Inputs(t.Context(), f.dirs, []*apiv1.ResourceFile{from(server.URL+"/x", "x")}, Owner{}))
	require.True(t, text == f.read(t, "wd/x"))
	require.Equal(t, "HEAD", ranges[0])
	require.Equal(t, "GET", ranges[1])
	require.Contains(t, ranges[2], "bytes=", "goes on where it was cut")
}

func TestTheAccountsStoreIsReachedOverS3(t *testing.T) {
	var mu sync.Mutex
	asked := map[string]string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked[r.Method+" "+r.URL.Path] = r.Header.Get("Authorization")
		mu.Unlock()
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `<Error><Code>NoSuchBucket</Code><Message>none</Message></Error>`)
	}))
	t.Cleanup(server.Close)
	f := newFarm(t, func(c *Config) {
		c.Stores = NewStores(storage.DialPolicy{})
		c.Access = func() *apiv1.StoreAccess {
			return &apiv1.StoreAccess{Endpoint: server.URL, Bucket: "account", AccessKey: "ACCESSKEY", SecretKey: "SECRET"}
		}
	})
	f.write(t, "wd/x", "x")
	failed(t, f.Outputs(t.Context(), f.dirs, []*apiv1.OutputFile{to("x", "s3://nowhere", "", always)}, env, true), batcherr.CodeFileUploadContainerNotFound)
	failed(t, f.Inputs(t.Context(), f.dirs, []*apiv1.ResourceFile{{AutoStorageContainerName: "data"}}, Owner{}), batcherr.CodeBlobNotFound)
	require.Contains(t, asked["PUT /nowhere/x"], "Credential=ACCESSKEY/")
	require.Contains(t, asked["GET /account/"], "Credential=ACCESSKEY/")
}
