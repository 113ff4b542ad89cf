package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// LookPath finds the program of a command as a process would that has env as its environment and dir, an absolute path, as
// its working directory: with a path as it is, without one in dir and then along PATH, each with the endings of PATHEXT.
// The error is ErrProgramNotFound or ErrCannotLaunch.
func LookPath(program, dir string, env []string) (string, error) {
	endings := strings.Split(strings.ToLower(variable(env, "PATHEXT", ".com;.exe;.bat;.cmd")), ";")
	dirs := []string{dir}
	switch {
	case filepath.IsAbs(program) || filepath.VolumeName(program) != "":
		dirs = []string{""}
	case !strings.ContainsAny(program, `\/`):
		system := filepath.Join(variable(env, "SystemRoot", `C:\Windows`), "System32")
		dirs = append(dirs, filepath.SplitList(variable(env, "PATH", system))...)
	}
	for _, d := range dirs {
		path := filepath.Join(d, program)
		if d != "" && !filepath.IsAbs(d) {
			path = filepath.Join(dir, d, program)
		}
		for _, candidate := range withEndings(path, endings) {
			info, err := os.Stat(candidate)
			switch {
			case err == nil && info.Mode().IsRegular():
				return candidate, nil
			case err != nil && !errors.Is(err, fs.ErrNotExist):
				return "", fmt.Errorf("%w: %w", ErrCannotLaunch, err)
			}
		}
	}
	return "", fmt.Errorf("%w: %s", ErrProgramNotFound, program)
}

func withEndings(path string, endings []string) []string {
	if filepath.Ext(path) != "" {
		return []string{path}
	}
	candidates := make([]string, 0, len(endings))
	for _, e := range endings {
		if e != "" {
			candidates = append(candidates, path+e)
		}
	}
	return candidates
}

// variable reads a variable of env, whose names know no case here.
func variable(env []string, name, otherwise string) string {
	for _, e := range env {
		if key, value, ok := strings.Cut(e, "="); ok && strings.EqualFold(key, name) {
			return value
		}
	}
	return otherwise
}
