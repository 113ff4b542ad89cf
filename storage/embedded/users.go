package embedded

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/minio/minio-go/v7/pkg/signer"

	"github.com/batchyard/batchyard/storage"
)

// Users manages who may use the store. A user reaches the buckets that it owns and nothing else, and can make none itself.
type Users struct {
	endpoint  url.URL
	accessKey string
	secretKey string
	region    string
	http      *http.Client
}

const (
	usersDir      = "users" // in the data directory: one file with the users' secrets, readable by its owner only
	defaultRegion = "us-east-1"
	userRole      = "user" // may not make buckets
	ownerHeader   = "X-Vgw-Owner"
	maxAnswer     = 4 << 20 // bytes of an answer
	adminTimeout  = 30 * time.Second
)

// NewUsers manages the users of the store with c's endpoint and credentials.
func NewUsers(c Config, roots *x509.CertPool) (*Users, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	endpoint, err := url.Parse(c.Endpoint())
	if err != nil {
		return nil, fmt.Errorf("object store: %w", err)
	}
	region := c.Region
	if region == "" {
		region = defaultRegion
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, IdleConnTimeout: time.Minute}
	return &Users{
		endpoint: *endpoint, accessKey: c.AccessKey, secretKey: c.SecretKey, region: region,
		http: &http.Client{Transport: transport, Timeout: adminTimeout},
	}, nil
}

// Close closes idle connections.
func (u *Users) Close() { u.http.CloseIdleConnections() }

// userAccount is the XML in which the gateway takes and gives users.
type userAccount struct {
	XMLName xml.Name `xml:"Account"`
	Access  string
	Secret  string
	Role    string
}

// Put makes a user, or gives it another secret.
func (u *Users) Put(ctx context.Context, accessKey, secretKey string) error {
	body, err := xml.Marshal(userAccount{Access: accessKey, Secret: secretKey, Role: userRole})
	if err != nil {
		return fmt.Errorf("object store: %w", err)
	}
	_, err = u.call(ctx, "/create-user", nil, nil, body)
	if !isCode(err, "XAdminUserExists") {
		return err
	}
	type props struct {
		XMLName xml.Name `xml:"MutableProps"`
		Secret  string
		Role    string
	}
	if body, err = xml.Marshal(props{Secret: secretKey, Role: userRole}); err != nil {
		return fmt.Errorf("object store: %w", err)
	}
	_, err = u.call(ctx, "/update-user", url.Values{"access": {accessKey}}, nil, body)
	return err
}

// Delete takes a user away; one that is not there is no error. Its buckets stay, and only the store's administrator reaches them.
func (u *Users) Delete(ctx context.Context, accessKey string) error {
	_, err := u.call(ctx, "/delete-user", url.Values{"access": {accessKey}}, nil, nil)
	return err
}

// List gives the users' access keys.
func (u *Users) List(ctx context.Context) ([]string, error) {
	answer, err := u.call(ctx, "/list-users", nil, nil, nil)
	if err != nil {
		return nil, err
	}
	var all struct {
		Accounts []struct{ Access string }
	}
	if err := xml.Unmarshal(answer, &all); err != nil {
		return nil, fmt.Errorf("object store: list of users: %w", err)
	}
	out := make([]string, len(all.Accounts))
	for i, a := range all.Accounts {
		out[i] = a.Access
	}
	return out, nil
}

// MakeBucket makes a bucket that a user owns; ErrExists when there is one of that name, whoever owns it.
func (u *Users) MakeBucket(ctx context.Context, bucket, accessKey string) error {
	if err := storage.ValidateBucket(bucket); err != nil {
		return err
	}
	_, err := u.call(ctx, "/"+bucket+"/create", nil, http.Header{ownerHeader: {accessKey}}, nil)
	if isCode(err, "BucketAlreadyExists") || isCode(err, "BucketAlreadyOwnedByYou") {
		return &storage.Error{Op: "make bucket", Key: bucket, Kind: storage.ErrExists, Err: err}
	}
	return err
}

// GiveBucket makes a user the owner of a bucket that exists.
func (u *Users) GiveBucket(ctx context.Context, bucket, accessKey string) error {
	if err := storage.ValidateBucket(bucket); err != nil {
		return err
	}
	_, err := u.call(ctx, "/change-bucket-owner", url.Values{"bucket": {bucket}, "owner": {accessKey}}, nil, nil)
	return err
}

// adminError is a refusal of the gateway.
type adminError struct {
	status int
	Code   string
	What   string `xml:"Message"`
}

func (e *adminError) Error() string {
	return fmt.Sprintf("object store: status %d, %s: %s", e.status, e.Code, e.What)
}

func isCode(err error, code string) bool {
	var refused *adminError
	return errors.As(err, &refused) && refused.Code == code
}

// call sends a signed request to the gateway's administration.
func (u *Users) call(ctx context.Context, path string, query url.Values, header http.Header, body []byte) ([]byte, error) {
	target := u.endpoint
	target.Path, target.RawQuery = path, query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("object store: %w", err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	sum := sha256.Sum256(body)
	req.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
	req = signer.SignV4(*req, u.accessKey, u.secretKey, "", u.region)
	resp, err := u.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("object store: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("object store: %w", err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		refused := &adminError{status: resp.StatusCode}
		if xml.Unmarshal(answer, refused) != nil {
			refused.What = "the answer is not XML"
		}
		return nil, refused
	}
	return answer, nil
}
