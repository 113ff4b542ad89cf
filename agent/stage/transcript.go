package stage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/batchyard/batchyard/agent/files/beneath"
	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// maxFailureDetails is how many failed files one failure names; the log has them all.
const maxFailureDetails = 20

// transcript is what the upload logs will say, and what failed.
type transcript struct {
	now func() time.Time

	mu       sync.Mutex
	out, err bytes.Buffer
	failures []failedUpload
}

type failedUpload struct {
	what string
	err  *Failure
}

func (t *transcript) line(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(&t.out, "%s %s\n", t.stamp(), fmt.Sprintf(format, args...))
}

func (t *transcript) fail(what string, err error) {
	var f *Failure
	if !errors.As(err, &f) {
		f = newFailure(batcherr.CodeFileUploadMiscError, "An output file could not be uploaded.", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(&t.err, "%s %s: %v\n", t.stamp(), beneath.Quote(what), f)
	t.failures = append(t.failures, failedUpload{what, f})
}

func (t *transcript) stamp() string { return t.now().UTC().Format("2006-01-02T15:04:05.000Z") }

// failure is the first failure, with the other failed files among its details; nil if none failed.
func (t *transcript) failure() error {
	if len(t.failures) == 0 {
		return nil
	}
	first := t.failures[0].err
	for _, other := range t.failures[1:min(len(t.failures), maxFailureDetails)] {
		first.Info.Details = append(first.Info.Details, &apiv1.NameValuePair{Name: "AlsoFailed", Value: other.what + ": " + other.err.Info.GetCode()})
	}
	return first
}

// write replaces the logs of an earlier attempt. Whatever the task put in their place goes.
func (t *transcript) write(ctx context.Context, task *beneath.Dir) error {
	return errors.Join(replaceLog(ctx, task, uploadLog, t.out.Bytes()), replaceLog(ctx, task, uploadErrorLog, t.err.Bytes()))
}

func replaceLog(ctx context.Context, task *beneath.Dir, name string, text []byte) error {
	if err := task.RemoveAll(ctx, name); err != nil {
		return err
	}
	f, err := task.Create(name, 0o644, Owner{})
	if err != nil {
		return err
	}
	if _, err := f.Write(text); err != nil {
		f.Abort()
		return err
	}
	return f.Commit()
}
