package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func newNodeCommand(f *factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "node",
		Short:   "Compute nodes of pools",
		Example: "  batchyard node list demo\n  batchyard node show demo NODE",
	}
	cmd.AddCommand(newNodeListCommand(f), newNodeShowCommand(f), newNodeFilesCommand(f),
		newNodeLoginCommand(f), newNodeLogsCommand(f), newNodeUserCommand(f))
	for _, action := range nodeActions() {
		cmd.AddCommand(newNodeActionCommand(f, action))
	}
	return cmd
}

// poolNode is a node with the pool that it is in.
type poolNode struct {
	*apiv1.Node
	pool string
}

func newNodeListCommand(f *factory) *cobra.Command {
	opts := &listFlags{}
	cmd := &cobra.Command{
		Use:               "list [POOL]",
		Aliases:           []string{"ls"},
		Short:             "List the nodes of a pool, or of all pools",
		Example:           "  batchyard node list\n  batchyard node list demo --filter \"state eq 'idle'\"",
		Args:              between(0, 1),
		ValidArgsFunction: completeIDs(f, poolIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error { return runNodeList(cmd.Context(), f, s, opts, args) })
		},
	}
	opts.register(cmd, 0)
	return cmd
}

func runNodeList(ctx context.Context, f *factory, s *session, opts *listFlags, pools []string) error {
	if len(pools) == 0 {
		all, _, err := collect(ctx, listFlags{}, s.listPools)
		if err != nil {
			return err
		}
		for _, p := range all {
			pools = append(pools, p.GetId())
		}
	}
	var nodes []poolNode
	for _, pool := range pools {
		found, more, err := collect(ctx, *opts, s.listNodes(pool))
		if err != nil {
			return fmt.Errorf("pool %s: %w", pool, err)
		}
		f.noteMore(more, opts.limit)
		for _, n := range found {
			nodes = append(nodes, poolNode{n, pool})
		}
	}
	table := render.NewTable("POOL", "ID", "STATE", "SCHEDULING", ">TASKS", ">SLOTS", ">RUN", "ADDRESS", "SINCE")
	return list(f, nodes, ifQuiet(opts.quiet, func(n poolNode) string { return n.GetId() }), table, func(n poolNode) []string {
		return []string{
			n.pool, n.GetId(), word(n.GetState()), schedulingText(n.Node), number(n.GetRunningTasksCount()),
			number(n.GetRunningTaskSlotsCount()), number(n.GetTotalTasksRun()), n.GetIpAddress(), f.ago(n.GetStateTransitionTime()),
		}
	})
}

func (s *session) listNodes(pool string) func(context.Context, *apiv1.ListOptions) (page[*apiv1.Node], error) {
	return func(ctx context.Context, opts *apiv1.ListOptions) (page[*apiv1.Node], error) {
		resp, err := s.nodes.ListNodes(ctx, &apiv1.ListNodesRequest{PoolId: pool, Options: opts})
		return page[*apiv1.Node]{resp.GetNodes(), resp.GetNextPageToken()}, err
	}
}

func newNodeShowCommand(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:               "show POOL NODE",
		Short:             "Show a node",
		Example:           "  batchyard node show demo NODE",
		Args:              exactly(2),
		ValidArgsFunction: completeIDs(f, poolIDs, nodeIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error {
				node, err := s.nodes.GetNode(cmd.Context(), &apiv1.GetNodeRequest{PoolId: args[0], NodeId: args[1]})
				if err != nil {
					return err
				}
				return f.show(node, func(w io.Writer) error { return f.describeNode(w, node) })
			})
		},
	}
}

