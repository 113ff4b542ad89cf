package embedded_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/storage/embedded"
	"github.com/batchyard/batchyard/storage/s3"
	"github.com/batchyard/batchyard/storage/storagetest"
)

// roleVar makes the test binary play another part than the tests.
const roleVar = "BATCHYARD_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVar) {
	case "store":
		exit(embedded.Run(context.Background(), os.Stdin))
	case "owner":
		exit(own())
	default:
		os.Exit(m.Run())
	}
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// own starts a store as its options on standard input say, prints its pid and waits to be killed.
func own() error {
	var o embedded.Options
	if err := json.NewDecoder(os.Stdin).Decode(&o.Config); err != nil {
		return err
	}
	pem, err := os.ReadFile(o.CertFile)
	if err != nil {
		return err
	}
	o.RootCAs = x509.NewCertPool()
	o.RootCAs.AppendCertsFromPEM(pem)
	o.Command = command()
	c, err := embedded.Start(context.Background(), o)
	if err != nil {
		return err
	}
	fmt.Println(c.PID())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// command runs this binary as a store.
func command() []string { return []string{"/usr/bin/env", roleVar + "=store", os.Args[0]} }

func options(t *testing.T) embedded.Options {
	t.Helper()
	dir := t.TempDir()
	cert, key, roots := storagetest.Certificate(t, t.TempDir())
	return embedded.Options{
		Config: embedded.Config{DataDir: dir, Address: "127.0.0.1:0", AccessKey: "access", SecretKey: "very-secret-key",
			CertFile: cert, KeyFile: key},
		Command: command(), RootCAs: roots, Version: "v1",
	}
}

func start(t *testing.T, o embedded.Options) *embedded.Child {
	t.Helper()
	c, err := embedded.Start(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Stop()) })
	return c
}

func client(t *testing.T, o embedded.Options, c *embedded.Child) *s3.Client {
	t.Helper()
	return storagetest.Client(t, clientConfig(o, c))
}

func clientConfig(o embedded.Options, c *embedded.Child) s3.Config {
	return s3.Config{Endpoint: c.Endpoint(), AccessKey: o.AccessKey, SecretKey: o.SecretKey, RootCAs: o.RootCAs,
		PathStyle: true, PartSize: 5 << 20}
}

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// gone waits until a process has ended.
func gone(t *testing.T, pid int) {
	t.Helper()
	require.Eventually(t, func() bool {
		return exec.Command("kill", "-0", fmt.Sprint(pid)).Run() != nil
	}, 20*time.Second, 20*time.Millisecond)
}
