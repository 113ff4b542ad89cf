package lifecycle

import (
	"strings"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// FindPackage is the index of a version of an application, whatever its case; -1 if there is none.
func FindPackage(app *apiv1.ApplicationDetail, version string) int {
	for i, p := range app.GetPackages() {
		if strings.EqualFold(p.Version, version) {
			return i
		}
	}
	return -1
}

// PackageFault says why a version of an application can't be deployed, the default one if none is given; empty if it can.
func PackageFault(app *apiv1.ApplicationDetail, version string) string {
	if app == nil {
		return "The application does not exist."
	}
	if version == "" {
		version = app.DefaultVersion
	}
	if version == "" {
		return "The application has no default version."
	}
	i := FindPackage(app, version)
	switch {
	case i < 0:
		return "The application has no such version."
	case app.Packages[i].State != apiv1.PackageState_PACKAGE_STATE_ACTIVE:
		return "The version's archive was not activated."
	}
	return ""
}
