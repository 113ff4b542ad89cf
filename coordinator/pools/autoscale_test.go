package pools

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/batchyard/batchyard/coordinator/pools/formula"
	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

func (y *yard) scaler() *AutoScaler {
	return &AutoScaler{State: y.store, Proposer: y, Loads: y, Now: y.clock, Logger: slog.New(slog.DiscardHandler), histories: map[uint64]*history{}}
}

func (y *yard) scaledPool(text string, interval time.Duration) {
	y.createPool(func(p *apiv1.Pool) {
		p.EnableAutoScale, p.AutoScaleFormula, p.AutoScaleEvaluationInterval = proto.Bool(true), text, durationpb.New(interval)
	})
}

// results evaluates a formula without following it.
func (y *yard) results(a *AutoScaler, text string) string {
	y.t.Helper()
	run, err := a.Evaluate(context.Background(), "acct", "p", text)
	require.NoError(y.t, err)
	if run.Error != nil {
		return run.Error.Code + ": " + run.Error.Values[0].Value
	}
	return run.Results
}

const head = "$TargetDedicatedNodes=0;$TargetLowPriorityNodes=0;$NodeDeallocationOption=requeue;"

func TestAutoScalerFollows(t *testing.T) {
	ctx := context.Background()
	y := newYard(t)
	a := y.scaler()
	y.scaledPool("$TargetDedicatedNodes = $PendingTasks; $NodeDeallocationOption = taskcompletion", 5*time.Minute)
	require.NoError(t, a.step(ctx))
	require.Equal(t, []string{"record_auto_scale"}, y.proposed(), "a new pool is evaluated at once")
	require.Equal(t, testNow, y.pool().Pool.AutoScaleRun.Timestamp.AsTime())

	y.addTasks("j", 3)
	y.pass(4 * time.Minute)
	require.NoError(t, a.step(ctx))
	require.Empty(t, y.proposed(), "it is not due")
	y.pass(time.Minute)
	require.NoError(t, a.step(ctx))
	require.Equal(t, []string{"record_auto_scale"}, y.proposed())
	p := y.pool()
	require.EqualValues(t, 3, p.Pool.GetTargetDedicatedNodes())
	require.Equal(t, apiv1.NodeDeallocationOption_NODE_DEALLOCATION_OPTION_TASK_COMPLETION, p.Deallocation)
	require.NoError(t, a.step(ctx))
	require.Empty(t, y.proposed())

	y.refuse = errNotLeading
	y.pass(time.Hour)
	require.ErrorIs(t, a.step(ctx), errNotLeading)
}

func TestAutoScalerFailures(t *testing.T) {
	ctx := context.Background()
	for text, want := range map[string]string{
		"$TargetDedicatedNodes = 9; x = $CPUPercent.GetSample(TimeInterval_Hour, 50)": "InsufficientSampleData",
		"$TargetDedicatedNodes = 9; x = nothing":                                      "AutoScalingFormulaEvaluationError",
		"$TargetDedicatedNodes = (":                                                   "AutoScalingFormulaEvaluationError", // kept by an older version
		"$TargetDedicatedNodes = 100001":                                              "AutoScalingFormulaEvaluationError",
	} {
		y := newYard(t)
		y.scaledPool(text, 5*time.Minute)
		require.NoError(t, y.scaler().step(ctx))
		p := y.pool()
		require.Zero(t, p.Pool.GetTargetDedicatedNodes(), text)
		require.Equal(t, want, p.Pool.AutoScaleRun.GetError().GetCode(), text)
		require.NotEmpty(t, p.Pool.AutoScaleRun.Error.Values[0].Value)
		require.Contains(t, p.Pool.AutoScaleRun.Results, "$TargetDedicatedNodes=")
		require.Equal(t, y.now.Add(5*time.Minute).UnixNano(), p.AutoScaleDue, "the next evaluation is at the usual time")
	}
}

