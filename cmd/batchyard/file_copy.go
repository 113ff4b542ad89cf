package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/batchyard/batchyard/storage"
)

// transfers is how many small files travel at once; the parts of a large one do so anyway.
const transfers = 8

// transfer is one file to copy and what it will be.
type transfer struct {
	local string // path
	key   string
	size  int64
}

func newFileUploadCommand(f *factory) *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "upload PATH...",
		Short: "Copy local files and directories to the account's store",
		Long: `Copy local files to the account's store. A directory is copied with everything below it; links are not followed.

--to is the key of a single file, or, with a / at its end, what the keys start with.`,
		Example: `  batchyard file upload data.csv --to inputs/
  batchyard file upload data.csv --to inputs/today.csv
  batchyard file upload images --to inputs/`,
		Args: atLeast(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			plan, err := planUploads(args, to)
			if err != nil {
				return err
			}
			return f.withSession(func(s *session) error { return uploadAll(cmd.Context(), f, s, plan) })
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "key, or what the keys start with")
	return cmd
}

// planUploads decides which local file becomes which object.
func planUploads(paths []string, to string) ([]transfer, error) {
	var plan []transfer
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, usage(err)
		}
		if !info.IsDir() {
			key := to
			if to == "" || strings.HasSuffix(to, "/") || len(paths) > 1 {
				key = path.Join(to, filepath.Base(p))
			}
			plan = append(plan, transfer{p, key, info.Size()})
			continue
		}
		below, err := planDirectory(p, path.Join(to, dirName(p)))
		if err != nil {
			return nil, err
		}
		plan = append(plan, below...)
	}
	for _, t := range plan {
		if err := storage.ValidateKey(t.key); err != nil {
			return nil, err
		}
	}
	return plan, nil
}

// dirName is what a directory is called in keys; "." and ".." are not called anything.
func dirName(dir string) string {
	if base := filepath.Base(filepath.Clean(dir)); base != "." && base != ".." && base != string(filepath.Separator) {
		return base
	}
	return ""
}

func planDirectory(dir, prefix string) ([]transfer, error) {
	var plan []transfer
	err := filepath.WalkDir(dir, func(p string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		below, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		plan = append(plan, transfer{p, path.Join(prefix, filepath.ToSlash(below)), info.Size()})
		return nil
	})
	if err != nil {
		return nil, usage(err)
	}
	return plan, nil
}

func uploadAll(ctx context.Context, f *factory, s *session, plan []transfer) error {
	store, err := f.store(ctx, s)
	if err != nil {
		return err
	}
	return f.copyAll(ctx, "upload", plan, func(ctx context.Context, t transfer, progress func(int64)) error {
		_, err := uploadLocal(ctx, store, t.local, t.key, progress)
		return err
	}, func(t transfer) error { return f.sayTransfer(f.out, t.local, t.key, t.size) })
}

func uploadLocal(ctx context.Context, store storage.Store, local, key string, progress func(int64)) (storage.Object, error) {
	file, err := os.Open(local)
	if err != nil {
		return storage.Object{}, usage(err)
	}
	defer file.Close()
	return storage.UploadFile(ctx, store, key, file, storage.UploadOptions{Progress: func(done, _ int64) { progress(done) }})
}

func newFileDownloadCommand(f *factory) *cobra.Command {
	var to string
	var prefix bool
	cmd := &cobra.Command{
		Use:   "download KEY...",
		Short: "Copy objects from the account's store",
		Long: `Copy objects from the account's store to a local directory. A copy that was interrupted goes on where it stopped.

An object gets the last part of its key as its name; with --prefix, what follows the last / of the prefix.`,
		Example: `  batchyard file download results/summary.csv
  batchyard file download --prefix results/ --to results`,
		Args:              atLeast(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error { return downloadAll(cmd.Context(), f, s, args, prefix, to) })
		},
	}
	cmd.Flags().StringVar(&to, "to", ".", "directory to write to; made if needed")
	cmd.Flags().BoolVar(&prefix, "prefix", false, "download everything whose key starts with KEY")
	_ = cmd.MarkFlagDirname("to")
	return cmd
}

func downloadAll(ctx context.Context, f *factory, s *session, keys []string, prefix bool, to string) error {
	store, err := f.store(ctx, s)
	if err != nil {
		return err
	}
	plan, err := planDownloads(ctx, store, keys, prefix)
	if err != nil {
		return err
	}
	root, err := openDirectory(to)
	if err != nil {
		return err
	}
	defer root.Close()
	return f.copyAll(ctx, "download", plan, func(ctx context.Context, t transfer, progress func(int64)) error {
		opts := storage.DownloadOptions{Progress: func(done, _ int64) { progress(done) }}
		_, err := storage.Download(ctx, store, t.key, root, t.local, opts)
		return err
	}, func(t transfer) error {
		return f.sayTransfer(f.out, t.key, filepath.Join(to, filepath.FromSlash(t.local)), t.size)
	})
}

// planDownloads decides which object becomes which file below the directory, named with slashes.
func planDownloads(ctx context.Context, store storage.Store, keys []string, prefix bool) ([]transfer, error) {
	var plan []transfer
	for _, key := range keys {
		if !prefix {
			object, err := store.Stat(ctx, key)
			if err != nil {
				return nil, err
			}
			plan = append(plan, transfer{path.Base(key), key, object.Size})
			continue
		}
		found := len(plan)
		for object, err := range store.List(ctx, key) {
			if err != nil {
				return nil, err
			}
			if strings.HasSuffix(object.Key, "/") { // what some programs make to stand for a directory
				continue
			}
			plan = append(plan, transfer{object.Key[strings.LastIndex(key, "/")+1:], object.Key, object.Size})
		}
		if len(plan) == found {
			return nil, &storage.Error{Op: "list", Key: key, Kind: storage.ErrNotFound, Err: fmt.Errorf("no key starts so")}
		}
	}
	for _, t := range plan {
		if !filepath.IsLocal(filepath.FromSlash(t.local)) {
			return nil, usagef("object %q: its name leads out of the directory", t.key)
		}
	}
	return plan, nil
}

// copyAll copies a plan several files at a time under one meter and says each file that is done.
func (f *factory) copyAll(ctx context.Context, name string, plan []transfer, one func(context.Context, transfer, func(int64)) error, said func(transfer) error) error {
	var total int64
	for _, t := range plan {
		total += t.size
	}
	sum := newTally(f.newMeter(name, total, byteUnit), total)
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(transfers)
	for _, t := range plan {
		if groupCtx.Err() != nil {
			break
		}
		group.Go(func() error {
			if err := one(groupCtx, t, sum.part()); err != nil {
				return err
			}
			return nil
		})
	}
	err := group.Wait()
	sum.meter.finish()
	if err != nil {
		return err
	}
	for _, t := range plan {
		if err := said(t); err != nil {
			return err
		}
	}
	return nil
}