func (f *factory) describeNode(w io.Writer, n *apiv1.Node) error {
	fields := []string{
		"ID", n.GetId(), "State", word(n.GetState()) + " since " + f.ago(n.GetStateTransitionTime()), "Scheduling", word(n.GetSchedulingState()),
		"Address", n.GetIpAddress(), "VM size", n.GetVmSize(), "Dedicated", yesNo(n.GetIsDedicated()),
		"Running tasks", fmt.Sprintf("%d in %d slots", n.GetRunningTasksCount(), n.GetRunningTaskSlotsCount()),
		"Tasks run", fmt.Sprintf("%d, %d succeeded", n.GetTotalTasksRun(), n.GetTotalTasksSucceeded()),
		"Agent", n.GetNodeAgentInfo().GetVersion(),
	}
	if info := n.GetStartTaskInfo(); info != nil {
		fields = append(fields, "Start task", word(info.GetState())+exitText(info.ExitCode)+failureText(info.GetFailureInfo()))
	}
	for _, e := range n.GetErrors() {
		fields = append(fields, "Error", fmt.Sprintf("%s (%s)", e.GetMessage(), e.GetCode()))
		for _, d := range e.GetErrorDetails() {
			fields = append(fields, "  "+render.Plain(d.GetName()), d.GetValue())
		}
	}
	for _, t := range n.GetRecentTasks() {
		fields = append(fields, "Recent task", fmt.Sprintf("%s/%s %s", t.GetJobId(), t.GetTaskId(), word(t.GetTaskState())))
	}
	fields = append(fields, "Joined", f.moment(n.GetAllocationTime()), "Booted", f.moment(n.GetLastBootTime()))
	return render.Fields(w, fields...)
}

// schedulingText says whether a node is given tasks; one that is not because too much failed on it is in quarantine.
func schedulingText(n *apiv1.Node) string {
	for _, e := range n.GetErrors() {
		if e.GetCode() == lifecycle.NodeQuarantined {
			return "quarantine"
		}
	}
	return word(n.GetSchedulingState())
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func exitText(code *int32) string {
	if code == nil {
		return ""
	}
	return fmt.Sprintf(", exit code %d", *code)
}

func failureText(info *apiv1.TaskFailureInfo) string {
	if info == nil {
		return ""
	}
	text := fmt.Sprintf(", %s (%s)", info.GetMessage(), info.GetCode())
	for _, d := range info.GetDetails() {
		text += fmt.Sprintf("; %s: %s", d.GetName(), d.GetValue())
	}
	return text
}

type nodeFilesOptions struct {
	recursive bool
	quiet     bool
}

func newNodeFilesCommand(f *factory) *cobra.Command {
	opts := &nodeFilesOptions{}
	cmd := &cobra.Command{
		Use:               "files POOL NODE [PATH]",
		Short:             "List files of a node, or print one",
		Long:              "List the files of a node. With PATH, print that file.",
		Example:           "  batchyard node files demo NODE --recursive\n  batchyard node files demo NODE startup/stderr.txt",
		Args:              between(2, 3),
		ValidArgsFunction: completeIDs(f, poolIDs, nodeIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			root := &apiv1.FileRoot{PoolId: args[0], NodeId: args[1]}
			return f.withSession(func(s *session) error {
				if len(args) == 3 {
					return s.ReadFile(cmd.Context(), &apiv1.ReadFileRequest{Root: root, Name: args[2]}, f.outputWriter(false), nil)
				}
				return listFiles(cmd.Context(), f, s, root, opts.recursive, opts.quiet)
			})
		},
	}
	cmd.Flags().BoolVarP(&opts.recursive, "recursive", "r", false, "also list what is in directories")
	cmd.Flags().BoolVarP(&opts.quiet, "quiet", "q", false, "print names only")
	return cmd
}

// listFiles prints the files below a root.
func listFiles(ctx context.Context, f *factory, s *session, root *apiv1.FileRoot, recursive, quiet bool) error {
	files, err := s.allFiles(ctx, root, recursive)
	if err != nil {
		return err
	}
	table := render.NewTable("NAME", ">SIZE", "MODIFIED")
	return list(f, files, ifQuiet(quiet, (*apiv1.NodeFile).GetName), table, func(file *apiv1.NodeFile) []string {
		if file.GetIsDirectory() {
			return []string{file.GetName() + "/", "", ""}
		}
		p := file.GetProperties()
		return []string{file.GetName(), render.Bytes(p.GetContentLength()), f.ago(p.GetLastModified())}
	})
}

func (s *session) allFiles(ctx context.Context, root *apiv1.FileRoot, recursive bool) ([]*apiv1.NodeFile, error) {
	files, _, err := collect(ctx, listFlags{}, func(ctx context.Context, opts *apiv1.ListOptions) (page[*apiv1.NodeFile], error) {
		resp, err := s.files.ListFiles(ctx, &apiv1.ListFilesRequest{Root: root, Recursive: recursive, Options: opts})
		return page[*apiv1.NodeFile]{resp.GetFiles(), resp.GetNextPageToken()}, err
	})
	return files, err
}
