package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/batchyard/batchyard/storage"
	"github.com/batchyard/batchyard/storage/s3"
)

// openS3 opens an account's bucket.
func openS3(access *apiv1.StoreAccess) (storage.Store, error) {
	cfg := s3.Config{
		Endpoint: access.GetEndpoint(), Region: access.GetRegion(),
		AccessKey: access.GetAccessKey(), SecretKey: access.GetSecretKey(), SessionToken: access.GetSessionToken(),
		PathStyle: pathStyle(access.GetEndpoint()),
	}
	if pem := access.GetCaPem(); len(pem) > 0 {
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("the store's authority is not a PEM certificate")
		}
	}
	client, err := s3.NewClient(cfg)
	if err != nil {
		return nil, err
	}
	return client.Bucket(access.GetBucket(), ""), nil
}

// pathStyle reports whether a store may lack a host name for every bucket; Amazon's has them.
func pathStyle(endpoint string) bool {
	u, err := url.Parse(endpoint)
	return err != nil || !strings.HasSuffix(u.Hostname(), ".amazonaws.com")
}

// store opens the object store of the session's account.
func (f *factory) store(ctx context.Context, s *session) (storage.Store, error) {
	access, err := s.accounts.GetStore(ctx, &apiv1.GetStoreRequest{AccountId: s.context.Account})
	if err != nil {
		return nil, fmt.Errorf("find the account's store: %w", err)
	}
	return f.openStore(access)
}
