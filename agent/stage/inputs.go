package stage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/batchyard/batchyard/agent/files/beneath"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/diskspace"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/batchyard/batchyard/storage"
)

const (
	// defaultMode is that of resource files, and of the directories made for them.
	defaultMode fs.FileMode = 0o770
	// maxObjects is how many objects one task may be given.
	maxObjects = 1_000_000
)

// input is one object and where it goes.
type input struct {
	store    storage.Store
	key      string
	object   *storage.Object // nil: not asked for yet
	identity string          // of the place, for the cache
	source   string          // for people
	name     string          // in the working directory
	mode     fs.FileMode
	dir      bool // only a directory is to be made
}

// Inputs brings the resource files of a task into its working directory, which exists. A file appears under its name
// when it is whole, with its mode, as the owner's; a file of that name is replaced. Where two resource files have the
// same name the later one counts.
func (s *Stager) Inputs(ctx context.Context, dirs Dirs, resources []*apiv1.ResourceFile, owner Owner) error {
	if len(resources) == 0 {
		return nil
	}
	inputs, err := s.plan(ctx, resources)
	if err != nil {
		return err
	}
	if err := roomFor(dirs.Task, inputs); err != nil {
		return err
	}
	task, wd, err := openTask(dirs)
	if err != nil {
		return placeFailure(batcherr.CodeResourceDirectoryCreateFailed, "wd", err)
	}
	defer task.Close()
	work, err := task.Sub(wd)
	if err != nil {
		return placeFailure(batcherr.CodeResourceDirectoryCreateFailed, wd, err)
	}
	defer work.Close()

	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(s.cfg.Parallel)
	for _, in := range inputs {
		if dirs.Open {
			in.mode &^= 0o022
		}
		group.Go(func() error { return s.bring(groupCtx, work, in, owner) })
	}
	err = group.Wait()
	if ctx.Err() != nil {
		return fmt.Errorf("staging resource files: %w", ctx.Err())
	}
	return err
}

// plan resolves and checks everything before anything is fetched.
func (s *Stager) plan(ctx context.Context, resources []*apiv1.ResourceFile) ([]input, error) {
	var all []input
	for _, r := range resources {
		mode, err := parseMode(r.GetFileMode())
		if err != nil {
			return nil, userFailure(batcherr.CodeResourceFileCreateFailed, fmt.Sprintf("The file mode %s is not an octal number from 0 to 0777.", beneath.Quote(r.GetFileMode())), err,
				detail{"FilePath", r.GetFilePath()})
		}
		var found []input
		if r.GetHttpUrl() != "" {
			found, err = s.single(r)
		} else {
			found, err = s.listed(ctx, r)
		}
		if err != nil {
			return nil, err
		}
		for i := range found {
			found[i].mode = mode
		}
		if all = append(all, found...); len(all) > maxObjects {
			return nil, userFailure(batcherr.CodeBlobDownloadMiscError, fmt.Sprintf("The resource files are more than %d objects; narrow them down with blobPrefix.", maxObjects), nil)
		}
	}
	return lastOfEachName(all)
}

// single plans a resource file with an httpUrl.
func (s *Stager) single(r *apiv1.ResourceFile) ([]input, error) {
	access := s.cfg.Access()
	t, err := locate(access, r.GetHttpUrl())
	if err == nil && t.bucket != "" && (t.key == "" || strings.HasSuffix(t.key, "/")) {
		err = errors.New("it names a folder; use storageContainerUrl for those")
	}
	if err != nil {
		return nil, userFailure(batcherr.CodeBlobDownloadMiscError, "The httpUrl of a resource file can't be used; give the URL of one object: https://… or s3://bucket/key.", err,
			detail{"FilePath", r.GetFilePath()})
	}
	in := input{source: t.String(), name: r.GetFilePath()}
	if in.name == "" {
		in.name = path.Base(t.String())
	}
	if t.bucket != "" {
		in.store, err = s.bucket(t.bucket)
		in.key, in.identity = t.key, access.GetEndpoint()+"\n"+t.String()
	} else {
		in.store, in.key, err = s.cfg.Stores.Web(access, t.web)
		in.identity = identity(t.web)
	}
	if err != nil {
		return nil, newFailure(batcherr.CodeBlobDownloadMiscError, "The store of "+in.source+" can't be used.", err)
	}
	if err := beneath.CheckName(in.name); err != nil {
		return nil, placeFailure(batcherr.CodeResourceFileCreateFailed, in.name, err)
	}
	return []input{in}, nil
}

