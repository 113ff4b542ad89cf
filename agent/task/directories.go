package task

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/batchyard/batchyard/agent/files/beneath"
)

const (
	dirMode = 0o700
	// maxOpenJobs is how many jobs' directories are held open for making tasks' directories.
	maxOpenJobs = 16
)

// directories makes and deletes the directories of tasks below a node's root. Every step goes through handles, so that
// no link that a task left leads anywhere else.
type directories struct {
	root   *os.Root
	logger *slog.Logger
	serial atomic.Uint64
	filled chan struct{} // sent to when there is something in the trash

	mu   sync.Mutex
	jobs map[string]*os.Root // open directories of jobs
}

// openDirectories makes the node's fixed directories; shared says that tasks have users of their own, who share one of them.
func openDirectories(rootPath string, shared bool, logger *slog.Logger) (*directories, error) {
	if err := os.MkdirAll(rootPath, 0o755); err != nil {
		return nil, fmt.Errorf("making the node's root directory: %w", err)
	}
	root, err := os.OpenRoot(rootPath)
	if err != nil {
		return nil, fmt.Errorf("opening the node's root directory: %w", err)
	}
	for _, name := range []string{dirApplications, dirMounts, dirShared, dirStartup, dirVolatile, dirTrash, dirWorkItems} {
		if err := root.MkdirAll(name, 0o755); err != nil {
			return nil, errors.Join(fmt.Errorf("making the node's directories: %w", err), root.Close())
		}
	}
	if shared {
		if err := root.Chmod(dirShared, fs.ModeSticky|0o777); err != nil {
			return nil, errors.Join(fmt.Errorf("opening the node's shared directory to tasks: %w", err), root.Close())
		}
	}
	return &directories{root: root, logger: logger, filled: make(chan struct{}, 1), jobs: map[string]*os.Root{}}, nil
}

func (d *directories) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, job := range d.jobs {
		_ = job.Close()
	}
	clear(d.jobs)
	_ = d.root.Close()
}

// create makes a task's directory and its working directory, empty: what an earlier run left is thrown away. The working directory is in place, which is
// made too unless it is empty. It is the user's; what it is in is not, unless the user is to have all, so that nothing there can be put in another's place.
func (d *directories) create(directory, place string, user User) error {
	jobDir, name := path.Split(path.Clean(directory))
	jobDir = path.Clean(jobDir)
	var err error
	for range 3 { // the directory of a job may be deleted with its last task while this one is made
		var job *os.Root
		if job, err = d.job(jobDir); err != nil {
			return err
		}
		err = job.Mkdir(name, dirMode)
		if errors.Is(err, fs.ErrExist) {
			if err = d.trash(directory); err == nil {
				err = job.Mkdir(name, dirMode)
			}
		}
		if err == nil && place != "" {
			err = job.Mkdir(path.Join(name, place), dirMode)
		}
		if err == nil {
			err = job.Mkdir(path.Join(name, place, dirWorking), dirMode)
		}
		if err == nil && (user.UID != 0 || user.Open) {
			err = give(job, name, place, user)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		d.forgetJob(jobDir)
	}
	return err
}

// give makes a task's directories its user's, the outermost last: nobody comes in between. What is made in an open one is for the group of all
// tasks to read.
func give(job *os.Root, name, place string, user User) error {
	above, gid := 0, int(user.GID)
	if user.Open {
		gid = TasksGroup
	}
	if user.All {
		above = int(user.UID)
	}
	work := path.Join(name, place, dirWorking)
	err := job.Lchown(work, int(user.UID), gid)
	if user.Open && err == nil {
		err = job.Chmod(work, fs.ModeSetgid|0o750)
	}
	for dir := path.Dir(work); dir != "." && err == nil; dir = path.Dir(dir) {
		err = errors.Join(job.Chmod(dir, 0o750), job.Lchown(dir, above, gid))
	}
	return err
}

// owner is the user of its own whom create gave the working directory in a directory to.
func (d *directories) owner(directory string) (uint32, error) {
	info, err := d.root.Lstat(path.Join(directory, dirWorking))
	if err != nil {
		return 0, directoryError(err)
	}
	uid := ownerOf(info)
	if uid < firstOwn {
		return 0, directoryError(errors.New("it was made when tasks had no users"))
	}
	return uid, nil
}

func (d *directories) job(name string) (*os.Root, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if job := d.jobs[name]; job != nil {
		return job, nil
	}
	if err := d.root.MkdirAll(name, 0o755); err != nil {
		return nil, err
	}
	job, err := d.root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	if len(d.jobs) >= maxOpenJobs {
		for other, handle := range d.jobs { // any will do
			_ = handle.Close()
			delete(d.jobs, other)
			break
		}
	}
	d.jobs[name] = job
	return job, nil
}

func (d *directories) forgetJob(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if job := d.jobs[name]; job != nil {
		_ = job.Close()
		delete(d.jobs, name)
	}
}

// trash takes a task's directory out of the way at once; empty deletes what is there.
func (d *directories) trash(directory string) error {
	name := strconv.FormatInt(time.Now().UnixNano(), 36) + "-" + strconv.FormatUint(d.serial.Add(1), 36)
	err := d.root.Rename(directory, path.Join(dirTrash, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	select {
	case d.filled <- struct{}{}:
	default:
	}
	return err
}

// trashJob takes the directory of a job out of the way, with all that is in it.
func (d *directories) trashJob(directory string) error {
	d.forgetJob(directory)
	err := d.trash(directory)
	_ = d.root.Remove(path.Dir(directory)) // unless other jobs of a schedule are in it
	return err
}

// prune deletes the directories of a job, if no task is left in them.
func (d *directories) prune(directory string) {
	job := path.Dir(directory)
	if d.root.Remove(job) == nil {
		d.forgetJob(job)
		_ = d.root.Remove(path.Dir(job))
	}
}

// empty deletes everything in the trash.
func (d *directories) empty(ctx context.Context) {
	handle, err := d.root.Open(dirTrash)
	if err != nil {
		d.logger.Warn("trash cannot be opened", "error", err)
		return
	}
	names, err := handle.Readdirnames(-1)
	_ = handle.Close()
	if err != nil {
		d.logger.Warn("trash cannot be read", "error", err)
	}
	if len(names) == 0 {
		return
	}
	trash, err := beneath.Open(path.Join(d.root.Name(), dirTrash))
	if err != nil {
		d.logger.Warn("trash cannot be opened", "error", err)
		return
	}
	defer trash.Close()
	for _, name := range names {
		if ctx.Err() != nil {
			return
		}
		if err := trash.RemoveAll(ctx, name); err != nil {
			d.logger.Warn("a task's directory cannot be deleted", "name", name, "error", err)
		}
	}
}
