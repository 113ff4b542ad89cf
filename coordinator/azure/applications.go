package azure

import (
	"context"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func applicationRoutes() []Route {
	return []Route{
		{Operation: "Applications_ListApplications", Track1: "application.list", Method: get, Pattern: "/applications", Status: ok, handle: listApplications},
		{Operation: "Applications_GetApplication", Track1: "application.get", Method: get, Pattern: "/applications/{applicationId}", Status: ok, handle: getApplication},
	}
}

func listApplications(ctx context.Context, c *call) error {
	l, err := c.listing(&apiv1.Application{})
	if err != nil {
		return err
	}
	// The services list another message, on which these options would not fit.
	options := &apiv1.ListOptions{PageSize: l.options.PageSize, PageToken: l.options.PageToken}
	page, err := c.applications.ListApplications(ctx, &apiv1.ListApplicationsRequest{Options: options})
	if err != nil {
		return err
	}
	items := make([]*apiv1.Application, 0, len(page.GetApplications()))
	for _, detail := range page.GetApplications() {
		if a := applicationOf(detail); l.filter.Match(a) {
			items = append(items, a)
		}
	}
	return list(c, c.encoder(), "applications", items, l, page.GetNextPageToken())
}

func getApplication(ctx context.Context, c *call) error {
	detail, err := c.applications.GetApplication(ctx, &apiv1.GetApplicationRequest{ApplicationId: c.param("applicationId")})
	if err != nil {
		return err
	}
	return c.entity("applications", applicationOf(detail), nil)
}

// applicationOf is what the data plane shows of an application: the versions that can be used.
func applicationOf(detail *apiv1.ApplicationDetail) *apiv1.Application {
	a := &apiv1.Application{Id: detail.GetId(), DisplayName: detail.GetDisplayName()}
	for _, p := range detail.GetPackages() {
		if p.GetState() == apiv1.PackageState_PACKAGE_STATE_ACTIVE {
			a.Versions = append(a.Versions, p.GetVersion())
		}
	}
	return a
}
