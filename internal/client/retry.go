package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/stats"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// Bounds of the pause between two attempts; jittered down to half.
const (
	minPause = 25 * time.Millisecond
	maxPause = 300 * time.Millisecond
)

// attempt observes whether a call reached the wire at all.
type attempt struct{ sent atomic.Bool }

type attemptKey struct{}

func (a *attempt) context(ctx context.Context) context.Context {
	return context.WithValue(ctx, attemptKey{}, a)
}

// sentObserver marks the attempt of a call when its headers leave.
type sentObserver struct{}

func (sentObserver) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (sentObserver) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (sentObserver) HandleConn(context.Context, stats.ConnStats)                       {}
func (sentObserver) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.OutHeader); !ok {
		return
	}
	if a, ok := ctx.Value(attemptKey{}).(*attempt); ok {
		a.sent.Store(true)
	}
}

// verdict is what a failed attempt means.
type verdict struct {
	err       *batcherr.Error
	answered  bool // the coordinator did its job: the error is about the request
	again     bool // worth another attempt
	ambiguous bool // may have been executed
}

func judge(ctx context.Context, a *attempt, err error) verdict {
	v := verdict{err: batcherr.FromGRPC(err)}
	if ctx.Err() != nil {
		return v
	}
	// An error that the coordinator composed itself has no other error inside.
	composed := v.err.Unwrap() == nil
	if !composed {
		v.err = batcherr.New(v.err.Kind, v.err.Code, "%s", innermost(v.err.Message)).Wrap(err)
	}
	switch v.err.Kind {
	case batcherr.KindTooMany:
		v.again = true
	case batcherr.KindUnavailable:
		v.again, v.ambiguous = true, a.sent.Load() && !composed
	case batcherr.KindTimeout:
		v.again, v.ambiguous = true, true
	default:
		v.answered = true
	}
	return v
}

// innermost takes off what grpc-go puts around the message of a failed connection.
func innermost(message string) string {
	if _, after, found := strings.Cut(message, `desc = "`); found {
		message = strings.TrimSuffix(after, `"`)
	}
	message = strings.TrimPrefix(message, "transport: ")
	return strings.TrimPrefix(message, "Error while dialing: ")
}

// done lists, by method, the refusals of a repeated call which show that an attempt before has done it.
var done = map[string][]string{
	apiv1.PoolService_DeletePool_FullMethodName:                  {batcherr.CodePoolNotFound, batcherr.CodePoolBeingDeleted},
	apiv1.JobService_DeleteJob_FullMethodName:                    {batcherr.CodeJobNotFound, batcherr.CodeJobBeingDeleted},
	apiv1.JobService_TerminateJob_FullMethodName:                 {batcherr.CodeJobBeingTerminated, batcherr.CodeJobCompleted},
	apiv1.JobScheduleService_DeleteJobSchedule_FullMethodName:    {batcherr.CodeJobScheduleNotFound, batcherr.CodeJobScheduleBeingDeleted},
	apiv1.JobScheduleService_TerminateJobSchedule_FullMethodName: {batcherr.CodeJobScheduleBeingTerminated, batcherr.CodeJobScheduleCompleted},
	apiv1.TaskService_DeleteTask_FullMethodName:                  {batcherr.CodeTaskNotFound},
	apiv1.TaskService_TerminateTask_FullMethodName:               {batcherr.CodeTaskCompleted},
	apiv1.TaskService_ReactivateTask_FullMethodName:              {batcherr.CodeTaskNotCompleted},
	apiv1.FileService_DeleteFile_FullMethodName:                  {batcherr.CodeFileNotFound},
	apiv1.PoolService_ResizePool_FullMethodName:                  {batcherr.CodePoolBeingResized},
}

// settle decides what the refusal of a repeated call means when an attempt before may have been executed.
func settle(method string, err *batcherr.Error) error {
	if slices.Contains(done[method], err.Code) {
		return nil
	}
	if strings.HasSuffix(err.Code, "Exists") {
		return err.With("Note", "The connection broke during an earlier attempt of this call, which may be what made it.")
	}
	return err
}

// retry paces the attempts of one call.
type retry struct {
	client   *Client
	since    time.Time
	attempts int
}

func (c *Client) newRetry() *retry { return &retry{client: c} }

// reset starts the limit again after some success.
func (r *retry) reset() { r.since, r.attempts = time.Time{}, 0 }

// wait pauses before the next attempt; it returns the error to give up with when there is to be none.
func (r *retry) wait(ctx context.Context, err error) error {
	c := r.client
	if r.since.IsZero() {
		r.since = time.Now()
	}
	if why := c.untrusted(); why != nil {
		return why
	}
	pause := minPause << min(r.attempts, 6)
	pause = min(pause, maxPause)
	pause = pause/2 + rand.N(pause/2)
	r.attempts++
	if time.Since(r.since)+pause > c.limit() {
		return c.unanswered(err)
	}
	if c.cfg.OnRetry != nil {
		c.cfg.OnRetry(err)
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return gaveUp(ctx, err)
	case <-c.ctx.Done():
		return batcherr.New(batcherr.KindCanceled, batcherr.CodeOperationTimedOut, "The client is closed.")
	}
}

// unanswered explains that the limit is over. What a coordinator said itself needs no explanation.
func (c *Client) unanswered(err error) error {
	e := batcherr.FromGRPC(err)
	if e.Kind != batcherr.KindUnavailable || e.Unwrap() == nil {
		return err
	}
	return batcherr.Unavailable("No coordinator answers at %s: %s", strings.Join(c.members.addresses(), ", "), e.Message).Wrap(err)
}

// gaveUp tells a deadline from a cancellation and keeps what went wrong before.
func gaveUp(ctx context.Context, err error) error {
	ended := batcherr.From(ctx.Err())
	return batcherr.New(ended.Kind, ended.Code, "%s", ended.Message).
		With("LastError", batcherr.FromGRPC(err).Message).Wrap(errors.Join(ctx.Err(), err))
}

// temporary reports whether an error may go away with time.
func temporary(ctx context.Context, err error) bool {
	return err != nil && ctx.Err() == nil && batcherr.FromGRPC(err).Kind.Temporary()
}
