package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
	"github.com/batchyard/batchyard/storage"
)

func newFileCommand(f *factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "file",
		Short:   "Objects in the account's store",
		Example: "  batchyard file upload data.csv --to inputs/\n  batchyard file list inputs/",
	}
	cmd.AddCommand(newFileUploadCommand(f), newFileDownloadCommand(f), newFileListCommand(f), newFileDeleteCommand(f))
	return cmd
}

type fileListOptions struct {
	limit int
	quiet bool
}

func newFileListCommand(f *factory) *cobra.Command {
	opts := &fileListOptions{}
	cmd := &cobra.Command{
		Use:               "list [PREFIX]",
		Aliases:           []string{"ls"},
		Short:             "List objects whose keys start with PREFIX",
		Example:           "  batchyard file list results/\n  batchyard file list -q | wc -l",
		Args:              between(0, 1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error {
				return opts.run(cmd.Context(), f, s, strings.Join(args, ""))
			})
		},
	}
	cmd.Flags().IntVar(&opts.limit, "limit", 1000, "show at most this many; 0 shows all")
	cmd.Flags().BoolVarP(&opts.quiet, "quiet", "q", false, "print keys only")
	return cmd
}

func (o *fileListOptions) run(ctx context.Context, f *factory, s *session, prefix string) error {
	store, err := f.store(ctx, s)
	if err != nil {
		return err
	}
	var objects []storage.Object
	for object, err := range store.List(ctx, prefix) {
		if err != nil {
			return err
		}
		if o.limit > 0 && len(objects) == o.limit {
			f.noteMore(true, o.limit)
			break
		}
		objects = append(objects, object)
	}
	return f.printObjects(objects, o.quiet)
}

// shownObject is an object as programs get it.
type shownObject struct {
	Key          string    `json:"key"`
	Size         int64     `json:"size"`
	LastModified time.Time `json:"lastModified"`
	ETag         string    `json:"eTag,omitempty"`
}

func (f *factory) printObjects(objects []storage.Object, quiet bool) error {
	if !quiet && !f.forPeople() {
		shown := make([]shownObject, len(objects))
		for i, o := range objects {
			shown[i] = shownObject{o.Key, o.Size, o.ModTime.UTC(), o.ETag}
		}
		// JSON is YAML as well.
		encoder := json.NewEncoder(f.out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(shown)
	}
	if quiet {
		for _, o := range objects {
			if err := writeLine(f.out, o.Key); err != nil {
				return err
			}
		}
		return nil
	}
	table := render.NewTable("KEY", ">SIZE", "MODIFIED")
	for _, o := range objects {
		table.Row(o.Key, render.Bytes(o.Size), render.Ago(o.ModTime, f.now()))
	}
	_, err := table.WriteTo(f.out)
	return err
}

func newFileDeleteCommand(f *factory) *cobra.Command {
	var prefix bool
	cmd := &cobra.Command{
		Use:               "delete KEY...",
		Aliases:           []string{"rm"},
		Short:             "Delete objects",
		Example:           "  batchyard file delete inputs/data.csv\n  batchyard file delete --prefix results/",
		Args:              atLeast(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error { return deleteObjects(cmd.Context(), f, s, args, prefix) })
		},
	}
	cmd.Flags().BoolVar(&prefix, "prefix", false, "delete everything whose key starts with KEY")
	return cmd
}

func deleteObjects(ctx context.Context, f *factory, s *session, keys []string, prefix bool) error {
	store, err := f.store(ctx, s)
	if err != nil {
		return err
	}
	if prefix {
		if keys, err = expandPrefixes(ctx, store, keys); err != nil {
			return err
		}
	}
	for _, key := range keys {
		if err := store.Delete(ctx, key); err != nil {
			return err
		}
	}
	return f.say("%s deleted", plural(len(keys), "object"))
}

// expandPrefixes lists the keys that start with any of the prefixes; an empty prefix, which is everything, is refused.
func expandPrefixes(ctx context.Context, store storage.Store, prefixes []string) ([]string, error) {
	var keys []string
	for _, prefix := range prefixes {
		if prefix == "" {
			return nil, usagef("an empty prefix is everything: name what is meant")
		}
		found := false
		for object, err := range store.List(ctx, prefix) {
			if err != nil {
				return nil, err
			}
			found = true
			keys = append(keys, object.Key)
		}
		if !found {
			return nil, &storage.Error{Op: "list", Key: prefix, Kind: storage.ErrNotFound, Err: fmt.Errorf("no key starts so")}
		}
	}
	return keys, nil
}

// sayTransfer ends the transfer of a file.
func (f *factory) sayTransfer(w io.Writer, from, to string, size int64) error {
	if !f.forPeople() {
		return nil
	}
	return writeLine(w, fmt.Sprintf("%s -> %s (%s)", from, to, render.Bytes(size)))
}
