//go:build unix

package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// defaultPath is searched where env has no PATH.
const defaultPath = "/usr/local/bin:/usr/bin:/bin"

// LookPath finds the program of a command as a process would that has env as its environment and dir, an absolute path, as
// its working directory. The error is ErrProgramNotFound or ErrCannotLaunch.
func LookPath(program, dir string, env []string) (string, error) {
	if strings.Contains(program, "/") {
		path := inDir(program, dir)
		return path, checkExecutable(path)
	}
	list := defaultPath
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			list = v
		}
	}
	found := error(nil)
	for _, element := range filepath.SplitList(list) {
		path := filepath.Join(inDir(element, dir), program)
		err := checkExecutable(path)
		if err == nil {
			return path, nil
		}
		if found == nil && errors.Is(err, ErrCannotLaunch) {
			found = err
		}
	}
	if found != nil {
		return "", found
	}
	return "", fmt.Errorf("%w: %s is not in PATH", ErrProgramNotFound, program)
}

func inDir(path, dir string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func checkExecutable(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w: %s", ErrProgramNotFound, path)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrCannotLaunch, err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: %s is not a file", ErrCannotLaunch, path)
	case info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("%w: %s is not executable", ErrCannotLaunch, path)
	}
	return nil
}