// listed plans a resource file that is a container, or the objects of one whose names start with blobPrefix.
func (s *Stager) listed(ctx context.Context, r *apiv1.ResourceFile) ([]input, error) {
	access := s.cfg.Access()
	t, err := containerOf(access, r)
	if err != nil {
		return nil, userFailure(batcherr.CodeBlobDownloadMiscError, "The container of a resource file can't be used; give s3://bucket, s3://bucket/folder, the URL of a container of Azure Storage with its signature, or the name of an auto-storage container.", err,
			detail{"FilePath", r.GetFilePath()})
	}
	store, err := s.group(t)
	if err != nil {
		return nil, newFailure(batcherr.CodeBlobDownloadMiscError, "The store of "+t.String()+" can't be used.", err)
	}
	var out []input
	for object, err := range store.List(ctx, t.key+r.GetBlobPrefix()) {
		if err != nil {
			return nil, downloadFailure(ctx, t.String(), r.GetFilePath(), err)
		}
		if len(out) >= maxObjects {
			break
		}
		relative := strings.TrimPrefix(object.Key, t.key)
		in := input{
			store: store, key: object.Key, object: &object,
			source: t.object(object.Key), identity: t.identity(access, object.Key),
			name: under(r.GetFilePath()) + relative,
		}
		if folder, ok := strings.CutSuffix(in.name, "/"); ok {
			in.name, in.dir = folder, true
		}
		if relative == "" {
			continue // the folder's own marker
		}
		if err := beneath.CheckName(in.name); err != nil {
			return nil, placeFailure(batcherr.CodeResourceFileCreateFailed, in.name, err)
		}
		out = append(out, in)
	}
	return out, nil
}

// under makes a target directory a prefix of names. It is checked with the names.
func under(dir string) string {
	for strings.HasPrefix(dir, "./") {
		dir = dir[2:]
	}
	if dir == "" || dir == "." {
		return ""
	}
	return strings.TrimSuffix(dir, "/") + "/"
}

// group opens a target that is a group of objects; keys in it begin with the target's.
func (s *Stager) group(t target) (storage.Store, error) {
	if t.blob {
		return s.cfg.Stores.Container(t.web)
	}
	return s.bucket(t.bucket)
}

func containerOf(access *apiv1.StoreAccess, r *apiv1.ResourceFile) (target, error) {
	if name := r.GetAutoStorageContainerName(); name != "" {
		return autoStorage(access, name)
	}
	if r.GetStorageContainerUrl() == "" {
		return target{}, errors.New("the resource file has no source")
	}
	t, err := container(access, r.GetStorageContainerUrl())
	if err == nil && !t.listable() {
		err = errors.New("only buckets of the account's store and containers of Azure Storage can be listed")
	}
	return t, err
}

// lastOfEachName drops what a later input replaces, and refuses names that are both a file and a directory.
func lastOfEachName(all []input) ([]input, error) {
	last := make(map[string]int, len(all))
	for i, in := range all {
		last[in.name] = i
	}
	out := all[:0]
	for i, in := range all {
		for dir := path.Dir(in.name); dir != "."; dir = path.Dir(dir) {
			if j, taken := last[dir]; taken && !all[j].dir {
				return nil, userFailure(batcherr.CodeResourceDirectoryCreateFailed,
					fmt.Sprintf("%s would be both a file and a directory; give the resource files different paths.", beneath.Quote(dir)), nil, detail{"FilePath", in.name})
			}
		}
		if last[in.name] == i {
			out = append(out, in)
		}
	}
	return out, nil
}

// parseMode reads an octal mode, without the bits that make a file run as somebody else.
func parseMode(text string) (fs.FileMode, error) {
	if text == "" {
		return defaultMode, nil
	}
	mode, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 16)
	if err != nil || mode > 0o777 {
		return 0, fmt.Errorf("mode %s is out of range", beneath.Quote(text))
	}
	return fs.FileMode(mode), nil
}

// roomFor compares what is known of the inputs' sizes with the room on the disk.
func roomFor(dir string, inputs []input) error {
	var need int64
	for _, in := range inputs {
		if in.object != nil {
			need += max(in.object.Size, 0)
		}
	}
	if need == 0 {
		return nil
	}
	free, err := diskspace.Free(dir)
	if err != nil {
		return placeFailure(batcherr.CodeResourceFileCreateFailed, "wd", err)
	}
	if need > free {
		return newFailure(batcherr.CodeDiskFull, "The resource files are larger than the room on the node's disk; use nodes with a larger disk, or stage less.", nil,
			detail{"BytesNeeded", strconv.FormatInt(need, 10)}, detail{"BytesFree", strconv.FormatInt(free, 10)})
	}
	return nil
}
