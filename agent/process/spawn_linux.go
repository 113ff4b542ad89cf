package process

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	"golang.org/x/sys/unix"
)

func credential(u *agentv1.ProcessUser) *syscall.Credential {
	if u == nil {
		return nil
	}
	return &syscall.Credential{Uid: u.GetUid(), Gid: u.GetGid(), Groups: u.GetGroups()}
}

// openOutputs opens the files for stdout and stderr, which may be the same.
func (m *machine) openOutputs(spec *agentv1.StartProcess) (out [2]uintptr, closeAll func(), err error) {
	out = [2]uintptr{uintptr(m.null), uintptr(m.null)}
	var opened []int
	closeAll = func() {
		for _, fd := range opened {
			_ = unix.Close(fd)
		}
	}
	for i, path := range []string{spec.GetStdoutPath(), spec.GetStderrPath()} {
		if path == "" {
			continue
		}
		if i == 1 && path == spec.GetStdoutPath() {
			out[1] = out[0]
			continue
		}
		fd, err := openOutput(path, spec.GetUser())
		if err != nil {
			closeAll()
			return out, nil, fmt.Errorf("open %s: %w", path, err)
		}
		opened = append(opened, fd)
		out[i] = uintptr(fd)
	}
	return out, closeAll, nil
}

// openOutput creates or empties a file for a task's output. An earlier run of the task may have put something else in its
// place: a link, also a hard one, or a pipe is refused.
func openOutput(path string, user *agentv1.ProcessUser) (int, error) {
	const flags = unix.O_WRONLY | unix.O_APPEND | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK
	fd, err := unix.Open(path, flags|unix.O_CREAT, 0o640)
	if err != nil {
		return -1, err
	}
	if err := emptyOutput(fd, user); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func emptyOutput(fd int, user *agentv1.ProcessUser) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1 {
		return errors.New("something that is not a plain file is in its place")
	}
	if st.Size > 0 {
		if err := unix.Ftruncate(fd, 0); err != nil {
			return err
		}
	}
	if user != nil && (st.Uid != user.GetUid() || st.Gid != user.GetGid()) {
		if err := unix.Fchown(fd, int(user.GetUid()), int(user.GetGid())); err != nil {
			return err
		}
	}
	// O_NONBLOCK has no effect on a plain file, but a program may look.
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, unix.O_APPEND)
	return err
}

// launchError finds out why a process could not be created: the kernel's error does not say which path it means.
func launchError(spec *agentv1.StartProcess, err error) *startError {
	info, statErr := os.Stat(spec.GetDir())
	switch {
	case statErr != nil:
		return &startError{agentv1.StartFailure_START_FAILURE_DIRECTORY, statErr.Error()}
	case !info.IsDir():
		return &startError{agentv1.StartFailure_START_FAILURE_DIRECTORY, spec.GetDir() + " is not a directory"}
	}
	path, lookErr := LookPath(spec.GetArgv()[0], spec.GetDir(), spec.GetEnv())
	switch {
	case errors.Is(lookErr, ErrProgramNotFound):
		return &startError{agentv1.StartFailure_START_FAILURE_PROGRAM_NOT_FOUND, lookErr.Error()}
	case lookErr != nil:
		return &startError{agentv1.StartFailure_START_FAILURE_LAUNCH_FAILED, lookErr.Error()}
	case errors.Is(err, syscall.ENOENT):
		return &startError{
			agentv1.StartFailure_START_FAILURE_LAUNCH_FAILED,
			fmt.Sprintf("%s: the program that is to interpret it was not found", path),
		}
	}
	return &startError{agentv1.StartFailure_START_FAILURE_LAUNCH_FAILED, fmt.Sprintf("%s: %v", path, err)}
}
