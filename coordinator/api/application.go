package api

import (
	"context"
	"encoding/hex"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// Limits of Azure Batch.
const (
	maxApplications = 20
	maxPackages     = 40
)

type applicationService struct {
	apiv1.UnimplementedApplicationServiceServer
	*core
}

// application reads an application of the caller's account; what it returns may be changed.
func (c *core) application(ctx context.Context, g grant, id string) (*apiv1.ApplicationDetail, error) {
	if err := c.Reader.Barrier(ctx); err != nil {
		return nil, err
	}
	rec, err := c.State.Application(g.Account, id)
	if err != nil {
		return nil, internal(err)
	}
	if rec == nil {
		return nil, batcherr.Of(batcherr.CodeApplicationNotFound)
	}
	return proto.CloneOf(rec.Application), nil
}

func (c *core) putApplication(ctx context.Context, g grant, app *apiv1.ApplicationDetail, create bool) error {
	_, err := c.propose(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_PutApplication{PutApplication: &raftlogv1.PutApplication{
		Record: &raftlogv1.ApplicationRecord{Application: app, Account: g.Account}, Create: create,
	}}})
	return err
}

func (s *applicationService) CreateApplication(ctx context.Context, req *apiv1.CreateApplicationRequest) (*apiv1.Empty, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	app := &apiv1.ApplicationDetail{
		Id: req.GetApplication().GetId(), DisplayName: req.GetApplication().GetDisplayName(), AllowUpdates: proto.Bool(true),
	}
	if req.GetApplication().AllowUpdates != nil {
		app.AllowUpdates = req.GetApplication().AllowUpdates
	}
	if err := checkID("id", app.Id); err != nil {
		return nil, err
	}
	if err := checkDisplayName("displayName", app.DisplayName); err != nil {
		return nil, err
	}
	all, err := s.State.Applications(g.Account)
	if err != nil {
		return nil, internal(err)
	}
	if len(all) >= maxApplications {
		return nil, batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState, "An account has at most %d applications.", maxApplications)
	}
	return &apiv1.Empty{}, s.putApplication(ctx, g, app, true)
}

func (s *applicationService) GetApplication(ctx context.Context, req *apiv1.GetApplicationRequest) (*apiv1.ApplicationDetail, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	return s.application(ctx, g, req.GetApplicationId())
}

func (s *applicationService) ListApplications(ctx context.Context, req *apiv1.ListApplicationsRequest) (*apiv1.ListApplicationsResponse, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.Reader.Barrier(ctx); err != nil {
		return nil, err
	}
	l, err := newListing(req.GetOptions(), (&apiv1.ApplicationDetail{}).ProtoReflect().Descriptor(), "applications", g.Account)
	if err != nil {
		return nil, err
	}
	page, token, err := collect(l, func(after string, limit int) ([]item[*apiv1.ApplicationDetail], error) {
		all, err := s.State.Applications(g.Account)
		if err != nil {
			return nil, internal(err)
		}
		var out []item[*apiv1.ApplicationDetail]
		for _, rec := range all {
			if key := lifecycle.IDKey(rec.Application.Id); key > after && len(out) < limit {
				out = append(out, item[*apiv1.ApplicationDetail]{key, proto.CloneOf(rec.Application)})
			}
		}
		return out, nil
	})
	if err != nil {
		return nil, err
	}
	return &apiv1.ListApplicationsResponse{Applications: page, NextPageToken: token}, nil
}

func (s *applicationService) UpdateApplication(ctx context.Context, req *apiv1.UpdateApplicationRequest) (*apiv1.Empty, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	app, err := s.application(ctx, g, req.GetApplicationId())
	if err != nil {
		return nil, err
	}
	if req.DisplayName != nil {
		if err := checkDisplayName("displayName", *req.DisplayName); err != nil {
			return nil, err
		}
		app.DisplayName = *req.DisplayName
	}
	if req.AllowUpdates != nil {
		app.AllowUpdates = req.AllowUpdates
	}
	if v := req.DefaultVersion; v != nil {
		if i := lifecycle.FindPackage(app, *v); *v != "" && i < 0 {
			return nil, invalid("defaultVersion", *v, "The application has no such version.")
		}
		app.DefaultVersion = *v
	}
	return &apiv1.Empty{}, s.putApplication(ctx, g, app, false)
}

func (s *applicationService) DeleteApplication(ctx context.Context, req *apiv1.DeleteApplicationRequest) (*apiv1.Empty, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	app, err := s.application(ctx, g, req.GetApplicationId())
	if err != nil {
		return nil, err
	}
	if len(app.Packages) > 0 {
		return nil, batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState, "The application still has packages: delete them first.")
	}
	_, err = s.propose(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_DeleteApplication{
		DeleteApplication: &raftlogv1.DeleteApplication{ApplicationId: app.Id},
	}})
	return &apiv1.Empty{}, err
}

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
		StorageKey:   "applications/" + app.Id + "/" + version + "/" + s.randomHex(8) + ".zip",
		CreationTime: timestamppb.New(s.Now()),
	}
	i := lifecycle.FindPackage(app, version)
	switch {
	case i >= 0 && !app.GetAllowUpdates() && app.Packages[i].State == apiv1.PackageState_PACKAGE_STATE_ACTIVE:
		return nil, batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState, "The application does not allow its packages to be replaced.")
	case i >= 0:
		app.Packages[i] = p
	case len(app.Packages) >= maxPackages:
		return nil, batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState, "An application has at most %d packages.", maxPackages)
	default:
		app.Packages = append(app.Packages, p)
	}
	return p, s.putApplication(ctx, g, app, false)
}

const packageFormat = "zip"

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
	app, err := s.application(ctx, g, req.GetApplicationId())
	if err != nil {
		return nil, err
	}
	i := lifecycle.FindPackage(app, req.GetVersion())
	if i < 0 {
		return nil, batcherr.Of(batcherr.CodeApplicationPackageNotFound)
	}
	p := app.Packages[i]
	p.State, p.Sha256, p.Size = apiv1.PackageState_PACKAGE_STATE_ACTIVE, strings.ToLower(req.GetSha256()), req.GetSize()
	p.LastActivationTime = timestamppb.New(s.Now())
	return p, s.putApplication(ctx, g, app, false)
}

func (s *applicationService) DeletePackage(ctx context.Context, req *apiv1.DeletePackageRequest) (*apiv1.Empty, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	app, err := s.application(ctx, g, req.GetApplicationId())
	if err != nil {
		return nil, err
	}
	i := lifecycle.FindPackage(app, req.GetVersion())
	switch {
	case i < 0:
		return nil, batcherr.Of(batcherr.CodeApplicationPackageNotFound)
	case !app.GetAllowUpdates():
		return nil, batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState, "The application does not allow its packages to be deleted.")
	}
	app.Packages = slices.Delete(app.Packages, i, i+1)
	if strings.EqualFold(app.DefaultVersion, req.GetVersion()) {
		app.DefaultVersion = ""
	}
	return &apiv1.Empty{}, s.putApplication(ctx, g, app, false)
}
