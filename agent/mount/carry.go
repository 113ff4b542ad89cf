package mount

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/batchyard/batchyard/internal/mountinfo"
	"github.com/batchyard/batchyard/internal/pidfile"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// mount carries a plan out.
func (m *Mounter) mount(ctx context.Context, w wanted, store *apiv1.StoreAccess) error {
	ctx, cancel := context.WithTimeout(ctx, mountTimeout)
	defer cancel()
	target, err := m.prepare(w.Path)
	if err != nil {
		return err
	}
	at := place{target: target, own: m.own(w.Path), store: store, blobURL: m.cfg.BlobURL}
	c, err := commandOf(w.plan, at)
	if err != nil {
		return err
	}
	tool, err := find(c.tool)
	if err != nil {
		return fmt.Errorf("the node has no %s: install %s", c.tool, c.packages)
	}
	if err := os.MkdirAll(at.own, 0o700); err != nil {
		return err
	}
	if len(c.caPEM) > 0 {
		if err := os.WriteFile(filepath.Join(at.own, caName), c.caPEM, 0o600); err != nil {
			return err
		}
	}
	if err := m.carry(ctx, tool, &c, at); err != nil {
		return errors.Join(explain(err, &c), m.unmount(w.Path))
	}
	return nil
}

func (m *Mounter) carry(ctx context.Context, tool string, c *command, at place) error {
	environment := append([]string{"PATH=" + searchPath(), "HOME=" + at.own, "LC_ALL=C"}, c.env...)
	if len(c.probe) > 0 {
		if err := probe(ctx, tool, c.probe, environment); err != nil {
			return err
		}
	}
	cmd := exec.Command(tool, c.args...)
	cmd.Env = environment
	var err error
	if c.daemon {
		err = m.serve(ctx, cmd, at)
	} else {
		err = call(ctx, cmd, c.secret)
	}
	if err != nil {
		return err
	}
	return m.check(ctx, at.target)
}

// probe has a tool list what it would mount: a bucket that is not there looks like an empty one once it is mounted. The first name is enough.
func probe(ctx context.Context, tool string, args, environment []string) error {
	ctx, cancel := context.WithTimeout(ctx, mountTimeout/2)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Env, cmd.WaitDelay = environment, time.Second
	said, seen := &tail{}, false
	cmd.Stderr = said
	cmd.Stdout = writer(func() { seen = true; cancel() })
	err := cmd.Run()
	switch {
	case err == nil || seen:
		return nil
	case strings.Contains(said.text(""), "directory not found"):
		return errors.New("the bucket does not exist")
	}
	return &toolError{err, said.text("")}
}

// writer is told that something is written.
type writer func()

func (w writer) Write(p []byte) (int, error) {
	w()
	return len(p), nil
}

// prepare makes the directory that is mounted over. Nothing on the way there is a link, or belongs to anyone else.
func (m *Mounter) prepare(path string) (string, error) {
	root, err := os.OpenRoot(m.cfg.Root)
	if err != nil {
		return "", err
	}
	defer root.Close()
	dir, err := filepath.Rel(m.cfg.Root, m.cfg.Dir)
	if err != nil {
		return "", err
	}
	at := ""
	for part := range strings.SplitSeq(filepath.ToSlash(dir)+"/"+path, "/") {
		at = filepath.Join(at, part)
		if err := root.Mkdir(at, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("making the directory %s: %w", at, err)
		}
		info, err := root.Lstat(at)
		if err != nil {
			return "", fmt.Errorf("looking at the directory %s: %w", at, err)
		}
		if !info.IsDir() || !ours(info) {
			return "", fmt.Errorf("%s is no directory of the node's agent", at)
		}
	}
	target, err := m.target(path)
	if err != nil {
		return "", err
	}
	list, err := mountinfo.List()
	if err != nil {
		return "", err
	}
	if other, mounted := mountinfo.At(list, target); mounted {
		return "", fmt.Errorf("something else is mounted there (%s)", other.Type)
	}
	return target, nil
}

