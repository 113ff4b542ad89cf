package api

import (
	"context"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/batchyard/batchyard/coordinator/pools/formula"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// checkAutoScale says what is wrong with how a new pool is to get its nodes: by a formula, or by targets.
func checkAutoScale(p *apiv1.Pool) error {
	if !p.GetEnableAutoScale() {
		switch {
		case p.AutoScaleFormula != "":
			return invalid("autoScaleFormula", p.AutoScaleFormula, "A pool has a formula only where enableAutoScale is true.")
		case p.AutoScaleEvaluationInterval != nil:
			return invalid("autoScaleEvaluationInterval", p.AutoScaleEvaluationInterval.AsDuration().String(),
				"A pool has an evaluation interval only where enableAutoScale is true.")
		}
		return nil
	}
	switch {
	case p.AutoScaleFormula == "":
		return batcherr.MissingProperty("autoScaleFormula")
	case p.TargetDedicatedNodes != nil:
		return invalidNumber("targetDedicatedNodes", *p.TargetDedicatedNodes, "The formula decides: leave the target out where enableAutoScale is true.")
	case p.TargetLowPriorityNodes != nil:
		return invalidNumber("targetLowPriorityNodes", *p.TargetLowPriorityNodes, "The formula decides: leave the target out where enableAutoScale is true.")
	}
	return checkFormula(p.AutoScaleFormula, p.AutoScaleEvaluationInterval)
}

// checkFormula refuses formulas that can't be read, and intervals out of range.
func checkFormula(text string, interval *durationpb.Duration) error {
	if interval != nil && (interval.AsDuration() < lifecycle.MinAutoScaleInterval || interval.AsDuration() > lifecycle.MaxAutoScaleInterval) {
		return invalid("autoScaleEvaluationInterval", interval.AsDuration().String(), "The interval is from 5 minutes to 168 hours.")
	}
	if text == "" {
		return nil
	}
	_, err := formula.Parse(text)
	return err
}

func (s *poolService) EnableAutoScale(ctx context.Context, req *apiv1.EnableAutoScaleRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	options := req.GetOptions()
	if options == nil {
		options = &apiv1.PoolEnableAutoScaleOptions{}
	}
	if err := s.rules.check(options, ""); err != nil {
		return nil, err
	}
	if err := checkFormula(options.AutoScaleFormula, options.AutoScaleEvaluationInterval); err != nil {
		return nil, err
	}
	written, err := s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_EnableAutoScale{EnableAutoScale: &raftlogv1.EnableAutoScale{
		PoolId: req.GetPoolId(), Options: options, Conditions: req.GetConditions(),
	}}})
	if err != nil {
		return nil, err
	}
	// Clients look for the first results as soon as they have the answer. Where this fails, the leader's loop makes up for it.
	if err := s.Scaler.Follow(ctx, g.Account, req.GetPoolId()); err != nil {
		s.Logger.Warn("autoscale formula can't be evaluated at once", "account", g.Account, "pool", req.GetPoolId(), "err", err)
	}
	return written, nil
}

func (s *poolService) DisableAutoScale(ctx context.Context, req *apiv1.DisableAutoScaleRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	return s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_DisableAutoScale{DisableAutoScale: &raftlogv1.DisableAutoScale{
		PoolId: req.GetPoolId(),
	}}})
}

func (s *poolService) EvaluateAutoScale(ctx context.Context, req *apiv1.EvaluateAutoScaleRequest) (*apiv1.AutoScaleRun, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	options := req.GetOptions()
	if options == nil {
		options = &apiv1.PoolEvaluateAutoScaleOptions{}
	}
	if err := s.rules.check(options, ""); err != nil {
		return nil, err
	}
	if err := s.Reader.Barrier(ctx); err != nil {
		return nil, err
	}
	return s.Scaler.Evaluate(ctx, g.Account, req.GetPoolId(), options.AutoScaleFormula)
}
