package s3_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/storage"
	"github.com/batchyard/batchyard/storage/s3"
	"github.com/batchyard/batchyard/storage/storagetest"
)

// minioVersion is the server that the client is tested against.
const minioVersion = "v0.0.0-20260212201848-7aac2a2c5b7c"

// TestMain builds the server outside of any test's time limit where it is missing.
func TestMain(m *testing.M) {
	if err := ensureMinIO(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func minioPath() string {
	if p := os.Getenv("BATCHYARD_TEST_MINIO"); p != "" {
		return p
	}
	p, err := filepath.Abs(filepath.Join("..", "..", ".bin", "minio"))
	if err != nil {
		panic(err)
	}
	return p
}

// ensureMinIO installs the server, which takes minutes, except where a missing one is a fault of the set-up.
func ensureMinIO() error {
	path := minioPath()
	_, err := os.Stat(path)
	if err == nil {
		return nil
	}
	if os.Getenv("CI") == "true" || os.Getenv("BATCHYARD_REQUIRE_PEERS") == "1" || os.Getenv("BATCHYARD_TEST_MINIO") != "" {
		return fmt.Errorf("the S3 server for tests is missing: %w", err)
	}
	cmd := exec.Command("go", "install", "github.com/minio/minio@"+minioVersion)
	cmd.Env = append(os.Environ(), "GOBIN="+filepath.Dir(path), "GOFLAGS=")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}

// serveMinIO runs a server until the test ends.
func serveMinIO(t *testing.T, secure bool) s3.Config {
	t.Helper()
	certs, scheme := t.TempDir(), "http"
	c := s3.Config{AccessKey: "access", SecretKey: "very-secret-key", PathStyle: true, PartSize: 5 << 20}
	if secure {
		scheme = "https"
		_, _, c.RootCAs = storagetest.Certificate(t, certs)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := ln.Addr().String()
	require.NoError(t, ln.Close())
	c.Endpoint = scheme + "://" + address

	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	cmd := exec.Command(minioPath(), "server", "--quiet", "--address", address, "--console-address", "127.0.0.1:0", "--certs-dir", certs, t.TempDir())
	cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), "MINIO_ROOT_USER=" + c.AccessKey, "MINIO_ROOT_PASSWORD=" + c.SecretKey,
		"MINIO_BROWSER=off", "MINIO_UPDATE=off", "MINIO_CI_CD=1"}
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it ends by the signal
		close(done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-done
		}
		require.NoError(t, log.Close())
	})
	probe := storagetest.Client(t, c)
	require.Eventually(t, func() bool {
		_, err := probe.Buckets(t.Context())
		return err == nil
	}, time.Minute, 50*time.Millisecond, "the server does not answer: %s", log.Name())
	return c
}

func TestMinIO(t *testing.T) {
	for _, secure := range []bool{true, false} {
		t.Run(map[bool]string{true: "TLS", false: "Plain"}[secure], func(t *testing.T) {
			config := serveMinIO(t, secure)
			storagetest.RunS3(t, config)
			client := storagetest.Client(t, config)
			t.Run("Presigned", func(t *testing.T) { presigned(t, config, client) })
			t.Run("Buckets", func(t *testing.T) { buckets(t, client) })
		})
	}
}

func buckets(t *testing.T, c *s3.Client) {
	name := storagetest.NewBucket(t, c)
	require.NoError(t, c.EnsureBucket(t.Context(), name))
	require.ErrorIs(t, c.EnsureBucket(t.Context(), "No_Name"), storage.ErrInvalid)
	names, err := c.Buckets(t.Context())
	require.NoError(t, err)
	require.Contains(t, names, name)
	require.NoError(t, c.RemoveBucket(t.Context(), name))
	require.ErrorIs(t, c.RemoveBucket(t.Context(), name), storage.ErrNoBucket)
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []s3.Config{
		{}, {Endpoint: "host:9000"}, {Endpoint: "ftp://host"}, {Endpoint: "https://u:p@host"}, {Endpoint: "https://host/path"},
		{Endpoint: "https://host?q"}, {Endpoint: "https://host", PartSize: 1 << 20},
	} {
		_, err := s3.NewClient(c)
		require.ErrorIs(t, err, storage.ErrInvalid, c.Endpoint)
	}
}

// TestUnreachable checks that a store which is away is worth another try.
func TestUnreachable(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	c := storagetest.Client(t, s3.Config{Endpoint: "http://" + ln.Addr().String(), AccessKey: "a", SecretKey: "b", PathStyle: true})
	_, err = c.Bucket("bucket", "").Stat(t.Context(), "k")
	require.True(t, storage.Retryable(err), "%v", err)
}

// TestMetadataServiceIsNoStore checks that an endpoint cannot be a cloud's metadata service.
func TestMetadataServiceIsNoStore(t *testing.T) {
	c := storagetest.Client(t, s3.Config{Endpoint: "http://169.254.169.254", AccessKey: "a", SecretKey: "b", PathStyle: true})
	_, err := c.Bucket("latest", "").Stat(t.Context(), "meta-data")
	require.ErrorIs(t, err, storage.ErrForbidden)
	require.ErrorIs(t, err, storage.ErrDialDenied)
}
