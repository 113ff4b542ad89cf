package state

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

func (t *txn) enableAutoScale(c *raftlogv1.EnableAutoScale) Result {
	p, err := t.changeablePool(c.PoolId, c.Conditions)
	if err != nil {
		return refused(err)
	}
	enabled := p.rec.Pool.GetEnableAutoScale()
	switch {
	case p.rec.Pool.AllocationState != steady:
		return refused(batcherr.Of(batcherr.CodePoolBeingResized))
	case c.Options.AutoScaleFormula == "" && (!enabled || c.Options.AutoScaleEvaluationInterval == nil):
		return refused(batcherr.MissingProperty("autoScaleFormula"))
	case p.rec.AutoScaleEnabled > 0 && t.now < p.rec.AutoScaleEnabled+int64(lifecycle.MinEnableAutoScaleGap):
		return refused(batcherr.Of(batcherr.CodeTooManyEnableAutoScaleRequests))
	}
	return t.editPool(p, func(rec *raftlogv1.PoolRecord) {
		on := true
		rec.Pool.EnableAutoScale = &on
		if c.Options.AutoScaleFormula != "" {
			rec.Pool.AutoScaleFormula = c.Options.AutoScaleFormula
		}
		if c.Options.AutoScaleEvaluationInterval != nil {
			rec.Pool.AutoScaleEvaluationInterval = c.Options.AutoScaleEvaluationInterval
		} else if !enabled {
			rec.Pool.AutoScaleEvaluationInterval = durationpb.New(lifecycle.DefaultAutoScaleInterval)
		}
		rec.AutoScaleEnabled, rec.AutoScaleDue = t.now, t.now
	})
}

// disableAutoScale leaves the pool at the targets that it has. A pool that does not scale by a formula stays as it is.
func (t *txn) disableAutoScale(c *raftlogv1.DisableAutoScale) Result {
	p, err := t.changeablePool(c.PoolId, nil)
	if err != nil {
		return refused(err)
	}
	if !p.rec.Pool.GetEnableAutoScale() {
		return written(p.rec.Pool.ETag, p.rec.Pool.LastModified)
	}
	return t.editPool(p, func(rec *raftlogv1.PoolRecord) {
		off := false
		rec.Pool.EnableAutoScale = &off
		rec.Pool.AutoScaleFormula, rec.Pool.AutoScaleEvaluationInterval, rec.Pool.AutoScaleRun = "", nil, nil
		rec.AutoScaleDue = 0
	})
}

// recordAutoScale keeps what an evaluation gave and begins a resize where the pool is not as the formula asks. It changes no version: users did
// not change the pool.
func (t *txn) recordAutoScale(c *raftlogv1.RecordAutoScale) Result {
	p, ok := t.pool(t.account, c.PoolId)
	if !ok || !p.rec.Pool.GetEnableAutoScale() || p.rec.AutoScaleDue != c.Due || p.rec.Pool.State != apiv1.PoolState_POOL_STATE_ACTIVE {
		return Result{}
	}
	rec := proto.CloneOf(p.rec)
	rec.Pool.AutoScaleRun = c.Run
	// It never lies in the past: a pool is evaluated at most once for each time that it is due.
	rec.AutoScaleDue = max(c.Next, c.Due+1)
	if want := c.Targets; want != nil {
		changed := rec.Pool.GetTargetDedicatedNodes() != want.Dedicated || rec.Pool.GetTargetLowPriorityNodes() != want.LowPriority
		rec.Pool.TargetDedicatedNodes, rec.Pool.TargetLowPriorityNodes = &want.Dedicated, &want.LowPriority
		dedicated, spot := p.staying()
		if changed || rec.Pool.AllocationState == steady && (dedicated != want.Dedicated || spot != want.LowPriority) {
			rec.Deallocation = want.Deallocation
			t.startResize(rec)
		}
	}
	t.setPool(p, rec)
	return Result{}
}

// staying counts the nodes that do not leave.
func (p *pool) staying() (dedicated, lowPriority int32) {
	p.nodes.Ascend(func(n *node) bool {
		switch {
		case n.rec.Leaving:
		case n.rec.Node.GetIsDedicated():
			dedicated++
		default:
			lowPriority++
		}
		return true
	})
	return dedicated, lowPriority
}
