package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

type poolCreateOptions struct {
	file          string
	name          string
	nodes         *int32Flag
	lowPriority   *int32Flag
	slots         *int32Flag
	fill          string
	vmSize        string
	startTask     string
	apps          []string
	mounts        []string
	metadata      []string
	resizeTimeout durationFlag
	formula       formulaFlags
	interval      durationFlag
	interNode     bool
	containers    bool
	images        []string
	wait          bool
	timeout       durationFlag
}

func newPoolCreateCommand(f *factory) *cobra.Command {
	opts := &poolCreateOptions{}
	cmd := &cobra.Command{
		Use:   "create [POOL]",
		Short: "Create a pool",
		Long: `Create a pool of nodes.

--file takes a pool in the JSON or YAML spelling of Azure Batch, as "pool show -o yaml" prints it; flags win over the file.`,
		Example: `  batchyard pool create demo --nodes 2 --slots 4 --wait
  batchyard pool create render --nodes 8 --app blender:4.2 --start-task "/bin/sh -c 'apt-get install -y ffmpeg'"
  batchyard pool create align --nodes 4 --mount data=s3://genomes/2026
  batchyard pool create boxes --nodes 2 --container-image python:3.13
  batchyard pool create --file pool.yaml`,
		Args: between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error { return opts.run(cmd.Context(), f, s, args) })
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&opts.file, "file", "f", "", "file with the pool; - is the standard input")
	flags.StringVar(&opts.name, "display-name", "", "name for people")
	opts.nodes = newInt32Flag(flags, "nodes", "number of dedicated nodes")
	opts.lowPriority = newInt32Flag(flags, "low-priority-nodes", "number of low-priority nodes")
	opts.slots = newInt32Flag(flags, "slots", "task slots of a node (default 1)")
	flags.StringVar(&opts.fill, "fill", "", "how tasks fill nodes: spread or pack (default spread)")
	flags.StringVar(&opts.vmSize, "vm-size", "", "size of the nodes' machines, as the provider knows it")
	flags.StringVar(&opts.startTask, "start-task", "", "command that every node runs when it joins")
	flags.StringArrayVar(&opts.apps, "app", nil, "application package for every node: APP or APP:VERSION; repeatable")
	flags.StringArrayVar(&opts.mounts, "mount", nil, mountUsage)
	flags.StringArrayVar(&opts.metadata, "metadata", nil, "NAME=VALUE; repeatable")
	flags.Var(&opts.resizeTimeout, "resize-timeout", "how long to look for nodes (default 15m)")
	opts.formula.register(flags)
	flags.Var(&opts.interval, "autoscale-interval", "time between evaluations of the formula (default 15m)")
	flags.BoolVar(&opts.interNode, "inter-node", false, "let nodes talk to each other, for multi-instance tasks")
	flags.BoolVar(&opts.containers, "containers", false, "run the tasks in containers: each names its image")
	flags.StringArrayVar(&opts.images, "container-image", nil, "like --containers, with this image on every node beforehand; repeatable")
	flags.BoolVar(&opts.wait, "wait", false, "wait until the nodes are ready")
	flags.Var(&opts.timeout, "timeout", "give up waiting after this time")
	return cmd
}

func (o *poolCreateOptions) run(ctx context.Context, f *factory, s *session, args []string) error {
	pool, err := o.pool(f, args)
	if err != nil {
		return err
	}
	if _, err := s.pools.CreatePool(ctx, &apiv1.CreatePoolRequest{Pool: pool}); err != nil {
		return err
	}
	if o.wait {
		if err := waitForPool(ctx, f, s, pool.GetId(), o.timeout.value); err != nil {
			return err
		}
	}
	return f.created(ctx, s, "pool", pool.GetId())
}

