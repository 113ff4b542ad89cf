package stage

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/batchyard/batchyard/agent/files/beneath"
	"github.com/batchyard/batchyard/agent/stage/archive"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/diskspace"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	"github.com/batchyard/batchyard/storage"
)

const (
	// applications is the directory under a node's root that packages are unpacked in.
	applications = "applications"
	// unfinished is the directory in it for what is not whole yet.
	unfinished = ".unfinished"
	// hashDigits is how much of its archive's checksum names a package's directory.
	hashDigits = 16
	// maxArchive is the largest package, in bytes.
	maxArchive = 32 << 30
)

// Package is an application package that is unpacked on the node.
type Package struct {
	ID, Version string
	Dir         string // absolute; tasks may read it
	Default     bool   // this is the application's default version
}

// Packages unpacks what is not on the node yet, each package once however many tasks ask, and says where all of them
// are: applications/{id}/{version}/{checksum}, so that a version that is uploaded anew never changes under the tasks that
// use the old one. A package is whole or not there; a failure leaves nothing behind.
func (s *Stager) Packages(ctx context.Context, locations []*agentv1.PackageLocation) ([]Package, error) {
	wanted := distinct(locations)
	out := make([]Package, len(wanted))
	group, groupCtx := errgroup.WithContext(ctx)
	for i, at := range wanted {
		group.Go(func() error {
			dir, err := s.deploy(groupCtx, at)
			if err != nil {
				return packageFailure(groupCtx, at, err)
			}
			out[i] = Package{ID: at.GetApplicationId(), Version: at.GetVersion(), Dir: dir, Default: at.GetIsDefault()}
			return nil
		})
	}
	err := group.Wait()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("deploying application packages: %w", ctx.Err())
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// distinct drops repetitions: a task and its pool may name the same package, the one by its version, the other as the default.
func distinct(locations []*agentv1.PackageLocation) []*agentv1.PackageLocation {
	var out []*agentv1.PackageLocation
	seen := map[[2]string]int{}
	for _, at := range locations {
		key := [2]string{strings.ToLower(at.GetApplicationId()), strings.ToLower(at.GetVersion())}
		i, again := seen[key]
		switch {
		case !again:
			seen[key] = len(out)
			out = append(out, at)
		case at.GetIsDefault() && !out[i].GetIsDefault():
			out[i] = at
		}
	}
	return out
}

func (s *Stager) deploy(ctx context.Context, at *agentv1.PackageLocation) (string, error) {
	name, err := packageName(at)
	if err != nil {
		return "", err
	}
	unlock, err := s.locks.lock(ctx, name)
	if err != nil {
		return "", err
	}
	defer unlock()
	dir := filepath.Join(s.cfg.NodeRoot, applications, filepath.FromSlash(name))
	info, err := os.Lstat(dir)
	if err == nil && info.IsDir() {
		return dir, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	release, err := s.acquire(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	s.log.Info("deploying application package", "application", at.GetApplicationId(), "version", at.GetVersion(), "bytes", at.GetSize())
	return dir, s.install(ctx, at, dir)
}

// packageName checks everything that makes a path.
func packageName(at *agentv1.PackageLocation) (string, error) {
	if at.GetFault() != "" {
		return "", errors.New(at.GetFault())
	}
	for _, element := range []string{at.GetApplicationId(), at.GetVersion()} {
		if err := beneath.CheckName(element); err != nil {
			return "", err
		}
		if strings.ContainsAny(element, `/\`) || strings.HasPrefix(element, ".") {
			return "", fmt.Errorf("%w: %s", beneath.ErrName, beneath.Quote(element))
		}
	}
	sum := strings.ToLower(at.GetSha256())
	if raw, err := hex.DecodeString(sum); err != nil || len(raw) != 32 {
		return "", errors.New("the package has no SHA-256 to verify it by")
	}
	return at.GetApplicationId() + "/" + at.GetVersion() + "/" + sum[:hashDigits], nil
}

// install downloads, verifies and unpacks into a directory beside, which then takes its name.
func (s *Stager) install(ctx context.Context, at *agentv1.PackageLocation, dir string) (err error) {
	area := filepath.Join(s.cfg.NodeRoot, applications, unfinished)
	if err := os.MkdirAll(area, 0o755); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(area, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	root, err := os.OpenRoot(temp)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := s.fetchArchive(ctx, at, root); err != nil {
		return err
	}
	if err := s.unpack(ctx, root); err != nil {
		return err
	}
	for _, above := range []string{filepath.Dir(filepath.Dir(dir)), filepath.Dir(dir)} {
		if err := makeReadable(above); err != nil {
			return err
		}
	}
	return os.Rename(filepath.Join(temp, "package"), dir)
}

// makeReadable makes a directory that every task may read, whatever the umask; that it exists is no error.
func makeReadable(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}

func (s *Stager) fetchArchive(ctx context.Context, at *agentv1.PackageLocation, root *os.Root) error {
	free, err := diskspace.Free(root.Name())
	if err != nil {
		return err
	}
	if at.GetSize() > free {
		return &storage.Error{Op: "download", Key: at.GetStorageKey(), Kind: storage.ErrNoSpace, Err: fmt.Errorf("%d bytes, %d are free", at.GetSize(), free)}
	}
	access := s.cfg.Access()
	if access.GetBucket() == "" {
		return errNoStore
	}
	store, err := s.bucket(access.GetBucket())
	if err != nil {
		return err
	}
	_, err = storage.Download(ctx, store, at.GetStorageKey(), root, "archive", storage.DownloadOptions{
		Size: at.GetSize(), SHA256: at.GetSha256(), MaxBytes: maxArchive, Mode: 0o600, Retry: s.cfg.Retry,
	})
	return err
}

func (s *Stager) unpack(ctx context.Context, root *os.Root) error {
	f, err := root.Open("archive")
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := makeReadable(filepath.Join(root.Name(), "package")); err != nil {
		return err
	}
	into, err := root.OpenRoot("package")
	if err != nil {
		return err
	}
	defer into.Close()
	if err := archive.Extract(ctx, f, info.Size(), into, s.cfg.Packages); err != nil {
		return err
	}
	return flush(into)
}

// packageFailure explains why a package is not on the node.
func packageFailure(ctx context.Context, at *agentv1.PackageLocation, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("deploying application packages: %w", ctx.Err())
	}
	what := beneath.Quote(at.GetApplicationId())
	if at.GetVersion() != "" {
		what += " version " + beneath.Quote(at.GetVersion())
	}
	details := []detail{{"ApplicationId", at.GetApplicationId()}, {"Version", at.GetVersion()}}
	switch {
	case isFull(err):
		return newFailure(batcherr.CodeDiskFull, "The node's disk has no room for the application package "+what+"; use nodes with a larger disk.", err, details...)
	case errors.Is(err, archive.ErrRefused):
		return newFailure(batcherr.CodeApplicationPackageError, "The application package "+what+" can't be unpacked safely; pack and upload it again.", err, details...)
	case errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrNoBucket):
		return newFailure(batcherr.CodeApplicationPackageError, "The archive of the application package "+what+" is not in the store any more; upload it again.", err, details...)
	case errors.Is(err, storage.ErrChecksum), errors.Is(err, storage.ErrPrecondition):
		return newFailure(batcherr.CodeApplicationPackageError, "The archive of the application package "+what+" is not the one that was uploaded; upload it again.", err, details...)
	default:
		return newFailure(batcherr.CodeApplicationPackageError, "The application package "+what+" could not be deployed.", err, details...)
	}
}
