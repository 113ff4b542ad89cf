package storagetest

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"
	"github.com/stretchr/testify/require"
)

// AzuriteServer is Microsoft's emulator of Azure Storage, as a process of its own.
type AzuriteServer struct {
	base string // of the account
	cred *blob.SharedKeyCredential
}

// The account that the emulator knows; Microsoft publishes its key.
const (
	azuriteAccount = "devstoreaccount1"
	azuriteKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// Azurite runs the emulator until the test ends. It is installed where it is missing, unless that is a fault of the set-up.
func Azurite(t *testing.T) *AzuriteServer {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	top := filepath.Join(filepath.Dir(file), "..", "..")
	if !filepath.IsAbs(file) { // built with -trimpath: tests run in their package's directory
		top = filepath.Join("..", "..")
	}
	program := filepath.Join(top, ".cache", "azurite", "node_modules", "azurite", "dist", "src", "blob", "main.js")
	if _, err := os.Stat(program); err != nil {
		require.NotEqual(t, "true", os.Getenv("CI"), "Azurite is missing")
		out, err := exec.Command(filepath.Join(top, "scripts", "test-azurite")).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	cmd := exec.Command("node", program, "--blobHost", "127.0.0.1", "--blobPort", "0", "--location", t.TempDir(),
		"--skipApiVersionCheck", "--disableTelemetry")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	cred, err := blob.NewSharedKeyCredential(azuriteAccount, azuriteKey)
	require.NoError(t, err)
	return &AzuriteServer{base: listening(t, out) + "/" + azuriteAccount, cred: cred}
}

// listening waits until the emulator says where it listens, and lets it talk on.
func listening(t *testing.T, out io.Reader) string {
	t.Helper()
	found := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if _, at, ok := strings.Cut(lines.Text(), "successfully listens on "); ok {
				found <- strings.TrimSpace(at)
			}
		}
		close(found)
	}()
	select {
	case at := <-found:
		require.NotEmpty(t, at, "Azurite ended at once")
		return at
	case <-time.After(time.Minute):
		require.Fail(t, "Azurite does not start")
		return ""
	}
}

// Client gives a container that need not exist.
func (a *AzuriteServer) Client(t *testing.T, name string) *container.Client {
	t.Helper()
	c, err := container.NewClientWithSharedKeyCredential(a.base+"/"+name, a.cred, nil)
	require.NoError(t, err)
	return c
}

// SAS signs access to everything in the account for an hour, and says where its containers are.
func (a *AzuriteServer) SAS(t *testing.T) (base, query string) {
	t.Helper()
	client, err := service.NewClientWithSharedKeyCredential(a.base, a.cred, nil)
	require.NoError(t, err)
	url, err := client.GetSASURL(sas.AccountResourceTypes{Service: true, Container: true, Object: true},
		sas.AccountPermissions{Read: true, Write: true, Delete: true, List: true, Add: true, Create: true}, time.Now().Add(time.Hour), nil)
	require.NoError(t, err)
	_, query, _ = strings.Cut(url, "?")
	return a.base, query
}

// Container makes a container.
func (a *AzuriteServer) Container(t *testing.T, name string) *container.Client {
	t.Helper()
	c := a.Client(t, name)
	_, err := c.Create(bounded(t), nil)
	require.NoError(t, err)
	return c
}
