package api

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
	"github.com/batchyard/batchyard/storage"
)

const packageFormat = "zip"

// archivePrefix begins the keys of an application's archives in the account's store.
func archivePrefix(app string) string { return "applications/" + app + "/" }

// CreatePackage makes a version pending and says where its archive belongs. Doing it again for a pending one is no error.
func (s *applicationService) CreatePackage(ctx context.Context, req *apiv1.CreatePackageRequest) (*apiv1.ApplicationPackage, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	version := req.GetVersion()
	if !lifecycle.ValidVersion(version) {
		return nil, invalid("version", version, "A version is 1 to 64 letters, digits, dots, hyphens and underscores.")
	}
	app, err := s.application(ctx, g, req.GetApplicationId())
	if err != nil {
		return nil, err
	}
	p := &apiv1.ApplicationPackage{
		ApplicationId: app.Id, Version: version, State: apiv1.PackageState_PACKAGE_STATE_PENDING, Format: packageFormat,
		// Each archive has a key of its own, so that nodes never read one that is being replaced.
		StorageKey:   archivePrefix(app.Id) + version + "/" + s.randomHex(8) + ".zip",
		CreationTime: timestamppb.New(s.Now()),
	}
	return p, s.changeApplication(ctx, g, &raftlogv1.ChangeApplication{
		ApplicationId: app.Id, Change: &raftlogv1.ChangeApplication_AddPackage{AddPackage: &raftlogv1.AddPackage{Package: p, AtMost: maxPackages}},
	})
}

// ActivatePackage makes a version usable whose archive is in the account's store.
func (s *applicationService) ActivatePackage(ctx context.Context, req *apiv1.ActivatePackageRequest) (*apiv1.ApplicationPackage, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	if f := req.GetFormat(); f != "" && f != packageFormat {
		return nil, invalid("format", f, "Packages are zip archives.")
	}
	if sum, err := hex.DecodeString(req.GetSha256()); err != nil || len(sum) != 32 {
		return nil, invalid("sha256", req.GetSha256(), "The SHA-256 of the archive in hex is required.")
	}
	if req.GetSize() <= 0 {
		return nil, invalid("size", "", "The size of the archive in bytes is required.")
	}
	p, err := s.findPackage(ctx, g, req.GetApplicationId(), req.GetVersion())
	if err != nil {
		return nil, err
	}
	if err := s.checkArchive(ctx, g, p.StorageKey, req.GetSize()); err != nil {
		return nil, err
	}
	err = s.changeApplication(ctx, g, &raftlogv1.ChangeApplication{ApplicationId: p.ApplicationId, Change: &raftlogv1.ChangeApplication_ActivatePackage{
		ActivatePackage: &raftlogv1.ActivatePackage{
			Version: p.Version, StorageKey: p.StorageKey, Sha256: strings.ToLower(req.GetSha256()), Size: req.GetSize(),
		},
	}})
	if err != nil {
		return nil, err
	}
	s.sweepArchives(ctx, g, p.ApplicationId, "")
	return s.findPackage(ctx, g, p.ApplicationId, p.Version)
}

// DeletePackage deletes a version and its archive.
func (s *applicationService) DeletePackage(ctx context.Context, req *apiv1.DeletePackageRequest) (*apiv1.Empty, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	p, err := s.findPackage(ctx, g, req.GetApplicationId(), req.GetVersion())
	if err != nil {
		return nil, err
	}
	err = s.changeApplication(ctx, g, &raftlogv1.ChangeApplication{
		ApplicationId: p.ApplicationId, Change: &raftlogv1.ChangeApplication_DeleteVersion{DeleteVersion: p.Version},
	})
	if err == nil {
		s.sweepArchives(ctx, g, p.ApplicationId, p.StorageKey)
	}
	return &apiv1.Empty{}, err
}

func (s *applicationService) findPackage(ctx context.Context, g grant, id, version string) (*apiv1.ApplicationPackage, error) {
	app, err := s.application(ctx, g, id)
	if err != nil {
		return nil, err
	}
	i := lifecycle.FindPackage(app, version)
	if i < 0 {
		return nil, batcherr.Of(batcherr.CodeApplicationPackageNotFound)
	}
	return app.Packages[i], nil
}

// bucket opens an account's store; close it.
func (c *core) bucket(account string) (storage.Store, func(), error) {
	access, err := c.store(account)
	if err != nil {
		return nil, nil, err
	}
	if access == nil {
		return nil, nil, batcherr.NotFound(batcherr.CodeStorageAccountNotFound, "The account has no object store.")
	}
	bucket, done, err := c.Stores.Open(access)
	if err != nil {
		return nil, nil, internal(err)
	}
	return bucket, done, nil
}

// checkArchive checks that the archive was uploaded.
func (s *applicationService) checkArchive(ctx context.Context, g grant, key string, size int64) error {
	bucket, done, err := s.bucket(g.Account)
	if err != nil {
		return err
	}
	defer done()
	object, err := bucket.Stat(ctx, key)
	switch {
	case errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrNoBucket):
		return batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState, "The version's archive was not uploaded.").With("StorageKey", key)
	case err != nil:
		return batcherr.Unavailable("The account's object store does not answer.").Wrap(err)
	case object.Size != size:
		return batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState, "The uploaded archive has %d bytes.", object.Size).With("StorageKey", key)
	}
	return nil
}

// archiveAge is how long an archive stays that no version has any more: a task that was given it may not have read it yet.
const archiveAge = time.Hour

// sweepArchives removes the archives in the store that no version of an application has: those whose keys begin with now, unless it is empty, and others
// that are old. What fails is tried again with the application's next change.
func (s *applicationService) sweepArchives(ctx context.Context, g grant, id, now string) {
	if err := s.removeArchives(ctx, g, id, now); err != nil {
		s.Logger.Warn("archives of an application can't be removed from the account's store", "account", g.Account, "application", id, "err", err)
	}
}

func (s *applicationService) removeArchives(ctx context.Context, g grant, id, now string) error {
	bucket, done, err := s.bucket(g.Account)
	if err != nil {
		return err
	}
	defer done()
	var keys []string
	for object, err := range bucket.List(ctx, archivePrefix(id)) {
		switch {
		case err != nil:
			return err
		case now != "" && strings.HasPrefix(object.Key, now) || s.Now().Sub(object.ModTime) > archiveAge:
			keys = append(keys, object.Key)
		}
	}
	// Read after the list: a version that was made meanwhile has its key in the state before there is an object.
	app, err := s.application(ctx, g, id)
	if err != nil && !batcherr.HasKind(err, batcherr.KindNotFound) {
		return err
	}
	kept := map[string]bool{}
	for _, p := range app.GetPackages() {
		kept[p.StorageKey] = true
	}
	var errs []error
	for _, key := range keys {
		if !kept[key] {
			errs = append(errs, bucket.Delete(ctx, key))
		}
	}
	return errors.Join(errs...)
}
