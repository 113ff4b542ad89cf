package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func newPoolCommand(f *factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "pool",
		Short:   "Pools of compute nodes",
		Example: "  batchyard pool create demo --nodes 2 --slots 4\n  batchyard pool list",
	}
	cmd.AddCommand(newPoolCreateCommand(f), newPoolListCommand(f), newPoolShowCommand(f), newPoolResizeCommand(f), newPoolAutoScaleCommand(f),
		newPoolDeleteCommand(f))
	return cmd
}

func newPoolListCommand(f *factory) *cobra.Command {
	opts := &listFlags{}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List pools",
		Example: "  batchyard pool list\n  batchyard pool list --filter \"allocationState eq 'resizing'\" -o json",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.withSession(func(s *session) error { return runPoolList(cmd.Context(), f, s, opts) })
		},
	}
	opts.register(cmd, 0)
	return cmd
}

func runPoolList(ctx context.Context, f *factory, s *session, opts *listFlags) error {
	pools, more, err := collect(ctx, *opts, s.listPools)
	if err != nil {
		return err
	}
	f.noteMore(more, opts.limit)
	table := render.NewTable("ID", "STATE", "ALLOCATION", ">NODES", ">TARGET", ">SLOTS", "VM SIZE", "CREATED")
	return list(f, pools, ifQuiet(opts.quiet, (*apiv1.Pool).GetId), table, func(p *apiv1.Pool) []string {
		return []string{
			p.GetId(), word(p.GetState()), word(p.GetAllocationState()),
			number(p.GetCurrentDedicatedNodes() + p.GetCurrentLowPriorityNodes()),
			number(p.GetTargetDedicatedNodes() + p.GetTargetLowPriorityNodes()),
			number(max(1, p.GetTaskSlotsPerNode())), p.GetVmSize(), f.ago(p.GetCreationTime()),
		}
	})
}

func (s *session) listPools(ctx context.Context, opts *apiv1.ListOptions) (page[*apiv1.Pool], error) {
	resp, err := s.pools.ListPools(ctx, &apiv1.ListPoolsRequest{Options: opts})
	return page[*apiv1.Pool]{resp.GetPools(), resp.GetNextPageToken()}, err
}

func newPoolShowCommand(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:               "show POOL",
		Short:             "Show a pool",
		Example:           "  batchyard pool show demo\n  batchyard pool show demo -o yaml",
		Args:              exactly(1),
		ValidArgsFunction: completeIDs(f, poolIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error {
				pool, err := s.pools.GetPool(cmd.Context(), &apiv1.GetPoolRequest{PoolId: args[0]})
				if err != nil {
					return err
				}
				return f.show(pool, func(w io.Writer) error { return f.describePool(w, pool) })
			})
		},
	}
}

func (f *factory) describePool(w io.Writer, p *apiv1.Pool) error {
	scale := ""
	if p.GetEnableAutoScale() {
		scale = p.GetAutoScaleFormula()
	}
	fields := []string{
		"ID", p.GetId(), "Name", p.GetDisplayName(), "State", word(p.GetState()),
		"Allocation", word(p.GetAllocationState()) + " since " + f.ago(p.GetAllocationStateTransitionTime()),
		"Dedicated nodes", fmt.Sprintf("%d of %d", p.GetCurrentDedicatedNodes(), p.GetTargetDedicatedNodes()),
		"Low-priority nodes", fmt.Sprintf("%d of %d", p.GetCurrentLowPriorityNodes(), p.GetTargetLowPriorityNodes()),
		"Slots per node", number(max(1, p.GetTaskSlotsPerNode())),
		"Fill", word(p.GetTaskSchedulingPolicy().GetNodeFillType()),
		"VM size", p.GetVmSize(), "Autoscale formula", scale,
		"Autoscale results", p.GetAutoScaleRun().GetResults(), "Autoscale error", runError(p.GetAutoScaleRun()),
		"Start task", render.Elide(p.GetStartTask().GetCommandLine(), 200),
	}
	if n := p.GetQuarantinedNodes(); n > 0 {
		fields = append(fields, "In quarantine", plural(int(n), "node")+"; see: batchyard node list "+p.GetId())
	}
	for _, ref := range p.GetApplicationPackageReferences() {
		fields = append(fields, "Application", packageText(ref))
	}
	for _, m := range p.GetMountConfiguration() {
		fields = append(fields, "Mount", mountText(m))
	}
	for _, m := range p.GetMetadata() {
		fields = append(fields, "Metadata", m.GetName()+"="+m.GetValue())
	}
	for _, e := range p.GetResizeErrors() {
		fields = append(fields, "Resize error", fmt.Sprintf("%s (%s)", e.GetMessage(), e.GetCode()))
	}
	fields = append(fields, "Created", f.moment(p.GetCreationTime()))
	return render.Fields(w, fields...)
}

func packageText(ref *apiv1.ApplicationPackageReference) string {
	if ref.GetVersion() == "" {
		return ref.GetApplicationId()
	}
	return ref.GetApplicationId() + ":" + ref.GetVersion()
}

func newPoolDeleteCommand(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:               "delete POOL...",
		Aliases:           []string{"rm"},
		Short:             "Delete pools; their nodes leave and running tasks go back to their queue",
		Example:           "  batchyard pool delete demo",
		Args:              atLeast(1),
		ValidArgsFunction: completeIDs(f, poolIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error {
				for _, id := range args {
					if _, err := s.pools.DeletePool(cmd.Context(), &apiv1.DeletePoolRequest{PoolId: id}); err != nil {
						return fmt.Errorf("pool %s: %w", id, err)
					}
					if err := f.say("pool %s is being deleted", render.Plain(id)); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

// register adds the flags of a list; limit is the default number of items, 0 for all.
func (l *listFlags) register(cmd *cobra.Command, limit int) {
	cmd.Flags().StringVar(&l.filter, "filter", "", "OData filter, such as \"state eq 'active'\"")
	cmd.Flags().IntVar(&l.limit, "limit", limit, "show at most this many; 0 shows all")
	cmd.Flags().BoolVarP(&l.quiet, "quiet", "q", false, "print ids only")
}
