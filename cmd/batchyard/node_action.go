package main

import (
	"context"
	"encoding/base64"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// taskOptions are what may become of the tasks of a node that a user takes out of service. The numbers are those of all enumerations of the API.
func taskOptions() map[string]int32 {
	return map[string]int32{"requeue": 1, "terminate": 2, "wait": 3}
}

func taskOption(text string) (int32, error) {
	option, ok := taskOptions()[text]
	if !ok {
		return 0, usagef("--tasks is requeue, terminate or wait, not %q", text)
	}
	return option, nil
}

// nodeAction is a command that does one thing to one node. tasks says whether it takes the option for what becomes of the node's tasks.
type nodeAction struct {
	name, short, done string
	tasks             bool
	act               func(ctx context.Context, s *session, pool, node string, option int32) error
}

func nodeActions() []nodeAction {
	return []nodeAction{
		{"reboot", "Restart a node: all that runs on it ends, its start task runs again", "restarts", true,
			func(ctx context.Context, s *session, pool, node string, option int32) error {
				_, err := s.nodes.RebootNode(ctx, &apiv1.RebootNodeRequest{
					PoolId: pool, NodeId: node, Options: &apiv1.NodeRebootOptions{NodeRebootOption: apiv1.NodeRebootKind(option)},
				})
				return err
			}},
		{"reimage", "Restart a node with its directories emptied", "restarts empty", true,
			func(ctx context.Context, s *session, pool, node string, option int32) error {
				_, err := s.nodes.ReimageNode(ctx, &apiv1.ReimageNodeRequest{
					PoolId: pool, NodeId: node, Options: &apiv1.NodeReimageOptions{NodeReimageOption: apiv1.NodeReimageOption(option)},
				})
				return err
			}},
		{"deallocate", "Stop the machine of a node that this service has made", "stops", true,
			func(ctx context.Context, s *session, pool, node string, option int32) error {
				_, err := s.nodes.DeallocateNode(ctx, &apiv1.DeallocateNodeRequest{
					PoolId: pool, NodeId: node, Options: &apiv1.NodeDeallocateOptions{NodeDeallocateOption: apiv1.NodeDeallocateOption(option)},
				})
				return err
			}},
		{"start", "Start the machine of a deallocated node", "starts", false,
			func(ctx context.Context, s *session, pool, node string, _ int32) error {
				_, err := s.nodes.StartNode(ctx, &apiv1.StartNodeRequest{PoolId: pool, NodeId: node})
				return err
			}},
		{"disable", "Give a node no more tasks", "gets no more tasks", true,
			func(ctx context.Context, s *session, pool, node string, option int32) error {
				_, err := s.nodes.DisableNodeScheduling(ctx, &apiv1.DisableNodeSchedulingRequest{PoolId: pool, NodeId: node,
					Options: &apiv1.NodeDisableSchedulingOptions{NodeDisableSchedulingOption: apiv1.NodeDisableSchedulingOption(option)},
				})
				return err
			}},
		{"enable", "Give a node tasks again", "gets tasks again", false,
			func(ctx context.Context, s *session, pool, node string, _ int32) error {
				_, err := s.nodes.EnableNodeScheduling(ctx, &apiv1.EnableNodeSchedulingRequest{PoolId: pool, NodeId: node})
				return err
			}},
	}
}

func newNodeActionCommand(f *factory, a nodeAction) *cobra.Command {
	tasks := "requeue"
	cmd := &cobra.Command{
		Use:               a.name + " POOL NODE",
		Short:             a.short,
		Example:           "  batchyard node " + a.name + " demo NODE",
		Args:              exactly(2),
		ValidArgsFunction: completeIDs(f, poolIDs, nodeIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			option, err := taskOption(tasks)
			if err != nil {
				return err
			}
			return f.withSession(func(s *session) error {
				if err := a.act(cmd.Context(), s, args[0], args[1], option); err != nil {
					return err
				}
				return f.say("node %s %s", args[1], a.done)
			})
		},
	}
	if a.tasks {
		cmd.Flags().StringVar(&tasks, "tasks", tasks, "what becomes of its tasks: requeue, terminate, wait")
	}
	return cmd
}

func newNodeLoginCommand(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:               "login POOL NODE",
		Short:             "Print the address and port for logging in to a node",
		Example:           "  batchyard node login demo NODE",
		Args:              exactly(2),
		ValidArgsFunction: completeIDs(f, poolIDs, nodeIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error {
				at, err := s.nodes.GetNodeRemoteLoginSettings(cmd.Context(), &apiv1.GetNodeRemoteLoginSettingsRequest{PoolId: args[0], NodeId: args[1]})
				if err != nil {
					return err
				}
				return f.say("%s %d", at.GetRemoteLoginIpAddress(), at.GetRemoteLoginPort())
			})
		},
	}
}