func (o *poolCreateOptions) pool(f *factory, args []string) (*apiv1.Pool, error) {
	pool := &apiv1.Pool{}
	if err := f.readResource(o.file, pool); err != nil {
		return nil, err
	}
	if len(args) > 0 {
		pool.Id = args[0]
	}
	if pool.GetId() == "" {
		return nil, usagef("the pool needs an id")
	}
	o.nodes.into(&pool.TargetDedicatedNodes)
	o.lowPriority.into(&pool.TargetLowPriorityNodes)
	o.slots.into(&pool.TaskSlotsPerNode)
	if o.name != "" {
		pool.DisplayName = o.name
	}
	if o.vmSize != "" {
		pool.VmSize = o.vmSize
	}
	if o.interNode {
		pool.EnableInterNodeCommunication = proto.Bool(true)
	}
	if o.containers || len(o.images) > 0 {
		forContainers(pool, o.images)
	}
	if o.startTask != "" {
		pool.StartTask = &apiv1.StartTask{CommandLine: o.startTask}
	}
	if d := o.resizeTimeout.proto(); d != nil {
		pool.ResizeTimeout = d
	}
	if err := o.autoScale(f, pool); err != nil {
		return nil, err
	}
	switch o.fill {
	case "":
	case "spread":
		pool.TaskSchedulingPolicy = &apiv1.TaskSchedulingPolicy{NodeFillType: apiv1.NodeFillType_NODE_FILL_TYPE_SPREAD}
	case "pack":
		pool.TaskSchedulingPolicy = &apiv1.TaskSchedulingPolicy{NodeFillType: apiv1.NodeFillType_NODE_FILL_TYPE_PACK}
	default:
		return nil, usagef("--fill %q: expected spread or pack", o.fill)
	}
	pool.ApplicationPackageReferences = append(pool.ApplicationPackageReferences, packages(o.apps)...)
	mounts, err := poolMounts(o.mounts)
	if err != nil {
		return nil, err
	}
	pool.MountConfiguration = append(pool.MountConfiguration, mounts...)
	items, err := metadata(o.metadata)
	pool.Metadata = append(pool.Metadata, items...)
	return pool, err
}

// autoScale has the pool follow a formula where the flags give one.
func (o *poolCreateOptions) autoScale(f *factory, pool *apiv1.Pool) error {
	formula, err := o.formula.read(f)
	if err != nil {
		return err
	}
	if formula != "" {
		pool.EnableAutoScale, pool.AutoScaleFormula = proto.Bool(true), formula
	}
	if d := o.interval.proto(); d != nil {
		pool.AutoScaleEvaluationInterval = d
	}
	return nil
}

// created tells what was made: a line for people, the whole thing for programs.
func (f *factory) created(ctx context.Context, s *session, kind, id string) error {
	if f.forPeople() {
		return f.say("%s %s created", kind, render.Plain(id))
	}
	var msg proto.Message
	var err error
	switch kind {
	case "pool":
		msg, err = s.pools.GetPool(ctx, &apiv1.GetPoolRequest{PoolId: id})
	case "job":
		msg, err = s.jobs.GetJob(ctx, &apiv1.GetJobRequest{JobId: id})
	case "job schedule":
		msg, err = s.schedules.GetJobSchedule(ctx, &apiv1.GetJobScheduleRequest{JobScheduleId: id})
	default:
		return fmt.Errorf("cannot show a %s", kind)
	}
	if err != nil {
		return err
	}
	return f.show(msg, func(io.Writer) error { return nil })
}

type poolResizeOptions struct {
	nodes       *int32Flag
	lowPriority *int32Flag
	timeout     durationFlag
	option      string
	wait        bool
	waitTimeout durationFlag
}

func newPoolResizeCommand(f *factory) *cobra.Command {
	opts := &poolResizeOptions{}
	cmd := &cobra.Command{
		Use:               "resize POOL",
		Short:             "Change the number of nodes",
		Example:           "  batchyard pool resize demo --nodes 5\n  batchyard pool resize demo --nodes 0 --when-busy taskcompletion --wait",
		Args:              exactly(1),
		ValidArgsFunction: completeIDs(f, poolIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error { return opts.run(cmd.Context(), f, s, args[0]) })
		},
	}
	flags := cmd.Flags()
	opts.nodes = newInt32Flag(flags, "nodes", "number of dedicated nodes")
	opts.lowPriority = newInt32Flag(flags, "low-priority-nodes", "number of low-priority nodes")
	flags.Var(&opts.timeout, "resize-timeout", "how long to look for nodes (default 15m)")
	flags.StringVar(&opts.option, "when-busy", "", "what happens to the tasks of nodes that leave: requeue, terminate or taskcompletion (default requeue)")
	flags.BoolVar(&opts.wait, "wait", false, "wait until the nodes are ready")
	flags.Var(&opts.waitTimeout, "timeout", "give up waiting after this time")
	return cmd
}

