package state

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

func (t *txn) putApplication(c *raftlogv1.PutApplication) Result {
	key := keyApp(t.account, c.Record.Application.Id)
	if c.Create && t.get(key) != nil {
		return refused(batcherr.Conflict(batcherr.CodeResourceAlreadyExists, "the account has an application %q", c.Record.Application.Id))
	}
	t.putProto(key, c.Record)
	return Result{}
}

// application reads an application of the command's account; nil where there is none.
func (t *txn) application(id string) *raftlogv1.ApplicationRecord {
	b := t.get(keyApp(t.account, id))
	rec := &raftlogv1.ApplicationRecord{}
	if b == nil || proto.Unmarshal(b, rec) != nil || rec.Application == nil {
		return nil
	}
	return rec
}

func (t *txn) deleteApplication(c *raftlogv1.DeleteApplication) Result {
	rec := t.application(c.ApplicationId)
	switch {
	case rec == nil:
		return refused(batcherr.Of(batcherr.CodeApplicationNotFound))
	case c.IfEmpty && len(rec.Application.Packages) > 0:
		return refused(batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState, "The application still has packages: delete them first."))
	}
	t.delete(keyApp(t.account, c.ApplicationId))
	return Result{}
}

func (t *txn) changeApplication(c *raftlogv1.ChangeApplication) Result {
	rec := t.application(c.ApplicationId)
	if rec == nil {
		return refused(batcherr.Of(batcherr.CodeApplicationNotFound))
	}
	var err *batcherr.Error
	app := rec.Application
	switch change := c.Change.(type) {
	case *raftlogv1.ChangeApplication_Properties:
		err = setProperties(app, change.Properties)
	case *raftlogv1.ChangeApplication_AddPackage:
		err = addPackage(app, change.AddPackage)
	case *raftlogv1.ChangeApplication_ActivatePackage:
		err = activatePackage(app, change.ActivatePackage, t.now)
	case *raftlogv1.ChangeApplication_DeleteVersion:
		err = deleteVersion(app, change.DeleteVersion)
	}
	if err != nil {
		return refused(err)
	}
	t.putProto(keyApp(t.account, c.ApplicationId), rec)
	return Result{}
}

// wholeChange reports whether a change has what it is about.
func wholeChange(c *raftlogv1.ChangeApplication) bool {
	switch change := c.GetChange().(type) {
	case *raftlogv1.ChangeApplication_Properties:
		return change.Properties != nil
	case *raftlogv1.ChangeApplication_AddPackage:
		return change.AddPackage.GetPackage() != nil
	case *raftlogv1.ChangeApplication_ActivatePackage:
		return change.ActivatePackage != nil
	}
	return c.GetChange() != nil
}

func setProperties(app *apiv1.ApplicationDetail, p *apiv1.UpdateApplicationRequest) *batcherr.Error {
	if v := p.DefaultVersion; v != nil && *v != "" && lifecycle.FindPackage(app, *v) < 0 {
		return batcherr.InvalidProperty("defaultVersion", *v, "The application has no such version.")
	}
	if p.DisplayName != nil {
		app.DisplayName = *p.DisplayName
	}
	if p.AllowUpdates != nil {
		app.AllowUpdates = p.AllowUpdates
	}
	if p.DefaultVersion != nil {
		app.DefaultVersion = *p.DefaultVersion
	}
	return nil
}

func addPackage(app *apiv1.ApplicationDetail, add *raftlogv1.AddPackage) *batcherr.Error {
	i := lifecycle.FindPackage(app, add.Package.Version)
	switch {
	case i >= 0 && !app.GetAllowUpdates() && app.Packages[i].State == apiv1.PackageState_PACKAGE_STATE_ACTIVE:
		return batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState, "The application does not allow its packages to be replaced.")
	case i >= 0:
		app.Packages[i] = add.Package
	case len(app.Packages) >= int(add.AtMost):
		return batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState, "An application has at most %d packages.", add.AtMost)
	default:
		app.Packages = append(app.Packages, add.Package)
	}
	return nil
}

func activatePackage(app *apiv1.ApplicationDetail, activate *raftlogv1.ActivatePackage, now int64) *batcherr.Error {
	i := lifecycle.FindPackage(app, activate.Version)
	if i < 0 {
		return batcherr.Of(batcherr.CodeApplicationPackageNotFound)
	}
	p := app.Packages[i]
	if p.StorageKey != activate.StorageKey {
		return batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState, "The version is being replaced by another upload.")
	}
	p.State, p.Sha256, p.Size, p.LastActivationTime = apiv1.PackageState_PACKAGE_STATE_ACTIVE, activate.Sha256, activate.Size, at2pb(now)
	return nil
}

func deleteVersion(app *apiv1.ApplicationDetail, version string) *batcherr.Error {
	i := lifecycle.FindPackage(app, version)
	switch {
	case i < 0:
		return batcherr.Of(batcherr.CodeApplicationPackageNotFound)
	case !app.GetAllowUpdates():
		return batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState, "The application does not allow its packages to be deleted.")
	}
	if d := app.DefaultVersion; d != "" && lifecycle.FindPackage(app, d) == i {
		app.DefaultVersion = ""
	}
	app.Packages = slices.Delete(app.Packages, i, i+1)
	return nil
}
