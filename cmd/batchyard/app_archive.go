package main

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// archive is a zip archive that is open for reading.
type archive struct {
	file    *os.File
	size    int64
	sha256  string
	discard bool // it was made for the upload
}

func (a *archive) close() {
	_ = a.file.Close()
	if a.discard {
		_ = os.Remove(a.file.Name())
	}
}

// openArchive opens a zip archive, or makes one of a directory.
func openArchive(path string) (*archive, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, usage(err)
	}
	a := &archive{discard: info.IsDir()}
	if info.IsDir() {
		a.file, err = zipDirectory(path)
	} else {
		a.file, err = os.Open(path)
	}
	if err != nil {
		return nil, usage(err)
	}
	if err := a.check(); err != nil {
		a.close()
		return nil, usagef("%s: %w", path, err)
	}
	return a, nil
}

// check reads the archive through: nodes would find out too late that it is none.
func (a *archive) check() error {
	info, err := a.file.Stat()
	if err != nil {
		return err
	}
	a.size = info.Size()
	if _, err := zip.NewReader(a.file, a.size); err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return fmt.Errorf("not a zip archive: %w", err)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(a.file, 0, a.size)); err != nil {
		return err
	}
	a.sha256 = hex.EncodeToString(sum.Sum(nil))
	return nil
}

// zipDirectory writes the regular files below a directory to a temporary archive. The same files always make the same archive.
// Links are refused, since what they would become is anyone's guess.
func zipDirectory(dir string) (*os.File, error) {
	out, err := os.CreateTemp("", "batchyard-app-*.zip")
	if err != nil {
		return nil, err
	}
	w := zip.NewWriter(out)
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return nil
		case !entry.Type().IsRegular():
			return fmt.Errorf("%s is neither a file nor a directory", path)
		}
		return zipFile(w, dir, path)
	})
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, errors.Join(err, out.Close(), os.Remove(out.Name()))
	}
	return out, nil
}

func zipFile(w *zip.Writer, dir, path string) error {
	name, err := filepath.Rel(dir, path)
	if err != nil {
		return err
	}
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	header := &zip.FileHeader{Name: filepath.ToSlash(name), Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
	header.SetMode(info.Mode().Perm())
	to, err := w.CreateHeader(header)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, in)
	return err
}