func newNodeLogsCommand(f *factory) *cobra.Command {
	container, since := "", time.Hour
	cmd := &cobra.Command{
		Use:               "logs POOL NODE --to URL",
		Short:             "Copy a node's service logs to a container",
		Example:           "  batchyard node logs demo NODE --to s3://logs",
		Args:              exactly(2),
		ValidArgsFunction: completeIDs(f, poolIDs, nodeIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error {
				result, err := s.nodes.UploadNodeLogs(cmd.Context(), &apiv1.UploadNodeLogsRequest{
					PoolId: args[0], NodeId: args[1],
					Options: &apiv1.UploadBatchServiceLogsOptions{ContainerUrl: container, StartTime: timestamppb.New(time.Now().Add(-since))},
				})
				if err != nil {
					return err
				}
				return f.say("%d files in %s", result.GetNumberOfFilesUploaded(), result.GetVirtualDirectoryName())
			})
		},
	}
	cmd.Flags().StringVar(&container, "to", "", "URL of the container")
	cmd.Flags().DurationVar(&since, "since", since, "logs of the last so much time")
	_ = cmd.MarkFlagRequired("to")
	return cmd
}

type nodeUserOptions struct {
	admin        bool
	passwordFile string
	keyFile      string
	life         time.Duration
}

func newNodeUserCommand(f *factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "user",
		Short:   "Users with whom people log in to nodes",
		Example: "  batchyard node user add demo NODE ann --key-file ~/.ssh/id_ed25519.pub",
	}
	cmd.AddCommand(newNodeUserPutCommand(f, "add", "Make a user on a node"), newNodeUserPutCommand(f, "update", "Replace password, key and expiry of a user"),
		newNodeUserDeleteCommand(f))
	return cmd
}

func newNodeUserPutCommand(f *factory, name, short string) *cobra.Command {
	opts := &nodeUserOptions{}
	cmd := &cobra.Command{
		Use:               name + " POOL NODE USER",
		Short:             short,
		Example:           "  batchyard node user " + name + " demo NODE ann --key-file ~/.ssh/id_ed25519.pub",
		Args:              exactly(3),
		ValidArgsFunction: completeIDs(f, poolIDs, nodeIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error { return opts.put(cmd.Context(), f, s, args, name == "add") })
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.passwordFile, "password-file", "", "file with the password")
	flags.StringVar(&opts.keyFile, "key-file", "", "file with the public key, in OpenSSH's form")
	flags.DurationVar(&opts.life, "expires-in", 24*time.Hour, "when the user goes")
	if name == "add" {
		flags.BoolVar(&opts.admin, "admin", false, "the user may become root")
	}
	return cmd
}

func (o *nodeUserOptions) put(ctx context.Context, f *factory, s *session, args []string, create bool) error {
	password, err := secretOf(o.passwordFile)
	if err != nil {
		return err
	}
	key, err := secretOf(o.keyFile)
	if err != nil {
		return err
	}
	if key != "" {
		key = base64.StdEncoding.EncodeToString([]byte(key))
	}
	expires := timestamppb.New(time.Now().Add(o.life))
	if create {
		_, err = s.nodes.CreateNodeUser(ctx, &apiv1.CreateNodeUserRequest{PoolId: args[0], NodeId: args[1], User: &apiv1.NodeUserCreateOptions{
			Name: args[2], IsAdmin: proto.Bool(o.admin), ExpiryTime: expires, Password: password, SshPublicKey: key,
		}})
	} else {
		_, err = s.nodes.UpdateNodeUser(ctx, &apiv1.UpdateNodeUserRequest{PoolId: args[0], NodeId: args[1], Name: args[2], User: &apiv1.NodeUserUpdateOptions{
			ExpiryTime: expires, Password: password, SshPublicKey: key,
		}})
	}
	if err != nil {
		return err
	}
	return f.say("user %s on node %s", args[2], args[1])
}

// secretOf reads one line from a file; none for no name.
func secretOf(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", usagef("%v", err)
	}
	return strings.TrimSpace(string(text)), nil
}

func newNodeUserDeleteCommand(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:               "delete POOL NODE USER",
		Aliases:           []string{"rm"},
		Short:             "Delete a user of a node",
		Example:           "  batchyard node user delete demo NODE ann",
		Args:              exactly(3),
		ValidArgsFunction: completeIDs(f, poolIDs, nodeIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error {
				if _, err := s.nodes.DeleteNodeUser(cmd.Context(), &apiv1.DeleteNodeUserRequest{PoolId: args[0], NodeId: args[1], Name: args[2]}); err != nil {
					return err
				}
				return f.say("user %s deleted from node %s", args[2], args[1])
			})
		},
	}
}