// maxSaid is how much of what a tool says is told.
const maxSaid = 600

// call runs a tool that ends once the file system is mounted.
func call(ctx context.Context, cmd *exec.Cmd, secret string) error {
	said := &tail{}
	cmd.Stdout, cmd.Stderr = said, said
	if secret != "" {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		defer r.Close()
		defer w.Close()
		if _, err := io.WriteString(w, secret+"\n"); err != nil { // far less than a pipe holds
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		cmd.ExtraFiles = []*os.File{r}
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			return &toolError{err, said.text(secret)}
		}
		return nil
	case <-ctx.Done():
		err := errors.Join(fmt.Errorf("it takes longer than %s", mountTimeout), cmd.Process.Kill())
		select {
		case ended := <-ended:
			return &toolError{errors.Join(err, ended), said.text(secret)}
		case <-time.After(unmountTimeout): // the kernel does not let go of it
			return err
		}
	}
}

const (
	pidName = "pid"
	logName = "log"
)

// serve starts a tool that serves the file system, and waits until it is mounted. The tool outlives the agent, as tasks do.
func (m *Mounter) serve(ctx context.Context, cmd *exec.Cmd, at place) error {
	logFile := filepath.Join(at.own, logName)
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = log, log, pidfile.Apart()
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // reaped as soon as it ends, which may be long after
	process, err := pidfile.Of(cmd.Process.Pid)
	if err == nil {
		err = process.Write(filepath.Join(at.own, pidName))
	}
	if err != nil {
		return errors.Join(err, cmd.Process.Kill())
	}
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		list, err := mountinfo.List()
		if err != nil {
			return err
		}
		if _, mounted := mountinfo.At(list, at.target); mounted {
			return nil
		}
		select {
		case err := <-ended:
			return &toolError{err, lastLines(logFile)}
		case <-ctx.Done():
			return &toolError{fmt.Errorf("it takes longer than %s", mountTimeout), lastLines(logFile)}
		case <-tick.C:
		}
	}
}