func (o *poolResizeOptions) run(ctx context.Context, f *factory, s *session, id string) error {
	resize := &apiv1.PoolResizeOptions{ResizeTimeout: o.timeout.proto()}
	o.nodes.into(&resize.TargetDedicatedNodes)
	o.lowPriority.into(&resize.TargetLowPriorityNodes)
	if resize.TargetDedicatedNodes == nil && resize.TargetLowPriorityNodes == nil {
		return usagef("give --nodes or --low-priority-nodes")
	}
	switch o.option {
	case "":
	case "requeue":
		resize.NodeDeallocationOption = apiv1.NodeDeallocationOption_NODE_DEALLOCATION_OPTION_REQUEUE
	case "terminate":
		resize.NodeDeallocationOption = apiv1.NodeDeallocationOption_NODE_DEALLOCATION_OPTION_TERMINATE
	case "taskcompletion":
		resize.NodeDeallocationOption = apiv1.NodeDeallocationOption_NODE_DEALLOCATION_OPTION_TASK_COMPLETION
	default:
		return usagef("--when-busy %q: expected requeue, terminate or taskcompletion", o.option)
	}
	if _, err := s.pools.ResizePool(ctx, &apiv1.ResizePoolRequest{PoolId: id, Options: resize}); err != nil {
		return err
	}
	if o.wait {
		if err := waitForPool(ctx, f, s, id, o.waitTimeout.value); err != nil {
			return err
		}
		return f.say("pool %s is resized", render.Plain(id))
	}
	return f.say("pool %s is resizing", render.Plain(id))
}

// waitForPool waits until the pool has the nodes that it is to have, and each is ready for tasks or never will be.
func waitForPool(ctx context.Context, f *factory, s *session, id string, timeout time.Duration) error {
	ctx, cancel := withTimeout(ctx, timeout)
	defer cancel()
	meter := f.newMeter("nodes ready", 0, countUnit)
	defer meter.finish()
	ticker := time.NewTicker(f.pollInterval)
	defer ticker.Stop()
	for {
		pool, err := s.pools.GetPool(ctx, &apiv1.GetPoolRequest{PoolId: id})
		if err != nil {
			return err
		}
		nodes, _, err := collect(ctx, listFlags{}, s.listNodes(id))
		if err != nil {
			return err
		}
		target := int64(pool.GetTargetDedicatedNodes() + pool.GetTargetLowPriorityNodes())
		ready, failed := readiness(nodes)
		meter.set(int64(ready), target)
		if pool.GetAllocationState() == apiv1.AllocationState_ALLOCATION_STATE_STEADY {
			switch {
			case failed > 0:
				return batcherr.Conflict(batcherr.CodeNodeStateUnusable, "%d of the pool's nodes cannot run tasks; see: batchyard node list %s", failed, id)
			case len(pool.GetResizeErrors()) > 0:
				e := pool.GetResizeErrors()[0]
				return batcherr.Conflict(e.GetCode(), "%s", e.GetMessage())
			case int64(len(nodes)) == target && int64(ready) == target:
				return nil
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d nodes are ready: %w", ready, target, ctx.Err())
		}
	}
}

func readiness(nodes []*apiv1.Node) (ready, failed int) {
	for _, n := range nodes {
		switch n.GetState() {
		case apiv1.NodeState_NODE_STATE_IDLE, apiv1.NodeState_NODE_STATE_RUNNING:
			ready++
		case apiv1.NodeState_NODE_STATE_UNUSABLE, apiv1.NodeState_NODE_STATE_START_TASK_FAILED:
			failed++
		}
	}
	return ready, failed
}
