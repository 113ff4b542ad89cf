package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"

	"github.com/batchyard/batchyard/agent/files/beneath"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/diskspace"
	"github.com/batchyard/batchyard/storage"
)

const (
	// maxChanges is how often an object may change while it is being fetched.
	maxChanges = 3
	// copyStep is how much is copied between looks at the context.
	copyStep = 64 << 20
)

// bring fetches one input. An object that changes meanwhile is fetched again: what arrives is one version of it.
func (s *Stager) bring(ctx context.Context, work *beneath.Dir, in input, owner Owner) error {
	release, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	dir, base, err := makeParent(work, in, owner)
	if err != nil {
		return placeFailure(batcherr.CodeResourceDirectoryCreateFailed, path.Dir(in.name), err)
	}
	defer dir.Close()
	if in.dir {
		return nil
	}
	for change := 1; ; change++ {
		err := s.fetch(ctx, dir, base, in, owner)
		if err == nil {
			return nil
		}
		if !errors.Is(err, storage.ErrPrecondition) || change == maxChanges {
			return downloadFailure(ctx, in.source, in.name, err)
		}
		s.log.Info("object changed while it was fetched", "source", in.source)
		in.object = nil
	}
}

// makeParent opens the directory that an input goes to.
func makeParent(work *beneath.Dir, in input, owner Owner) (*beneath.Dir, string, error) {
	dir, base := path.Split(in.name)
	if in.dir {
		dir = in.name + "/"
	}
	if dir == "" {
		dup, err := work.Reopen()
		return dup, base, err
	}
	made, err := work.MkdirAll(dir[:len(dir)-1], defaultMode, owner)
	return made, base, err
}

// fetch brings the version of an object that there is now.
func (s *Stager) fetch(ctx context.Context, dir *beneath.Dir, base string, in input, owner Owner) error {
	object := in.object
	if object == nil {
		found, err := s.stat(ctx, in)
		if err != nil {
			return err
		}
		object = &found
	}
	if err := s.room(in, object.Size); err != nil {
		return err
	}
	if object.Validator() == "" || !s.cache.admits(object.Size) {
		return s.direct(ctx, dir, base, in, *object, owner)
	}
	f, done, err := s.cache.open(ctx, cacheKey(in.identity, object.Validator()), object.Size, func(root *os.Root, name string) error {
		_, err := storage.Download(ctx, in.store, in.key, root, name, s.download(*object, 0o600))
		return err
	})
	if err != nil {
		return err
	}
	defer done()
	return place(ctx, dir, base, in, f, owner)
}

// stat describes an object. Servers that answer no questions about one, such as those behind URLs signed for reading,
// are asked for the object itself.
func (s *Stager) stat(ctx context.Context, in input) (storage.Object, error) {
	var object storage.Object
	err := s.again(ctx, in.source, func() (err error) {
		object, err = in.store.Stat(ctx, in.key)
		return err
	})
	if errors.Is(err, storage.ErrForbidden) || errors.Is(err, storage.ErrUnsupported) || errors.Is(err, storage.ErrInvalid) {
		return storage.Object{Key: in.key, Size: -1}, nil
	}
	return object, err
}

func (s *Stager) download(object storage.Object, mode fs.FileMode) storage.DownloadOptions {
	return storage.DownloadOptions{
		Size: object.Size, Validator: object.Validator(), Mode: mode, Retry: s.cfg.Retry,
		OnRetry: func(attempt int, err error) {
			s.log.Warn("download failed, trying again", "attempt", attempt, "err", err)
		},
	}
}

// direct downloads to the task's directory without keeping a copy.
func (s *Stager) direct(ctx context.Context, dir *beneath.Dir, base string, in input, object storage.Object, owner Owner) error {
	if err := replaceable(dir, base); err != nil {
		return placeFailure(batcherr.CodeResourceFileCreateFailed, in.name, err)
	}
	if _, err := storage.Download(ctx, in.store, in.key, dir.Root(), base, s.download(object, in.mode)); err != nil {
		return err
	}
	if !owner.Set {
		return nil
	}
	f, _, err := dir.File(base)
	if err == nil {
		err = f.Chown(owner.UID, owner.GID)
		_ = f.Close()
	}
	if err != nil {
		return placeFailure(batcherr.CodeResourceFileCreateFailed, in.name, err)
	}
	return nil
}

func replaceable(dir *beneath.Dir, base string) error {
	info, err := dir.Stat(base)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s: %w", beneath.Quote(base), beneath.ErrNotFile)
	}
	return nil
}

// place copies a kept file to the task: by reference where the file system can, never as a link, so that whatever the
// task does to its file leaves the kept one as it is.
func place(ctx context.Context, dir *beneath.Dir, base string, in input, from *os.File, owner Owner) error {
	to, err := dir.Create(base, in.mode, owner)
	if err != nil {
		return placeFailure(batcherr.CodeResourceFileCreateFailed, in.name, err)
	}
	if err := copyAll(ctx, to.File, from); err != nil {
		to.Abort()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return placeFailure(batcherr.CodeResourceFileWriteFailed, in.name, err)
	}
	if err := to.Commit(); err != nil {
		return placeFailure(batcherr.CodeResourceFileWriteFailed, in.name, err)
	}
	return nil
}

func copyAll(ctx context.Context, to, from *os.File) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		_, err := io.CopyN(to, from, copyStep)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// room compares an object's size with the room on the disk.
func (s *Stager) room(in input, size int64) error {
	if size <= 0 {
		return nil
	}
	free, err := diskspace.Free(s.cfg.NodeRoot)
	if err != nil {
		return placeFailure(batcherr.CodeResourceFileCreateFailed, in.name, err)
	}
	if size <= free {
		return nil
	}
	_, message := downloadCode(storage.ErrNoSpace)
	return newFailure(batcherr.CodeDiskFull, fmt.Sprintf(message, in.source, beneath.Quote(in.name)), nil, detail{"Source", in.source}, detail{"FilePath", in.name},
		detail{"BytesNeeded", strconv.FormatInt(size, 10)}, detail{"BytesFree", strconv.FormatInt(free, 10)})
}
