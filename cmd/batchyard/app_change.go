package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func newAppShowCommand(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:               "show APP",
		Short:             "Show an application and its versions",
		Example:           "  batchyard app show blender",
		Args:              exactly(1),
		ValidArgsFunction: completeIDs(f, appIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error {
				app, err := s.apps.GetApplication(cmd.Context(), &apiv1.GetApplicationRequest{ApplicationId: args[0]})
				if err != nil {
					return err
				}
				return f.show(app, func(w io.Writer) error { return f.writeApp(w, app) })
			})
		},
	}
}

func (f *factory) writeApp(w io.Writer, app *apiv1.ApplicationDetail) error {
	updates := "may be replaced and deleted"
	if !app.GetAllowUpdates() {
		updates = "may not be replaced or deleted"
	}
	err := render.Fields(w, "ID", app.GetId(), "Display name", app.GetDisplayName(), "Default version", app.GetDefaultVersion(), "Versions", updates)
	if err != nil || len(app.GetPackages()) == 0 {
		return err
	}
	table := render.NewTable("VERSION", "STATE", ">SIZE", "CREATED", "ACTIVATED", "SHA-256")
	for _, p := range app.GetPackages() {
		table.Row(p.GetVersion(), word(p.GetState()), render.Bytes(p.GetSize()), f.ago(p.GetCreationTime()), f.ago(p.GetLastActivationTime()), p.GetSha256())
	}
	if err := writeLine(w, ""); err != nil {
		return err
	}
	_, err = table.WriteTo(w)
	return err
}

type appUpdateOptions struct {
	standard  string
	noDefault bool
	name      string
	updates   bool
}

func newAppUpdateCommand(f *factory) *cobra.Command {
	opts := &appUpdateOptions{}
	cmd := &cobra.Command{
		Use:   "update APP",
		Short: "Change an application: the version that is used where none is named, its name, whether versions can be replaced",
		Example: `  batchyard app update blender --default 4.2
  batchyard app update blender --no-default
  batchyard app update blender --allow-updates=false`,
		Args:              exactly(1),
		ValidArgsFunction: completeIDs(f, appIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error { return opts.run(cmd, f, s, args[0]) })
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.standard, "default", "", "version that is used where none is named")
	flags.BoolVar(&opts.noDefault, "no-default", false, "let no version be used where none is named")
	flags.StringVar(&opts.name, "display-name", "", "name for people")
	flags.BoolVar(&opts.updates, "allow-updates", true, "whether versions may be replaced and deleted")
	return cmd
}

func (o *appUpdateOptions) run(cmd *cobra.Command, f *factory, s *session, id string) error {
	req := &apiv1.UpdateApplicationRequest{ApplicationId: id}
	if o.standard != "" && o.noDefault {
		return usagef("--default and --no-default exclude each other")
	}
	if cmd.Flags().Changed("default") || o.noDefault {
		req.DefaultVersion = &o.standard
	}
	if cmd.Flags().Changed("display-name") {
		req.DisplayName = &o.name
	}
	if cmd.Flags().Changed("allow-updates") {
		req.AllowUpdates = &o.updates
	}
	if req.DefaultVersion == nil && req.DisplayName == nil && req.AllowUpdates == nil {
		return usagef("nothing to change: give a flag")
	}
	if _, err := s.apps.UpdateApplication(cmd.Context(), req); err != nil {
		return err
	}
	return f.say("application %s changed", render.Plain(id))
}

func newAppActivateCommand(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:   "activate APP VERSION",
		Short: "Make a version usable whose archive is in the account's store already",
		Long: `Make a version usable whose archive is in the account's store already: after an upload that was cut short before its end, or when another
tool has put the archive where app show -o json says that it belongs (storageKey). The archive is read through for its checksum.`,
		Example:           "  batchyard app activate blender 4.2",
		Args:              exactly(2),
		ValidArgsFunction: completeIDs(f, appIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error { return runAppActivate(cmd.Context(), f, s, args[0], args[1]) })
		},
	}
}

func runAppActivate(ctx context.Context, f *factory, s *session, id, version string) error {
	app, err := s.apps.GetApplication(ctx, &apiv1.GetApplicationRequest{ApplicationId: id})
	if err != nil {
		return err
	}
	i := lifecycle.FindPackage(app, version)
	if i < 0 {
		return batcherr.Of(batcherr.CodeApplicationPackageNotFound)
	}
	store, err := f.store(ctx, s)
	if err != nil {
		return err
	}
	body, _, err := store.Open(ctx, app.GetPackages()[i].GetStorageKey(), 0, -1)
	if err != nil {
		return fmt.Errorf("read the version's archive: %w", err)
	}
	defer body.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, body)
	if err != nil {
		return fmt.Errorf("read the version's archive: %w", err)
	}
	active, err := s.apps.ActivatePackage(ctx, &apiv1.ActivatePackageRequest{
		ApplicationId: id, Version: version, Format: "zip", Sha256: hex.EncodeToString(sum.Sum(nil)), Size: size,
	})
	if err != nil {
		return err
	}
	return f.show(active, func(w io.Writer) error {
		return writeLine(w, fmt.Sprintf("application %s version %s activated (%s)", id, version, render.Bytes(size)))
	})
}

func newAppDeleteCommand(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:               "delete APP [VERSION]",
		Aliases:           []string{"rm"},
		Short:             "Delete a version of an application with its archive, or an application without versions",
		Example:           "  batchyard app delete blender 4.1\n  batchyard app delete blender",
		Args:              between(1, 2),
		ValidArgsFunction: completeIDs(f, appIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error {
				var err error
				if len(args) == 2 {
					_, err = s.apps.DeletePackage(cmd.Context(), &apiv1.DeletePackageRequest{ApplicationId: args[0], Version: args[1]})
				} else {
					_, err = s.apps.DeleteApplication(cmd.Context(), &apiv1.DeleteApplicationRequest{ApplicationId: args[0]})
				}
				if err != nil {
					return err
				}
				return f.say("application %s deleted", render.Plain(strings.Join(args, " ")))
			})
		},
	}
}