// check reads the mounted directory, as tasks will, and sees that no program or device in it can do harm.
func (m *Mounter) check(ctx context.Context, target string) error {
	list, err := mountinfo.List()
	if err != nil {
		return err
	}
	mounted, ok := mountinfo.At(list, target)
	if !ok {
		return errors.New("it was mounted, and is not any more")
	}
	if !safe(mounted.Options) {
		return fmt.Errorf("it is not mounted with nosuid and nodev: %s", strings.Join(mounted.Options, ","))
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	read := make(chan error, 1)
	go func() { read <- readable(target) }() // it may hang for as long as a server does not answer
	select {
	case err := <-read:
		return err
	case <-ctx.Done():
		return errors.New("its directory can't be read: the server does not answer")
	}
}

func safe(options []string) bool {
	nosuid, nodev := false, false
	for _, o := range options {
		nosuid, nodev = nosuid || o == "nosuid", nodev || o == "nodev"
	}
	return nosuid && nodev
}

func readable(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Readdirnames(1); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// served says whether what serves a mount still does; the kernel serves those that have no tool.
func (m *Mounter) served(w wanted) bool {
	process, err := pidfile.Read(filepath.Join(m.own(w.Path), pidName))
	if err != nil {
		return false
	}
	return process.PID == 0 || process.Alive()
}

// unmount takes a mount away and ends what serves it, once that has uploaded what was written. It is no error if there is none.
func (m *Mounter) unmount(path string) error {
	target, err := m.target(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := release(target); err != nil {
		return err
	}
	own := m.own(path)
	process, err := pidfile.Read(filepath.Join(own, pidName))
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(serverGrace); process.Alive() && time.Now().Before(deadline); {
		time.Sleep(poll)
	}
	if err := process.Stop(unmountTimeout); err != nil {
		return err
	}
	m.prune(path)
	if dirty(own) {
		m.cfg.Logger.Warn("what was written to a mount is not all in its store: it stays on the node until it is mounted again", "path", path)
		return nil
	}
	return os.RemoveAll(own)
}

// dirty says whether a mount's cache has files that are not uploaded yet, as rclone notes beside them.
func dirty(own string) (found bool) {
	_ = filepath.WalkDir(filepath.Join(own, "cache", "vfsMeta"), func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return nil //nolint:nilerr // what is gone meanwhile is not dirty
		}
		text, err := os.ReadFile(name)
		if err == nil && bytes.Contains(text, []byte(`"Dirty": true`)) {
			found = true
			return fs.SkipAll
		}
		return nil
	})
	return found
}

// release takes away what is mounted at a path: at once where nothing uses it, else for those who look from now on.
func release(target string) error {
	for range 8 { // mounts may lie on each other
		list, err := mountinfo.List()
		if err != nil {
			return err
		}
		if _, mounted := mountinfo.At(list, target); !mounted {
			return nil
		}
		done := make(chan error, 1)
		go func() { done <- mountinfo.Unmount(target, false) }() // it may hang for as long as a server does not answer
		select {
		case err = <-done:
		case <-time.After(unmountTimeout):
			err = errors.New("it takes too long")
		}
		if err != nil {
			if err := mountinfo.Unmount(target, true); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("%s is still mounted", target)
}

// prune deletes the directories of a mount, where they are empty.
func (m *Mounter) prune(path string) {
	root, err := os.OpenRoot(m.cfg.Dir)
	if err != nil {
		return
	}
	defer root.Close()
	for at := path; at != "."; at = filepath.Dir(at) {
		if root.Remove(at) != nil {
			return
		}
	}
}

// toolError is what a tool has failed with, and what it said.
type toolError struct {
	err  error
	said string
}

func (e *toolError) Error() string {
	if e.said == "" {
		return e.err.Error()
	}
	return e.said
}

func (e *toolError) Unwrap() error { return e.err }

// explain adds what a person needs to know.
func explain(err error, c *command) error {
	if !kernelHas(c.module) {
		return fmt.Errorf("%s: %w (the node's kernel has no file system %s)", c.tool, err, c.module)
	}
	return fmt.Errorf("%s: %w", c.tool, err)
}

// kernelHas says whether the kernel knows a file system, by now: a tool that needs it has had it loaded.
func kernelHas(name string) bool {
	known, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(known)) {
		fields := strings.Fields(line)
		if len(fields) > 0 && fields[len(fields)-1] == name {
			return true
		}
	}
	return false
}

// sbin are where tools of administrators are that an agent's search path may lack.
var sbin = []string{"/usr/local/sbin", "/usr/sbin", "/sbin"}

func searchPath() string {
	return strings.Join(append(filepath.SplitList(os.Getenv("PATH")), sbin...), string(os.PathListSeparator))
}

func find(tool string) (string, error) {
	if found, err := exec.LookPath(tool); err == nil {
		return found, nil
	}
	for _, dir := range sbin {
		if found, err := exec.LookPath(filepath.Join(dir, tool)); err == nil {
			return found, nil
		}
	}
	return "", exec.ErrNotFound
}

// tail keeps the end of what is written.
type tail struct{ last []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.last = append(t.last, p...)
	if len(t.last) > maxSaid {
		t.last = bytes.Clone(t.last[len(t.last)-maxSaid:])
	}
	return len(p), nil
}

// text is what was written on one line, without the secret.
func (t *tail) text(secret string) string {
	out := strings.Join(strings.Fields(strings.ToValidUTF8(string(t.last), "?")), " ")
	if secret != "" {
		out = strings.ReplaceAll(out, secret, "***")
	}
	return out
}

func lastLines(name string) string {
	t := &tail{}
	if f, err := os.Open(name); err == nil {
		_, _ = io.Copy(t, f)
		_ = f.Close()
	}
	return t.text("")
}
