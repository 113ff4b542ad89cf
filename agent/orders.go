package agent

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/batchyard/batchyard/agent/stage"
	"github.com/batchyard/batchyard/internal/batcherr"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// orders does what the node itself is asked for.
type orders struct {
	cfg     *Config
	staging *staging
	userMu  sync.Mutex
}

func (o *orders) follow(ctx context.Context, order *agentv1.NodeOrder) (uploaded int32, err error) {
	switch body := order.GetOrder().(type) {
	case *agentv1.NodeOrder_PutUser:
		return 0, o.users().put(ctx, body.PutUser)
	case *agentv1.NodeOrder_DeleteUser:
		return 0, o.users().remove(ctx, body.DeleteUser.GetName())
	case *agentv1.NodeOrder_UploadLogs:
		return o.uploadLogs(ctx, body.UploadLogs)
	}
	return 0, batcherr.Of(batcherr.CodeOperationNotValidOnNode).With(batcherr.ValueReason, "The node's agent does not know the order.")
}

// uploadLogs copies the agent's logs to a container, the way in which tasks' output files go.
func (o *orders) uploadLogs(ctx context.Context, m *agentv1.UploadNodeLogs) (int32, error) {
	directory, err := os.MkdirTemp(o.cfg.DataDir, "logs-")
	if err != nil {
		return 0, batcherr.Internal(err)
	}
	defer func() { _ = os.RemoveAll(directory) }()
	work := filepath.Join(directory, "wd")
	if err := os.Mkdir(work, 0o700); err != nil {
		return 0, batcherr.Internal(err)
	}
	count, err := o.gatherLogs(work, m.GetStartTime().AsTime())
	if err != nil {
		return 0, batcherr.Internal(err)
	}
	if len(m.GetDirectories()) > 0 {
		tails, err := gatherTails(ctx, o.cfg.NodeRoot, work, m.GetDirectories())
		if err != nil {
			return 0, batcherr.Internal(err)
		}
		count += tails
	}
	o.staging.access.Store(m.GetStore())
	files := []*apiv1.OutputFile{{
		FilePattern: "*",
		Destination: &apiv1.OutputFileDestination{Container: &apiv1.OutputFileBlobContainerDestination{
			ContainerUrl: m.GetContainerUrl(), Path: m.GetPrefix(),
		}},
		UploadOptions: &apiv1.OutputFileUploadConfig{UploadCondition: apiv1.OutputFileUploadCondition_OUTPUT_FILE_UPLOAD_CONDITION_TASK_COMPLETION},
	}}
	dirs := stage.Dirs{Root: directory, Task: directory, Work: work, Shared: directory}
	none := func(string) (string, bool) { return "", false }
	if err := o.staging.stager.Outputs(ctx, dirs, files, none, true); err != nil {
		var failure *stage.Failure
		if errors.As(err, &failure) {
			return 0, batcherr.Invalid(failure.Info.GetCode(), "%s", failure.Info.GetMessage())
		}
		return 0, err
	}
	return count, nil
}

// gatherLogs copies the log files that have something of the time asked for: those that were written to after its start.
func (o *orders) gatherLogs(to string, start time.Time) (count int32, err error) {
	names, err := filepath.Glob(filepath.Join(SupervisorDir(o.cfg.DataDir), "*.log"))
	if err != nil {
		return 0, err
	}
	if o.cfg.LogFile != "" {
		names = append(names, o.cfg.LogFile)
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if errors.Is(err, fs.ErrNotExist) || err == nil && (info.ModTime().Before(start) || !info.Mode().IsRegular()) {
			continue
		}
		if err != nil {
			return 0, err
		}
		if err := copyFile(name, filepath.Join(to, filepath.Base(name))); err != nil {
			return 0, err
		}
		count++
	}
	return count, nil
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}
