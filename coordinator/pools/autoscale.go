package pools

import (
	"context"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/batchyard/batchyard/coordinator/pools/formula"
	"github.com/batchyard/batchyard/coordinator/state"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// AutoScaler makes the targets of pools follow their formulas while leading. Its samples live in memory: a new leader begins without any.
type AutoScaler struct {
	State    *state.Store
	Proposer Proposer
	Loads    Loads
	// Every and SampleEvery are times that tests shorten: Every stands for the interval of every pool where it is not 0; 0 samples is the
	// documented period.
	Every, SampleEvery time.Duration
	Now                func() time.Time
	Logger             *slog.Logger

	mu         sync.Mutex
	histories  map[uint64]*history // by the pools' numbers
	lastSample time.Time
}

// evaluationTime is how long one formula may take.
const evaluationTime = 2 * time.Second

// Run samples and evaluates until ctx ends.
func (a *AutoScaler) Run(ctx context.Context) error {
	a.forget()
	defer a.forget()
	tick := time.NewTicker(min(checkEvery, a.period()))
	defer tick.Stop()
	for {
		if err := a.step(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (a *AutoScaler) period() time.Duration {
	if a.SampleEvery > 0 {
		return a.SampleEvery
	}
	return formula.DefaultPeriod
}

func (a *AutoScaler) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.histories, a.lastSample = map[uint64]*history{}, time.Time{}
}

// step takes the samples and evaluates the formulas that are due.
func (a *AutoScaler) step(ctx context.Context) error {
	pools := a.State.ScalingPools()
	a.sample(pools)
	now := a.Now().UnixNano()
	for _, p := range pools {
		if p.Due > now {
			continue
		}
		if err := a.Follow(ctx, p.Account, p.ID); err != nil {
			return err
		}
	}
	return nil
}

// sample takes a sample of every pool once a period, and of pools that are new at once.
func (a *AutoScaler) sample(pools []state.ScalingPool) {
	now := a.Now()
	a.mu.Lock()
	all := now.Sub(a.lastSample) >= a.period()
	if all {
		a.lastSample = now
	}
	known := map[uint64]*history{}
	var wanted []state.ScalingPool
	for _, p := range pools {
		h := a.histories[p.UID]
		if h != nil {
			known[p.UID] = h
		}
		if h == nil || all {
			wanted = append(wanted, p)
		}
	}
	a.histories = known
	a.mu.Unlock()
	for _, p := range wanted {
		if r, ok := a.measure(p.PoolKey, now); ok {
			a.keep(p.UID, r)
		}
	}
}

func (a *AutoScaler) keep(uid uint64, r row) {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.histories[uid]
	if h == nil {
		h = &history{}
		a.histories[uid] = h
	}
	h.add(r)
}

func (a *AutoScaler) measure(key state.PoolKey, at time.Time) (row, bool) {
	p, ok := a.State.Pool(key.Account, key.ID)
	if !ok {
		return row{}, false
	}
	work, _ := a.State.PoolLoad(key)
	nodes, _ := a.State.Nodes(key.Account, key.ID, "", math.MaxInt)
	return measure(at, p, work, nodes, a.Loads), true
}

// Follow evaluates a pool's own formula and has the pool follow what it gives. Pools that do not scale by a formula are left alone.
func (a *AutoScaler) Follow(ctx context.Context, account, pool string) error {
	p, ok := a.State.Pool(account, pool)
	if !ok || !p.Pool.GetEnableAutoScale() {
		return nil
	}
	now := a.Now()
	results, err := a.run(ctx, p, p.Pool.AutoScaleFormula, now)
	cmd := &raftlogv1.RecordAutoScale{PoolId: p.Pool.Id, Run: runOf(now, results, err), Due: p.AutoScaleDue, Next: now.Add(a.interval(p)).UnixNano()}
	if err == nil {
		cmd.Targets = &raftlogv1.AutoScaleTargets{
			Dedicated: results.Dedicated, LowPriority: results.LowPriority, Deallocation: deallocations[results.Deallocation],
		}
	}
	a.Logger.Info("autoscale formula evaluated", "account", account, "pool", p.Pool.Id, "results", results.Text, "err", err)
	_, err = a.Proposer.Propose(ctx, &raftlogv1.Command{
		Now: now.UnixNano(), Account: account, Kind: &raftlogv1.Command_RecordAutoScale{RecordAutoScale: cmd},
	})
	return err
}

func (a *AutoScaler) interval(p state.PoolInfo) time.Duration {
	if a.Every > 0 {
		return a.Every
	}
	return p.Pool.GetAutoScaleEvaluationInterval().AsDuration()
}

// Evaluate says what a formula would give for a pool that scales by one. That the formula fails is part of the answer.
func (a *AutoScaler) Evaluate(ctx context.Context, account, pool, text string) (*apiv1.AutoScaleRun, error) {
	p, ok := a.State.Pool(account, pool)
	switch {
	case !ok:
		return nil, batcherr.Of(batcherr.CodePoolNotFound)
	case !p.Pool.GetEnableAutoScale():
		return nil, batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState, "the pool does not scale by a formula: enable automatic scaling first")
	}
	now := a.Now()
	results, err := a.run(ctx, p, text, now)
	if batcherr.HasCode(err, batcherr.CodeAutoScaleFormulaTooLong) {
		return nil, err
	}
	return runOf(now, results, err), nil
}

// run evaluates a formula for a pool. A formula that can't be read has failed like any other.
func (a *AutoScaler) run(ctx context.Context, p state.PoolInfo, text string, now time.Time) (formula.Results, error) {
	ctx, cancel := context.WithTimeout(ctx, evaluationTime)
	defer cancel()
	in := formula.Inputs{
		Now: now, Dedicated: p.Pool.GetTargetDedicatedNodes(), LowPriority: p.Pool.GetTargetLowPriorityNodes(),
		History: a.history(p, now), Period: a.period(), Rand: rand.Float64,
	}
	f, err := formula.Parse(text)
	if err != nil {
		if batcherr.HasCode(err, batcherr.CodeAutoScalingFormulaSyntaxError) {
			why, _ := batcherr.From(err).Value(batcherr.ValueReason)
			err = batcherr.Of(batcherr.CodeAutoScalingFormulaEvaluationError).With(formula.ValueMessage, why)
		}
		return formula.Unchanged(in), err
	}
	results, err := f.Evaluate(ctx, in)
	if err == nil && max(results.Dedicated, results.LowPriority) > lifecycle.MaxPoolNodes {
		err = batcherr.Of(batcherr.CodeAutoScalingFormulaEvaluationError).With(formula.ValueMessage, "A pool has at most 100000 nodes of one kind.")
	}
	return results, err
}

// history is what is known of a pool, for one evaluation.
func (a *AutoScaler) history(p state.PoolInfo, now time.Time) *history {
	out := &history{}
	out.present, _ = a.measure(state.PoolKey{Account: p.Account, ID: p.Pool.Id}, now)
	a.mu.Lock()
	defer a.mu.Unlock()
	if h := a.histories[p.Uid]; h != nil {
		out.rows = slices.Clone(h.kept())
	}
	return out
}

// runOf is how an evaluation is shown.
func runOf(at time.Time, results formula.Results, err error) *apiv1.AutoScaleRun {
	run := &apiv1.AutoScaleRun{Timestamp: timestamppb.New(at), Results: results.Text}
	if err != nil {
		e := batcherr.From(err)
		run.Error = &apiv1.AutoScaleRunError{Code: e.Code, Message: e.Message}
		for _, v := range e.Values {
			run.Error.Values = append(run.Error.Values, &apiv1.NameValuePair{Name: v.Key, Value: v.Value})
		}
	}
	return run
}

var deallocations = map[string]apiv1.NodeDeallocationOption{
	formula.Requeue:        apiv1.NodeDeallocationOption_NODE_DEALLOCATION_OPTION_REQUEUE,
	formula.Terminate:      apiv1.NodeDeallocationOption_NODE_DEALLOCATION_OPTION_TERMINATE,
	formula.TaskCompletion: apiv1.NodeDeallocationOption_NODE_DEALLOCATION_OPTION_TASK_COMPLETION,
	formula.RetainedData:   apiv1.NodeDeallocationOption_NODE_DEALLOCATION_OPTION_RETAINED_DATA,
}
