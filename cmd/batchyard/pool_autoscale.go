package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// formulaFlags say what an autoscale formula is: the text itself, or the file that holds it.
type formulaFlags struct {
	text, file string
}

func (o *formulaFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&o.text, "formula", "", "autoscale formula, such as '$TargetDedicatedNodes = min(10, $PendingTasks)'")
	flags.StringVar(&o.file, "formula-file", "", "file with the formula; - is the standard input")
}

// read returns the formula, empty where no flag names one.
func (o *formulaFlags) read(f *factory) (string, error) {
	switch {
	case o.text != "" && o.file != "":
		return "", usagef("give --formula or --formula-file, not both")
	case o.file == "":
		return o.text, nil
	}
	text, err := f.readInput(o.file)
	return string(text), err
}

func newPoolAutoScaleCommand(f *factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "autoscale",
		Short: "Have the number of nodes follow a formula",
		Example: `  batchyard pool autoscale enable demo --formula '$TargetDedicatedNodes = min(10, $PendingTasks)'
  batchyard pool autoscale evaluate demo`,
	}
	cmd.AddCommand(newAutoScaleEnableCommand(f), newAutoScaleDisableCommand(f), newAutoScaleEvaluateCommand(f))
	return cmd
}

type autoScaleEnableOptions struct {
	formula  formulaFlags
	interval durationFlag
}

func newAutoScaleEnableCommand(f *factory) *cobra.Command {
	opts := &autoScaleEnableOptions{}
	cmd := &cobra.Command{
		Use:   "enable POOL",
		Short: "Give a pool a formula, or change its formula or interval",
		Example: `  batchyard pool autoscale enable demo --formula-file scale.txt --interval 5m
  batchyard pool autoscale enable demo --interval 1h`,
		Args:              exactly(1),
		ValidArgsFunction: completeIDs(f, poolIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error { return opts.run(cmd.Context(), f, s, args[0]) })
		},
	}
	opts.formula.register(cmd.Flags())
	cmd.Flags().Var(&opts.interval, "interval", "time between evaluations, 5 minutes to 168 hours (default 15m)")
	return cmd
}

func (o *autoScaleEnableOptions) run(ctx context.Context, f *factory, s *session, id string) error {
	formula, err := o.formula.read(f)
	if err != nil {
		return err
	}
	options := &apiv1.PoolEnableAutoScaleOptions{AutoScaleFormula: formula, AutoScaleEvaluationInterval: o.interval.proto()}
	if formula == "" && options.AutoScaleEvaluationInterval == nil {
		return usagef("give --formula, --formula-file or --interval")
	}
	if _, err := s.pools.EnableAutoScale(ctx, &apiv1.EnableAutoScaleRequest{PoolId: id, Options: options}); err != nil {
		return err
	}
	return f.say("pool %s scales by its formula", render.Plain(id))
}

func newAutoScaleDisableCommand(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:               "disable POOL",
		Short:             "Take a pool's formula away; its nodes stay",
		Example:           "  batchyard pool autoscale disable demo",
		Args:              exactly(1),
		ValidArgsFunction: completeIDs(f, poolIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error {
				if _, err := s.pools.DisableAutoScale(cmd.Context(), &apiv1.DisableAutoScaleRequest{PoolId: args[0]}); err != nil {
					return err
				}
				return f.say("pool %s keeps its size", render.Plain(args[0]))
			})
		},
	}
}

func newAutoScaleEvaluateCommand(f *factory) *cobra.Command {
	opts := &formulaFlags{}
	cmd := &cobra.Command{
		Use:   "evaluate POOL",
		Short: "Show what a formula gives, without following it",
		Long: `Show what a formula gives now for a pool that scales by one, without following it. Without a formula it is the pool's own.

The command fails where the formula does.`,
		Example: `  batchyard pool autoscale evaluate demo
  batchyard pool autoscale evaluate demo --formula '$TargetDedicatedNodes = avg($PendingTasks.GetSample(TimeInterval_Minute * 5))'`,
		Args:              exactly(1),
		ValidArgsFunction: completeIDs(f, poolIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error { return opts.evaluate(cmd.Context(), f, s, args[0]) })
		},
	}
	opts.register(cmd.Flags())
	return cmd
}

func (o *formulaFlags) evaluate(ctx context.Context, f *factory, s *session, id string) error {
	formula, err := o.read(f)
	if err != nil {
		return err
	}
	if formula == "" {
		pool, err := s.pools.GetPool(ctx, &apiv1.GetPoolRequest{PoolId: id})
		if err != nil {
			return err
		}
		formula = pool.GetAutoScaleFormula()
	}
	if formula == "" {
		return usagef("pool %s has no formula: give --formula or --formula-file", render.Plain(id))
	}
	run, err := s.pools.EvaluateAutoScale(ctx, &apiv1.EvaluateAutoScaleRequest{
		PoolId: id, Options: &apiv1.PoolEvaluateAutoScaleOptions{AutoScaleFormula: formula},
	})
	if err != nil {
		return err
	}
	if err := f.show(run, func(w io.Writer) error { return describeRun(w, run) }); err != nil {
		return err
	}
	if run.GetError() != nil {
		return usagef("the formula fails: %s", runError(run))
	}
	return nil
}

// describeRun prints each result in a line of its own.
func describeRun(w io.Writer, run *apiv1.AutoScaleRun) error {
	for pair := range strings.SplitSeq(run.GetResults(), ";") {
		if _, err := fmt.Fprintln(w, render.Plain(pair)); err != nil {
			return err
		}
	}
	return nil
}

// runError says why and where an evaluation failed; empty where it did not.
func runError(run *apiv1.AutoScaleRun) string {
	if run.GetError() == nil {
		return ""
	}
	text := run.GetError().GetMessage() + " (" + run.GetError().GetCode() + ")"
	for _, v := range run.GetError().GetValues() {
		text += ": " + v.GetValue()
	}
	return text
}
