package stage

import (
	"crypto/sha256"
	"fmt"
	"net/url"
	"strings"
	"sync"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/batchyard/batchyard/storage"
	"github.com/batchyard/batchyard/storage/blob"
	"github.com/batchyard/batchyard/storage/s3"
)

// NewStores gives the account's store over S3 and everything else over HTTP, connecting only where the policy allows.
func NewStores(dial storage.DialPolicy) Stores { return &network{dial: dial} }

// network keeps one S3 client, for the access that was asked for last, and the clients for URLs.
type network struct {
	dial storage.DialPolicy

	mu     sync.Mutex
	of     [sha256.Size]byte
	client *s3.Client
	web    webClients
}

// Bucket implements Stores.
func (n *network) Bucket(access *apiv1.StoreAccess, bucket string) (storage.Store, error) {
	if access.GetEndpoint() == "" {
		return nil, errNoStore
	}
	if err := storage.ValidateBucket(bucket); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	of := fingerprint(access)
	if n.client == nil || n.of != of {
		client, err := newClient(access, n.dial)
		if err != nil {
			return nil, err
		}
		if n.client != nil {
			n.client.Close() // transfers under way go on; idle connections go
		}
		n.client, n.of = client, of
	}
	return n.client.Bucket(bucket, ""), nil
}

// Container implements Stores. Signatures differ from task to task, so that no client is kept; its connections close when they have been idle.
func (n *network) Container(loc storage.Location) (storage.Store, error) {
	return blob.Open(blob.Config{URL: loc, Dial: n.dial})
}

func newClient(access *apiv1.StoreAccess, dial storage.DialPolicy) (*s3.Client, error) {
	roots, err := authority(access)
	if err != nil {
		return nil, err
	}
	return s3.NewClient(s3.Config{
		Endpoint: access.GetEndpoint(), Region: access.GetRegion(),
		AccessKey: access.GetAccessKey(), SecretKey: access.GetSecretKey(), SessionToken: access.GetSessionToken(),
		RootCAs: roots, PathStyle: !isAWS(access.GetEndpoint()), Dial: dial,
	})
}

// isAWS says whether the endpoint wants the bucket in the host's name; other stores do not all have the certificates
// and names for that.
func isAWS(endpoint string) bool {
	u, err := url.Parse(endpoint)
	return err == nil && strings.HasSuffix(strings.ToLower(u.Hostname()), ".amazonaws.com")
}

func fingerprint(a *apiv1.StoreAccess) [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%q", []string{
		a.GetEndpoint(), a.GetRegion(), a.GetAccessKey(), a.GetSecretKey(), a.GetSessionToken(), string(a.GetCaPem()),
	}))
}
