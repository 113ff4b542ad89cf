package stage

import (
	"context"
	"errors"
	"fmt"
	"path"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/batchyard/batchyard/agent/files/beneath"
	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/batchyard/batchyard/storage"
)

// output is one file and the object that it becomes.
type output struct {
	name    string // relative to the task's directory
	store   storage.Store
	key     string
	dest    string // for people
	options storage.PutOptions
}

// Outputs uploads the output files of a task whose command has ended, those whose condition fits succeeded, and writes
// the upload logs into the task's directory; without such output files it writes none. env looks up the task's
// environment variables. A pattern that matches nothing is no error. After a failure the other files are still
// uploaded; the first failure is returned, with all of them in its details.
func (s *Stager) Outputs(ctx context.Context, dirs Dirs, files []*apiv1.OutputFile, env func(string) (string, bool), succeeded bool) error {
	wanted := wantedOutputs(files, succeeded)
	if len(wanted) == 0 {
		return nil
	}
	task, wd, err := openTask(dirs)
	if err != nil {
		return newFailure(batcherr.CodeFileUploadMiscError, "The task's directory can't be opened.", err)
	}
	defer task.Close()

	log := &transcript{now: s.cfg.Now}
	var all []output
	dirs.Work = strings.TrimSuffix(dirs.Task, "/") + "/" + wd
	for _, file := range wanted {
		outputs, err := s.matched(ctx, task, dirs, file, env, log)
		if ctx.Err() != nil {
			return fmt.Errorf("uploading output files: %w", ctx.Err())
		}
		if err != nil {
			log.fail(file.GetFilePattern(), err)
		}
		all = append(all, outputs...)
	}
	if err := s.upload(ctx, task, all, log); err != nil {
		return err
	}
	if err := log.write(ctx, task); err != nil {
		s.log.Warn("the upload logs could not be written", "task", dirs.Task, "err", err)
	}
	return log.failure()
}

func wantedOutputs(files []*apiv1.OutputFile, succeeded bool) []*apiv1.OutputFile {
	var out []*apiv1.OutputFile
	for _, f := range files {
		switch f.GetUploadOptions().GetUploadCondition() {
		case apiv1.OutputFileUploadCondition_OUTPUT_FILE_UPLOAD_CONDITION_TASK_SUCCESS:
			if succeeded {
				out = append(out, f)
			}
		case apiv1.OutputFileUploadCondition_OUTPUT_FILE_UPLOAD_CONDITION_TASK_FAILURE:
			if !succeeded {
				out = append(out, f)
			}
		default:
			out = append(out, f)
		}
	}
	return out
}

// matched finds the files of one output file and what becomes of them.
func (s *Stager) matched(ctx context.Context, task *beneath.Dir, dirs Dirs, file *apiv1.OutputFile, env func(string) (string, bool), log *transcript) ([]output, error) {
	const windows = runtime.GOOS == "windows"
	text, unset := expand(file.GetFilePattern(), env, windows)
	for _, name := range unset {
		log.line("%s: the environment variable %s is not set", beneath.Quote(file.GetFilePattern()), name)
	}
	p, err := newPattern(text, dirs.Task, dirs.Work, windows)
	if err != nil {
		return nil, userFailure(batcherr.CodeFileUploadMiscError, fmt.Sprintf("The file pattern %s can't be used: %v.", beneath.Quote(text), err), err,
			detail{"FilePattern", file.GetFilePattern()})
	}
	found, err := find(ctx, task, p)
	if err != nil {
		return nil, newFailure(batcherr.CodeFileUploadMiscError, fmt.Sprintf("The files of the pattern %s could not be looked up.", beneath.Quote(text)), err,
			detail{"FilePattern", file.GetFilePattern()})
	}
	log.line("%s matches %d files", beneath.Quote(text), len(found.names))
	for _, name := range found.skipped {
		log.line("%s left out: links and special files are not uploaded", beneath.Quote(name))
	}
	if len(found.names) == 0 {
		return nil, nil
	}
	return s.destined(file.GetDestination().GetContainer(), p, found.names, log)
}

// destined gives every file its object: the path itself for a pattern without wildcards; below the path as a folder, and
// with the directories after the pattern's literal beginning kept, for one with.
func (s *Stager) destined(to *apiv1.OutputFileBlobContainerDestination, p pattern, names []string, log *transcript) ([]output, error) {
	access := s.cfg.Access()
	t, err := container(access, to.GetContainerUrl())
	if err != nil {
		return nil, userFailure(batcherr.CodeFileUploadMiscError, "The destination of an output file can't be used; give s3://bucket, s3://bucket/folder, the URL of a container of Azure Storage with its signature, or a URL signed for writing.", err)
	}
	if !t.listable() {
		return s.destinedToURL(access, t, to, names, log)
	}
	options := putOptions(to.GetUploadHeaders())
	store, err := s.group(t)
	if err != nil {
		return nil, newFailure(batcherr.CodeFileUploadMiscError, "The store of "+t.String()+" can't be used.", err)
	}
	out := make([]output, 0, len(names))
	for _, name := range names {
		key := t.key + objectName(p, name, strings.Trim(to.GetPath(), "/"))
		if err := storage.ValidateKey(key); err != nil {
			return nil, userFailure(batcherr.CodeFileUploadMiscError, fmt.Sprintf("%s can't be uploaded: no object can have its name.", beneath.Quote(name)), err, detail{"FilePath", name})
		}
		out = append(out, output{name: name, store: store, key: key, dest: t.object(key), options: options})
	}
	return out, nil
}

