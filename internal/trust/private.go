package trust

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// maxPrivate is the size that no file of secrets reaches, in bytes.
const maxPrivate = 1 << 20

// ErrExposed says that others than its owner have rights on a file of secrets or on its directory.
var ErrExposed = errors.New("others have access; only its owner may (0700 for the directory, 0600 for the file)")

// WritePrivate puts data into path, replacing what is there in one step that survives a power cut. It makes the
// directory if there is none. Directory and file are their owner's alone.
func WritePrivate(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the directory of secrets: %w", err)
	}
	if err := checkPrivate(dir); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // made with 0600
	if err != nil {
		return fmt.Errorf("writing secrets: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name())
		}
	}()
	_, err = temp.Write(data)
	err = errors.Join(err, temp.Sync(), temp.Close())
	if err != nil {
		return fmt.Errorf("writing secrets: %w", err)
	}
	if err = os.Rename(temp.Name(), path); err != nil {
		return fmt.Errorf("putting secrets in place: %w", err)
	}
	return syncDirectory(dir)
}

// ReadPrivate reads a file that WritePrivate wrote and refuses one that others have access to. Without a file the error
// is fs.ErrNotExist.
func ReadPrivate(path string) ([]byte, error) {
	if err := checkPrivate(filepath.Dir(path)); err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading secrets: %w", err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading secrets: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxPrivate {
		return nil, fmt.Errorf("%s: not a file of secrets", path)
	}
	if exposed(info) {
		return nil, fmt.Errorf("%s: %w", path, ErrExposed)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxPrivate))
	if err != nil {
		return nil, fmt.Errorf("reading secrets: %w", err)
	}
	return data, nil
}

func checkPrivate(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("looking at the directory of secrets: %w", err)
	}
	if exposed(info) {
		return fmt.Errorf("%s: %w", dir, ErrExposed)
	}
	return nil
}

// exposed goes by mode bits, which say nothing on Windows: there the data directory's access list protects it.
func exposed(info fs.FileInfo) bool {
	return runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0
}

func syncDirectory(dir string) error {
	if runtime.GOOS == "windows" { // directories cannot be opened for it
		return nil
	}
	handle, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("syncing the directory of secrets: %w", err)
	}
	if err := errors.Join(handle.Sync(), handle.Close()); err != nil {
		return fmt.Errorf("syncing the directory of secrets: %w", err)
	}
	return nil
}
