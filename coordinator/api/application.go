package api

import (
	"context"

	"google.golang.org/protobuf/proto"

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

// changeApplication changes one thing of an application, so that changes at the same time don't undo each other.
func (c *core) changeApplication(ctx context.Context, g grant, change *raftlogv1.ChangeApplication) error {
	_, err := c.propose(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_ChangeApplication{ChangeApplication: change}})
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
	_, err = s.propose(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_PutApplication{PutApplication: &raftlogv1.PutApplication{
		Record: &raftlogv1.ApplicationRecord{Application: app, Account: g.Account}, Create: true,
	}}})
	return &apiv1.Empty{}, err
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
	if req.DisplayName != nil {
		if err := checkDisplayName("displayName", *req.DisplayName); err != nil {
			return nil, err
		}
	}
	return &apiv1.Empty{}, s.changeApplication(ctx, g, &raftlogv1.ChangeApplication{
		ApplicationId: req.GetApplicationId(), Change: &raftlogv1.ChangeApplication_Properties{Properties: req},
	})
}

// DeleteApplication is refused while the application has versions.
func (s *applicationService) DeleteApplication(ctx context.Context, req *apiv1.DeleteApplicationRequest) (*apiv1.Empty, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	app, err := s.application(ctx, g, req.GetApplicationId())
	if err != nil {
		return nil, err
	}
	_, err = s.propose(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_DeleteApplication{
		DeleteApplication: &raftlogv1.DeleteApplication{ApplicationId: app.Id, IfEmpty: true},
	}})
	if err == nil {
		s.sweepArchives(ctx, g, app.Id, archivePrefix(app.Id))
	}
	return &apiv1.Empty{}, err
}
