package embedded

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

const (
	objectsDir    = "objects"
	attributesDir = "attributes" // only where the file system has no extended attributes
	healthPath    = "/_health"   // no bucket has an underscore in its name

	maxCopy        = 5 << 30 // bytes; S3's limit for one CopyObject
	maxParts       = 10_000  // S3's limit for one upload
	maxRequests    = 4096    // beyond it the store answers "slow down"
	maxConnections = 16384
)

// Run is the child's side of Start: it reads a Config from in and serves until ctx ends or a signal asks it to stop.
func Run(ctx context.Context, in io.Reader) error {
	ctx, cancel := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer cancel()
	c, err := ReadConfig(in)
	if err != nil {
		return err
	}
	return Serve(ctx, c)
}

// Serve runs the store until ctx ends. It changes the working directory and works once per process: Start runs it in a
// child.
func Serve(ctx context.Context, c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	root := filepath.Join(c.DataDir, objectsDir)
	if err := os.MkdirAll(root, 0o700); err != nil {
		return fmt.Errorf("object store: %w", err)
	}
	users := filepath.Join(c.DataDir, usersDir)
	if err := os.MkdirAll(users, 0o700); err != nil {
		return fmt.Errorf("object store: %w", err)
	}
	attrs, sidecar, err := attributes(c.DataDir, root)
	if err != nil {
		return fmt.Errorf("object store: %w", err)
	}
	opts := posix.PosixOpts{CopyObjectThreshold: maxCopy, Concurrency: maxRequests, SideCarDir: sidecar}
	opts.SetNewDirPerm(0o700)
	opts.SetNewFilePerm(0o600)
	disk, err := posix.New(root, attrs, opts)
	if err != nil {
		return fmt.Errorf("object store: %w", err)
	}
	err = embedgw.RunVersityGW(ctx, guarded{disk, root}, &embedgw.Config{
		RootUserAccess:    c.AccessKey,
		RootUserSecret:    c.SecretKey,
		Region:            c.Region,
		Ports:             []string{c.Address},
		MaxConnections:    maxConnections,
		MaxRequests:       maxRequests,
		MultipartMaxParts: maxParts,
		CertFile:          c.CertFile,
		KeyFile:           c.KeyFile,
		HealthPath:        healthPath,
		KeepAlive:         true,
		Quiet:             true,
		DisableACLs:       true,
		IAMDir:            users,
		// Without an interval the cache is pruned without a pause; and a deleted user has to be gone at once.
		IAMCacheDisable: true,
	})
	if err != nil {
		return fmt.Errorf("object store on %s: %w", c.Address, err)
	}
	return nil
}

// attributes keeps what the store knows about objects in extended attributes, or beside the objects where a file system
// has none. A data directory stays with what it began with.
func attributes(dataDir, root string) (meta.MetadataStorer, string, error) {
	dir := filepath.Join(dataDir, attributesDir)
	_, err := os.Stat(dir)
	if err != nil && (meta.XattrMeta{}).Test(root) == nil {
		return meta.XattrMeta{}, "", nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, "", err
	}
	side, err := meta.NewSideCar(dir)
	return side, dir, err
}