// destinedToURL is destined for a URL that is signed for writing one object.
func (s *Stager) destinedToURL(access *apiv1.StoreAccess, t target, to *apiv1.OutputFileBlobContainerDestination, names []string, log *transcript) ([]output, error) {
	if len(names) > 1 {
		return nil, userFailure(batcherr.CodeFileUploadMiscError,
			fmt.Sprintf("The destination %s takes one file, but the pattern matches %d; give s3://bucket/folder.", t, len(names)), nil)
	}
	if to.GetPath() != "" {
		log.line("the path %s is not used: the destination's URL is that of one object", beneath.Quote(to.GetPath()))
	}
	store, key, err := s.cfg.Stores.Web(access, t.web)
	if err != nil {
		return nil, newFailure(batcherr.CodeFileUploadMiscError, "The destination "+t.String()+" can't be used.", err)
	}
	// A signature may cover the headers: they go as they are.
	options := storage.PutOptions{Metadata: map[string]string{}}
	for _, h := range to.GetUploadHeaders() {
		options.Metadata[h.GetName()] = h.GetValue()
	}
	return []output{{name: names[0], store: store, key: key, dest: t.String(), options: options}}, nil
}

func objectName(p pattern, name, at string) string {
	if !p.wild() {
		if at == "" {
			return path.Base(name)
		}
		return at
	}
	name = relative(name, p.base())
	if at == "" {
		return name
	}
	return at + "/" + name
}

// putOptions makes an object's properties of headers as they are for Azure Storage or S3.
func putOptions(headers []*apiv1.OutputFileUploadHeader) storage.PutOptions {
	var o storage.PutOptions
	for _, h := range headers {
		name := strings.ToLower(h.GetName())
		if name == "content-type" || name == "x-ms-blob-content-type" {
			o.ContentType = h.GetValue()
			continue
		}
		for _, prefix := range []string{"x-ms-meta-", "x-amz-meta-"} {
			name = strings.TrimPrefix(name, prefix)
		}
		if o.Metadata == nil {
			o.Metadata = map[string]string{}
		}
		o.Metadata[name] = h.GetValue()
	}
	return o
}

// upload sends all files, as many at a time as the node may; failures are in the log. It fails only when ctx ends.
func (s *Stager) upload(ctx context.Context, task *beneath.Dir, outputs []output, log *transcript) error {
	var group errgroup.Group
	group.SetLimit(s.cfg.Parallel)
	for _, o := range outputs {
		group.Go(func() error {
			release, err := s.acquire(ctx)
			if err != nil {
				return err
			}
			defer release()
			size, err := s.send(ctx, task, o)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil:
				log.fail(o.name, uploadFailure(o, err))
			default:
				log.line("uploaded %s to %s (%d bytes)", beneath.Quote(o.name), o.dest, size)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("uploading output files: %w", err)
	}
	return nil
}

func (s *Stager) send(ctx context.Context, task *beneath.Dir, o output) (int64, error) {
	f, info, err := task.File(o.name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	_, err = storage.UploadFile(ctx, o.store, o.key, f, storage.UploadOptions{
		PutOptions: o.options, Retry: s.cfg.Retry,
		OnRetry: func(attempt int, err error) {
			s.log.Warn("upload failed, trying again", "destination", o.dest, "attempt", attempt, "err", err)
		},
	})
	return info.Size(), err
}

// uploadFailure explains why an output file did not arrive.
func uploadFailure(o output, err error) *Failure {
	details := []detail{{"FilePath", o.name}, {"Destination", o.dest}}
	switch {
	case errors.Is(err, storage.ErrNoBucket), errors.Is(err, storage.ErrNotFound):
		return newFailure(batcherr.CodeFileUploadContainerNotFound, "One of the specified containers was not found while attempting to upload an output file: "+
			o.dest+"; create the bucket, or correct containerUrl.", err, details...)
	case errors.Is(err, storage.ErrForbidden):
		return newFailure(batcherr.CodeFileUploadAccessDenied, "Access was denied while attempting to upload an output file to "+
			o.dest+"; check the permissions, and that a signed URL has not expired.", err, details...)
	default:
		return newFailure(batcherr.CodeFileUploadMiscError, fmt.Sprintf("%s could not be uploaded to %s.", beneath.Quote(o.name), o.dest), err, details...)
	}
}
