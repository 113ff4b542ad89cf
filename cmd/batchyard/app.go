package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/batchyard/batchyard/storage"
)

func newAppCommand(f *factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "app",
		Short:   "Application packages: programs that nodes unpack before tasks run",
		Example: "  batchyard app upload blender 4.2 blender.zip\n  batchyard app list",
	}
	cmd.AddCommand(
		newAppUploadCommand(f), newAppActivateCommand(f), newAppListCommand(f), newAppShowCommand(f), newAppUpdateCommand(f), newAppDeleteCommand(f),
	)
	return cmd
}

type appUploadOptions struct {
	makeDefault bool
	name        string
}

func newAppUploadCommand(f *factory) *cobra.Command {
	opts := &appUploadOptions{}
	cmd := &cobra.Command{
		Use:   "upload APP VERSION PATH",
		Short: "Upload a version of an application: a zip archive, or a directory to make one of",
		Long: `Upload a version of an application, which is made if there is none of its name.

PATH is a zip archive or a directory. Tasks find the unpacked package in the directory that the variable
AZ_BATCH_APP_PACKAGE_APP_VERSION names.`,
		Example: `  batchyard app upload blender 4.2 blender-4.2.zip --default
  batchyard app upload model 1 ./model`,
		Args: exactly(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error { return opts.run(cmd.Context(), f, s, args[0], args[1], args[2]) })
		},
	}
	cmd.Flags().BoolVar(&opts.makeDefault, "default", false, "make it the version that is used where none is named")
	cmd.Flags().StringVar(&opts.name, "display-name", "", "name for people, of a new application")
	return cmd
}

func (o *appUploadOptions) run(ctx context.Context, f *factory, s *session, id, version, path string) error {
	archive, err := openArchive(path)
	if err != nil {
		return err
	}
	defer archive.close()
	if _, err := s.apps.GetApplication(ctx, &apiv1.GetApplicationRequest{ApplicationId: id}); batcherr.HasKind(err, batcherr.KindNotFound) {
		detail := &apiv1.ApplicationDetail{Id: id, DisplayName: o.name}
		_, err = s.apps.CreateApplication(ctx, &apiv1.CreateApplicationRequest{Application: detail})
		// Somebody else may have made it meanwhile.
		if err != nil && !batcherr.HasCode(batcherr.FromGRPC(err), batcherr.CodeResourceAlreadyExists) {
			return err
		}
	} else if err != nil {
		return err
	}
	made, err := s.apps.CreatePackage(ctx, &apiv1.CreatePackageRequest{ApplicationId: id, Version: version})
	if err != nil {
		return err
	}
	store, err := f.store(ctx, s)
	if err != nil {
		return err
	}
	meter := f.newMeter("upload", archive.size, byteUnit)
	_, err = storage.UploadFile(ctx, store, made.GetStorageKey(), archive.file, storage.UploadOptions{
		PutOptions: storage.PutOptions{ContentType: "application/zip", SHA256: archive.sha256},
		Progress:   meter.set,
	})
	meter.finish()
	if err != nil {
		return err
	}
	active, err := s.apps.ActivatePackage(ctx, &apiv1.ActivatePackageRequest{
		ApplicationId: id, Version: version, Format: "zip", Sha256: archive.sha256, Size: archive.size,
	})
	if err != nil {
		return err
	}
	if o.makeDefault {
		if _, err := s.apps.UpdateApplication(ctx, &apiv1.UpdateApplicationRequest{ApplicationId: id, DefaultVersion: &version}); err != nil {
			return err
		}
	}
	return f.show(active, func(w io.Writer) error {
		return writeLine(w, fmt.Sprintf("application %s version %s uploaded (%s)", id, version, render.Bytes(archive.size)))
	})
}

func newAppListCommand(f *factory) *cobra.Command {
	opts := &listFlags{}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List applications and their versions",
		Example: "  batchyard app list\n  batchyard app list -o yaml",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.withSession(func(s *session) error { return runAppList(cmd.Context(), f, s, opts) })
		},
	}
	cmd.Flags().BoolVarP(&opts.quiet, "quiet", "q", false, "print ids only")
	return cmd
}

func runAppList(ctx context.Context, f *factory, s *session, opts *listFlags) error {
	apps, _, err := collect(ctx, *opts, func(ctx context.Context, o *apiv1.ListOptions) (page[*apiv1.ApplicationDetail], error) {
		resp, err := s.apps.ListApplications(ctx, &apiv1.ListApplicationsRequest{Options: o})
		return page[*apiv1.ApplicationDetail]{resp.GetApplications(), resp.GetNextPageToken()}, err
	})
	if err != nil {
		return err
	}
	if opts.quiet || !f.forPeople() {
		return list(f, apps, ifQuiet(opts.quiet, (*apiv1.ApplicationDetail).GetId), nil, nil)
	}
	table := render.NewTable("ID", "VERSION", "STATE", ">SIZE", "UPLOADED", "DEFAULT")
	for _, app := range apps {
		if len(app.GetPackages()) == 0 {
			table.Row(app.GetId())
		}
		for _, p := range app.GetPackages() {
			chosen := ""
			if p.GetVersion() == app.GetDefaultVersion() {
				chosen = "yes"
			}
			table.Row(app.GetId(), p.GetVersion(), word(p.GetState()), render.Bytes(p.GetSize()), f.ago(p.GetLastActivationTime()), chosen)
		}
	}
	_, err = table.WriteTo(f.out)
	return err
}