func TestEvaluate(t *testing.T) {
	ctx := context.Background()
	y := newYard(t)
	a := y.scaler()
	_, err := a.Evaluate(ctx, "acct", "p", "x=1")
	require.True(t, batcherr.HasCode(err, batcherr.CodePoolNotFound), "%v", err)
	y.createPool(func(p *apiv1.Pool) {})
	_, err = a.Evaluate(ctx, "acct", "p", "x=1")
	require.True(t, batcherr.HasKind(err, batcherr.KindConflict), "%v", err)
	require.NoError(t, a.Follow(ctx, "acct", "p"))
	require.NoError(t, a.Follow(ctx, "acct", "none"))
	require.Empty(t, y.proposed(), "pools that do not scale by a formula are left alone")

	y = newYard(t)
	a = y.scaler()
	y.scaledPool("x=1", time.Hour)
	_, err = a.Evaluate(ctx, "acct", "p", fmt.Sprintf("x=1//%8192d", 1))
	require.True(t, batcherr.HasCode(err, batcherr.CodeAutoScaleFormulaTooLong), "%v", err)
	require.Equal(t, "AutoScalingFormulaEvaluationError: Line 1, Col 5: expected a value, found the end of the formula", y.results(a, "x = "))
	require.Equal(t, head+"x=2", y.results(a, "x = 1 + 1"))
	require.Empty(t, y.proposed())
}

func TestMeasure(t *testing.T) {
	y := newYard(t)
	a := y.scaler()
	y.scaledPool("x=1", time.Hour)
	y.do(&raftlogv1.Command{Kind: &raftlogv1.Command_CreateNodes{CreateNodes: &raftlogv1.CreateNodes{PoolId: "p", NodeIds: []string{"a", "b", "c"}, Dedicated: true}}})
	y.do(&raftlogv1.Command{Kind: &raftlogv1.Command_CreateNodes{CreateNodes: &raftlogv1.CreateNodes{PoolId: "p", NodeIds: []string{"d"}}}})
	y.addTasks("j", 5)
	y.cpu[y.join("a")], y.cpu[y.join("b")] = 50, 100
	require.Equal(t, head+"a=5;c=0.75;d=3;f=0;l=1;n=5;p=0;r=0;s=1;u=2", y.results(a, "a = $ActiveTasks; r = $RunningTasks; n = $PendingTasks; "+
		"c = $CPUPercent; d = $CurrentDedicatedNodes; l = $CurrentLowPriorityNodes; p = $PreemptedNodeCount; u = $UsableNodeCount; "+
		"s = $TaskSlotsPerNode; f = $FailedTasks + $SucceededTasks"))
	require.Contains(t, y.results(a, "x = $DiskBytes"), "InsufficientSampleData: ")
}

func TestSamplesAreTaken(t *testing.T) {
	ctx := context.Background()
	y := newYard(t)
	a := y.scaler()
	require.NoError(t, a.step(ctx))
	y.pass(time.Second)
	y.scaledPool("x=1", time.Hour)
	require.NoError(t, a.step(ctx))
	require.Equal(t, head+"c=0;n=1", y.results(a, "n = $PendingTasks.Count(); c = $CPUPercent.Count()"), "a new pool has a sample at once, of what is known")
	y.addTasks("j", 4)
	for range 40 {
		y.pass(time.Second)
		require.NoError(t, a.step(ctx))
	}
	require.Equal(t, head+"n=2;v=[0,4]", y.results(a, "v = $PendingTasks.GetSample(9); n = $PendingTasks.Count()"), "then one every half minute")
	for range 500 {
		y.pass(formula.DefaultPeriod)
		require.NoError(t, a.step(ctx))
	}
	require.Equal(t, head+"n=360;v=100", y.results(a, "n = $PendingTasks.Count(); v = $PendingTasks.GetSamplePercent(TimeInterval_Hour * 3)"), "and the old ones go")

	y.do(&raftlogv1.Command{Kind: &raftlogv1.Command_DisableAutoScale{DisableAutoScale: &raftlogv1.DisableAutoScale{PoolId: "p"}}})
	require.NoError(t, a.step(ctx))
	require.Empty(t, a.histories, "pools without a formula are forgotten")
}

// A term begins and ends without samples, and a loop that runs can be asked at the same time.
func TestAutoScalerRuns(t *testing.T) {
	y := newYard(t)
	y.scaledPool("x=1", time.Hour)
	a := y.scaler()
	a.SampleEvery, a.Every = time.Millisecond, time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	require.Eventually(t, func() bool {
		y.pass(time.Second)
		run, err := a.Evaluate(ctx, "acct", "p", "$TargetDedicatedNodes = $PendingTasks.Count() > 5")
		return err == nil && run.Error == nil && run.Results[:len("$TargetDedicatedNodes=1")] == "$TargetDedicatedNodes=1"
	}, 30*time.Second, time.Millisecond)
	require.Greater(t, len(y.proposed()), 1, "and evaluates again and again")
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	require.Empty(t, a.histories)
}
