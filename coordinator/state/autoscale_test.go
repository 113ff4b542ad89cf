package state

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

func enableWith(formula string, interval time.Duration) *raftlogv1.EnableAutoScale {
	o := &apiv1.PoolEnableAutoScaleOptions{AutoScaleFormula: formula}
	if interval > 0 {
		o.AutoScaleEvaluationInterval = durationpb.New(interval)
	}
	return &raftlogv1.EnableAutoScale{PoolId: "p", Options: o}
}

// evaluated is an evaluation that was due, with targets where dedicated is not negative.
func (f *farm) evaluated(results string, dedicated int32) *raftlogv1.RecordAutoScale {
	due := f.poolInfo("p").AutoScaleDue
	c := &raftlogv1.RecordAutoScale{
		PoolId: "p", Run: &apiv1.AutoScaleRun{Timestamp: at2pb(f.now), Results: results}, Due: due, Next: due + int64(time.Hour),
	}
	if dedicated >= 0 {
		c.Targets = &raftlogv1.AutoScaleTargets{Dedicated: dedicated, Deallocation: apiv1.NodeDeallocationOption_NODE_DEALLOCATION_OPTION_TASK_COMPLETION}
	}
	return c
}

func TestEnableAutoScale(t *testing.T) {
	f := newFarm(t)
	f.pool("p")
	f.refuse(batcherr.CodePoolBeingResized, enableWith("x=1", 0))
	f.finishResize("p")
	f.refuse(batcherr.CodeMissingRequiredProperty, enableWith("", time.Hour))
	before := f.poolInfo("p").Pool
	f.ok(enableWith("x=1", 0))
	p := f.poolInfo("p")
	require.True(t, p.Pool.GetEnableAutoScale())
	require.Equal(t, "x=1", p.Pool.AutoScaleFormula)
	require.Equal(t, lifecycle.DefaultAutoScaleInterval, p.Pool.AutoScaleEvaluationInterval.AsDuration())
	require.Equal(t, f.now, p.AutoScaleDue, "it is to be evaluated at once")
	require.NotEqual(t, before.ETag, p.Pool.ETag)

	f.refuse(batcherr.CodeTooManyEnableAutoScaleRequests, enableWith("x=2", 0))
	f.now += int64(lifecycle.MinEnableAutoScaleGap)
	f.refuse(batcherr.CodeMissingRequiredProperty, enableWith("", 0))
	f.ok(enableWith("", time.Hour))
	p = f.poolInfo("p")
	require.Equal(t, "x=1", p.Pool.AutoScaleFormula, "what is left out stays")
	require.Equal(t, time.Hour, p.Pool.AutoScaleEvaluationInterval.AsDuration())
	f.now += int64(lifecycle.MinEnableAutoScaleGap)
	f.ok(enableWith("x=3", 0))
	require.Equal(t, time.Hour, f.poolInfo("p").Pool.AutoScaleEvaluationInterval.AsDuration())
	f.refuse(batcherr.CodeOperationInvalidForCurrentState, &raftlogv1.ResizePool{PoolId: "p", Options: target(1)})

	f.ok(f.evaluated("r", -1))
	f.ok(&raftlogv1.DisableAutoScale{PoolId: "p"})
	p = f.poolInfo("p")
	require.False(t, p.Pool.GetEnableAutoScale())
	require.Empty(t, p.Pool.AutoScaleFormula)
	require.Nil(t, p.Pool.AutoScaleEvaluationInterval)
	require.Nil(t, p.Pool.AutoScaleRun)
	require.Zero(t, p.AutoScaleDue)
	again := f.ok(&raftlogv1.DisableAutoScale{PoolId: "p"})
	require.Equal(t, p.Pool.ETag, again.Written.Etag)
	f.ok(&raftlogv1.ResizePool{PoolId: "p", Options: target(1)})
	f.refuse(batcherr.CodePoolNotFound, &raftlogv1.DisableAutoScale{PoolId: "none"})
	f.refuse(batcherr.CodeInvalidInput, &raftlogv1.EnableAutoScale{PoolId: "p"})
	f.refuse(batcherr.CodeInvalidInput, &raftlogv1.RecordAutoScale{PoolId: "p"})
}

func TestRecordAutoScale(t *testing.T) {
	f := newFarm(t)
	on := true
	f.pool("p", func(p *apiv1.Pool) { p.EnableAutoScale, p.AutoScaleFormula = &on, "x=1" })
	require.Equal(t, f.now, f.poolInfo("p").AutoScaleDue)
	f.finishResize("p")
	etag := f.poolInfo("p").Pool.ETag

	failed := f.evaluated("failed", -1)
	f.ok(failed)
	p := f.poolInfo("p")
	require.Equal(t, steady, p.Pool.AllocationState, "a failed evaluation leaves the pool alone")
	require.Equal(t, "failed", p.Pool.AutoScaleRun.Results)
	require.Equal(t, failed.Next, p.AutoScaleDue)
	require.Equal(t, etag, p.Pool.ETag)

	f.ok(failed)
	late := f.evaluated("late", 7)
	late.Due--
	f.ok(late)
	require.Equal(t, "failed", f.poolInfo("p").Pool.AutoScaleRun.Results, "an evaluation that is not due any more")

	f.ok(f.evaluated("two", 2))
	p = f.poolInfo("p")
	require.Equal(t, resizing, p.Pool.AllocationState)
	require.EqualValues(t, 2, p.Pool.GetTargetDedicatedNodes())
	require.Equal(t, apiv1.NodeDeallocationOption_NODE_DEALLOCATION_OPTION_TASK_COMPLETION, p.Deallocation)
	began := p.Pool.AllocationStateTransitionTime

	f.ok(f.evaluated("two again", 2))
	require.Equal(t, began, f.poolInfo("p").Pool.AllocationStateTransitionTime, "the resize under way goes on")
	f.ok(f.evaluated("one", 1))
	require.NotEqual(t, began, f.poolInfo("p").Pool.AllocationStateTransitionTime, "another target is another resize")

	f.node("p", "n1")
	f.finishResize("p")
	f.ok(f.evaluated("one again", 1))
	require.Equal(t, steady, f.poolInfo("p").Pool.AllocationState, "the pool is as the formula asks")
	f.ok(f.evaluated("two", 2))
	f.finishResize("p")
	f.ok(f.evaluated("two again", 2))
	require.Equal(t, resizing, f.poolInfo("p").Pool.AllocationState, "a resize that missed its target is tried again")

	f.ok(&raftlogv1.DeletePool{PoolId: "p"})
	c := f.evaluated("deleted", 5)
	f.ok(c)
	require.Zero(t, f.poolInfo("p").Pool.GetTargetDedicatedNodes())
}

func TestPoolLoad(t *testing.T) {
	f, n1, _, _ := yard(t)
	threeStages(f, n1)
	load, ok := f.s.PoolLoad(PoolKey{"acct", "p"})
	require.True(t, ok)
	active, running := uint64(0), uint64(0)
	for _, id := range []string{"a", "b", "c"} {
		switch f.state("j", id) {
		case apiv1.TaskState_TASK_STATE_ACTIVE:
			active++
		case apiv1.TaskState_TASK_STATE_RUNNING:
			running++
		}
	}
	require.NotZero(t, active)
	require.NotZero(t, running)
	require.Equal(t, PoolLoad{Active: active, Running: running}, load)
	_, ok = f.s.PoolLoad(PoolKey{"acct", "none"})
	require.False(t, ok)
}
