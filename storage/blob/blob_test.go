package blob_test

import (
	"crypto/rand"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/storage"
	"github.com/batchyard/batchyard/storage/blob"
	"github.com/batchyard/batchyard/storage/storagetest"
)

func TestIs(t *testing.T) {
	for text, want := range map[string]bool{
		"https://acct.blob.core.windows.net/c":                      true,
		"https://acct.blob.core.windows.net/c?sv=2022-11-02&sig=x":  true,
		"https://acct.blob.core.chinacloudapi.cn/c":                 true,
		"http://127.0.0.1:10000/acct/c?sv=2022-11-02&sp=rl&sig=abc": true,
		"https://acct.blob.core.windows.net/c/b?sv=1&sr=b&sig=x":    false,
		"https://store.example/c":                                   false,
		"https://store.example/c?X-Amz-Signature=abc":               false,
		"https://blob.example/c?sig=x":                              false,
		"s3://acct.blob.core/c":                                     false,
	} {
		loc, err := storage.ParseLocation(text)
		require.NoError(t, err, text)
		require.Equal(t, want, blob.Is(loc), text)
	}
}

func location(t *testing.T, text string) storage.Location {
	t.Helper()
	loc, err := storage.ParseLocation(text)
	require.NoError(t, err)
	return loc
}

func TestOpenRefusesWhatIsNoContainer(t *testing.T) {
	for _, text := range []string{"https://acct.blob.core.windows.net/?sig=secret&sv=1", "https://acct.blob.core.windows.net/c/folder?sig=secret&sv=1", "s3://bucket"} {
		_, err := blob.Open(blob.Config{URL: location(t, text)})
		require.ErrorIs(t, err, storage.ErrInvalid, text)
		require.NotContains(t, err.Error(), "secret")
	}
}

func open(t *testing.T, text string) *blob.Store {
	t.Helper()
	s, err := blob.Open(blob.Config{URL: location(t, text)})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

func TestDialPolicyHolds(t *testing.T) {
	s := open(t, "http://169.254.169.254/acct/c?sv=1&sig=secret")
	_, err := s.Stat(t.Context(), "k")
	require.ErrorIs(t, err, storage.ErrForbidden)
	require.NotContains(t, err.Error(), "secret")
}

// TestSuite runs the suite against Azurite, with signatures as users get them.
func TestSuite(t *testing.T) {
	server := storagetest.Azurite(t)
	var newest *container.Client
	signed := func(t *testing.T, p sas.ContainerPermissions, ends time.Duration) string {
		text, err := newest.GetSASURL(p, time.Now().Add(ends), nil)
		require.NoError(t, err)
		return text
	}
	all := sas.ContainerPermissions{Read: true, Add: true, Create: true, Write: true, Delete: true, List: true}
	storagetest.Run(t, func(t *testing.T) storage.Store {
		newest = server.Container(t, "test-"+strings.ToLower(rand.Text()))
		return open(t, signed(t, all, time.Hour))
	}, storagetest.Capabilities{
		Forbidden: func(t *testing.T) storage.Store { return open(t, signed(t, all, time.Hour)+"x") },
		NoBucket: func(t *testing.T) storage.Store {
			missing, err := server.Client(t, "no-such-container").GetSASURL(all, time.Now().Add(time.Hour), nil)
			require.NoError(t, err)
			return open(t, missing)
		},
		Cut: func(t *testing.T) (storage.Store, *storagetest.CutProxy) {
			u, err := url.Parse(signed(t, all, time.Hour))
			require.NoError(t, err)
			proxy := storagetest.OpenCutProxy(t, u.Host)
			u.Host = proxy.Addr()
			return open(t, u.String()), proxy
		},
	})
	t.Run("Signatures", func(t *testing.T) {
		reader := open(t, signed(t, sas.ContainerPermissions{Read: true}, time.Hour))
		_, err := reader.Put(t.Context(), "k", strings.NewReader("x"), 1, storage.PutOptions{})
		require.ErrorIs(t, err, storage.ErrForbidden)
		late := open(t, signed(t, all, -time.Minute))
		_, err = late.Stat(t.Context(), "k")
		require.ErrorIs(t, err, storage.ErrForbidden)
	})
}
